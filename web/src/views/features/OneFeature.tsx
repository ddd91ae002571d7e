import type { ExperimentRecord } from "../../api";
import { Button, Legend, TokenHeat, TopList, exact, largest, plain, sequential, signed } from "../../components";
import { change, stepped } from "../../state";
import { EndTokens } from "../EndTokens";

interface OneFeatureProps {
  /** Its activation at the prompt's tokens. */
  active: ExperimentRecord | null;
  /** What it is by the weights. */
  profile: ExperimentRecord | null;
  pos: number | null;
  dim: boolean;
}

/** One feature: where it is active in the prompt, what it writes, which others point the same way. */
export function OneFeature({ active, profile, pos, dim }: OneFeatureProps) {
  const found = profile?.results.feature;
  return (
    <div class={`scrolly${dim ? " dimmed" : ""}`} tabIndex={0} role="group" aria-label={found ? `What feature ${found.feature} does` : "One feature"}>
      <Tokens record={active} pos={pos} />
      {found && (
        <>
          <div class="two">
            {found.promoted.length > 0 && (
              <EndTokens
                title="Tokens it raises and lowers" note="logits per unit of activation, before the final LayerNorm's scale" label="Tokens of the feature"
                promoted={found.promoted} suppressed={found.suppressed}
              />
            )}
            <div class="ends">
              <h3 class="small">Nearest features <span class="soft">cosine of what they write</span></h3>
              <TopList
                label="Nearest features" max={1} onPress={(feature) => change({ feature })}
                entries={found.nearest.map((one) => ({ key: String(one.feature), name: String(one.feature), value: one.cosine, text: signed(one.cosine) }))}
              />
            </div>
          </div>
          <dl class="facts" aria-label="Weights">
            <div><dt title="L2 norm of its row of the decoder">Writes, norm</dt><dd>{plain(found.decoder_norm)}</dd></div>
            <div><dt title="L2 norm of its column of the encoder">Reads, norm</dt><dd>{plain(found.encoder_norm)}</dd></div>
            <div><dt title="Between what it reads and what it writes">Cosine</dt><dd>{found.cosine == null ? "–" : plain(found.cosine)}</dd></div>
          </dl>
          <div class="row tight">
            <Button small title="Write on with this feature added" onPress={() => change({ view: "steering", along: "feature", feature: String(found.feature), into: null })}>Steer with it</Button>
            {found.page && <a href={found.page} target="_blank" rel="noreferrer">Neuronpedia</a>}
          </div>
        </>
      )}
    </div>
  );
}

function Tokens({ record, pos }: { record: ExperimentRecord | null; pos: number | null }) {
  const prompt = record?.results.features?.prompts[0];
  const [trace] = prompt?.watched ?? [];
  const tokens = record?.results.prompts[0]?.clean;
  if (!trace || !tokens) return null;
  const scale = sequential(largest(trace.activations));
  const at = pos === null ? "" : ` At position ${pos}: ${exact(trace.activations[pos] ?? 0)}`;
  return (
    <>
      <TokenHeat label={`Activation of feature ${trace.feature}`} tokens={tokens.labels} values={trace.activations} scale={scale} format={exact} chosen={pos} onPick={(pos) => stepped({ pos })} />
      <Legend scale={scale} line={`activation of the feature; 0 the ground.${at}`} />
    </>
  );
}
