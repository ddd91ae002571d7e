import { expect, test } from "vitest";
import type { Experiment, Method } from "../api/schema";
import { commandFor } from "./command";
import { quote } from "./shell";

const ask = (method: Method, rest: Partial<Experiment> = {}): Experiment => ({
  model: "demo",
  prompts: [{ clean: "The cat sat on", answers: [" the"] }],
  method,
  ...rest,
});

test("a sweep of heads needs no flag but the target", () => {
  const experiment = ask({ ablate: { targets: "heads", with: "zero" } });
  expect(commandFor(experiment)).toBe("microtome ablate -m demo 'The cat sat on' -t ' the'");
});

test("every field of an ablation becomes its flag", () => {
  const method: Method = { ablate: { targets: { together: ["L0H1", "m2"] }, with: "zero_pattern", at: { from: 3 } } };
  const rest: Partial<Experiment> = { metrics: ["prob", "kl"], read_at: 2, seed: 7, weights: "raw", precision: "bf16", bos: "omit" };
  expect(commandFor(ask(method, rest))).toBe(
    "microtome ablate -m demo 'The cat sat on' -t ' the' --heads L0H1,m2 --with zero-pattern --at 3.. \\\n"
    + "  --metric prob,kl --read-at 2 --seed 7 --weights raw --precision bf16 --no-bos",
  );
});

test("patching names its layout, never leaving it to a default", () => {
  const prompts = [{ clean: "A b", corrupt: "A c", answers: [" d"], wrong_answers: [" e"] }];
  const patch = { site: "resid_pre", by: "layer_position", direction: "noise" } as const;
  expect(commandFor(ask({ patch }, { prompts }))).toBe(
    "microtome patch -m demo 'A b' -t ' d' -f ' e' -c 'A c' --site resid_pre --by layer-position \\\n"
    + "  --direction noise",
  );
});

test("edges say along what derivatives are averaged", () => {
  const prompts = [{ clean: "A b", corrupt: "A c", answers: [" d"], wrong_answers: [" e"] }];
  const command = (method: Method): string => commandFor(ask(method, { prompts, metrics: ["logit_diff"] }));
  expect(command({ edge_attribution: { direction: "noise", gradients: { inputs: 5 } } })).toBe(
    "microtome edges -m demo 'A b' -t ' d' -f ' e' -c 'A c' --steps 5 --metric logit_diff",
  );
  expect(command({ edge_attribution: { direction: "denoise", gradients: { activations: 3 } } })).toMatch(/--steps 3 --along activations \\\n  --direction denoise/);
  expect(command({ edge_attribution: {} })).not.toContain("--steps");
});

test("generation says how much, how warm and what is cut", () => {
  const generate = { max_new_tokens: 60, temperature: 0.7, cut: ["L1H3", "L2H0"], with: "previous" } as const;
  const prompts = [{ clean: "The cat" }];
  expect(commandFor(ask({ generate: { ...generate, cut: [...generate.cut] } }, { prompts, seed: 3 }))).toBe(
    "microtome generate -m demo 'The cat' --max 60 --temperature 0.7 --cut L1H3,L2H0 --with previous \\\n"
    + "  --seed 3",
  );
});

test("clamped neurons are named with their values", () => {
  const generate = { max_new_tokens: 5, clamp: [{ neuron: "L2N17", value: 5 }, { neuron: "L0N1", value: -0.5 }] };
  expect(commandFor(ask({ generate }, { prompts: [{ clean: "The cat" }] }))).toBe(
    "microtome generate -m demo 'The cat' --max 5 --clamp L2N17=5,L0N1=-0.5",
  );
});

test("token ids are said to be ids; mixed with text they go through a file", () => {
  const method: Method = { ablate: { targets: "heads", with: "zero" } };
  const ids = ask(method, { prompts: [{ clean: [1, 2], answers: [3] }] });
  expect(commandFor(ids)).toBe("microtome ablate -m demo 1,2 -t 3 --ids");
  const mixed = ask(method, { prompts: [{ clean: [1, 2], answers: [" the"] }] });
  expect(commandFor(mixed)).toMatch(/^microtome run - <<'EXPERIMENT'\n\{/);
});

test("what no flag says goes to `run` whole", () => {
  const methods: Method[] = [
    { importance: { by: "gradient" } },
    { logit_lens: { cut: ["L0H0"] } },
    { ablate: { targets: "heads", with: "zero", clamp: " John" } },
    { ablate: { targets: "heads", with: { mean: { reference: ["a b"] } } } },
    { generate: { max_new_tokens: 3 } }, // with an answer, which generation does not take
  ];
  for (const method of methods) {
    const command = commandFor(ask(method));
    const [first, ...rest] = command.split("\n");
    expect(first).toBe("microtome run - <<'EXPERIMENT'");
    expect(rest.pop()).toBe("EXPERIMENT");
    expect(JSON.parse(rest.join("\n"))).toEqual(ask(method));
  }
});

test("words that begin with a dash are not taken for options", () => {
  const method: Method = { ablate: { targets: "heads", with: "zero" } };
  const experiment = ask(method, { prompts: [{ clean: "-5 plus", answers: ["-"] }] });
  expect(commandFor(experiment)).toBe("microtome ablate -m demo -t=- -- '-5 plus'");
});

test("quoting keeps every character", () => {
  expect(quote("plain/word.txt")).toBe("plain/word.txt");
  expect(quote("")).toBe("''");
  expect(quote("it's $HOME `x` \\ \"q\"\nline")).toBe(`'it'\\''s $HOME \`x\` \\ "q"\nline'`);
  expect(quote("~")).toBe("'~'");
});

test("questions about the model alone name no prompt", () => {
  const about = (method: Method): string => commandFor(ask(method, { prompts: [] }));
  expect(about({ head_scores: { sequences: 4, least: 0.3 } })).toBe("microtome heads -m demo --sequences 4 --least 0.3");
  expect(about({ composition: { less: "random" } })).toBe("microtome composition -m demo --less random");
  expect(about({ head_circuit: { head: "L4H3", embedding: "after_mlp0", size: "layer_norm", tokens: [5, 7] } })).toBe(
    "microtome head -m demo L4H3 --embedding after-mlp0 --size layer-norm --token 5 --token 7 --ids",
  );
  expect(about({ head_circuit: { head: "L4H3", tokens: [5, " Mary"] } })).toContain("microtome run -");
});

test("a scan of a text is given it as it is, without a line break at its end", () => {
  const about = (method: Method, rest: Partial<Experiment> = {}): string => flat(ask(method, { prompts: [], ...rest }));
  expect(about({ text_scan: { text: "it's here<|endoftext|>\nthere", neurons: ["L2N17", "m1"], top: 8, context: 4, threshold: -0.5 } }, { weights: "raw" })).toBe(
    "printf %s 'it'\\''s here<|endoftext|>\nthere' | microtome neurons scan - -m demo --neurons L2N17,m1 --top 8 --context 4 --threshold=-0.5 --weights raw",
  );
  expect(about({ text_scan: { text: "-n", sae: "org/repo/a folder", features: [12, 305], window: 64 } })).toBe(
    "printf %s -n | microtome sae scan - -m demo --sae 'org/repo/a folder' --features 12,305 --window 64",
  );
  expect(about({ text_scan: { text: "a", sae: "demo" } })).toBe("printf %s a | microtome sae scan - -m demo --sae demo");
});

test("questions about features are those of microtome sae", () => {
  const prompts = [{ clean: "A b", answers: [" d"], wrong_answers: [" e"] }];
  const of = (method: Method, rest: Partial<Experiment> = {}): string => flat(ask(method, { prompts, ...rest }));
  expect(of({ features: { sae: "demo", top: 24, watch: [3, 5], losses: "left_out", at: "all" } }, { prompts: [{ clean: "A b" }] })).toBe(
    "microtome sae features -m demo 'A b' --sae demo --top 24 --at all --watch 3,5 --no-losses",
  );
  expect(of({ feature_sweep: { sae: "demo", features: "active", change: "ablate", by: "feature", error: "keep" } }, { metrics: ["logit_diff"] })).toBe(
    "microtome sae sweep -m demo 'A b' -t ' d' -f ' e' --sae demo --metric logit_diff",
  );
  expect(of({ feature_sweep: { sae: "demo", features: { together: [3, 5] }, change: { set: -2 }, by: "feature", error: "drop", at: { at: [4] }, most: 7 } })).toBe(
    "microtome sae sweep -m demo 'A b' -t ' d' -f ' e' --sae demo --features 3,5 --together --change set=-2 --at 4 --drop-error --most 7",
  );
  const attribution = { sae: "demo", change: "ablate", by: "feature", error: "keep", top: 32, check: { top: 20 } } as const;
  expect(of({ feature_attribution: { ...attribution, estimate: "gradient" } }, { metrics: ["prob"] })).toBe(
    "microtome sae attribute -m demo 'A b' -t ' d' -f ' e' --sae demo --top 32 --check 20 --metric prob",
  );
  expect(of({ feature_attribution: { ...attribution, estimate: "direct", check: "all" } })).toContain("--direct --top 32 --check all");
  expect(of({ feature_attribution: { ...attribution, change: { patch: "denoise" } } })).toContain("microtome run -");
  expect(of({ feature_profile: { sae: "my sae", feature: 305, tokens: 8, nearest: 4 } }, { prompts: [] })).toBe(
    "microtome sae feature 305 -m demo --sae 'my sae' --tokens 8 --nearest 4",
  );
});

test("a lens says its rows, its norm and the prompt it is compared with", () => {
  const method: Method = { logit_lens: { rows: "sublayers", norm: "tl_cached_scale" } };
  const prompts = [{ clean: "A b", corrupt: "A c", answers: [" d"] }];
  expect(commandFor(ask(method, { prompts }))).toBe("microtome lens -m demo 'A b' -t ' d' --corrupt 'A c' --rows sublayers --norm tl-cached-scale");
});

test("attention says its weights and its head; detectors go as they are", () => {
  const prompts = [{ clean: "A b" }];
  const of = (method: Method): string => commandFor(ask(method, { prompts }));
  expect(of({ attention: { weighting: "output", head: "L1H2" } })).toBe("microtome attention -m demo 'A b' --weighting output --head L1H2");
  expect(of({ attention: { detectors: [{ target: "induction_head" }] } })).toContain("microtome run -");
});

/** The command in one line. */
const flat = (experiment: Experiment): string => commandFor(experiment).replaceAll(" \\\n  ", " ");

test("edges patched one by one and circuits are said by their subcommands", () => {
  const prompts = [{ clean: "A b", corrupt: "A c", answers: [" d"] }];
  const of = (method: Method): string => flat(ask(method, { prompts }));
  const begin = "-m demo 'A b' -t ' d' -c 'A c'";
  expect(of({ path_patch: { from: { each: ["a0.h1", "input"] }, to: { together: ["a1.h2<q>"] }, mlps: "recomputed" } })).toBe(
    `microtome path-patch ${begin} --from a0.h1,input --to 'a1.h2<q>' --mlps recomputed`,
  );
  expect(of({ path_patch: { from: "every", to: "every", direction: "denoise" } })).toBe(`microtome path-patch ${begin} --from every --to every --direction denoise`);
  expect(of({ path_patch: { from: { together: ["m0", "m1"] }, to: { together: ["m2", "m3"] } } })).toContain("--from m0,m1 --from-together --to m2,m3 --together");
  expect(of({ path_patch: { to: { each: ["m2"] } } }), "the command would let it see it `together`").toContain("microtome run -");
  expect(of({ circuit_search: { by: [{ acdc: [0.1, 0.2] }, { edges: { gradients: { inputs: 5 }, pick: "grow", size: { count: [10, 20] } } }] } })).toBe(
    `microtome circuit find ${begin} --by acdc,edges --threshold 0.1,0.2 --size 10,20 --steps 5 --pick grow`,
  );
  expect(of({ circuit_search: { by: [{ nodes: { size: { faithful: 0.8 } } }], rest: "mean" } })).toContain("--by nodes --faithful 0.8 --steps 0 --rest mean");
  const differing: Method = { circuit_search: { by: [{ nodes: { size: { faithful: 0.8 } } }, { edges: { size: { faithful: 0.9 } } }] } };
  expect(of(differing), "two ways with two goals").toContain("microtome run -");
  expect(of({ circuit_curve: { gradients: { activations: 3 }, rest: "zero", shares: [0.1, 1], random: 4 } })).toBe(
    `microtome circuit curve ${begin} --steps 3 --along activations --rest zero --shares 0.1,1 --random 4`,
  );
  const circuit = { name: "a", edges: ["input->a0.h1<q>", "a0.h1->logits"] };
  expect(of({ circuit_judgement: { circuits: [circuit, { name: "none", edges: [] }], rests: ["mean", "zero"], random: 3, subsets: 0 } })).toBe(
    `microtome circuit judge ${begin} --edges 'a=input->a0.h1<q>,a0.h1->logits' --edges none= --rest mean,zero --random 3 --subsets 0`,
  );
  expect(of({ circuit_judgement: { circuits: [{ ...circuit, name: "a=b" }] } }), "a name that would be read as another").toContain("microtome run -");
});

test("attribution says what is told apart, an estimate how it is made and checked", () => {
  expect(flat(ask({ direct_attribution: { neurons: [1, 2], heads: "by_source" } }))).toBe("microtome attribute -m demo 'The cat sat on' -t ' the' --neurons 1,2 --by-source");
  const prompts = [{ clean: "A b", corrupt: "A c", answers: [" d"] }];
  const estimate: Method = { attribution_patching: { site: "q", by: "head", steps: 4, corrections: ["qk_fix", "grad_drop"], check: { top: 20 } } };
  expect(flat(ask(estimate, { prompts }))).toBe(
    "microtome attribution-patch -m demo 'A b' -t ' d' -c 'A c' --site q --by head --steps 4 --qk-fix --grad-drop --check 20",
  );
});

test("neurons, promoted tokens and steering have their commands", () => {
  const of = (method: Method, rest: Partial<Experiment> = {}): string => flat(ask(method, rest));
  expect(of({ strongest_neurons: { layers: [0, 3], by: "direct_attribution", top: 5 } })).toBe(
    "microtome neurons strongest -m demo 'The cat sat on' -t ' the' --layers 0,3 --by direct-attribution --top 5",
  );
  expect(of({ neuron: { neuron: "L2N17", tokens: 6 } }, { metrics: ["kl"] })).toBe("microtome neurons show L2N17 -m demo 'The cat sat on' -t ' the' --tokens 6 --metric kl");
  expect(of({ neuron: { neuron: "L2N17", reference: ["a"] } })).toContain("microtome run -");
  expect(of({ promoted_tokens: { components: ["L1H2", "m0"], tokens: 6 } })).toBe("microtome promotes L1H2,m0 -m demo 'The cat sat on' -t ' the' --tokens 6");
  const steering = { along: { difference: { towards: [" happy"], away: [" sad"], over: "all" as const } }, layer: 2, strengths: [-4, 0, 4], length: "one" as const, max_new_tokens: 8, temperature: 0.5 };
  expect(of({ steering }, { seed: 2 })).toBe(
    "microtome steer -m demo 'The cat sat on' -t ' the' --towards ' happy' --away ' sad' --over all --layer 2 --strength=-4,0,4 --unit --max 8 --temperature 0.5 --seed 2",
  );
  expect(of({ steering: { along: { neuron: "L1N5" }, layer: 2, strengths: [1] } })).toContain("--neuron L1N5 --layer 2 --strength 1");
  expect(of({ steering: { along: { vector: [1] }, layer: 2, strengths: [1] } })).toContain("microtome run -");
});
