import type { ComponentChildren } from "preact";

export interface TopEntry {
  key: string;
  name: ComponentChildren;
  value: number;
  /** The value as shown. */
  text: string;
  pressed?: boolean;
  /** Told on hovering. */
  title?: string;
  /** What pointing at it does, such as opening a card. */
  pointing?: { onPointerEnter: (event: PointerEvent) => void; onPointerLeave: () => void };
}

interface TopListProps {
  entries: readonly TopEntry[];
  /** The value of a full bar; the largest shown where left out. */
  max?: number;
  label: string;
  /** Bars of a magnitude rather than an effect. */
  unsigned?: boolean;
  onPress?: (key: string, event: MouseEvent) => void;
}

/** The strongest entries with signed bars: blue to the right of the middle, red to its left. */
export function TopList({ entries, max, label, unsigned, onPress }: TopListProps) {
  const full = max ?? Math.max(...entries.map((entry) => Math.abs(entry.value)), Number.MIN_VALUE);
  // Names in text share one width, so that all bars begin at the same place.
  const width = Math.max(9, ...entries.map(({ name }) => (typeof name === "string" ? name.length : 0)));
  const twoSided = !unsigned && entries.some((entry) => entry.value < 0) && entries.some((entry) => entry.value > 0);
  return (
    <ol class="toplist" aria-label={label} style={{ "--name": `${Math.min(width, 20)}ch` }}>
      {entries.map((entry) => {
        const inside = (
          <>
            <span class="name">{entry.name}</span>
            <span class="track"><Fill value={entry.value / full} twoSided={twoSided} unsigned={unsigned ?? false} /></span>
            <span class="value">{entry.text}</span>
          </>
        );
        return (
          <li key={entry.key} title={entry.title} {...entry.pointing}>
            {onPress
              ? <button type="button" class="entry" aria-pressed={entry.pressed ?? false} onClick={(event) => onPress(entry.key, event)}>{inside}</button>
              : <div class="entry">{inside}</div>}
          </li>
        );
      })}
    </ol>
  );
}

function Fill({ value, twoSided, unsigned }: { value: number; twoSided: boolean; unsigned: boolean }) {
  const width = Math.min(1, Math.abs(value)) * (twoSided ? 50 : 100);
  const left = !twoSided ? 0 : value < 0 ? 50 - width : 50;
  const tone = unsigned ? "accent" : value < 0 ? "against" : "for";
  return <span class={`fillbar ${tone}`} style={{ left: `${left}%`, width: `${width}%` }} />;
}
