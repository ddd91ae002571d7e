// A heatmap on a canvas.

import type { Theme } from "../state";
import { cellBox, cellsBetween, rowAt } from "./heatmapLayout";
import type { Layout } from "./heatmapLayout";
import { colourOf, css, inkOn } from "./scale";
import type { Scale } from "./scale";

export type Mark = "for" | "against" | "chosen" | null;

export interface Painting {
  values: readonly (number | null)[];
  scale: Scale;
  format: (value: number) => string;
  /** Text in every cell, instead of the values of those that matter. */
  texts?: readonly string[] | undefined;
  chosen: ReadonlySet<number>;
  /** Cells right of their row's number do not exist. */
  causal: boolean;
  /** Cells cut out: red, struck through. */
  struck: ReadonlySet<number>;
  /** The cell the keyboard is at; null while the heatmap has no focus. */
  cursor: number | null;
  drag: readonly [number, number] | null;
  marks?: readonly Mark[] | undefined;
  rowMarks?: readonly Mark[] | undefined;
  theme: Theme;
  /** How far it is scrolled sideways: row labels stay in sight. */
  scrolled: number;
}

/** Values below this share of the scale are left to the colour and the pointer. */
const MATTERS = 0.1;

export function paint(canvas: HTMLCanvasElement, at: Layout, painting: Painting): void {
  const context = canvas.getContext("2d");
  if (!context) return;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(at.width * ratio);
  canvas.height = Math.round(at.height * ratio);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, at.width, at.height);
  const style = getComputedStyle(canvas);
  const look = (name: string): string => style.getPropertyValue(name).trim();
  const pen: Pen = { context, at, look };
  painting.values.forEach((_, cell) => paintCell(pen, painting, cell));
  for (const cell of painting.chosen) outline(pen, cell, look("--ink"), 2);
  for (const cell of painting.struck) strike(pen, cell);
  if (painting.drag) for (const cell of cellsBetween(at, ...painting.drag)) outline(pen, cell, look("--accent"), 2);
  if (painting.cursor !== null) outline(pen, painting.cursor, look("--focus"), 2.5, 1.5);
  paintColumnLabels(pen, painting.marks);
  paintRowLabels(pen, painting.rowMarks, painting.scrolled);
}

interface Pen {
  context: CanvasRenderingContext2D;
  at: Layout;
  look: (name: string) => string;
}

function paintCell({ context, at, look }: Pen, painting: Painting, cell: number): void {
  const columns = at.columnLabels.length;
  if (painting.causal && cell % columns > Math.floor(cell / columns)) return;
  const value = painting.values[cell] ?? null;
  const { x, y, width, height } = cellBox(at, cell);
  const radius = Math.min(4, width / 5, height / 5);
  context.beginPath();
  context.roundRect(x, y, width, height, radius);
  if (value === null) {
    context.fillStyle = look("--sunken");
    context.fill();
    hatch(context, look("--line"), { x, y, width, height });
    return;
  }
  const colour = colourOf(painting.scale, value, painting.theme);
  context.fillStyle = css(colour);
  context.fill();
  const far = Math.max(Math.abs(painting.scale.max), Math.abs(painting.scale.min));
  const text = painting.texts?.[cell] ?? (Math.abs(value) >= MATTERS * far ? painting.format(value) : "");
  if (text === "" || height < 13) return;
  const mono = painting.texts !== undefined;
  const size = Math.min(mono && width > 56 ? 12 : mono ? 11 : 11.5, height - 3);
  context.font = mono ? `${size}px ${look("--mono")}` : `550 ${size}px ${look("--sans")}`;
  const shown = mono ? shorten(context, text, width - 4) : text;
  if (context.measureText(shown).width > width - 2) return;
  context.fillStyle = inkOn(colour);
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(shown, x + width / 2, y + height / 2 + 0.5);
}

/** Cells without a value yet look unlike any value. */
function hatch(context: CanvasRenderingContext2D, colour: string, box: { x: number; y: number; width: number; height: number }): void {
  context.save();
  context.clip();
  context.strokeStyle = colour;
  context.lineWidth = 1.5;
  context.beginPath();
  for (let d = -box.height; d < box.width; d += 6) {
    context.moveTo(box.x + d, box.y + box.height);
    context.lineTo(box.x + d + box.height, box.y);
  }
  context.stroke();
  context.restore();
}

function outline({ context, at }: Pen, cell: number, colour: string, width: number, out = 0): void {
  const box = cellBox(at, cell);
  const inset = width / 2 - out;
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.beginPath();
  context.roundRect(box.x + inset, box.y + inset, box.width - 2 * inset, box.height - 2 * inset, Math.min(4, box.width / 5));
  context.stroke();
}

function strike(pen: Pen, cell: number): void {
  const { context, at, look } = pen;
  const { x, y, width, height } = cellBox(at, cell);
  outline(pen, cell, look("--against"), 2);
  context.beginPath();
  context.moveTo(x + width * 0.28, y + height * 0.62);
  context.lineTo(x + width * 0.86, y + height * 0.16);
  context.lineWidth = 1.5;
  context.stroke();
}

const TINT = { for: "--for", against: "--against", chosen: "--accent" };

function paintRowLabels({ context, at, look }: Pen, marks: readonly Mark[] | undefined, scrolled: number): void {
  if (scrolled > 0) {
    context.fillStyle = look("--panel");
    context.fillRect(scrolled, 0, at.left - 2, at.height);
  }
  context.textAlign = "right";
  context.textBaseline = "middle";
  context.font = `${Math.min(11.5, Math.max(8, at.pitchY))}px ${look(at.topDown ? "--mono" : "--sans")}`;
  const every = Math.max(1, Math.ceil(11 / at.pitchY));
  at.rowLabels.forEach((label, row) => {
    if (row % every !== 0) return;
    const mark = marks?.[row];
    context.fillStyle = look(mark ? TINT[mark] : "--ink-soft");
    const y = (rowAt(at, row) + 0.5) * at.pitchY;
    context.fillText(shorten(context, label, at.left - 8), scrolled + at.left - 7, y);
  });
}

function paintColumnLabels({ context, at, look }: Pen, marks: readonly Mark[] | undefined): void {
  const every = at.upright || at.tokens ? Math.max(1, Math.ceil(11 / at.pitchX)) : Math.max(1, Math.ceil(24 / at.pitchX));
  context.textBaseline = "middle";
  at.columnLabels.forEach((label, column) => {
    if (column % every !== 0) return;
    const mark = marks?.[column];
    const x = at.left + (column + 0.5) * at.pitchX;
    context.fillStyle = look(mark ? TINT[mark] : "--ink-soft");
    context.font = `${mark ? "600 " : ""}${at.upright ? Math.min(11.5, at.pitchX) : 11.5}px ${look(at.tokens ? "--mono" : "--sans")}`;
    if (at.upright) {
      context.save();
      context.translate(x, at.bottom + 6);
      context.rotate(-Math.PI / 2);
      context.textAlign = "right";
      context.fillText(shorten(context, label, at.height - at.bottom - 8), 0, 0);
      context.restore();
      return;
    }
    context.textAlign = "center";
    context.fillText(shorten(context, label, at.pitchX * every), x, at.bottom + 13);
    if (!at.tokens) return;
    context.font = `10.5px ${look("--sans")}`;
    context.fillText(String(column), x, at.bottom + 28);
  });
}

function shorten(context: CanvasRenderingContext2D, text: string, width: number): string {
  if (context.measureText(text).width <= width) return text;
  let kept = text;
  while (kept.length > 1 && context.measureText(`${kept}…`).width > width) kept = kept.slice(0, -1);
  return `${kept}…`;
}
