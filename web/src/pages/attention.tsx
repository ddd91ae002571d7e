// Attention: every head's pattern small, one large, and what roles the heads play.

import { useComputed } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { fetchAttention, fetchAttentionPage, runExperiment } from "../api";
import type { AttentionPatterns } from "../api";
import { BarList, Button, Empty, Panel, Progress, Result, Segmented, TokenText, Working, percent, plain } from "../components";
import { saveFile } from "../export";
import { InputStrip } from "../inputs";
import { useRun } from "../shell/useRun";
import { asked, change, experiment, parseHead, stepped, useResource, useRoles, useShown, workspace } from "../state";
import { HeadScores } from "../views/attention/HeadScores";
import { Lines } from "../views/attention/Lines";
import { Matrix } from "../views/attention/Matrix";
import { RoleTable } from "../views/attention/RoleTable";
import { Statistics } from "../views/attention/Statistics";
import { Thumbnails } from "../views/attention/Thumbnails";
import { looksFrom, patternOf, top } from "../views/attention/patterns";
import { bestHead, rolesOf, scoreTable } from "../views/roles";
import { HeadCircuitFace } from "./attentionCircuit";

export function AttentionPage() {
  const key = useComputed(() => {
    const inputs = asked.value;
    return inputs && inputs.prompt !== "" ? { model: inputs.model, prompt: inputs.prompt, weighting: workspace.weighting.value } : null;
  });
  const attention = useResource(key, (request, { signal }) => fetchAttention(request, { signal }));
  const scores = useRoles();
  const statisticsKey = useComputed(() => {
    const inputs = asked.value;
    if (workspace.list.value !== "statistics" || !inputs || inputs.prompt === "") return null;
    return experiment({ ...inputs, corrupt: "", target: "", foil: "" }, { attention: { weighting: workspace.weighting.value } });
  });
  const statistics = useResource(statisticsKey, runExperiment);

  const run = useRun(attention);

  const data = attention.data.value;
  const [layers, heads] = data?.shape ?? [1, 1];
  const wanted = parseHead(workspace.head.value);
  const exists = wanted !== null && wanted.layer < layers && wanted.head < heads;
  const head = exists ? workspace.head.value : (bestHead(scoreTable(scores.data.value, "induction")) ?? "L0H0");
  const circuit = workspace.face.value === "circuit";
  const file = useMemo(() => [{ label: "All heads (HTML)", save: savePage }], []);
  const listed = workspace.list.value === "statistics" ? statistics : scores;
  const name = workspace.metric.value;
  const table = Math.max(0, listed.data.value?.results.tables?.findIndex((one) => one.metric === name) ?? 0);
  const shows = { experiment: workspace.list.value === "statistics" ? statisticsKey.value : scores.experiment, record: listed.data.value, table };

  return (
    <>
      <InputStrip action={{ text: "Read", onPress: run }} />
      <Settings />
      <div class={heads > 8 ? "columns attention many" : "columns attention"}>
        <div class="stack">
          <Panel fill title="Heads" note={`${layers * heads > 1 ? `${layers * heads} patterns` : ""}`}>
            <Working phase={attention.phase.value} />
            <Result of={attention} empty={<Empty fill title="Type a prompt to see what its tokens look at." />}>
              {(patterns, stale) => <Thumbnails patterns={patterns} head={head} max={patterns.weighting === "pattern" ? 1 : top(patterns.pattern)} dim={stale} />}
            </Result>
          </Panel>
          <Panel class="headlists" title={<ListChoice />} label="Heads by" aside={<Progress phase={listed.phase.value} progress={listed.progress.value} onStop={listed.cancel} />}>
            <Working phase={listed.phase.value} progress={listed.progress.value} />
            <Result of={listed} empty={<Empty title="Type a prompt to see how each head attends to it." />}>
              {(record, stale) => workspace.list.value === "roles" ? <RoleTable record={record} head={head} />
                : workspace.list.value === "scores" ? <HeadScores record={record} head={head} />
                : <Statistics record={record} head={head} dim={stale} />}
            </Result>
          </Panel>
        </div>
        <Panel
          fill title={<span class="mono">{head}</span>} label={`Head ${head}`} note={rolesOf(scores.data.value, head, plain)}
          aside={(
            <>
              <Segmented
                label="Show" value={workspace.face.value} onChange={(face) => change({ face })}
                options={[{ value: "pattern", text: "Pattern", title: "Where it looks on this prompt" }, { value: "circuit", text: "Circuit", title: "What its weights match and move" }]}
              />
              <Button small onPress={() => change({ view: "surgery", cut: [...new Set([...workspace.cut.peek(), head])] })}>Cut in Surgery</Button>
              <Button small onPress={() => change({ view: "ablation", cut: [head] })}>Ablate</Button>
            </>
          )}
        >
          {circuit ? <HeadCircuitFace head={head} tokens={data?.tokens ?? null} files={file} /> : <Show {...shows} files={file} />}
          {circuit ? null : data ? <Large patterns={data} head={head} dim={attention.stale.value} /> : <Empty fill title={attention.error.value ? "" : "One head's pattern, large."} />}
        </Panel>
      </div>
    </>
  );
}

/** What the top bar copies and saves, while the head's pattern is shown. */
function Show(what: Parameters<typeof useShown>[0]) {
  useShown(what);
  return null;
}

/** All heads' patterns of the prompt as a file; the shown head stands first in it. */
async function savePage(): Promise<void> {
  const inputs = asked.peek();
  if (!inputs) return;
  const head = workspace.head.peek();
  const question = { model: inputs.model, prompt: inputs.prompt, weighting: workspace.weighting.peek(), ...(head === "" ? {} : { head }) };
  saveFile(`microtome-${inputs.model}-attention.html`.replace(/[^A-Za-z0-9.-]+/g, "-"), await fetchAttentionPage(question));
}

function ListChoice() {
  return (
    <Segmented
      label="Heads by" value={workspace.list.value} onChange={(list) => change({ list, metric: "" })}
      options={[
        { value: "roles", text: "Roles", title: "Which heads play which role" },
        { value: "scores", text: "Scores", title: "Heads by one score on repeated random tokens" },
        { value: "statistics", text: "This prompt", title: "Statistics of attention on this prompt" },
      ]}
    />
  );
}

function Settings() {
  return (
    <div class="settings">
      <Segmented
        label="Weights" showLabel value={workspace.weighting.value} onChange={(weighting) => change({ weighting })}
        options={[
          { value: "pattern", text: "attention", title: "Where heads look: rows sum to 1" },
          { value: "value", text: "× |value|", title: "Attention times the norm of the value vector" },
          { value: "output", text: "× |value W_O|", title: "Attention times the norm of what is written (Kobayashi et al. 2020)" },
        ]}
      />
    </div>
  );
}

function Large({ patterns, head, dim }: { patterns: AttentionPatterns; head: string; dim: boolean }) {
  const { layer, head: h } = parseHead(head) ?? { layer: 0, head: 0 };
  const { labels } = patterns.tokens;
  const n = labels.length;
  const pattern = patternOf(patterns, layer, h);
  const { weighting } = patterns;
  const pos = workspace.pos.value !== null && workspace.pos.value < n ? workspace.pos.value : null;
  return (
    <div class={dim ? "large dimmed" : "large"}>
      <Matrix head={head} labels={labels} pattern={pattern} pos={pos} dim={false} weighting={weighting} />
      <div class="stack">
        <Lines head={head} labels={labels} pattern={pattern} pos={pos} max={weighting === "pattern" ? 1 : top(pattern)} />
        {pos === null
          ? <p class="soft small">Point at a token to see its lines alone; click one, or a row of the matrix, to keep it.</p>
          : (
            <div class="looks">
              <div class="row tight"><TokenText text={labels[pos] ?? ""} /><span class="soft">{pos} looks at</span><span class="grow" /><Button small onPress={() => stepped({ pos: null })}>All</Button></div>
              <BarList
                label="Where it looks most"
                entries={looksFrom(pattern, n, pos, 4).map((look) => ({
                  key: String(look.pos), value: look.weight, text: weighting === "pattern" ? percent(look.weight) : plain(look.weight), tone: "accent" as const,
                  name: <><TokenText text={labels[look.pos] ?? ""} plain /> <span class="soft small">{look.pos}</span></>,
                }))}
              />
            </div>
          )}
      </div>
    </div>
  );
}
