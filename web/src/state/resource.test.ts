import { signal } from "@preact/signals";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ApiError } from "../api";
import { resource } from "./resource";
import type { Fetching } from "./resource";
import type { Table } from "../api";

interface Asked {
  key: string;
  fetching: Fetching;
  answer: (value: string) => void;
  fail: (error: unknown) => void;
}

function setup() {
  const asked: Asked[] = [];
  const key = signal<string | null>("a");
  const made = resource(key, (key: string, fetching) => new Promise<string>((answer, fail) => void asked.push({ key, fetching, answer, fail })));
  return { asked, key, made };
}

const settled = () => vi.advanceTimersByTimeAsync(0);

describe("a resource", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it("asks_at_once_and_answers", async () => {
    const { asked, made } = setup();
    asked[0]?.answer("A");
    await settled();
    expect([made.data.value, made.stale.value, made.phase.value]).toEqual(["A", false, "idle"]);
  });
  it("gives_the_old_question_up_and_keeps_its_answer_dimmed", async () => {
    const { asked, key, made } = setup();
    asked[0]?.answer("A");
    await settled();
    key.value = "b";
    expect([made.data.value, made.stale.value]).toEqual(["A", true]);
    key.value = "c";
    expect(asked[1]?.fetching.signal.aborted).toBe(true);
    asked[1]?.answer("B, too late");
    asked[2]?.answer("C");
    await settled();
    expect([made.data.value, made.stale.value]).toEqual(["C", false]);
  });
  it("shows_work_after_100_ms_and_how_far_it_is_after_500", async () => {
    const { asked, made } = setup();
    expect(made.phase.value).toBe("brief");
    await vi.advanceTimersByTimeAsync(100);
    expect(made.phase.value).toBe("working");
    await vi.advanceTimersByTimeAsync(400);
    expect(made.phase.value).toBe("long");
    const tables: Table[] = [];
    asked[0]?.fetching.onEvent({ type: "queued", id: "1", ahead: 2 });
    expect(made.progress.value?.queued).toBe(true);
    asked[0]?.fetching.onEvent({ type: "started", id: "1" });
    expect(made.progress.value).toBeNull();
    asked[0]?.fetching.onEvent({ type: "progress", runs: 3, runs_wanted: 9 });
    asked[0]?.fetching.onEvent({ type: "partial", tables });
    expect([made.progress.value, made.partial.value]).toEqual([{ runs: 3, runs_wanted: 9 }, tables]);
    asked[0]?.answer("A");
    await settled();
    expect([made.progress.value, made.partial.value]).toEqual([null, null]);
  });
  it("stops_when_told_and_asks_again_when_told", async () => {
    const { asked, made } = setup();
    made.cancel();
    expect([asked[0]?.fetching.signal.aborted, made.cancelled.value, made.phase.value]).toEqual([true, true, "idle"]);
    made.retry();
    expect([asked.length, made.cancelled.value]).toEqual([2, false]);
  });
  it("tells_errors_apart_from_being_given_up", async () => {
    const { asked, key, made } = setup();
    asked[0]?.fail(new ApiError(422, "kind", "detail", "hint"));
    await settled();
    expect(made.error.value?.detail).toBe("detail");
    key.value = "b";
    expect(made.error.value).toBeNull();
    asked[1]?.fail(new DOMException("given up", "AbortError"));
    await settled();
    expect(made.error.value).toBeNull();
  });
  it("asks_nothing_without_a_key_and_nothing_more_once_disposed", () => {
    const { asked, key, made } = setup();
    key.value = null;
    expect([asked.length, made.phase.value]).toEqual([1, "idle"]);
    made.dispose();
    key.value = "b";
    expect(asked.length).toBe(1);
  });
});
