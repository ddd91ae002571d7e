import type { Remeasured as Measured, Tokens } from "../../api";
import { readable, signed } from "../../components";
import { cardHandlers } from "../../shell/componentCard";
import { change, parseComponent, workspace } from "../../state";
import { signedExact } from "./ShareGrid";
import { partOf } from "./scatter";

/** Each measured cell: its estimate beside its patch. A press chooses it. */
export function Remeasured({ of, clean }: { of: Measured; clean: Tokens | null }) {
  const shown = (part: string): string => {
    const [name, at] = part.split("@");
    return at === undefined ? part : `${name ?? ""} ${readable(clean?.labels[Number(at)] ?? "")} ${at}`;
  };
  return (
    <table class="metrictable remeasured" aria-label="Measured again">
      <thead><tr><th scope="col">Patch</th><th scope="col">Estimated</th><th scope="col">Measured</th></tr></thead>
      <tbody>
        {of.cells.map(({ label, estimate, exact }) => {
          const part = partOf(label);
          const chosen = workspace.part.value === part;
          const name = part.split("@")[0] ?? "";
          return (
            <tr key={label} class={chosen ? "chosen" : ""} {...(parseComponent(name) ? cardHandlers(name) : {})}>
              <th scope="row"><button type="button" class="link mono" aria-pressed={chosen} onClick={() => change({ part: chosen ? "" : part })}>{shown(part)}</button></th>
              <td title={signedExact(estimate)} class="soft">{signed(estimate)}</td>
              <td title={signedExact(exact)}>{signed(exact)}</td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}
