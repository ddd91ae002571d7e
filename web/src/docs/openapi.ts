// An OpenAPI 3.1 document, as far as this page reads it.

export interface Schema {
  $ref?: string;
  type?: string | string[];
  description?: string;
  properties?: { [name: string]: Schema };
  required?: string[];
  additionalProperties?: Schema | boolean;
  items?: Schema;
  prefixItems?: Schema[];
  oneOf?: Schema[];
  anyOf?: Schema[];
  allOf?: Schema[];
  enum?: unknown[];
  const?: unknown;
  default?: unknown;
  example?: unknown;
  examples?: unknown[];
  format?: string;
}

export interface Content {
  schema?: Schema;
  example?: unknown;
}

export interface Answer {
  description?: string;
  content?: { [type: string]: Content };
}

export interface Parameter {
  name: string;
  in: "path" | "query" | "header" | "cookie";
  description?: string;
  required?: boolean;
  schema?: Schema;
}

interface OperationEntry {
  tags?: string[];
  summary?: string;
  description?: string;
  parameters?: Parameter[];
  requestBody?: { description?: string; content?: { [type: string]: Content } };
  responses?: { [status: string]: Answer };
}

export interface OpenApi {
  info: { title: string; version: string; description?: string };
  tags?: { name: string; description?: string }[];
  paths: { [path: string]: { [method: string]: OperationEntry } };
  components?: { schemas?: { [name: string]: Schema } };
}

export interface Operation extends OperationEntry {
  method: string;
  path: string;
  /** Where on the page it stands. */
  anchor: string;
}

export interface Group {
  name: string;
  description: string;
  operations: Operation[];
}

const METHODS = ["get", "post", "put", "patch", "delete"];

/** All operations by their first tag: tags in the document's order, then those it does not list. */
export function groups(api: OpenApi): Group[] {
  const found = new Map<string, Group>();
  for (const { name, description = "" } of api.tags ?? []) found.set(name, { name, description, operations: [] });
  for (const [path, entries] of Object.entries(api.paths)) {
    for (const method of METHODS) {
      const entry = entries[method];
      if (!entry) continue;
      const name = entry.tags?.[0] ?? "Other";
      const group = found.get(name) ?? { name, description: "", operations: [] };
      group.operations.push({ ...entry, method, path, anchor: `${method}${path.replace(/[^A-Za-z0-9]+/g, "-")}` });
      found.set(name, group);
    }
  }
  return [...found.values()].filter(({ operations }) => operations.length > 0);
}

/** `#/components/schemas/Experiment` -> `Experiment`. */
export function refName(ref: string): string {
  return ref.slice(ref.lastIndexOf("/") + 1);
}

export function resolve(api: OpenApi, schema: Schema): Schema {
  if (!schema.$ref) return schema;
  const found = api.components?.schemas?.[refName(schema.$ref)];
  return found ? resolve(api, found) : {};
}

/** The fields of an object, those of everything it is put together from included. */
export function fields(api: OpenApi, schema: Schema): { name: string; schema: Schema; required: boolean }[] {
  const own = Object.entries(schema.properties ?? {})
    .map(([name, field]) => ({ name, schema: field, required: schema.required?.includes(name) ?? false }));
  return [...(schema.allOf ?? []).flatMap((part) => fields(api, resolve(api, part))), ...own];
}

/** The ways a value may be, where there are several. */
export function choices(schema: Schema): Schema[] {
  return schema.oneOf ?? schema.anyOf ?? [];
}

/** A field that may be left out need not be null besides. */
export function withoutNull(schema: Schema): Schema {
  const isNull = (choice: Schema): boolean => choice.type === "null";
  const [only, ...more] = choices(schema).filter((choice) => !isNull(choice));
  if (only && more.length === 0 && choices(schema).some(isNull)) return { description: schema.description ?? "", ...only };
  return Array.isArray(schema.type) ? { ...schema, type: schema.type.filter((type) => type !== "null") } : schema;
}
