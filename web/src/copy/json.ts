// JSON as a person would write it: what fits stands on one line.

export function readableJson(value: unknown, width = 100, indent = ""): string {
  const flat = oneLine(value);
  if (flat.length + indent.length <= width || typeof value !== "object" || value === null) return flat;
  const inner = `${indent}  `;
  if (Array.isArray(value)) {
    // Token ids and the like: as many on a line as fit would save little; one line is searchable.
    if (value.every((item) => typeof item === "number")) return flat;
    const items = value.map((item) => inner + readableJson(item, width, inner));
    return `[\n${items.join(",\n")}\n${indent}]`;
  }
  const entries = present(value).map(([key, item]) =>
    `${inner}${JSON.stringify(key)}: ${readableJson(item, width, inner)}`);
  return `{\n${entries.join(",\n")}\n${indent}}`;
}

function oneLine(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(oneLine).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const entries = present(value).map(([key, item]) => `${JSON.stringify(key)}: ${oneLine(item)}`);
  return `{${entries.join(", ")}}`;
}

function present(value: object): [string, unknown][] {
  return Object.entries(value).filter(([, item]) => item !== undefined);
}
