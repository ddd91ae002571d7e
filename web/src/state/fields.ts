// What the address says: every field of the workspace, its default, and its place in the query string.

export const VIEWS = ["surgery", "ablation", "patching", "lens", "attention", "attribution", "circuit", "neurons", "features", "steering"] as const;
export type View = (typeof VIEWS)[number];

export const CUTS = ["zero", "mean", "resample", "uniform", "zero_pattern", "random", "previous"] as const;
/** What takes the place of a cut head. */
export type Cut = (typeof CUTS)[number];

/** How rows of the logit lens become logits; empty: as the library does it by itself, `bare`: without a LayerNorm. */
export const LENS_NORMS = ["", "final", "bare", "frozen", "tl_cached_scale"] as const;
export type LensNorm = (typeof LENS_NORMS)[number];

export const IMPORTANCES = ["", "gradient", "output_norm", "ablation_kl"] as const;

export interface Fields {
  view: View;
  /** Empty: the server's default model. */
  model: string;
  prompt: string;
  corrupt: string;
  /** The right next token, leading space included. */
  target: string;
  /** A wrong next token; with it there is a logit difference. */
  foil: string;
  /** Heads chosen in Surgery and Ablation: `L0H1`. */
  cut: readonly string[];
  how: Cut;
  at: "all" | "last";
  /** Ablation: heads one by one, or two at a time. */
  sweep: "single" | "pairs";
  /** A token whose logit is held at its unedited value while an ablation is measured; empty: none. */
  clamp: string;
  /** Empty: what the view shows first. */
  metric: string;
  quantity: "change" | "value" | "recovery";
  site: string;
  /** How patches are laid out; the API's `by`. */
  layout: "head" | "head_position" | "layer" | "layer_position";
  direction: "denoise" | "noise";
  /** Cells patched together: heads `L0H1` or layers `L3`. */
  patch: readonly string[];
  temperature: number;
  seed: number;
  /** Tokens to generate. */
  length: number;
  /** Empty: the head grid is plain. */
  importance: (typeof IMPORTANCES)[number];
  /** The head shown large in Attention. */
  head: string;
  /** What Attention's patterns are multiplied by. */
  weighting: "pattern" | "value" | "output";
  /** What Attention shows of its head: where it looks, or what its weights do. */
  face: "pattern" | "circuit";
  /** What Attention lists heads by. */
  list: "roles" | "scores" | "statistics";
  /** Tokens as circuits of heads read them, and how large. */
  embedding: "embed" | "after_mlp0";
  size: "as_is" | "layer_norm";
  /** The chosen token position; null: the last. */
  pos: number | null;
  /** The chosen row of the logit lens, counted from the embedding; null: the last. */
  layer: number | null;
  /** Which rows the logit lens reads, and through which norm. */
  rows: "layers" | "sublayers" | "contributions";
  norm: LensNorm;
  /** The tuned lens its grid is read by; empty: the logit lens. */
  tuned: string;
  /** The lens of the prompt, or what it is beyond the corrupt one's. */
  compare: "alone" | "corrupt";
  /** What its curves are of: the answer's probability, or KL to the output. */
  curve: "prob" | "kl";
  /** Further prompts whose curves the logit lens draws. */
  others: readonly string[];
  /** What Attribution shows: shares of the answer's logit, or patches estimated by derivatives. */
  attribution: "direct" | "estimate";
  /** What shares are told apart by. */
  parts: "components" | "sources" | "neurons";
  /** The part of the model, or the cell, chosen in Attribution. */
  part: string;
  /** The layer whose neurons are looked at; null: the last, or all. */
  mlp: number | null;
  /** Steps of integrated gradients; 0: the derivative at the run that is patched. */
  steps: number;
  /** Corrections of the estimate: `qk_fix`, `grad_drop`. */
  fixes: readonly string[];
  /** Which estimates are measured too. */
  check: "top" | "all" | "off";
  /** The neuron on show, `L2N17`; empty: the strongest. */
  neuron: string;
  /** What neurons are ranked by. */
  ranked: "activation" | "direct_attribution";
  /** Where the direction of Steering comes from. */
  along: "texts" | "neuron" | "feature";
  /** The texts it leads to and away from; empty: the corrupt prompt and the prompt. */
  towards: string;
  away: string;
  /** Which of their positions count. */
  over: "last" | "all";
  /** The layer in front of which it is added; null: the middle one. */
  into: number | null;
  /** Whether the direction is brought to length 1. */
  sized: "as_is" | "one";
  /** How much of it is added, and how far the curve goes either way. */
  strength: number;
  reach: number;
  /** How many of the strongest edges Circuit draws, those on a way from the input to the logits. */
  edges: number;
  /** The chosen node of the circuit, `L0H1`, or its chosen edge, `a0.h1->a1.h0<q>`. */
  node: string;
  edge: string;
  /** Nodes that stay in the drawing however few edges are taken. */
  pins: readonly string[];
  /** Nodes gathered under a name: `movers:L3H2,L2H1`. */
  groups: readonly string[];
  /** The autoencoder whose features are looked at; empty: the first that is open. */
  sae: string;
  /** The chosen feature, a number; empty: the strongest. */
  feature: string;
  /** What features are listed by. */
  listing: "overall" | "token" | "worth" | "estimate";
  /** How what a feature is worth is estimated. */
  estimated: "gradient" | "direct";
  /** Whether a group is drawn as one node. */
  gather: "one" | "apart";
}

export const DEFAULTS: Readonly<Fields> = {
  view: "surgery", model: "", prompt: "", corrupt: "", target: "", foil: "",
  cut: [], how: "zero", at: "all", sweep: "single", clamp: "", metric: "", quantity: "recovery",
  site: "resid_pre", layout: "layer_position", direction: "denoise", patch: [],
  temperature: 0, seed: 0, length: 40, importance: "gradient", head: "",
  weighting: "pattern", face: "pattern", list: "roles", embedding: "embed", size: "as_is", pos: null, layer: null,
  rows: "layers", norm: "", tuned: "", compare: "alone", curve: "prob", others: [],
  attribution: "direct", parts: "components", part: "", mlp: null, steps: 0, fixes: [], check: "top",
  neuron: "", ranked: "activation", along: "texts", towards: "", away: "", over: "last", into: null, sized: "as_is", strength: 1, reach: 2,
  edges: 40, node: "", edge: "", pins: [], groups: [], gather: "one", sae: "", feature: "", listing: "overall", estimated: "gradient",
};

/** Which fields are texts that prompts are made of; they are kept as typed, spaces and all. */
const TEXTS = ["model", "prompt", "corrupt", "target", "foil", "clamp", "metric", "site", "head", "part", "node", "edge", "neuron", "sae", "feature", "towards", "away", "tuned"] as const;
const LISTS = ["cut", "patch", "fixes", "pins"] as const;
const NUMBERS = ["temperature", "seed", "length", "steps", "edges", "reach"] as const;
/** Numbers that may be below 0. */
const SIGNED = ["strength"] as const;
const PLACES = ["pos", "layer", "mlp", "into"] as const;
const CHOICES = {
  view: VIEWS, how: CUTS, importance: IMPORTANCES,
  at: ["all", "last"], sweep: ["single", "pairs"], quantity: ["change", "value", "recovery"],
  layout: ["head", "head_position", "layer", "layer_position"], direction: ["denoise", "noise"],
  weighting: ["pattern", "value", "output"], face: ["pattern", "circuit"], list: ["roles", "scores", "statistics"],
  embedding: ["embed", "after_mlp0"], size: ["as_is", "layer_norm"],
  rows: ["layers", "sublayers", "contributions"], norm: LENS_NORMS, compare: ["alone", "corrupt"], curve: ["prob", "kl"], gather: ["one", "apart"], listing: ["overall", "token", "worth", "estimate"], estimated: ["gradient", "direct"],
  attribution: ["direct", "estimate"], parts: ["components", "sources", "neurons"], check: ["top", "all", "off"],
  ranked: ["activation", "direct_attribution"], along: ["texts", "neuron", "feature"], over: ["last", "all"], sized: ["as_is", "one"],
} as const;

/** The query string of a state. The prompt is always in it, so that an emptied one stays empty. */
export function encode(fields: Fields): string {
  const query = new URLSearchParams();
  query.set("view", fields.view);
  for (const name of TEXTS) {
    if (fields[name] !== DEFAULTS[name] || name === "prompt") query.set(name, fields[name]);
  }
  for (const name of Object.keys(CHOICES) as (keyof typeof CHOICES)[]) {
    if (name !== "view" && fields[name] !== DEFAULTS[name]) query.set(name, fields[name] || "none");
  }
  for (const name of LISTS) if (fields[name].length > 0) query.set(name, fields[name].join(","));
  for (const name of SIGNED) if (fields[name] !== DEFAULTS[name]) query.set(name, String(fields[name]));
  for (const name of NUMBERS) if (fields[name] !== DEFAULTS[name]) query.set(name, String(fields[name]));
  for (const name of PLACES) if (fields[name] !== null) query.set(name, String(fields[name]));
  for (const other of fields.others) query.append("with", other);
  for (const group of fields.groups) query.append("group", group);
  return `?${query.toString()}`;
}

/** The state a query string stands for; what it does not say, or says wrongly, is the default. */
export function decode(search: string): Fields {
  const query = new URLSearchParams(search);
  const fields: Fields = { ...DEFAULTS };
  for (const name of TEXTS) fields[name] = query.get(name) ?? DEFAULTS[name];
  const choices: Record<string, string> = {};
  for (const name of Object.keys(CHOICES) as (keyof typeof CHOICES)[]) {
    const given = query.get(name);
    const value = given === "none" ? "" : given;
    const known: readonly string[] = CHOICES[name];
    choices[name] = value !== null && known.includes(value) ? value : DEFAULTS[name];
  }
  Object.assign(fields, choices);
  for (const name of LISTS) fields[name] = (query.get(name) ?? "").split(",").filter(Boolean);
  for (const name of SIGNED) fields[name] = signed(query.get(name)) ?? DEFAULTS[name];
  for (const name of NUMBERS) fields[name] = number(query.get(name)) ?? DEFAULTS[name];
  for (const name of PLACES) {
    const place = number(query.get(name));
    fields[name] = place !== null && Number.isInteger(place) ? place : null;
  }
  fields.others = query.getAll("with");
  fields.groups = query.getAll("group");
  return fields;
}

/** Whether an address says anything of a prompt; if not, the page shows its first example. */
export function saysPrompt(search: string): boolean {
  return new URLSearchParams(search).has("prompt");
}

function number(text: string | null): number | null {
  const value = signed(text);
  return value !== null && value >= 0 ? value : null;
}

function signed(text: string | null): number | null {
  if (text === null || text.trim() === "") return null;
  const value = Number(text);
  return Number.isFinite(value) ? value : null;
}
