// A server of one's own: started on a free port, and certain to end with the tests.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { resolve } from "node:path";

export interface Server {
  url: string;
  port: number;
  /** Ends it as an operator would, and waits until it has ended. */
  stop: () => Promise<void>;
  /** Ends it at once, as a crash would. */
  kill: () => Promise<void>;
}

const START_MS = 60_000;
const SAID = /http:\/\/127\.0\.0\.1:(\d+)/;

/** The program that is tested. */
export function program(): string {
  return resolve(process.env["MICROTOME_BIN"] ?? resolve(import.meta.dirname, "../../target/debug/microtome"));
}

export async function startServer(more: readonly string[] = [], port = 0): Promise<Server> {
  if (!existsSync(program())) throw new Error(`no server at ${program()}: build it, or say where it is in MICROTOME_BIN`);
  const child = spawn(program(), ["serve", "--no-open", "--port", String(port), ...more], {
    env: { ...process.env, RUST_LOG: "warn" }, stdio: ["ignore", "pipe", "pipe"],
  });
  const over = new Promise<void>((done) => child.once("close", () => done()));
  let log = "";
  child.stderr.on("data", (piece: Buffer) => (log += piece.toString()));
  const found = await new Promise<number>((done, fail) => {
    const late = setTimeout(() => fail(new Error(`the server does not say where it is; its log:\n${log}`)), START_MS);
    let said = "";
    child.stdout.on("data", (piece: Buffer) => {
      said += piece.toString();
      const at = SAID.exec(said)?.[1];
      if (at === undefined) return;
      clearTimeout(late);
      done(Number(at));
    });
    void over.then(() => fail(new Error(`the server ended by itself; its log:\n${log}`)));
  });
  const end = (sign: NodeJS.Signals) => async (): Promise<void> => {
    child.kill(sign);
    await over;
  };
  return { url: `http://127.0.0.1:${found}`, port: found, stop: end("SIGTERM"), kill: end("SIGKILL") };
}
