import { useId } from "preact/hooks";
import { Segmented } from "../components";

interface LayerChoiceProps {
  label: string;
  layers: number;
  /** null: all of them. */
  value: number | null;
  onChange: (layer: number) => void;
  /** Offers all of them. */
  onAll?: () => void;
}

/** More than these do not stand side by side. */
const MOST = 12;

/** One of the model's layers: all in sight where they are few. */
export function LayerChoice({ label, layers, value, onChange, onAll }: LayerChoiceProps) {
  const id = useId();
  if (layers > MOST) {
    return (
      <div class="field">
        <label for={id}>{label}</label>
        <input
          id={id} class="textbox number" type="number" min={0} max={layers - 1} value={value ?? ""} placeholder={onAll ? "all" : ""}
          onInput={(event) => {
            const layer = event.currentTarget.valueAsNumber;
            if (Number.isInteger(layer) && layer >= 0 && layer < layers) onChange(layer);
            else if (event.currentTarget.value === "") onAll?.();
          }}
        />
      </div>
    );
  }
  const each = Array.from({ length: layers }, (_, layer) => ({ value: String(layer), text: String(layer) }));
  return (
    <Segmented
      label={label} showLabel value={value === null ? "all" : String(value)} options={onAll ? [{ value: "all", text: "All" }, ...each] : each}
      onChange={(chosen) => (chosen === "all" ? onAll?.() : onChange(Number(chosen)))}
    />
  );
}
