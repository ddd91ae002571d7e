import { afterEach, expect, test, vi } from "vitest";
import { finishedJob, fetchModel, runExperiment } from "./client";
import { ApiError, isAbort } from "./problem";
import type { Experiment, JobEvent } from "./schema";

const experiment: Experiment = { model: "demo", prompts: [{ clean: "Hi" }], method: "measure" };

function answerWith(...answers: Response[]) {
  const calls: { url: string; init: RequestInit }[] = [];
  vi.stubGlobal("fetch", (url: string, init: RequestInit) => {
    calls.push({ url, init });
    const answer = answers.shift();
    return answer ? Promise.resolve(answer) : Promise.reject(new TypeError("fetch failed"));
  });
  return calls;
}

const stream = (text: string): Response => new Response(text, { headers: { "Content-Type": "text/event-stream" } });
const json = (body: object, status = 200): Response => new Response(JSON.stringify(body), { status });

afterEach(() => vi.unstubAllGlobals());

test("an experiment is posted, its events are told, its record is the answer", async () => {
  const record = { results: { runs: 3 } };
  const calls = answerWith(stream(
    'event: queued\ndata: {"id":"a1","ahead":0}\n\nevent: surprise\ndata: {}\n\n'
    + 'event: progress\ndata: {"runs":1,"runs_wanted":3}\n\n'
    + 'event: token\ndata: {"stream":"control","index":0,"token":{"id":1,"token":"a"}}\n\n'
    + `event: done\ndata: ${JSON.stringify(record)}\n\n`,
  ));
  const events: JobEvent[] = [];
  expect(await runExperiment(experiment, { onEvent: (event) => events.push(event) })).toEqual(record);
  expect(events.map((event) => event.type)).toEqual(["queued", "progress", "token", "done"]);
  expect(calls[0]?.url).toBe("/api/experiments");
  expect(new Headers(calls[0]?.init.headers).get("accept")).toBe("text/event-stream");
  expect(JSON.parse(calls[0]?.init.body as string)).toEqual(experiment);
});

test("a failed run throws the server's words", async () => {
  answerWith(stream('event: failed\ndata: {"error":"target","detail":"is 2 tokens","hint":"give one"}\n\n'));
  const error = await runExperiment(experiment).catch((e: unknown) => e);
  expect(error).toBeInstanceOf(ApiError);
  expect(error).toMatchObject({ error: "target", detail: "is 2 tokens", hint: "give one" });
});

test("a cancelled run is an abort, a cut connection an error", async () => {
  answerWith(stream('event: cancelled\ndata: {"id":"a1"}\n\n'), stream("event: started\ndata: {}\n\n"));
  expect(isAbort(await runExperiment(experiment).catch((e: unknown) => e))).toBe(true);
  await expect(runExperiment(experiment)).rejects.toMatchObject({ error: "lost" });
});

test("refusals, foreign error pages and silence all become one kind of error", async () => {
  answerWith(
    json({ error: "too_long", detail: "300 tokens", hint: "shorten it" }, 422),
    new Response("<h1>Bad gateway</h1>", { status: 502 }),
  );
  await expect(runExperiment(experiment)).rejects.toMatchObject({ status: 422, error: "too_long", hint: "shorten it" });
  await expect(fetchModel("demo")).rejects.toMatchObject({ status: 502, detail: "<h1>Bad gateway</h1>" });
  await expect(fetchModel("demo")).rejects.toMatchObject({ status: 0, error: "unreachable" });
});

test("a model's id is one part of the path", async () => {
  const calls = answerWith(json({ id: "org/a b" }));
  await fetchModel("org/a b");
  expect(calls[0]?.url).toBe("/api/models/org%2Fa%20b");
});

test("a job is asked for until it is done", async () => {
  const job = (status: string) => json({ id: "a1", status, runs: 0, runs_wanted: 1 });
  const calls = answerWith(job("queued"), job("running"), job("done"));
  expect(await finishedJob(experiment)).toBe("a1");
  expect(calls.map((call) => call.url)).toEqual([
    "/api/experiments", "/api/experiments/a1", "/api/experiments/a1",
  ]);
});
