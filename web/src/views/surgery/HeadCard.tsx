import { HoverCard, exact } from "../../components";

interface HeadCardProps {
  at: { x: number; y: number };
  name: string;
  cut: boolean;
  value: number | null;
  unit: string;
}

/** What is known of a head under the pointer. */
export function HeadCard({ at, name, cut, value, unit }: HeadCardProps) {
  return (
    <HoverCard at={at}>
      <div><strong>{name}</strong> {cut && <span class="against">cut</span>}</div>
      {value !== null && <div><span class="value">{exact(value)}</span> <span class="soft">{unit}</span></div>}
      <div class="soft">Click to {cut ? "mend" : "cut"}; shift-click for its row, alt-click for its column</div>
    </HoverCard>
  );
}
