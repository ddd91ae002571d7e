// Asking the server without the page, to compare.

import { inject } from "vitest";
import type { Experiment, ExperimentRecord, Job, Table } from "../src/api/schema";

const MODEL = { model: "demo", weights: "folded" } as const;

/** An experiment on the model of the tests. */
export function on(rest: Omit<Experiment, "model">): Experiment {
  return { ...MODEL, ...rest };
}

/** Runs an experiment to its end. */
export async function ask(experiment: Experiment, server = inject("server")): Promise<ExperimentRecord> {
  let job = await submit(experiment, server);
  while (job.status === "queued" || job.status === "running") {
    await new Promise((wait) => setTimeout(wait, 50));
    job = await get<Job>(`/api/experiments/${job.id}`, server);
  }
  if (job.status !== "done") throw new Error(`the experiment is ${job.status}: ${JSON.stringify(job)}`);
  return get(`/api/experiments/${job.id}/record`, server);
}

/** Puts an experiment into the line and goes on. */
export function submit(experiment: Experiment, server = inject("server")): Promise<Job> {
  return post("/api/experiments", experiment, server);
}

export async function get<T>(path: string, server = inject("server")): Promise<T> {
  return read(await fetch(server + path, { headers: { Accept: "application/json" } }));
}

export async function post<T>(path: string, body: object, server = inject("server")): Promise<T> {
  const headers = { Accept: "application/json", "Content-Type": "application/json" };
  return read(await fetch(server + path, { method: "POST", headers, body: JSON.stringify(body) }));
}

export async function cancel(id: string, server = inject("server")): Promise<void> {
  await fetch(`${server}/api/experiments/${id}`, { method: "DELETE" });
}

/** One of a record's tables. */
export function table(record: ExperimentRecord, metric: string, quantity: Table["quantity"]): Table {
  const found = record.results.tables?.find((one) => one.metric === metric && one.quantity === quantity);
  if (!found) throw new Error(`the record has no table of ${metric} as ${quantity}`);
  return found;
}

async function read<T>(response: Response): Promise<T> {
  const body: unknown = await response.json();
  if (!response.ok) throw new Error(`${response.status} ${response.url}: ${JSON.stringify(body)}`);
  return body as T;
}
