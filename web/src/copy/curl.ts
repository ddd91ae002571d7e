// An experiment as a request to this server. The answer is the job's events, the record last.

import type { Experiment } from "../api/schema";
import { readableJson } from "./json";
import { quote } from "./shell";

export interface CurlOptions {
  /** Where the server is: `http://127.0.0.1:8642`. */
  origin: string;
  /** Whether it asks for a token, which is then read from the environment rather than written down. */
  needsToken?: boolean;
}

export function curlFor(experiment: Experiment, { origin, needsToken = false }: CurlOptions): string {
  const lines = [
    `curl -sSN ${quote(`${origin}/api/experiments`)}`,
    "-H 'Accept: text/event-stream'",
    "-H 'Content-Type: application/json'",
    ...(needsToken ? ['-H "Authorization: Bearer $MICROTOME_TOKEN"'] : []),
    `--data-raw ${quote(readableJson(experiment))}`,
  ];
  return lines.join(" \\\n  ");
}
