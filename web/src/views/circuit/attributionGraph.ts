// The circuit as the attribution-graph JSON that public viewers open, as `microtome edges --attribution-graph` writes it: a node is
// a component at the last position, links are summed over inputs, groups are supernodes.

import type { ExperimentRecord } from "../../api";
import { signed } from "../../components";
import type { Group } from "./groups";
import { labelOf, layerOf } from "./scores";
import type { Circuit, Scores } from "./scores";

/** The file's text; `createdMs` is milliseconds since 1970. */
export function attributionGraph(record: ExperimentRecord, scores: Scores, { nodes, edges }: Circuit, groups: readonly Group[], createdMs: number): string {
  const { n_layers, n_heads } = record.model.config;
  const prompt = record.results.prompts[0];
  const tokens = prompt?.clean;
  const position = (tokens?.ids.length ?? 1) - 1;
  const answer = prompt?.answers[0];
  const place = (node: string): readonly [layer: string, feature: number] => {
    if (node === "input") return ["E", tokens?.ids.at(-1) ?? 0];
    if (node === "logits") return [String(n_layers), answer?.id ?? 0];
    const head = /^a\d+\.h(\d+)$/.exec(node)?.[1];
    return [String(layerOf(node) ?? 0), head === undefined ? n_heads : Number(head)];
  };
  const id = (node: string): string => [...place(node), position].join("_");
  const kind = (node: string): string => ({ input: "embedding", logits: "logit" })[node] ?? (node.startsWith("a") ? "attention head" : "mlp");
  const words = (node: string): string => {
    const name = node === "logits" && answer ? `logits: ${JSON.stringify(answer.token)}` : labelOf(node);
    const score = scores.nodes.get(node);
    return score === undefined ? name : `${name} (${`${signed(score)} ${scores.unit}`.trimEnd()})`;
  };
  const prob = prompt?.runs.find(({ name }) => name === "clean")?.top.find((token) => token.id === answer?.id)?.prob;
  const sums = new Map<string, { source: string; target: string; weight: number }>();
  for (const { from, to, score } of edges) {
    const link = sums.get(`${from} ${to}`) ?? { source: id(from), target: id(to), weight: 0 };
    sums.set(`${from} ${to}`, { ...link, weight: link.weight + score });
  }
  const [last = "", folder = last] = record.model.about.model.replace(/\/+$/, "").split("/").reverse();
  const scan = ["ckpt.pt", "model.safetensors"].includes(last) ? folder : last;
  const slug = `${scan} ${scores.metric} ${edges.length} edges`.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");
  const supernodes = groups
    .map(({ name, nodes: members }) => [name, ...nodes.filter((node) => members.includes(labelOf(node))).map(id)])
    .filter(({ length }) => length > 1);
  const file = {
    metadata: {
      slug, scan, prompt_tokens: tokens?.labels ?? [], prompt: (tokens?.labels ?? []).slice(tokens?.bos_prepended ? 1 : 0).join(""), schema_version: 1,
      info: {
        creator_name: "microtome",
        generator: { name: "microtome", version: record.version, url: `urn:microtome:${record.version}` },
        create_time_ms: createdMs,
      },
    },
    qParams: { pinnedIds: nodes.map(id), supernodes, linkType: "both", clickedId: id("logits"), sg_pos: "" },
    nodes: nodes.map((node) => {
      const [layer, feature] = place(node);
      return {
        node_id: id(node), feature, layer, ctx_idx: position, feature_type: kind(node), jsNodeId: `${layer}_${feature}-${position}`,
        clerp: words(node), ...(node === "logits" && prob !== undefined ? { token_prob: prob } : {}), is_target_logit: node === "logits",
      };
    }),
    links: [...sums.values()],
  };
  return `${JSON.stringify(file, null, 2)}\n`;
}
