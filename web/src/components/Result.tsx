import type { ComponentChildren } from "preact";
import type { Resource } from "../state";
import { Empty } from "./Empty";
import { ErrorBox } from "./ErrorBox";

interface ResultProps<T> {
  of: Resource<T>;
  /** What to say while nothing is asked. */
  empty?: ComponentChildren;
  children: (data: T, stale: boolean) => ComponentChildren;
}

/** A resource's answer, or why there is none. An error stands above the old answer, which is dimmed. */
export function Result<T>({ of, empty, children }: ResultProps<T>) {
  const data = of.data.value;
  const error = of.error.value;
  if (data === null && !error) {
    if (of.cancelled.value) return <Empty title="Stopped." fill><button type="button" class="link" onClick={of.retry}>Run it again</button></Empty>;
    return of.phase.value === "idle" ? <>{empty ?? null}</> : <Empty title={of.phase.value === "brief" ? "" : "Working …"} fill />;
  }
  return (
    <>
      {error && <ErrorBox error={error} {...(error.passing ? { onRetry: of.retry } : {})} />}
      {data !== null && of.cancelled.value && (
        <p class="soft small">Stopped; this is the older result. <button type="button" class="link" onClick={of.retry}>Run it again</button></p>
      )}
      {data !== null && children(data, of.stale.value)}
    </>
  );
}
