import type { ComponentChildren } from "preact";
import { Button, Menu, Panel, Working, howFar } from "../../components";
import type { MenuItem } from "../../components";
import type { Far, Phase } from "../../state";
import { ordinal } from "./comparison";
import { GeneratedText } from "./GeneratedText";
import { divergence, promptLength } from "./texts";
import type { Stream, Texts } from "./texts";

export interface ChosenToken {
  stream: Stream;
  pos: number;
}

interface TextsPanelProps {
  texts: Texts;
  /** What stands in place of the cut text: why there is none. */
  instead: ComponentChildren;
  chosen: ChosenToken | null;
  dim: boolean;
  phase: Phase;
  progress: Far | null;
  /** How long it took, or why it is not what would be run now. */
  state: string;
  onChoose: (token: ChosenToken) => void;
  onStop: () => void;
  /** What there is to save. */
  files: readonly MenuItem[];
}

/** The text of the whole model above that of the cut one. */
export function TextsPanel({ texts, instead, chosen, dim, phase, progress, state, onChoose, onStop, files }: TextsPanelProps) {
  const parted = divergence(texts);
  const text = (stream: Stream, label: string) => (
    <GeneratedText
      label={label} tokens={texts[stream]} first={stream === "ablated" ? parted : null} dim={dim}
      chosen={chosen?.stream === stream ? chosen.pos : null} onChoose={(pos) => onChoose({ stream, pos })}
    />
  );
  return (
    <Panel
      class="texts" fill
      aside={
        <>
          {phase === "long" && (
            <span class="progress" role="status">
              {howFar(progress, "tokens")}
              <Button small onPress={onStop}>Stop</Button>
            </span>
          )}
          {phase !== "long" && <span class="soft small">{state}</span>}
          <Menu text="Save" items={files} />
        </>
      }
      title="Control"
    >
      <Working phase={phase} progress={progress} />
      {/* It scrolls by itself, so that the menu above it is not cut off; what scrolls must be reachable by keyboard. */}
      <div class="reading" role="region" aria-label="Texts" tabIndex={0}>
        {text("control", "Control text")}
        <h3>Cut <span class="note">{!instead && texts.ablated.length > 0 && partedLine(texts, parted, phase)}</span></h3>
        {instead ?? text("ablated", "Cut text")}
      </div>
    </Panel>
  );
}

function partedLine(texts: Texts, parted: number | null, phase: Phase): string {
  if (parted !== null) return `differs from the ${ordinal(parted - promptLength(texts.control) + 1)} token`;
  return phase === "idle" ? "the same text" : "";
}
