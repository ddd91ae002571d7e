import type { Reading } from "./comparison";

interface NumbersProps {
  readings: readonly Reading[];
  /** What they were measured on. */
  note: string;
  dim: boolean;
}

/** A few numbers side by side, each with its unit; what it is stands in its title. */
export function Numbers({ readings, note, dim }: NumbersProps) {
  return (
    <section class={dim ? "panel numbers dim" : "panel numbers"} aria-label="Original and cut model compared">
      <dl>
        {readings.map(({ label, value, unit, definition }) => (
          <div key={label} title={definition}>
            <dt>{label}</dt>
            <dd>{value}{unit && <span class="unit"> {unit}</span>}</dd>
          </div>
        ))}
      </dl>
      <p class="soft small">{note}</p>
    </section>
  );
}
