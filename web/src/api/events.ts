// Server-sent events read from a fetch answer: EventSource can neither POST nor be aborted cleanly.

export interface ServerEvent {
  event: string;
  data: string;
}

/**
 * Cuts a stream of text into events, by the rules of the HTML standard: lines end in CR, LF or both;
 * an empty line ends an event; `data` lines are joined by newlines; a line that starts with a colon
 * is a comment.
 */
export class EventSplitter {
  private rest = "";
  private event = "";
  private data: string[] = [];

  push(text: string): ServerEvent[] {
    const events: ServerEvent[] = [];
    this.rest += text;
    for (;;) {
      const end = this.rest.search(/\r|\n/);
      // A CR at the very end may be the first half of a CR LF that the next piece completes.
      if (end < 0 || (this.rest[end] === "\r" && end === this.rest.length - 1)) return events;
      const line = this.rest.slice(0, end);
      const width = this.rest.startsWith("\r\n", end) ? 2 : 1;
      this.rest = this.rest.slice(end + width);
      const event = this.line(line);
      if (event) events.push(event);
    }
  }

  private line(line: string): ServerEvent | null {
    if (line === "") {
      const { event, data } = this;
      this.event = "";
      this.data = [];
      return data.length > 0 ? { event: event || "message", data: data.join("\n") } : null;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return null;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.event = value;
    if (field === "data") this.data.push(value);
    return null;
  }
}

/** Reads events until the stream ends or `onEvent` returns true. */
export async function readEvents(
  body: ReadableStream<Uint8Array>,
  onEvent: (event: ServerEvent) => boolean,
): Promise<void> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const splitter = new EventSplitter();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      const text = done ? decoder.decode() : decoder.decode(value, { stream: true });
      for (const event of splitter.push(text)) {
        if (onEvent(event)) return;
      }
      if (done) return;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
