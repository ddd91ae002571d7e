// Pieces of Rust: struct literals, lists and strings.

/** A struct literal on one line where it fits, else a field a line. */
export function struct(name: string, fields: [string, string][]): string {
  const flat = `${name} { ${fields.map(([field, code]) => `${field}: ${code}`).join(", ")} }`;
  if (flat.length <= 80 && !flat.includes("\n")) return flat;
  return `${name} {\n${fields.map(([field, code]) => indent(`${field}: ${code},`)).join("\n")}\n}`;
}

export function components(names: string[]): string {
  return vec(names.map((name) => `${literal(name)}.parse()?`));
}

export function vec(items: string[]): string {
  return `vec![${items.join(", ")}]`;
}

export function option(value: number | null | undefined): string {
  return value == null ? "None" : `Some(${value})`;
}

export function float(value: number): string {
  return Number.isInteger(value) ? `${value}.0` : String(value);
}

export function capital(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

export function indent(code: string): string {
  return code.replace(/^(?=.)/gm, "    ");
}

/** A string literal: everything invisible is escaped, other text stays as it is. */
export function literal(text: string): string {
  const escaped = text.replace(/[\\"]/g, "\\$&").replace(/\n/g, "\\n").replace(/\r/g, "\\r").replace(/\t/g, "\\t");
  const hidden = /[\p{Cc}\p{Cf}\u2028\u2029]/gu;
  return `"${escaped.replace(hidden, (char) => `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`)}"`;
}
