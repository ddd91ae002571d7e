import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { theme } from "../state";
import type { Pick } from "../state";
import { HoverCard } from "./HoverCard";
import { cellBox, cellsBetween, columnCells, layout, reveal, rowCells, spotAt, walk } from "./heatmapLayout";
import { paint } from "./heatmapPaint";
import type { Mark } from "./heatmapPaint";
import type { Scale } from "./scale";
import { useRoom } from "./room";

export interface HeatmapAxis {
  /** `layer`, `head`, `position`. */
  name: string;
  labels: readonly string[];
  /** Labels are tokens: monospaced, with their index. */
  tokens?: boolean;
  marks?: readonly Mark[];
}

export interface HeatmapProps {
  rows: HeatmapAxis;
  columns: HeatmapAxis;
  /** Row by row; null where there is no value yet. */
  values: readonly (number | null)[];
  scale: Scale;
  /** A value as printed in its cell. */
  format: (value: number) => string;
  /** A cell in words, for the hover card and for screen readers. */
  describe: (cell: number) => string;
  label: string;
  /** width: as high as it needs; both: into the height that is left. */
  fit?: "width" | "both";
  square?: boolean;
  /** A text for every cell, instead of the values of those that matter. */
  texts?: readonly string[];
  chosen?: ReadonlySet<number>;
  struck?: ReadonlySet<number>;
  /** The cell the keyboard starts from. */
  focus?: number | null;
  dim?: boolean;
  tip?: (cell: number) => ComponentChildren;
  onPick?: (cells: number[], pick: Pick) => void;
  /** One cell at a time: no rows, columns or dragging. */
  single?: boolean;
  /** Arrow keys pick the cell they reach. */
  walkPicks?: boolean;
  /** A cell that is pressed alone: what belongs to it may hang on it. */
  onOpen?: (cell: number, anchor: CellAnchor, byKeyboard: boolean) => void;
  onHover?: (cell: number | null) => void;
  minCell?: number;
  maxCell?: number;
  /** Rows may be this low where they are many. */
  minRow?: number;
  /** No row looks past its own column: those cells are left out. */
  causal?: boolean;
  /** Row 0 on top, as queries of an attention pattern are read. */
  topDown?: boolean;
}

/** Where a cell is on the screen, and how the keyboard goes back to it. */
export interface CellAnchor {
  getBoundingClientRect: () => DOMRect;
  focus: () => void;
}

const NONE: ReadonlySet<number> = new Set();

/** A grid of values on a canvas, for pointer and keyboard alike. */
export function Heatmap(props: HeatmapProps) {
  const { rows, columns, values, fit = "width", square = false, minCell = 12, maxCell = 64, minRow = Math.min(minCell, 14), topDown = false } = props;
  const id = useId();
  const canvas = useRef<HTMLCanvasElement>(null);
  const [box, room] = useRoom(fit);
  const [cursor, setCursor] = useState(props.focus ?? 0);
  const [active, setActive] = useState(false);
  const [hover, setHover] = useState<{ cell: number; x: number; y: number } | null>(null);
  const [drag, setDrag] = useState<readonly [number, number] | null>(null);
  const [scrolled, setScrolled] = useState(0);
  const axes = { rowLabels: rows.labels, columnLabels: columns.labels, tokens: columns.tokens ?? false, topDown };
  const at = layout(axes, room, { square, minCell, maxCell, minRow });
  const here = Math.min(props.walkPicks && props.focus != null ? props.focus : cursor, Math.max(0, values.length - 1));

  const colours = theme.value;
  useLayoutEffect(() => {
    if (!canvas.current || room.width === 0) return;
    paint(canvas.current, at, {
      values, scale: props.scale, format: props.format, texts: props.texts, chosen: props.chosen ?? NONE, causal: props.causal ?? false,
      struck: props.struck ?? NONE, cursor: active ? here : null, drag, marks: columns.marks, rowMarks: rows.marks, scrolled, theme: colours,
    });
    // Moving the pointer draws the card anew, not the canvas.
  }, [props, room, active, here, drag, scrolled, colours]);

  // A cell chosen elsewhere comes into sight.
  useLayoutEffect(() => {
    if (props.focus != null && room.width > 0) reveal(box.current, at, props.focus);
  }, [props.focus, values.length, room.width]);

  const spot = (event: PointerEvent) => {
    const edge = canvas.current?.getBoundingClientRect();
    return edge ? spotAt(at, event.clientX - edge.left, event.clientY - edge.top, scrolled) : null;
  };
  const pickOf = (event: MouseEvent | KeyboardEvent): Pick => (event.ctrlKey || event.metaKey ? "toggle" : event.shiftKey ? "add" : "replace");
  const down = (event: PointerEvent): void => {
    const found = spot(event);
    if (event.button !== 0 || found?.kind !== "cell") return;
    setCursor(found.cell);
    if (props.onPick && !props.single && event.pointerType !== "touch") setDrag([found.cell, found.cell]);
  };
  const move = (event: PointerEvent): void => {
    const found = spot(event);
    const cell = found?.kind === "cell" ? found.cell : null;
    if (drag && cell !== null && cell !== drag[1]) setDrag([drag[0], cell]);
    if (cell !== hover?.cell) props.onHover?.(cell);
    setHover(cell === null ? null : { cell, x: event.clientX, y: event.clientY });
  };
  const up = (event: PointerEvent): void => {
    const found = spot(event);
    const dragged = drag && drag[0] !== drag[1] ? cellsBetween(at, ...drag) : null;
    setDrag(null);
    if (!props.onPick || event.button !== 0) return;
    if (dragged) return props.onPick(dragged, pickOf(event));
    if (found?.kind === "cell") return press(found.cell, event);
    if (props.single || !found) return;
    props.onPick(found.kind === "row" ? rowCells(at, found.row) : columnCells(at, found.column), pickOf(event));
  };
  const press = (cell: number, event: PointerEvent | KeyboardEvent): void => {
    const n = columns.labels.length;
    const row = event.shiftKey && !props.single;
    const column = event.altKey && !props.single;
    props.onPick?.(row ? rowCells(at, Math.floor(cell / n)) : column ? columnCells(at, cell % n) : [cell], pickOf(event));
    if (!row && !column) props.onOpen?.(cell, anchorOf(cell), event instanceof KeyboardEvent);
  };
  const anchorOf = (cell: number): CellAnchor => ({
    getBoundingClientRect: () => {
      const { x, y, width, height } = cellBox(at, cell);
      const edge = canvas.current?.getBoundingClientRect();
      return new DOMRect((edge?.left ?? 0) + x, (edge?.top ?? 0) + y, width, height);
    },
    focus: () => box.current?.querySelector<HTMLElement>(".scroller")?.focus(),
  });
  const leave = (): void => {
    setHover(null);
    props.onHover?.(null);
  };
  const key = (event: KeyboardEvent): void => {
    // Ctrl+Enter runs the view, wherever the keyboard is.
    if ((event.key === "Enter" && !event.ctrlKey && !event.metaKey) || event.key === " ") {
      event.preventDefault();
      return press(here, event);
    }
    const next = event.altKey || event.metaKey || event.ctrlKey ? null : walk(at, here, event.key);
    if (next === null) return;
    event.preventDefault();
    setCursor(next);
    reveal(box.current, at, next);
    if (props.walkPicks) props.onPick?.([next], "replace");
  };

  const n = columns.labels.length;
  const words = values.length > 0 ? props.describe(here) : "";
  return (
    <div class={`heatmap ${fit} ${props.dim ? "dim" : ""}`} ref={box}>
      <div
        class="scroller" role="grid" tabIndex={0} aria-label={props.label} aria-rowcount={rows.labels.length} aria-colcount={n}
        aria-activedescendant={`${id}-cell`} aria-multiselectable={!props.single && props.onPick ? true : undefined}
        onScroll={(event) => setScrolled(event.currentTarget.scrollLeft)} onKeyDown={key} onFocus={() => setActive(true)} onBlur={() => setActive(false)}
      >
        <canvas
          ref={canvas} aria-hidden="true" style={{ width: `${at.width}px`, height: `${at.height}px`, cursor: props.onPick ? "pointer" : "default" }}
          onPointerDown={down} onPointerMove={move} onPointerUp={up} onPointerLeave={leave} onPointerCancel={() => setDrag(null)}
        />
        {/* A canvas has no cells to read: the one the keyboard is at stands in for them. */}
        <div role="row" class="hidden-text" aria-rowindex={Math.floor(here / n) + 1}>
          <div role="gridcell" id={`${id}-cell`} aria-colindex={(here % n) + 1} aria-selected={props.chosen?.has(here) ?? false}>{words}</div>
        </div>
      </div>
      <div class="hidden-text" aria-live="polite">{active ? words : ""}</div>
      {hover && !drag && <HoverCard at={hover}>{props.tip?.(hover.cell) ?? props.describe(hover.cell)}</HoverCard>}
    </div>
  );
}
