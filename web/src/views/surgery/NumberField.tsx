import { useId } from "preact/hooks";

interface NumberFieldProps {
  label: string;
  value: number;
  max: number;
  step: number;
  min?: number;
  title?: string;
  onInput: (value: number) => void;
}

/** A number typed or stepped; what is no number in range is not passed on. */
export function NumberField({ label, value, min = 0, max, step, title, onInput }: NumberFieldProps) {
  const id = useId();
  return (
    <span class="field number" title={title}>
      <label for={id}>{label}</label>
      <input
        id={id} class={max > 9999 ? "textbox wide" : "textbox"} type="number" inputMode="decimal" min={min} max={max} step={step} value={value}
        onInput={({ currentTarget }) => {
          const typed = currentTarget.valueAsNumber;
          const whole = Number.isInteger(step) && !Number.isInteger(typed);
          if (typed >= min && typed <= max && !whole) onInput(typed);
        }}
      />
    </span>
  );
}
