import { Prose } from "./Prose";
import { TypeText } from "./TypeText";
import { choices, fields, withoutNull } from "./openapi";
import type { OpenApi, Schema } from "./openapi";

/** What a value holds: its fields, or the ways it may be. */
export function Fields({ api, schema }: { api: OpenApi; schema: Schema }) {
  const several = choices(schema);
  const named = fields(api, schema);
  if (named.length > 0) {
    return (
      <dl class="fields">
        {named.map(({ name, schema: given, required }) => {
          const field = required ? given : withoutNull(given);
          return (
            <div key={name}>
              <dt><code>{name}</code> {!required && <span class="soft small">optional</span>}</dt>
              <dd>
                <TypeText schema={field} /> {field.default !== undefined && <span class="soft small">default <code>{JSON.stringify(field.default)}</code></span>}
                <Prose text={field.description} />
              </dd>
            </div>
          );
        })}
      </dl>
    );
  }
  if (several.length > 0) {
    return (
      <ul class="choices">
        {several.map((choice, i) => <li key={i}><TypeText schema={choice} /><Prose text={choice.description} /></li>)}
      </ul>
    );
  }
  return <p><TypeText schema={schema} /></p>;
}
