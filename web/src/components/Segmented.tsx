import { useId, useRef } from "preact/hooks";

export interface Option<V extends string> {
  value: V;
  text: string;
  title?: string;
  disabled?: boolean;
}

interface SegmentedProps<V extends string> {
  label: string;
  options: readonly Option<V>[];
  value: V;
  onChange: (value: V) => void;
  /** Shows the label in front. */
  showLabel?: boolean;
}

/** One of a few choices, all in sight. Arrow keys go through them, as in any radio group. */
export function Segmented<V extends string>({ label, options, value, onChange, showLabel }: SegmentedProps<V>) {
  const id = useId();
  const group = useRef<HTMLDivElement>(null);
  const walk = (event: KeyboardEvent): void => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const open = options.filter((option) => !option.disabled);
    const now = open.findIndex((option) => option.value === value);
    const next = open[(now + step + open.length) % open.length];
    if (!next) return;
    onChange(next.value);
    group.current?.querySelector<HTMLButtonElement>(`[data-value="${next.value}"]`)?.focus();
  };
  const none = !options.some((option) => option.value === value);
  const buttons = (
    <div class="segmented" role="radiogroup" ref={group} onKeyDown={walk} {...(showLabel ? { "aria-labelledby": id } : { "aria-label": label })}>
      {options.map((option, i) => (
        <button
          type="button" role="radio" key={option.value} data-value={option.value} title={option.title} disabled={option.disabled}
          aria-checked={option.value === value} tabIndex={option.value === value || (none && i === 0) ? 0 : -1}
          onClick={() => onChange(option.value)}
        >
          {option.text}
        </button>
      ))}
    </div>
  );
  if (!showLabel) return buttons;
  return <div class="setting"><span class="name" id={id}>{label}</span>{buttons}</div>;
}
