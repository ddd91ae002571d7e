export * from "./client";
export { ApiError, asApiError, isAbort } from "./problem";
export type * from "./schema";
