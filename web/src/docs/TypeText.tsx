import type { Schema } from "./openapi";
import { typePieces } from "./typeText";

/** A type in a line; named types are links to where they are told. */
export function TypeText({ schema }: { schema: Schema }) {
  return (
    <code class="type">
      {typePieces(schema).map((piece, i) => (typeof piece === "string" ? piece : <a key={i} href={`#type-${piece.ref}`}>{piece.ref}</a>))}
    </code>
  );
}
