// Example requests: what the document gives, else made up from the types.

import { quote } from "../copy/shell";
import { readableJson } from "../copy/json";
import { choices, fields, resolve } from "./openapi";
import type { OpenApi, Operation, Schema } from "./openapi";

/** A value of a schema: its own example, else the simplest that has every required field. */
export function exampleOf(api: OpenApi, schema: Schema, depth = 0): unknown {
  const given = schema.example ?? schema.examples?.[0] ?? schema.const ?? schema.enum?.[0] ?? schema.default;
  if (given !== undefined) return given;
  if (depth > 8) return null;
  if (schema.$ref) return exampleOf(api, resolve(api, schema), depth + 1);
  const [first] = choices(schema).filter((choice) => choice.type !== "null");
  if (first) return exampleOf(api, first, depth + 1);
  const [type] = [schema.type ?? []].flat().filter((one) => one !== "null");
  if (type === "object" || schema.properties || schema.allOf) {
    const wanted = fields(api, schema).filter(({ required }) => required);
    return Object.fromEntries(wanted.map(({ name, schema: field }) => [name, exampleOf(api, field, depth + 1)]));
  }
  switch (type) {
    case "array": return schema.items ? [exampleOf(api, schema.items, depth + 1)] : [];
    case "integer":
    case "number": return 0;
    case "boolean": return false;
    case "string": return "text";
    default: return null;
  }
}

/** The body an operation takes: JSON, where it takes any. */
export function bodyOf(api: OpenApi, operation: Operation): unknown {
  const content = operation.requestBody?.content?.["application/json"];
  if (!content) return undefined;
  return content.example ?? (content.schema ? exampleOf(api, content.schema) : {});
}

/** An operation as a curl command for this server. */
export function curlOf(api: OpenApi, operation: Operation, origin: string): string {
  const { method, path } = operation;
  const body = bodyOf(api, operation);
  const verb = method === "get" || (method === "post" && body !== undefined) ? "" : `-X ${method.toUpperCase()} `;
  const lines = [`curl -sS ${verb}${quote(origin + path.replace(/\{(\w+)\}/g, (_, name: string) => name.toUpperCase()))}`];
  if (body !== undefined) lines.push("-H 'Content-Type: application/json'", `--data-raw ${quote(readableJson(body, 84))}`);
  return lines.join(" \\\n  ");
}
