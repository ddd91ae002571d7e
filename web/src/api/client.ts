// Every request the page makes.

import { readEvents } from "./events";
import type { ServerEvent } from "./events";
import { ApiError, aborted, asApiError, errorFrom, isAbort } from "./problem";
import { parseSafetensors } from "./safetensors";
import type {
  Bos, Example, Experiment, ExperimentRecord, Job, JobEvent, ModelInfo, ModelList, Problem, Table,
  TargetCheck, Text, TokenizeRequest, Tokenized, Tokens, Weighting,
} from "./schema";

export interface RequestOptions {
  signal?: AbortSignal;
}

export interface RunOptions extends RequestOptions {
  onEvent?: (event: JobEvent) => void;
}

/** Attention patterns of all heads: `pattern[((layer * n_heads + head) * n + query) * n + key]`. */
export interface AttentionPatterns {
  tokens: Tokens;
  shape: [n_layers: number, n_heads: number, query: number, key: number];
  pattern: Float32Array;
  /** What every entry was multiplied by. */
  weighting: Weighting;
}

export function fetchModels(options?: RequestOptions): Promise<ModelList> {
  return getJson("/api/models", options);
}

export function fetchModel(id: string, options?: RequestOptions): Promise<ModelInfo> {
  return getJson(`/api/models/${encodeURIComponent(id)}`, options);
}

export async function fetchExamples(options?: RequestOptions): Promise<Example[]> {
  return (await getJson<{ examples: Example[] }>("/api/examples", options)).examples;
}

export function tokenize(request: TokenizeRequest, options?: RequestOptions): Promise<Tokenized> {
  return postJson("/api/tokenize", request, options);
}

export function checkTarget(
  request: { model?: string; text: string },
  options?: RequestOptions,
): Promise<TargetCheck> {
  return postJson("/api/target", request, options);
}

/** Puts an experiment into the server's queue without waiting for it. */
export function submit(experiment: Experiment, options?: RequestOptions): Promise<Job> {
  return postJson("/api/experiments", experiment, options);
}

/**
 * Runs an experiment to its end and tells what happens on the way. Aborting the signal closes the
 * connection, and with it the server gives the work up.
 */
export async function runExperiment(experiment: Experiment, options: RunOptions = {}): Promise<ExperimentRecord> {
  const { signal, onEvent } = options;
  const response = await request("/api/experiments", {
    method: "POST",
    headers: { Accept: "text/event-stream", "Content-Type": "application/json" },
    body: JSON.stringify(experiment),
    ...(signal ? { signal } : {}),
  });
  if (!response.body) throw new ApiError(0, "unexpected", "the server's answer has no body", "");
  let record: ExperimentRecord | null = null;
  let failure: unknown = null;
  try {
    await readEvents(response.body, (raw) => {
      const event = jobEvent(raw);
      if (!event) return false;
      if (event.type === "done") record = event.record;
      if (event.type === "failed") failure = new ApiError(422, event.error, event.detail, event.hint);
      if (event.type === "cancelled") failure = aborted();
      onEvent?.(event);
      return record !== null || failure !== null;
    });
  } catch (error) {
    throw isAbort(error) ? error : lost();
  }
  if (failure) throw failure;
  if (signal?.aborted) throw aborted();
  if (!record) throw lost();
  return record;
}

/** The id under which the server keeps an experiment's answer, running it if it is not kept yet. */
export async function finishedJob(experiment: Experiment, options: RequestOptions = {}): Promise<string> {
  let job = await submit(experiment, options);
  for (let wait = 50; job.status === "queued" || job.status === "running"; wait = Math.min(2 * wait, 1000)) {
    await new Promise((resolve) => setTimeout(resolve, wait));
    options.signal?.throwIfAborted();
    job = await getJson<Job>(`/api/experiments/${job.id}`, options);
  }
  if (job.status === "done") return job.id;
  const { error, detail, hint } = job.failure ?? { error: job.status, detail: `the run was ${job.status}`, hint: "" };
  throw new ApiError(422, error, detail, hint);
}

/** A prompt whose attention is asked for; `weighting` multiplies it by the norms of values. */
export interface AttentionQuestion {
  model?: string;
  prompt: Text;
  bos?: Bos;
  weighting?: Weighting;
  head?: string;
}

/** All heads' patterns as an HTML file that opens without a server. */
export async function fetchAttentionPage(body: AttentionQuestion, options: RequestOptions = {}): Promise<Blob> {
  return (await request("/api/attention.html", { ...post(body, options), headers: { Accept: "text/html", "Content-Type": "application/json" } })).blob();
}

export async function fetchAttention(
  body: AttentionQuestion,
  options: RequestOptions = {},
): Promise<AttentionPatterns> {
  const response = await request("/api/attention", {
    ...post(body, options),
    headers: { Accept: "application/safetensors", "Content-Type": "application/json" },
  });
  const archive = parseSafetensors(await response.arrayBuffer());
  const pattern = archive.tensors.get("pattern");
  const tokens = archive.metadata["tokens"];
  if (!pattern || pattern.shape.length !== 4 || tokens === undefined) {
    throw new ApiError(0, "unexpected", "the attention answer has no pattern with its tokens", "");
  }
  const shape = pattern.shape as [number, number, number, number];
  return { tokens: JSON.parse(tokens) as Tokens, shape, pattern: pattern.data, weighting: (archive.metadata["weighting"] ?? "pattern") as Weighting };
}

/** Any answer as bytes, for downloads. */
export async function fetchBlob(path: string, options: RequestOptions = {}): Promise<Blob> {
  return (await request(path, options)).blob();
}

export async function getJson<T>(path: string, options: RequestOptions = {}): Promise<T> {
  return (await request(path, options)).json() as Promise<T>;
}

async function postJson<T>(path: string, body: object, options: RequestOptions = {}): Promise<T> {
  return (await request(path, post(body, options))).json() as Promise<T>;
}

function post(body: object, options: RequestOptions): RequestInit {
  return {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    ...options,
  };
}

async function request(path: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { ...init, headers: { Accept: "application/json", ...init.headers } });
  } catch (error) {
    throw isAbort(error) ? error : asApiError(error);
  }
  if (!response.ok) throw errorFrom(response.status, await response.text());
  return response;
}

function lost(): ApiError {
  return new ApiError(0, "lost", "the connection ended before the answer was complete", "try once more");
}

function jobEvent({ event, data }: ServerEvent): JobEvent | null {
  const value: unknown = JSON.parse(data);
  switch (event) {
    case "queued": return { type: event, ...(value as { id: string; ahead: number }) };
    case "started":
    case "cancelled": return { type: event, ...(value as { id: string }) };
    case "progress": return { type: event, ...(value as { runs: number; runs_wanted: number }) };
    case "partial": return { type: event, ...(value as { tables: Table[] }) };
    case "token": return { ...(value as Omit<Extract<JobEvent, { type: "token" }>, "type">), type: event };
    case "done": return { type: event, record: value as ExperimentRecord };
    case "failed": return { type: event, ...(value as Problem) };
    // A newer server may report more; what is not understood is passed over.
    default: return null;
  }
}
