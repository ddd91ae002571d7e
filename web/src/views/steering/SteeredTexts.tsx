import type { SteeredText } from "../../api";
import { plain, signed } from "../../components";
import { GeneratedText } from "../surgery/GeneratedText";
import { ordinal } from "../surgery/comparison";
import { divergence, promptLength } from "../surgery/texts";
import type { Texts } from "../surgery/texts";

interface SteeredTextsProps {
  texts: Texts;
  /** Of the texts to their end; null while they are being written. */
  control: SteeredText | null;
  steered: SteeredText | null;
  dim: boolean;
}

/** The text as the model writes it above the text with the direction added. */
export function SteeredTexts({ texts, control, steered, dim }: SteeredTextsProps) {
  const parted = divergence(texts);
  const told = !steered ? "" : `by ${signed(steered.strength)}; perplexity ${plain(steered.perplexity)} to the model as it is; `;
  const where = parted === null ? "the same text" : `differs from the ${ordinal(parted - promptLength(texts.control) + 1)} token`;
  return (
    <div class="reading" role="region" aria-label="Texts" tabIndex={0}>
      <h3>Control <span class="note">{control && `perplexity ${plain(control.perplexity)}`}</span></h3>
      <GeneratedText label="Control text" tokens={texts.control} first={null} chosen={null} dim={dim} onChoose={() => undefined} />
      <h3>Steered <span class="note">{control && !steered ? "by 0: the same text" : steered ? told + where : ""}</span></h3>
      {texts.ablated.length > 0 && <GeneratedText label="Steered text" tokens={texts.ablated} first={parted} chosen={null} dim={dim} onChoose={() => undefined} />}
    </div>
  );
}
