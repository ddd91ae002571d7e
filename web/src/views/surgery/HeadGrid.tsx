import { useRef, useState } from "preact/hooks";
import { colourOf, css, inkOn } from "../../components";
import type { Scale } from "../../components";
import { headName, picked, theme } from "../../state";
import { HeadCard } from "./HeadCard";
import { begin, between, brief, column, pass, row } from "./painting";
import type { Stroke } from "./painting";

/** Importance of every head, layer-major, as the grid paints it. */
export interface Painted {
  values: readonly (number | null)[];
  scale: Scale;
  unit: string;
  /** Heads whose value is printed. */
  printed: readonly string[];
}

interface HeadGridProps {
  nLayers: number;
  nHeads: number;
  cut: readonly string[];
  painted: Painted | null;
  dim: boolean;
  onCut: (cut: readonly string[]) => void;
}

/** A place in the grid; layer -1 is the row of head labels, head -1 the column of layer labels. */
interface Place {
  layer: number;
  head: number;
}

/** All heads, layer 0 at the bottom: clicked, dragged over or walked through to cut them. */
export function HeadGrid({ nLayers, nHeads, cut, painted, dim, onCut }: HeadGridProps) {
  const grid = useRef<HTMLDivElement>(null);
  const [here, setHere] = useState<Place>({ layer: nLayers - 1, head: 0 });
  const [stroke, setStroke] = useState<Stroke | null>(null);
  const [over, setOver] = useState<{ place: Place; x: number; y: number } | null>(null);
  const last = useRef({ x: 0, y: 0 });
  const shown = stroke?.cut ?? cut;
  const names = ({ layer, head }: Place): string[] =>
    layer < 0 ? column(head, nLayers) : head < 0 ? row(layer, nHeads) : [headName(layer, head)];
  const turn = (place: Place): void => onCut(picked(cut, names(place), "toggle"));

  const down = (event: PointerEvent): void => {
    const place = placeAt(event.clientX, event.clientY);
    if (event.button !== 0 || !place) return;
    setHere(place);
    if (event.shiftKey && !event.ctrlKey && place.layer >= 0) return turn({ layer: place.layer, head: -1 });
    if ((event.altKey || event.shiftKey) && place.head >= 0) return turn({ layer: -1, head: place.head });
    if (place.layer < 0 || place.head < 0) return turn(place);
    grid.current?.setPointerCapture(event.pointerId);
    last.current = { x: event.clientX, y: event.clientY };
    setStroke(begin(cut, headName(place.layer, place.head)));
  };
  const move = (event: PointerEvent): void => {
    const to = { x: event.clientX, y: event.clientY };
    const place = placeAt(to.x, to.y);
    setOver(place && place.layer >= 0 && place.head >= 0 && event.pointerType === "mouse" ? { place, ...to } : null);
    if (!stroke) return;
    const passed = between(last.current, to).map(({ x, y }) => placeAt(x, y)).filter((p) => p !== null);
    last.current = to;
    setStroke(passed.filter(({ layer, head }) => layer >= 0 && head >= 0)
      .reduce((so, { layer, head }) => pass(so, headName(layer, head)), stroke));
  };
  const up = (): void => {
    if (stroke) onCut(stroke.cut);
    setStroke(null);
  };
  const key = (event: KeyboardEvent): void => {
    if (event.key === "Escape") return onCut([]);
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " " || event.key === "Enter") {
      event.preventDefault();
      return turn(event.shiftKey && here.layer >= 0 ? { layer: here.layer, head: -1 } : here);
    }
    const next = step(here, event.key, nLayers, nHeads);
    if (!next) return;
    event.preventDefault();
    setHere(next);
    grid.current?.querySelector<HTMLElement>(`[data-place="${next.layer},${next.head}"]`)?.focus();
  };
  const at = { nLayers, nHeads };
  const tab = (place: Place): 0 | -1 => (same(place, clamp(here, at)) ? 0 : -1);
  // Where there are many, some numbers stand for all.
  const told = ({ layer, head }: Place): boolean =>
    layer < 0 ? nHeads <= 16 || head % 4 === 0 : nLayers <= 24 || layer % 4 === 0;
  const label = (place: Place, letter: string, number: number, means: string) => (
    <span
      class="name" role={place.layer < 0 ? "columnheader" : "rowheader"} data-place={`${place.layer},${place.head}`}
      tabIndex={tab(place)} title={means} aria-label={`${letter}${number}: ${means.toLowerCase()}`} onFocus={() => setHere(place)} onClick={(event) => event.detail === 0 && turn(place)}
    >
      <span class={told(place) ? "" : "hidden-text"}><span class="letter">{letter}</span>{number}</span>
    </span>
  );
  const cell = (layer: number, head: number) => {
    const name = headName(layer, head);
    const value = painted?.values[layer * nHeads + head];
    const isCut = shown.includes(name);
    const colour = painted && value !== null && value !== undefined ? colourOf(painted.scale, value, theme.value) : null;
    const said = [name, isCut ? "cut" : "", colour ? `importance ${brief(value ?? 0)}` : ""].filter(Boolean).join(", ");
    return (
      <span
        key={head} class={isCut ? "cell cut" : "cell"} role="gridcell" aria-selected={isCut} aria-label={said}
        data-place={`${layer},${head}`} tabIndex={tab({ layer, head })} onFocus={() => setHere({ layer, head })}
        onClick={(event) => event.detail === 0 && turn({ layer, head })}
        style={colour ? { background: css(colour), color: inkOn(colour) } : {}}
      >
        {painted?.printed.includes(name) && <span class="value">{brief(value ?? 0)}</span>}
      </span>
    );
  };
  const layers = Array.from({ length: nLayers }, (_, i) => nLayers - 1 - i);
  const heads = Array.from({ length: nHeads }, (_, head) => head);
  return (
    <>
      <div
        class={["headgrid", dim && "dim", nHeads > 8 && "many"].filter(Boolean).join(" ")} ref={grid} role="grid" aria-label="Heads; space cuts" aria-multiselectable="true"
        style={{ "--layers": nLayers, "--heads": nHeads }} onKeyDown={key} onPointerDown={down} onPointerMove={move}
        onPointerUp={up} onPointerCancel={() => setStroke(null)} onPointerLeave={() => setOver(null)}
      >
        {layers.map((layer) => (
          <div class="line" role="row" key={layer}>
            {label({ layer, head: -1 }, "L", layer, `Cut all of layer ${layer}`)}
            {heads.map((head) => cell(layer, head))}
          </div>
        ))}
        <div class="line numbering" role="row">
          <span class="name" role="gridcell" />
          {heads.map((head) => label({ layer: -1, head }, "H", head, `Cut head ${head} of every layer`))}
        </div>
      </div>
      {over && (
        <HeadCard
          at={over} name={headName(over.place.layer, over.place.head)} cut={shown.includes(headName(over.place.layer, over.place.head))}
          value={painted?.values[over.place.layer * nHeads + over.place.head] ?? null} unit={painted?.unit ?? ""}
        />
      )}
    </>
  );
}

function placeAt(x: number, y: number): Place | null {
  const [layer, head] = document.elementFromPoint(x, y)?.closest<HTMLElement>("[data-place]")?.dataset["place"]?.split(",").map(Number) ?? [];
  return layer === undefined || head === undefined ? null : { layer, head };
}

/** Where a key leads; the labels lie to the left and at the bottom. */
function step({ layer, head }: Place, key: string, nLayers: number, nHeads: number): Place | null {
  const to: { [key: string]: Place } = {
    ArrowUp: { layer: layer + 1, head }, ArrowDown: { layer: layer - 1, head },
    ArrowLeft: { layer, head: head - 1 }, ArrowRight: { layer, head: head + 1 },
    Home: { layer, head: 0 }, End: { layer, head: nHeads - 1 },
  };
  const next = to[key];
  return next ? clamp(next, { nLayers, nHeads }) : null;
}

function clamp({ layer, head }: Place, { nLayers, nHeads }: { nLayers: number; nHeads: number }): Place {
  const place = { layer: Math.min(Math.max(layer, -1), nLayers - 1), head: Math.min(Math.max(head, -1), nHeads - 1) };
  // There is nothing in the corner between the labels.
  return place.layer < 0 && place.head < 0 ? { layer: 0, head: -1 } : place;
}

function same(a: Place, b: Place): boolean {
  return a.layer === b.layer && a.head === b.head;
}
