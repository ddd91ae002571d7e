import { expect, test } from "vitest";
import { EventSplitter, readEvents } from "./events";
import type { ServerEvent } from "./events";

const split = (...pieces: string[]): ServerEvent[] => {
  const splitter = new EventSplitter();
  return pieces.flatMap((piece) => splitter.push(piece));
};

test("an event ends at an empty line and keeps its name and data", () => {
  expect(split("event: progress\ndata: {\"runs\": 1}\n\n")).toEqual([
    { event: "progress", data: '{"runs": 1}' },
  ]);
});

test("how the text is cut into pieces changes nothing", () => {
  const text = "event: token\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\n: keep-alive\n\ndata: x\n\n";
  const whole = split(text);
  expect(whole).toEqual([
    { event: "token", data: '{"a":\n1}' },
    { event: "message", data: "x" },
  ]);
  expect(split(...text)).toEqual(whole);
  expect(split(text.slice(0, 13), text.slice(13))).toEqual(whole);
});

test("events without data, comments and unknown fields are passed over", () => {
  expect(split("event: started\n\n: hello\nid: 3\nretry: 10\n\n")).toEqual([]);
});

test("an unfinished event is not reported", () => {
  expect(split("data: half\n")).toEqual([]);
});

test("reading stops, and frees the stream, when it is told to", async () => {
  let cancelled = false;
  const pieces = ["data: 1\n\nda", "ta: 2\n\n", "data: 3\n\n"];
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const piece = pieces.shift();
      if (piece === undefined) controller.close();
      else controller.enqueue(new TextEncoder().encode(piece));
    },
    cancel() { cancelled = true; },
  });
  const seen: string[] = [];
  await readEvents(body, ({ data }) => seen.push(data) === 2);
  expect(seen).toEqual(["1", "2"]);
  expect(cancelled).toBe(true);
});

test("a character cut in two by the network arrives whole", async () => {
  const bytes = new TextEncoder().encode("data: é\n\n");
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(bytes.slice(0, 7));
      controller.enqueue(bytes.slice(7));
      controller.close();
    },
  });
  const seen: string[] = [];
  await readEvents(body, ({ data }) => { seen.push(data); return false; });
  expect(seen).toEqual(["é"]);
});
