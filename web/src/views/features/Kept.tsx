import type { ExperimentRecord } from "../../api";
import { exact, percent, plain } from "../../components";

/** What the autoencoder keeps of the prompt. */
export function Kept({ record, dim }: { record: ExperimentRecord; dim: boolean }) {
  const report = record.results.features;
  if (!report) return null;
  const { sae, quality } = report;
  const fact = (name: string, value: number | null | undefined, text: (value: number) => string, title: string) => (
    <div><dt title={title}>{name}</dt><dd title={value == null ? "" : exact(value)}>{value == null ? "–" : text(value)}</dd></div>
  );
  const { losses } = quality;
  return (
    <div class={dim ? "dimmed stack" : "stack"}>
      <p class="small">{sae.architecture}{sae.k == null ? "" : `, ${sae.k} at a time`}; {sae.d_sae} features {sae.hook_out == null
        ? <>of <code>{sae.hook}</code>, {sae.d_in} wide</>
        : <>that read <code>{sae.hook}</code>, {sae.d_in} wide, and write at <code>{sae.hook_out}</code>, {sae.d_out} wide</>}</p>
      <dl class="facts" aria-label="What it keeps">
        {fact("L0", quality.l0, plain, "Active features at a position, on average")}
        {fact("Explained variance", quality.explained_variance, percent, "1 less the squared error by the squared distance from the mean")}
        {fact("Loss recovered", losses?.recovered_from_zero, percent, "Of what is lost with 0 in its place, how much the reconstruction keeps")}
        {fact("From the mean", losses?.recovered_from_mean, percent, "The same with the mean activation in its place")}
      </dl>
      {losses && (
        <dl class="facts" aria-label="Losses">
          {fact("Loss", losses.clean, plain, "Nats per token, the model as it is")}
          {fact("Reconstructed", losses.spliced, plain, "With the reconstruction in place of the activation")}
          {fact("Mean", losses.mean, plain, "With the mean activation there")}
          {fact("Zero", losses.zero, plain, "With 0 there")}
        </dl>
      )}
      <p class="soft small">Over this prompt's tokens, BOS left out.</p>
    </div>
  );
}
