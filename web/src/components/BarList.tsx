import type { ComponentChildren } from "preact";

export interface BarEntry {
  key: string;
  name: ComponentChildren;
  value: number;
  text: string;
  tone?: "for" | "against" | "accent" | "ground" | undefined;
}

interface BarListProps {
  entries: readonly BarEntry[];
  /** The value of a full bar. */
  max?: number;
  label: string;
}

/** Named bars from 0, as for the probabilities of next tokens. */
export function BarList({ entries, max = 1, label }: BarListProps) {
  return (
    <ol class="barlist" aria-label={label}>
      {entries.map((entry) => (
        <li key={entry.key}>
          <span class="name">{entry.name}</span>
          <span class="track">
            <span class={`fillbar ${entry.tone ?? "ground"}`} style={{ left: 0, width: `${Math.min(1, Math.max(0, entry.value / max)) * 100}%` }} />
          </span>
          <span class="value">{entry.text}</span>
        </li>
      ))}
    </ol>
  );
}
