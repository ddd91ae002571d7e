import { expect, test } from "vitest";
import type { GeneratedToken } from "../../api/schema";
import { divergence, lensQuestion, NO_TEXTS, promptLength, replacementWhileReading, withEvent } from "./texts";

const token = (id: number, is_prompt = false): GeneratedToken => ({ id, token: ` t${id}`, prob: 0.5, is_prompt, top: [] });
const text = (...ids: number[]): GeneratedToken[] => ids.map((id, i) => token(id, i < 2));

test("texts part at the first token that differs, and not where one only goes on", () => {
  expect(divergence({ control: text(1, 2, 3, 4), ablated: text(1, 2, 3, 9) })).toBe(3);
  expect(divergence({ control: text(1, 2, 3, 4), ablated: text(1, 2, 3) })).toBeNull();
  expect(divergence(NO_TEXTS)).toBeNull();
});

test("tokens are put where they belong, each into its own text", () => {
  const first = withEvent(NO_TEXTS, { type: "token", stream: "control", index: 0, token: token(1, true) });
  const both = withEvent(first, { type: "token", stream: "ablated", index: 0, token: token(1, true) });
  const grown = withEvent(both, { type: "token", stream: "control", index: 1, token: token(7) });
  expect(grown.control.map(({ id }) => id)).toEqual([1, 7]);
  expect(grown.ablated.map(({ id }) => id)).toEqual([1]);
  expect(withEvent(grown, { type: "started", id: "x" })).toBe(grown);
  expect(NO_TEXTS.control).toEqual([]);
});

test("the lens of a token reads the text before it and asks for the token", () => {
  expect(lensQuestion(text(1, 2, 3, 4), 3)).toEqual({ before: [1, 2, 3], answer: 4 });
  expect(lensQuestion(text(1, 2), 0)).toBeNull();
  expect(lensQuestion(text(1, 2), 5)).toBeNull();
});

test("the prompt ends where the generated tokens begin", () => {
  expect(promptLength(text(1, 2, 3))).toBe(2);
  expect(promptLength(text(1, 2))).toBe(2);
});

test("a mean stays that over the prompt when the text is read again", () => {
  expect(replacementWhileReading("mean", "The cat")).toEqual({ mean: { reference: ["The cat"] } });
  expect(replacementWhileReading("previous", "The cat")).toBe("previous");
});
