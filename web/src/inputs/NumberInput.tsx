import { useId } from "preact/hooks";
import { typed, workspace } from "../state";

interface NumberInputProps {
  field: "seed" | "length" | "temperature" | "steps" | "reach";
  label: string;
  min?: number;
  max?: number;
  step?: number;
}

/** A number of the workspace. */
export function NumberInput({ field, label, min = 0, max, step = 1 }: NumberInputProps) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <input
        id={id} class="textbox number" type="number" value={workspace[field].value} min={min} max={max} step={step}
        onInput={(event) => {
          const value = event.currentTarget.valueAsNumber;
          if (Number.isFinite(value) && value >= min && (max === undefined || value <= max)) typed({ [field]: value });
        }}
      />
    </div>
  );
}
