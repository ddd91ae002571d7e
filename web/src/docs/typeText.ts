// A schema's type in a line, as a list of pieces of which some are links to a named type.

import { choices, refName } from "./openapi";
import type { Schema } from "./openapi";

export type Piece = string | { ref: string };

export function typePieces(schema: Schema): Piece[] {
  if (schema.$ref) return [{ ref: refName(schema.$ref) }];
  if (schema.const !== undefined) return [JSON.stringify(schema.const)];
  if (schema.enum) return joined(schema.enum.map((value) => [JSON.stringify(value)]), " | ");
  if (schema.allOf) return joined(schema.allOf.map(typePieces), " & ");
  const several = choices(schema);
  if (several.length > 0) return joined(several.map(typePieces), " | ");
  const types = [schema.type ?? []].flat();
  if (types.length > 1) return joined(types.map((type) => typePieces({ ...schema, type })), " | ");
  switch (types[0]) {
    case "array":
      if (schema.prefixItems) return ["[", ...joined(schema.prefixItems.map(typePieces), ", "), "]"];
      return ["list of ", ...(schema.items ? typePieces(schema.items) : ["anything"])];
    case "object": return objectPieces(schema);
    case "integer": return ["whole number"];
    case "null": return ["null"];
    case undefined: return schema.properties ? objectPieces(schema) : ["anything"];
    default: return [types[0]];
  }
}

function objectPieces({ properties, additionalProperties }: Schema): Piece[] {
  const names = Object.entries(properties ?? {});
  if (names.length > 0) {
    const parts = names.map(([name, field]): Piece[] => [`${name}: `, ...typePieces(field)]);
    return ["{", ...joined(parts, ", "), "}"];
  }
  if (typeof additionalProperties === "object") return ["object of ", ...typePieces(additionalProperties)];
  return ["object"];
}

function joined(parts: Piece[][], by: string): Piece[] {
  return parts.flatMap((part, i) => (i === 0 ? part : [by, ...part]));
}
