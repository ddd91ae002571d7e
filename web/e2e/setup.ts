// One server for all tests that do nothing to it.

import type { TestProject } from "vitest/node";
import { startServer } from "./server";

declare module "vitest" {
  export interface ProvidedContext {
    /** Where the shared server answers: `http://127.0.0.1:PORT`. */
    server: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await startServer();
  project.provide("server", server.url);
  return server.stop;
}
