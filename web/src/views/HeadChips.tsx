import { ComponentLink } from "../shell/ComponentLink";

interface HeadChipsProps {
  names: readonly string[];
  onRemove: (name: string) => void;
}

/** Chosen heads by name: the name is a link with a card, the cross gives it up. */
export function HeadChips({ names, onRemove }: HeadChipsProps) {
  return (
    <ul class="headchips" aria-label="Chosen heads">
      {names.map((name) => (
        <li key={name}>
          <ComponentLink name={name} />
          <button type="button" class="cross" aria-label={`Give up ${name}`} onClick={() => onRemove(name)}>×</button>
        </li>
      ))}
    </ul>
  );
}
