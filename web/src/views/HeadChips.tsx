import { change } from "../state";

interface HeadChipsProps {
  names: readonly string[];
  onRemove: (name: string) => void;
}

/** Chosen heads by name: the name opens the head in Attention, the cross gives it up. */
export function HeadChips({ names, onRemove }: HeadChipsProps) {
  return (
    <ul class="headchips" aria-label="Chosen heads">
      {names.map((name) => (
        <li key={name}>
          <button type="button" class="link mono" title={`Open ${name} in Attention`} onClick={() => change({ view: "attention", head: name })}>{name}</button>
          <button type="button" class="cross" aria-label={`Give up ${name}`} onClick={() => onRemove(name)}>×</button>
        </li>
      ))}
    </ul>
  );
}
