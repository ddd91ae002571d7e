import { expect, test } from "vitest";
import { curlOf, exampleOf } from "./example";
import { fields, groups, withoutNull } from "./openapi";
import type { OpenApi, Schema } from "./openapi";
import { typePieces } from "./typeText";

const api: OpenApi = {
  info: { title: "T", version: "1" },
  tags: [{ name: "Second", description: "b" }, { name: "Empty" }],
  paths: {
    "/a/{id}": {
      delete: { tags: ["First"] },
      get: { tags: ["First"], summary: "Get it" },
    },
    "/b": { post: { tags: ["Second"], requestBody: { content: { "application/json": { schema: { $ref: "#/components/schemas/Ask" } } } } } },
  },
  components: {
    schemas: {
      Ask: {
        allOf: [{ $ref: "#/components/schemas/Base" }],
        properties: { text: { type: "string", example: "it's" }, more: { type: "integer" }, ways: { $ref: "#/components/schemas/Way" } },
        required: ["text", "ways"], type: "object",
      },
      Base: { type: "object", properties: { n: { type: ["integer", "null"] } }, required: ["n"] },
      Way: { oneOf: [{ type: "string", enum: ["zero", "random"] }, { type: "object", properties: { mean: { $ref: "#/components/schemas/Way" } }, required: ["mean"] }] },
    },
  },
};
const line = (schema: Schema): string => typePieces(schema).map((piece) => (typeof piece === "string" ? piece : piece.ref)).join("");

test("operations stand under their tags, in the document's order", () => {
  const found = groups(api);
  expect(found.map(({ name }) => name)).toEqual(["Second", "First"]);
  expect(found[1]?.operations.map(({ anchor }) => anchor)).toEqual(["get-a-id-", "delete-a-id-"]);
});

test("types read as words, named ones by their names", () => {
  const schemas = api.components?.schemas ?? {};
  expect(line(schemas["Way"] ?? {})).toBe('"zero" | "random" | {mean: Way}');
  expect(line({ type: "array", items: { type: ["number", "null"] } })).toBe("list of number | null");
  expect(line({ type: "array", prefixItems: [{ type: "integer" }, { type: "string" }] })).toBe("[whole number, string]");
  expect(line({})).toBe("anything");
});

test("an object's fields are its own and those it is put together from", () => {
  expect(fields(api, api.components?.schemas?.["Ask"] ?? {}).map(({ name, required }) => [name, required]))
    .toEqual([["n", true], ["text", true], ["more", false], ["ways", true]]);
});

test("an example has what is required and nothing else", () => {
  expect(exampleOf(api, { $ref: "#/components/schemas/Ask" })).toEqual({ n: 0, text: "it's", ways: "zero" });
  expect(exampleOf(api, { oneOf: [{ type: "null" }, { type: "boolean" }] })).toBe(false);
});

test("a curl example quotes its body and names its parameters", () => {
  const [second, first] = groups(api);
  const post = second?.operations[0];
  const [get, remove] = first?.operations ?? [];
  if (!post || !get || !remove) throw new Error("three operations");
  expect(curlOf(api, post, "http://h:1")).toContain(`--data-raw '{"n": 0, "text": "it'\\''s", "ways": "zero"}'`);
  expect(curlOf(api, get, "http://h:1")).toBe("curl -sS http://h:1/a/ID");
  expect(curlOf(api, remove, "http://h:1")).toBe("curl -sS -X DELETE http://h:1/a/ID");
});

test("a field that may be left out is not called null besides", () => {
  expect(line(withoutNull({ oneOf: [{ type: "null" }, { $ref: "#/components/schemas/Way" }] }))).toBe("Way");
  expect(line(withoutNull({ type: ["integer", "null"] }))).toBe("whole number");
});
