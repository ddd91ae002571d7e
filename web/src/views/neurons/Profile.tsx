import type { ExperimentRecord } from "../../api";
import { Legend, TokenHeat, exact, largest, plain, sequential, signedExact } from "../../components";
import { stepped, workspace } from "../../state";
import { EndTokens } from "../EndTokens";
import { Without } from "./Without";

/** One neuron: where it is active in the prompt, what it writes, what is lost without it. */
export function Profile({ record, dim }: { record: ExperimentRecord; dim: boolean }) {
  const found = record.results.neuron;
  const tokens = record.results.prompts[0]?.clean;
  const values = found?.activations[0];
  if (!found || !tokens || !values) return null;
  const scale = sequential(largest(values));
  const pos = workspace.pos.value !== null && workspace.pos.value < values.length ? workspace.pos.value : values.length - 1;
  return (
    <div class={`scrolly${dim ? " dimmed" : ""}`} tabIndex={0} role="group" aria-label={`What ${found.neuron} does`}>
      <TokenHeat label={`Activation of ${found.neuron}`} tokens={tokens.labels} values={values} scale={scale} format={signedExact} chosen={pos} onPick={(pos) => stepped({ pos })} />
      <Legend scale={scale} line={`activation after the nonlinearity; at or below 0 the ground. At position ${pos}: ${exact(values[pos] ?? 0)}`} />
      <div class="two">
        <EndTokens
          title="Tokens it raises and lowers" note="logits per unit of activation, before the final LayerNorm's scale" label="Tokens of the neuron"
          promoted={found.promoted} suppressed={found.suppressed}
        />
        <Without record={record} />
      </div>
      <dl class="facts" aria-label="Weights">
        <div><dt title="Set to this where it is set to its mean">Mean here</dt><dd>{plain(found.mean)}</dd></div>
        <div><dt title="L2 norm of its column of W_in">Reads, norm</dt><dd>{plain(found.input_norm)}</dd></div>
        <div><dt title="L2 norm of its row of W_out">Writes, norm</dt><dd>{plain(found.output_norm)}</dd></div>
        <div><dt title="Between what it reads and what it writes">Cosine</dt><dd>{found.cosine == null ? "–" : plain(found.cosine)}</dd></div>
      </dl>
    </div>
  );
}
