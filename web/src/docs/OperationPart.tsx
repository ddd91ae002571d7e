import { Button } from "../components/Button";
import { curlOf } from "./example";
import { Fields } from "./Fields";
import { Prose } from "./Prose";
import { TypeText } from "./TypeText";
import { resolve } from "./openapi";
import type { Content, OpenApi, Operation } from "./openapi";

interface OperationPartProps {
  api: OpenApi;
  operation: Operation;
  onCopy: (text: string) => void;
}

/** One request: what it takes, what it answers, how to send it. */
export function OperationPart({ api, operation, onCopy }: OperationPartProps) {
  const { method, path, summary, description, parameters = [], requestBody, responses = {}, anchor } = operation;
  const curl = curlOf(api, operation, window.location.origin);
  const body = Object.entries(requestBody?.content ?? {});
  return (
    <article class="panel operation" id={anchor} aria-labelledby={`${anchor}-name`}>
      <header>
        <h3 id={`${anchor}-name`}><span class="method">{method.toUpperCase()}</span> <a href={`#${anchor}`}>{path}</a></h3>
      </header>
      <Prose text={summary} />
      {description !== summary && <Prose text={description} />}
      {parameters.length > 0 && (
        <>
          <h4>Parameters</h4>
          <dl class="fields">
            {parameters.map((parameter) => (
              <div key={parameter.name}>
                <dt><code>{parameter.name}</code> <span class="soft small">{parameter.in}{parameter.required ? "" : ", optional"}</span></dt>
                <dd>{parameter.schema && <TypeText schema={parameter.schema} />}<Prose text={parameter.description} /></dd>
              </div>
            ))}
          </dl>
        </>
      )}
      {body.map(([type, content]) => (
        <section key={type}>
          <h4>Request <ContentType type={type} content={content} /></h4>
          {content.schema && <Fields api={api} schema={resolve(api, content.schema)} />}
        </section>
      ))}
      <h4>Answers</h4>
      <dl class="fields answers">
        {Object.entries(responses).map(([status, answer]) => (
          <div key={status}>
            <dt><code>{status}</code></dt>
            <dd>
              {Object.entries(answer.content ?? {}).map(([type, content]) => <ContentType key={type} type={type} content={content} />)}
              <Prose text={answer.description} />
            </dd>
          </div>
        ))}
      </dl>
      <div class="curl">
        <pre tabIndex={0} aria-label={`curl command for ${method} ${path}`}>{curl}</pre>
        <Button small onPress={() => onCopy(curl)}>Copy</Button>
      </div>
    </article>
  );
}

function ContentType({ type, content }: { type: string; content: Content }) {
  return (
    <span class="content">
      {content.schema && type.includes("json") && <TypeText schema={content.schema} />}
      {!type.includes("json") && <code>{type}</code>}
    </span>
  );
}
