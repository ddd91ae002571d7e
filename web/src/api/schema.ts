// The JSON that the server speaks, by the names the page uses. The types themselves are generated from
// the server's own description (`npm run types`); what is written out here is how events are read.

import type { components } from "./types";

type Schemas = components["schemas"];

// A question. Metrics and sites come from the address as well as from the page: the server checks them.
export type Experiment = Omit<Schemas["Experiment"], "metrics" | "method"> & { metrics?: string[]; method: Method };
export type Prompt = Schemas["Prompt"];
/** A prompt: text to be tokenized, or token ids used as they are. */
export type Text = Schemas["Text"];
/** One token: its text (leading space included), or its id. */
export type Answer = Schemas["Answer"];
export type Method = Exclude<Schemas["Method"], { patch: unknown } | { attribution_patching: unknown }> | { patch: Patch } | { attribution_patching: AttributionPatching };
export type Ablate = Schemas["Ablate"];
export type Targets = Schemas["Targets"];
export type Patch = Omit<Schemas["Patch"], "site"> & { site: string };
/** A patch, estimated. */
export type AttributionPatching = Omit<Schemas["AttributionPatching"], "site"> & { site: string };
export type Correction = Schemas["Correction"];
export type Attribution = Schemas["Attribution"];
export type NeuronProfile = Schemas["NeuronProfile"];
export type StrongestNeurons = Schemas["StrongestNeurons"];
export type Steering = Schemas["Steering"];
export type SteeringDirection = Schemas["SteeringDirection"];
export type PathPatch = Schemas["PathPatch"];
export type EdgeAttribution = Schemas["EdgeAttribution"];
export type PatchLayout = Schemas["By"];
export type Generate = Schemas["Generate"];
export type LogitLens = Schemas["LogitLens"];
export type Importance = Schemas["Importance"];
/** The measures the page offers. */
export type ImportanceBy = Extract<Schemas["Measure"], "gradient" | "output_norm" | "ablation_kl">;
export type HeadScores = Schemas["HeadScoring"];
export type AttentionStats = Schemas["AttentionStats"];
export type HeadCircuit = Schemas["HeadCircuit"];
export type FeatureReading = Schemas["FeatureReading"];
export type FeatureSweep = Schemas["FeatureSweep"];
export type FeatureAttribution = Schemas["FeatureAttribution"];
export type FeatureProfile = Schemas["FeatureProfile"];
export type FeatureChange = Schemas["FeatureChange"];
export type ErrorTerm = Schemas["ErrorTerm"];
export type Weighting = Schemas["Weighting"];
export type Replacement = Schemas["Replacement"];
export type Positions = Schemas["Positions"];
export type Weights = Schemas["Processing"];
export type Precision = Schemas["Precision"];
export type Bos = Schemas["Bos"];

// An answer.
export type ExperimentRecord = Omit<Schemas["Record"], "experiment"> & { experiment: Experiment };
export type Results = Schemas["Results"];
export type PromptReport = Schemas["PromptReport"];
export type RunReport = Schemas["RunReport"];
export type MetricValue = Schemas["MetricValue"];
export type Table = Schemas["Table"];
export type Remeasured = Schemas["Remeasured"];
export type NeuronReport = Schemas["NeuronReport"];
export type SteeredText = Schemas["SteeredText"];
export type TextScan = Schemas["TextScan"];
export type TextScanReport = Schemas["TextScanReport"];
export type FeatureSummary = Schemas["FeatureSummary"];
export type Passage = Schemas["Passage"];
export type Histogram = Schemas["Histogram"];
export type TokenValue = Schemas["TokenValue"];
export type Axis = Schemas["Axis"];
export type Quantity = Schemas["Quantity"];
export type Backup = Schemas["Backup"];
export type Pairs = Schemas["Pairs"];
export type Spread = Schemas["Spread"];
export type TokenLabel = Schemas["TokenLabel"];
export type TokenProb = Schemas["TokenProb"];
export type Tokens = Schemas["Tokens"];
export type GeneratedToken = Schemas["GeneratedToken"];
export type Generation = Schemas["Generation"];
export type Comparison = Schemas["Comparison"];
export type RoleTable = Schemas["RoleTable"];
export type HeadReport = Schemas["HeadReport"];
export type CircuitReport = Schemas["CircuitReport"];
export type TokenReport = Schemas["TokenReport"];
export type Lens = Schemas["LensReadings"];
export type ModelReport = Schemas["ModelReport"];
export type About = Schemas["About"];
export type Config = Schemas["Config"];

// What the server says beside experiments.
export type ModelList = Schemas["ModelList"];
export type ModelInfo = Schemas["ModelInfo"];
export type SaeReport = Schemas["SaeReport"];
export type MetricInfo = Schemas["MetricInfo"];
export type Example = Schemas["Example"];
export type TokenizeRequest = Schemas["TokenizeRequest"];
export type Tokenized = Schemas["Tokenized"];
export type TargetCheck = Schemas["TargetCheck"];
export type Job = Schemas["JobState"];
export type JobStatus = Schemas["Phase"];
/** The body of every error answer. */
export type Problem = Schemas["ErrorBody"];

/** What a running experiment reports, told apart by the event's name. */
export type JobEvent =
  | ({ type: "queued" } & Schemas["Queued"])
  | ({ type: "started" } & Schemas["Named"])
  | ({ type: "progress" } & Schemas["Progress"])
  | ({ type: "partial" } & Schemas["PartialTables"])
  | ({ type: "token" } & Schemas["TokenEvent"])
  | { type: "done"; record: ExperimentRecord }
  | ({ type: "failed" } & Problem)
  | ({ type: "cancelled" } & Schemas["Named"]);
