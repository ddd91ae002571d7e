// What went wrong, in the server's words where there are any.

import type { Problem } from "./schema";

export class ApiError extends Error {
  constructor(
    /** HTTP status; 0 where no answer came. */
    readonly status: number,
    /** The kind of error, a short name. */
    readonly error: string,
    readonly detail: string,
    readonly hint: string,
  ) {
    super(detail);
    this.name = "ApiError";
  }

  /** Nobody answered, or the server had too much to do: asking again may well help. */
  get passing(): boolean {
    return this.status === 0 || this.error === "busy";
  }
}

/** The error that an answer's status and body amount to. */
export function errorFrom(status: number, body: string): ApiError {
  const problem = problemIn(body);
  if (problem) return new ApiError(status, problem.error, problem.detail, problem.hint);
  const text = body.trim().slice(0, 300);
  return new ApiError(status, "unexpected", text || `the server answered with status ${status}`, "");
}

/** Whether something was given up on purpose rather than went wrong. */
export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

export function aborted(): DOMException {
  return new DOMException("given up", "AbortError");
}

/** Any thrown thing as an error to show. */
export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  // fetch throws TypeError when there is nobody at the other end.
  if (error instanceof TypeError) {
    const hint = "start it again with `microtome serve`, then try once more";
    return new ApiError(0, "unreachable", "the server does not answer", hint);
  }
  return new ApiError(0, "page", error instanceof Error ? error.message : String(error), "");
}

function problemIn(body: string): Problem | null {
  try {
    const value: unknown = JSON.parse(body);
    if (typeof value !== "object" || value === null) return null;
    const { error, detail, hint } = value as Partial<Problem>;
    if (typeof detail !== "string") return null;
    return { error: error ?? "unexpected", detail, hint: hint ?? "" };
  } catch {
    return null;
  }
}
