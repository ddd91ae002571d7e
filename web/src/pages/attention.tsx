// Attention: every head's pattern small, one large, and what roles the heads play.

import { useComputed } from "@preact/signals";
import { fetchAttention } from "../api";
import type { AttentionPatterns } from "../api";
import { BarList, Button, Empty, Panel, Progress, Result, TokenText, Working, percent, plain } from "../components";
import { InputStrip } from "../inputs";
import { useRun } from "../shell/useRun";
import { asked, change, parseHead, stepped, useResource, useRoles, useShown, workspace } from "../state";
import { HeadScores } from "../views/attention/HeadScores";
import { Lines } from "../views/attention/Lines";
import { Matrix } from "../views/attention/Matrix";
import { Thumbnails } from "../views/attention/Thumbnails";
import { looksFrom, patternOf } from "../views/attention/patterns";
import { SCORES, bestHead, rolesOf, scoreTable } from "../views/roles";

export function AttentionPage() {
  const key = useComputed(() => {
    const inputs = asked.value;
    return inputs && inputs.prompt !== "" ? { model: inputs.model, prompt: inputs.prompt } : null;
  });
  const attention = useResource(key, (request, { signal }) => fetchAttention(request, { signal }));
  const scores = useRoles();
  useShown({ experiment: scores.experiment, record: scores.data.value, table: Math.max(0, SCORES.findIndex(({ value }) => value === workspace.metric.value)) });

  const run = useRun(attention);

  const data = attention.data.value;
  const [layers, heads] = data?.shape ?? [1, 1];
  const wanted = parseHead(workspace.head.value);
  const exists = wanted !== null && wanted.layer < layers && wanted.head < heads;
  const head = exists ? workspace.head.value : (bestHead(scoreTable(scores.data.value, "induction")) ?? "L0H0");
  return (
    <>
      <InputStrip action={{ text: "Read", onPress: run }} />
      <div class={heads > 8 ? "columns attention many" : "columns attention"}>
        <div class="stack">
          <Panel fill title="Heads" note={`${layers * heads > 1 ? `${layers * heads} patterns` : ""}`}>
            <Working phase={attention.phase.value} />
            <Result of={attention} empty={<Empty fill title="Type a prompt to see what its tokens look at." />}>
              {(patterns, stale) => <Thumbnails patterns={patterns} head={head} dim={stale} />}
            </Result>
          </Panel>
          <Panel title="Roles" aside={<Progress phase={scores.phase.value} progress={scores.progress.value} onStop={scores.cancel} />}>
            <Working phase={scores.phase.value} progress={scores.progress.value} />
            <Result of={scores}>{(record) => <HeadScores record={record} head={head} />}</Result>
          </Panel>
        </div>
        <Panel
          fill title={<span class="mono">{head}</span>} label={`Head ${head}`} note={rolesOf(scores.data.value, head, plain)}
          aside={(
            <>
              <Button small onPress={() => change({ view: "surgery", cut: [...new Set([...workspace.cut.peek(), head])] })}>Cut in Surgery</Button>
              <Button small onPress={() => change({ view: "ablation", cut: [head] })}>Ablate</Button>
            </>
          )}
        >
          {data ? <Large patterns={data} head={head} dim={attention.stale.value} /> : <Empty fill title={attention.error.value ? "" : "One head's pattern, large."} />}
        </Panel>
      </div>
    </>
  );
}

function Large({ patterns, head, dim }: { patterns: AttentionPatterns; head: string; dim: boolean }) {
  const { layer, head: h } = parseHead(head) ?? { layer: 0, head: 0 };
  const { labels } = patterns.tokens;
  const n = labels.length;
  const pattern = patternOf(patterns, layer, h);
  const pos = workspace.pos.value !== null && workspace.pos.value < n ? workspace.pos.value : null;
  return (
    <div class={dim ? "large dimmed" : "large"}>
      <Matrix head={head} labels={labels} pattern={pattern} pos={pos} dim={false} />
      <div class="stack">
        <Lines head={head} labels={labels} pattern={pattern} pos={pos} />
        {pos === null
          ? <p class="soft small">Point at a token to see its lines alone; click one, or a row of the matrix, to keep it.</p>
          : (
            <div class="looks">
              <div class="row tight"><TokenText text={labels[pos] ?? ""} /><span class="soft">{pos} looks at</span><span class="grow" /><Button small onPress={() => stepped({ pos: null })}>All</Button></div>
              <BarList
                label="Where it looks most"
                entries={looksFrom(pattern, n, pos, 4).map((look) => ({
                  key: String(look.pos), value: look.weight, text: percent(look.weight), tone: "accent" as const,
                  name: <><TokenText text={labels[look.pos] ?? ""} plain /> <span class="soft small">{look.pos}</span></>,
                }))}
              />
            </div>
          )}
      </div>
    </div>
  );
}
