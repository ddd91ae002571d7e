// The safetensors format: eight bytes of header length, a JSON header, then the numbers.
// https://huggingface.co/docs/safetensors

export interface NamedTensor {
  shape: number[];
  data: Float32Array;
}

export interface Archive {
  metadata: Readonly<{ [key: string]: string }>;
  tensors: ReadonlyMap<string, NamedTensor>;
}

interface Entry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

/** Reads an archive of F32 tensors; anything else in it is an error. */
export function parseSafetensors(buffer: ArrayBuffer): Archive {
  if (buffer.byteLength < 8) throw new Error("a safetensors file starts with 8 bytes of length");
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const start = 8 + length;
  if (start > buffer.byteLength) throw new Error("the safetensors header is longer than the file");
  const text = new TextDecoder().decode(new Uint8Array(buffer, 8, length));
  const header = JSON.parse(text) as { [name: string]: Entry | { [key: string]: string } };
  const tensors = new Map<string, NamedTensor>();
  let metadata: { [key: string]: string } = {};
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") metadata = entry as { [key: string]: string };
    else tensors.set(name, tensor(name, entry as Entry, buffer, start));
  }
  return { metadata, tensors };
}

function tensor(name: string, entry: Entry, buffer: ArrayBuffer, start: number): NamedTensor {
  const { dtype, shape, data_offsets: [from, to] } = entry;
  if (dtype !== "F32") throw new Error(`tensor \`${name}\` is ${dtype}; expected F32`);
  const count = shape.reduce((product, size) => product * size, 1);
  if (to - from !== 4 * count || start + to > buffer.byteLength) {
    throw new Error(`tensor \`${name}\` has ${to - from} bytes for shape [${shape.join(", ")}]`);
  }
  // The header may have any length, so the numbers need not be aligned: they are copied.
  const data = new Float32Array(buffer.slice(start + from, start + to));
  return { shape, data };
}
