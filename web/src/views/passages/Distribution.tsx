import type { Histogram } from "../../api";
import { plain } from "../../components";

const [WIDTH, HEIGHT] = [300, 46];

/** How many tokens have which activation. Counts are drawn by their logarithm: most tokens lie near 0. */
export function Distribution({ histogram: { first, width, counts } }: { histogram: Histogram }) {
  const most = Math.log1p(Math.max(...counts, 1));
  const bin = WIDTH / Math.max(1, counts.length);
  const [low, high] = [first * width, (first + counts.length) * width];
  const zero = ((0 - low) / (high - low)) * WIDTH;
  return (
    <figure class="distribution">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={`Activations from ${plain(low)} to ${plain(high)}, ${counts.length} bins`}>
        {counts.map((count, i) => {
          const tall = (Math.log1p(count) / most) * HEIGHT;
          const from = low + i * width;
          return count > 0 && <rect key={i} class={from < 0 ? "below" : ""} x={i * bin} y={HEIGHT - tall} width={Math.max(0.5, bin - 0.4)} height={tall}><title>{plain(from)} to {plain(from + width)}: {count} tokens</title></rect>;
        })}
        {low < 0 && high > 0 && <line x1={zero} x2={zero} y1={0} y2={HEIGHT} />}
      </svg>
      <figcaption class="soft small"><span>{plain(low)}</span><span>tokens by activation, log scale</span><span>{plain(high)}</span></figcaption>
    </figure>
  );
}
