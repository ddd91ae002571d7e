import { expect, test } from "vitest";
import { parseSafetensors } from "./safetensors";

function archive(header: object, numbers: number[], padding = ""): ArrayBuffer {
  const text = new TextEncoder().encode(JSON.stringify(header) + padding);
  const bytes = new Uint8Array(8 + text.length + 4 * numbers.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, 8);
  bytes.set(new Uint8Array(Float32Array.from(numbers).buffer), 8 + text.length);
  return bytes.buffer;
}

test("tensors come out under their names, aligned or not", () => {
  const header = {
    __metadata__: { tokens: "[]" },
    a: { dtype: "F32", shape: [2], data_offsets: [0, 8] },
    b: { dtype: "F32", shape: [1, 2], data_offsets: [8, 16] },
  };
  for (const padding of ["", " ", "  ", "   "]) {
    const { metadata, tensors } = parseSafetensors(archive(header, [1, -2, 0.5, 4], padding));
    expect(metadata).toEqual({ tokens: "[]" });
    expect([...tensors.keys()]).toEqual(["a", "b"]);
    expect([...(tensors.get("b")?.data ?? [])]).toEqual([0.5, 4]);
    expect(tensors.get("b")?.shape).toEqual([1, 2]);
  }
});

test("a tensor of another type, or of another size than its shape, is an error", () => {
  const half = { a: { dtype: "F16", shape: [2], data_offsets: [0, 4] } };
  expect(() => parseSafetensors(archive(half, [0]))).toThrow("`a` is F16");
  const short = { a: { dtype: "F32", shape: [3], data_offsets: [0, 8] } };
  expect(() => parseSafetensors(archive(short, [0, 0]))).toThrow("shape [3]");
  const beyond = { a: { dtype: "F32", shape: [2], data_offsets: [4, 12] } };
  expect(() => parseSafetensors(archive(beyond, [0, 0]))).toThrow("`a` has 8 bytes");
});

test("what is no archive is an error", () => {
  expect(() => parseSafetensors(new ArrayBuffer(4))).toThrow("8 bytes");
  const bytes = new Uint8Array(16);
  bytes[0] = 200;
  expect(() => parseSafetensors(bytes.buffer)).toThrow("longer than the file");
});
