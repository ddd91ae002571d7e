import type { ExperimentRecord, PromptReport } from "../../api";
import { Button, Empty, Panel, Progress, Result, Working, duration } from "../../components";
import { change, workspace } from "../../state";
import type { Resource } from "../../state";
import { NextTokens } from "../NextTokens";
import { RunMetrics } from "../RunMetrics";

interface PatchedHereProps {
  of: Resource<ExperimentRecord>;
  /** The prompts as they are, from the sweep: shown while nothing is chosen. */
  unpatched: PromptReport | null;
}

/** The chosen cells patched in one run: what it says next, between the clean and the corrupt run. */
export function PatchedHere({ of, unpatched }: PatchedHereProps) {
  const names = workspace.patch.value;
  if (names.length === 0) {
    return (
      <Panel fill scroll title="Unpatched" note="click a cell to patch it" label="Unpatched runs">
        {unpatched ? <Runs prompt={unpatched} /> : <Empty title="The clean and the corrupt run." />}
      </Panel>
    );
  }
  const record = of.data.value;
  return (
    <Panel
      fill scroll title="Patched here" label="Patched here" note={record && !of.stale.value ? duration(record.elapsed_secs) : ""}
      aside={<><Progress phase={of.phase.value} onStop={of.cancel} /><Button small onPress={() => change({ patch: [] })}>Clear</Button></>}
    >
      <Working phase={of.phase.value} />
      <Result of={of}>
        {(data, stale) => (
          <div class={stale ? "dimmed stack" : "stack"}>
            <p class="soft small">{data.results.notes[0]}</p>
            {data.results.prompts[0] && <Runs prompt={data.results.prompts[0]} />}
          </div>
        )}
      </Result>
    </Panel>
  );
}

const NAMES: Readonly<Record<string, string>> = { clean: "Clean", corrupt: "Corrupt", patched: "Patched" };

function Runs({ prompt }: { prompt: PromptReport }) {
  const runs = prompt.runs.map((run) => ({ name: NAMES[run.name] ?? run.name, run }));
  const patched = runs.find(({ run }) => run.name === "patched");
  return (
    <>
      {patched
        ? <NextTokens title="Next token, patched" run={patched.run} prompt={prompt} count={4} />
        : runs.map(({ name, run }) => <NextTokens key={name} title={`Next token, ${name.toLowerCase()}`} run={run} prompt={prompt} count={3} />)}
      <RunMetrics runs={runs} />
    </>
  );
}
