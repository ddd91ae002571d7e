import type { ExperimentRecord, RoleTable as Roles } from "../../api";
import { exact, plain } from "../../components";
import { ComponentLink } from "../../shell/ComponentLink";

/** Every head that has a role, strongest first, with its scores and their standard errors. */
export function RoleTable({ record, head }: { record: ExperimentRecord; head: string }) {
  const roles = record.results.roles;
  if (!roles) return null;
  const some = roles.heads.filter(({ has }) => has.length > 0);
  return (
    <>
      <div class="rolelist" tabIndex={0} role="region" aria-label="Role table">
        <table class="metrictable">
          <caption class="hidden-text">Heads and their roles</caption>
          <thead><tr><th scope="col">Head</th><th scope="col" class="words">Role</th><th scope="col">Share</th></tr></thead>
          <tbody>
            {some.flatMap(({ head: name, has }) => has.map(({ role, score, spread }, i) => (
              <tr key={`${name} ${role}`} class={name === head ? "chosen" : undefined}>
                {i === 0 && <th scope="rowgroup" rowSpan={has.length}><ComponentLink name={name} /></th>}
                <td class="words">{role}</td>
                <td title={spread ? `95 % of resamples: ${exact(spread.low)} to ${exact(spread.high)}` : undefined}>
                  {score.toFixed(3)}{spread && <span class="soft"> ± {spread.stderr.toFixed(3)}</span>}
                </td>
              </tr>
            )))}
          </tbody>
        </table>
      </div>
      <p class="soft small">{thresholds(roles)} {roles.heads.length - some.length} heads have no role. Scores: {record.results.notes[0]}.</p>
    </>
  );
}

/** `A role from 0.4 of a head's attention, positional from 0.8.` */
function thresholds({ roles }: Roles): string {
  const usual = roles[0]?.least ?? 0;
  const others = roles.filter(({ least }) => least !== usual).map(({ role, least }) => `, ${role} from ${plain(least)}`);
  return `A role from ${plain(usual)} of a head's attention${others.join("")}; induction and duplicate token where tokens come again.`;
}
