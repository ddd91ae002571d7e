import type { Backup } from "../../api";
import { Empty, TopList, signed } from "../../components";
import { cardHandlers } from "../../shell/componentCard";
import { change, workspace } from "../../state";

/** Heads whose cut costs more once another is cut; pressing one cuts both. */
export function Backups({ backups, unit, dim }: { backups: readonly Backup[]; unit: string; dim: boolean }) {
  if (backups.length === 0) return <Empty title="No head stands in for another here." />;
  const both = ({ backup, of }: Backup): string => `${backup} for ${of}`;
  const entries = backups.slice(0, 8).map((entry) => ({
    key: both(entry), name: both(entry), value: entry.interaction, text: signed(entry.interaction),
    pressed: workspace.cut.value.length === 2 && [entry.backup, entry.of].every((name) => workspace.cut.value.includes(name)),
    title: `Cutting ${entry.backup} alone: ${signed(entry.alone)} ${unit}; with ${entry.of} cut already: ${signed(entry.without)}`,
    pointing: cardHandlers(entry.backup),
  }));
  const press = (key: string): void => {
    const entry = backups.find((one) => both(one) === key);
    if (entry) change({ cut: [entry.of, entry.backup] });
  };
  return <div class={dim ? "dimmed" : ""}><TopList label="Backups" entries={entries} onPress={press} /></div>;
}
