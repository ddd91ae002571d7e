import type { ExperimentRecord } from "../../api";
import { Button, Empty, Panel, Progress, Result, Working, duration } from "../../components";
import { change, workspace } from "../../state";
import type { Resource } from "../../state";
import { HeadChips } from "../HeadChips";
import { NextTokens } from "../NextTokens";
import { RunMetrics } from "../RunMetrics";

/** The chosen heads cut in one run: metrics and next tokens before and after. Blocked: the sweep says what is wrong. */
export function Together({ of, blocked }: { of: Resource<ExperimentRecord>; blocked: boolean }) {
  const cut = workspace.cut.value;
  const record = of.data.value;
  if (cut.length === 0) {
    return (
      <Panel title="Cut together" fill>
        <Empty fill title="Click heads in the grid to cut them in one run.">
          <span class="small">Ctrl adds one, Shift a row, Alt a column; drag for a block.</span>
        </Empty>
      </Panel>
    );
  }
  return (
    <Panel
      fill scroll title="Cut together" label="Cut together" note={record && !of.stale.value ? duration(record.elapsed_secs) : ""}
      aside={<><Progress phase={of.phase.value} onStop={of.cancel} /><Button small onPress={() => change({ cut: [] })}>Clear</Button></>}
    >
      <Working phase={of.phase.value} />
      <HeadChips names={cut} onRemove={(name) => change({ cut: cut.filter((other) => other !== name) })} />
      {!blocked && <Result of={of}>{(data, stale) => <BeforeAfter record={data} dim={stale} />}</Result>}
    </Panel>
  );
}

function BeforeAfter({ record, dim }: { record: ExperimentRecord; dim: boolean }) {
  const prompt = record.results.prompts[0];
  const before = prompt?.runs.find((run) => run.name === "clean");
  const after = prompt?.runs.find((run) => run.name === "ablated");
  if (!prompt || !before || !after) return <Empty title="The run was stopped before it was complete." />;
  return (
    <div class={dim ? "dimmed stack" : "stack"}>
      <div class="beforeafter">
        <NextTokens title="Next token before" run={before} prompt={prompt} />
        <NextTokens title="After" run={after} prompt={prompt} />
      </div>
      <RunMetrics runs={[{ name: "Before", run: before }, { name: "After", run: after }]} />
    </div>
  );
}
