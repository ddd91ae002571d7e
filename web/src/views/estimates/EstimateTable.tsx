import { signed, signedExact } from "../../components";

export interface EstimateRow {
  key: string;
  name: string;
  estimate: number;
  /** What measuring gives; null where it was not measured. */
  exact: number | null;
  chosen: boolean;
  /** Told on hovering. */
  title?: string;
  /** What pointing at it does, such as opening a card. */
  pointing?: { onPointerEnter: (event: PointerEvent) => void; onPointerLeave: () => void };
}

interface EstimateTableProps {
  label: string;
  /** What the three columns are called. */
  heads: readonly [string, string, string];
  rows: readonly EstimateRow[];
  onPress: (key: string) => void;
}

/** Estimates beside what they are estimates of. A press chooses one. */
export function EstimateTable({ label, heads, rows, onPress }: EstimateTableProps) {
  return (
    <table class="metrictable remeasured" aria-label={label}>
      <thead><tr>{heads.map((head) => <th key={head} scope="col">{head}</th>)}</tr></thead>
      <tbody>
        {rows.map(({ key, name, estimate, exact, chosen, title, pointing }) => (
          <tr key={key} class={chosen ? "chosen" : ""} title={title} {...pointing}>
            <th scope="row"><button type="button" class="link mono" aria-pressed={chosen} onClick={() => onPress(key)}>{name}</button></th>
            <td title={signedExact(estimate)} class="soft">{signed(estimate)}</td>
            <td title={exact === null ? "not measured" : signedExact(exact)}>{exact === null ? "–" : signed(exact)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
