import { useEffect, useState } from "preact/hooks";
import { asApiError } from "../api/problem";
import type { ApiError } from "../api/problem";
import { getJson } from "../api/client";
import { Empty } from "../components/Empty";
import { ErrorBox } from "../components/ErrorBox";
import { Fields } from "./Fields";
import { OperationPart } from "./OperationPart";
import { Prose } from "./Prose";
import { groups } from "./openapi";
import type { OpenApi } from "./openapi";

/** Everything the server answers, read from its own description. */
export function DocsPage() {
  const [api, setApi] = useState<OpenApi | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const [said, setSaid] = useState("");
  const load = (): void => {
    setError(null);
    getJson<OpenApi>("/openapi.json").then(setApi, (thrown: unknown) => setError(asApiError(thrown)));
  };
  useEffect(load, []);
  // The browser looked for the place in the address before there was anything.
  useEffect(() => {
    if (api && window.location.hash) document.getElementById(window.location.hash.slice(1))?.scrollIntoView();
  }, [api]);
  const copy = (text: string): void => {
    navigator.clipboard.writeText(text).then(() => setSaid("Copied"), () => setSaid("The browser does not allow copying"));
    setTimeout(() => setSaid(""), 2000);
  };
  if (error) return <main class="docs alone"><ErrorBox error={error} onRetry={load} /></main>;
  if (!api) return <main class="docs alone"><Empty title="Reading the server's description …" fill /></main>;
  const parts = groups(api);
  const types = Object.entries(api.components?.schemas ?? {});
  return (
    <div class="docs">
      <nav class="contents" aria-label="Contents">
        <a class="brand" href="/">micro<span>tome</span></a>
        {parts.map(({ name, operations }) => (
          <div key={name}>
            <h2>{name}</h2>
            {operations.map(({ method, path, anchor }) => (
              <a key={anchor} href={`#${anchor}`}><span class="method">{method.toUpperCase()}</span> <span class="path">{path}</span></a>
            ))}
          </div>
        ))}
        <div><h2>Types</h2><a href="#types">{types.length} types</a></div>
      </nav>
      <main>
        <h1>{api.info.title} <span class="soft">{api.info.version}</span></h1>
        <Prose text={api.info.description} />
        <p class="soft">The same for programs: <a href="/openapi.json">/openapi.json</a>.</p>
        {parts.map(({ name, description, operations }) => (
          <section key={name} class="stack">
            <h2>{name}</h2>
            <Prose text={description} />
            {operations.map((operation) => <OperationPart key={operation.anchor} api={api} operation={operation} onCopy={copy} />)}
          </section>
        ))}
        <section class="stack" id="types">
          <h2>Types</h2>
          {types.map(([name, schema]) => (
            <article class="panel operation" key={name} id={`type-${name}`}>
              <h3><a href={`#type-${name}`}>{name}</a></h3>
              <Prose text={schema.description} />
              <Fields api={api} schema={schema} />
            </article>
          ))}
        </section>
      </main>
      <div class="toast" role="status">{said}</div>
    </div>
  );
}
