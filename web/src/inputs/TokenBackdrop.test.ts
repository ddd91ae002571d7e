// @vitest-environment happy-dom
import { describe, expect, it } from "vitest";
import type { Tokenized } from "../api";
import { piecesOf } from "./TokenBackdrop";

const tokens = (labels: string[]): Tokenized => ({
  labels, ids: labels.map((_, i) => i), bytes: labels.map(() => "6162"), bos_prepended: labels[0] === "<|endoftext|>", n_ctx: 8,
});
const texts = (text: string, labels: string[]) => piecesOf(text, tokens(labels)).map((piece) => piece.text);

describe("pieces of a prompt", () => {
  it("are_its_tokens_without_the_one_put_in_front", () => {
    expect(texts("The cat", ["<|endoftext|>", "The", " cat"])).toEqual(["The", " cat"]);
  });
  it("always_make_up_the_whole_text", () => {
    for (const labels of [["The"], ["x", "y"], [], ["The", " cat", "s"]]) expect(texts("The cat sat", labels).join("")).toBe("The cat sat");
  });
  it("join_tokens_that_hold_parts_of_a_character", () => {
    expect(texts("a🙂b", ["a", "\\xf0", "\\x9f", "b"])).toEqual(["a", "🙂", "b"]);
  });
});
