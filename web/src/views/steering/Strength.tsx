import { useId } from "preact/hooks";
import { Button, signed } from "../../components";
import { change, typed, workspace } from "../../state";

/** Steps of the slider either way. */
const STEPS = 40;

/** How much of the direction is added to the text. */
export function Strength() {
  const id = useId();
  const { strength, reach } = workspace;
  const most = Math.max(reach.value, Math.abs(strength.value));
  return (
    <div class="setting strength">
      <label class="name" for={id}>Strength</label>
      <span class="soft" aria-hidden="true">{signed(-most)}</span>
      <input
        id={id} type="range" min={-most} max={most} step={most / STEPS} value={strength.value} aria-valuetext={signed(strength.value)}
        onInput={(event) => typed({ strength: Number(event.currentTarget.valueAsNumber.toPrecision(6)) })}
      />
      <span class="soft" aria-hidden="true">{signed(most)}</span>
      <output for={id}>{signed(strength.value)}</output>
      <Button small onPress={() => change({ strength: -strength.value })} title="The other way">±</Button>
    </div>
  );
}
