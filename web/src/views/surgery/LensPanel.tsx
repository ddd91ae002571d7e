import { useState } from "preact/hooks";
import type { ComponentChildren } from "preact";
import { Panel, Segmented, TokenText, Working } from "../../components";
import type { Phase } from "../../state";
import type { Curve } from "./curve";
import { LensPlot } from "./LensPlot";
import type { NamedCurve } from "./LensPlot";
import type { Stream } from "./texts";

export interface LensCurves {
  control: Curve;
  cut: Curve | null;
}

interface LensPanelProps {
  token: { text: string; stream: Stream } | null;
  curves: LensCurves | null;
  /** What stands in the plot's place. */
  instead: ComponentChildren;
  dim: boolean;
  phase: Phase;
}

type Side = "both" | "control" | "cut";

/** What each layer would make of a token, in both runs. */
export function LensPanel({ token, curves, instead, dim, phase }: LensPanelProps) {
  const [side, setSide] = useState<Side>("both");
  const shown = curves?.cut ? side : "control";
  const drawn: NamedCurve[] = curves ? [
    ...(shown !== "cut" ? [{ name: "Control" as const, curve: curves.control }] : []),
    ...(shown !== "control" && curves.cut ? [{ name: "Cut" as const, curve: curves.cut }] : []),
  ] : [];
  return (
    <Panel
      fill class="lens"
      title={token ? <>Logit lens of <TokenText text={token.text} /></> : "Logit lens"}
      note={token ? `in the ${token.stream === "control" ? "control" : "cut"} text: its probability layer by layer` : undefined}
      aside={
        <Segmented
          label="Runs shown" value={shown} onChange={setSide}
          options={[
            { value: "both", text: "Both", disabled: !curves?.cut }, { value: "control", text: "Control" },
            { value: "cut", text: "Cut", disabled: !curves?.cut },
          ]}
        />
      }
    >
      <Working phase={phase} />
      {instead ?? (drawn.length > 0 && <LensPlot curves={drawn} dim={dim} label={`Probability of the token ${token?.text ?? ""} by layer`} />)}
    </Panel>
  );
}
