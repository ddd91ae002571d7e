import { useLayoutEffect, useRef } from "preact/hooks";
import type { AttentionPatterns } from "../../api";
import { colourOf, sequential } from "../../components";
import { headName, stepped, theme } from "../../state";
import type { Theme } from "../../state";
import { patternOf } from "./patterns";

interface ThumbnailsProps {
  patterns: AttentionPatterns;
  head: string;
  /** The weight of the strongest colour. */
  max: number;
  dim: boolean;
}

/** The patterns of all heads, layer 0 at the bottom; arrow keys walk them. */
export function Thumbnails({ patterns, head, max, dim }: ThumbnailsProps) {
  const grid = useRef<HTMLDivElement>(null);
  const [layers, heads] = patterns.shape;
  const choose = (layer: number, h: number): void => {
    if (layer < 0 || layer >= layers || h < 0 || h >= heads) return;
    const name = headName(layer, h);
    stepped({ head: name });
    grid.current?.querySelector<HTMLButtonElement>(`[data-head="${name}"]`)?.focus();
  };
  const walk = (event: KeyboardEvent, layer: number, h: number): void => {
    const step = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    choose(layer + (step[0] ?? 0), h + (step[1] ?? 0));
  };
  const rows = Array.from({ length: layers }, (_, line) => layers - 1 - line);
  const columns = Array.from({ length: heads }, (_, h) => h);
  return (
    <div class={dim ? "thumbnails dimmed" : "thumbnails"} role="radiogroup" aria-label="Heads" ref={grid} style={{ "--heads": heads, "--layers": layers }}>
      {rows.map((layer) => (
        <div class="thumbrow" key={layer}>
          <span class="thumblabel" aria-hidden="true">L{layer}</span>
          {columns.map((h) => {
            const name = headName(layer, h);
            return (
              <button
                type="button" role="radio" key={h} class="thumb" data-head={name} aria-label={name} aria-checked={name === head} title={name}
                tabIndex={name === head ? 0 : -1} onClick={() => choose(layer, h)} onKeyDown={(event) => walk(event, layer, h)}
              >
                <Thumbnail pattern={patternOf(patterns, layer, h)} n={patterns.shape[2]} max={max} theme={theme.value} />
              </button>
            );
          })}
        </div>
      ))}
      <div class="thumbrow" aria-hidden="true">
        <span class="thumblabel" />
        {columns.map((h) => <span class="thumbfoot" key={h}>H{h}</span>)}
      </div>
    </div>
  );
}

/** One pixel a weight; the browser enlarges it. */
function Thumbnail({ pattern, n, max, theme }: { pattern: Float32Array; n: number; max: number; theme: Theme }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useLayoutEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!context) return;
    const scale = sequential(max);
    const image = context.createImageData(n, n);
    for (let query = 0; query < n; query++) {
      for (let key = 0; key <= query; key++) {
        const cell = query * n + key;
        const [r, g, b] = colourOf(scale, pattern[cell] ?? 0, theme);
        image.data.set([r, g, b, 255], 4 * cell);
      }
    }
    context.putImageData(image, 0, 0);
  }, [pattern, n, max, theme]);
  return <canvas ref={canvas} width={n} height={n} aria-hidden="true" />;
}
