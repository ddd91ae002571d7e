import { useSignal } from "@preact/signals";
import { Button, Segmented } from "../../components";
import { ownText, scanned } from "./text";

/** The most of a file that is read: the server takes no more. */
const MOST_BYTES = 512 * 1024;

/** The text that is scanned: the examples' prompts, or one of one's own. `longer` is the command for texts that are too long. */
export function TextChoice({ longer }: { longer: string }) {
  const trouble = useSignal("");
  const own = scanned.value !== null;
  const take = async (file: File | undefined): Promise<void> => {
    if (!file) return;
    const text = await file.slice(0, MOST_BYTES).text();
    // A character cut in two at the end becomes a sign of its own.
    ownText.value = text.replace(/\uFFFD$/, "");
    scanned.value = ownText.value;
    trouble.value = file.size > MOST_BYTES ? `The first ${MOST_BYTES / 1024} KiB of ${file.name}. Longer texts: ${longer}.` : "";
  };
  return (
    <div class="textchoice">
      <Segmented
        label="Text" showLabel value={own ? "own" : "examples"} onChange={(which) => (scanned.value = which === "own" ? ownText.value : null)}
        options={[{ value: "examples", text: "The examples", title: "The prompts under Examples" }, { value: "own", text: "Your own" }]}
      />
      {own && (
        <>
          <textarea
            class="textbox mono" rows={4} aria-label="Text to scan" placeholder="Paste a text" spellcheck={false} value={ownText.value}
            onInput={(event) => (ownText.value = event.currentTarget.value)}
          />
          <span class="row tight">
            <Button small onPress={() => (scanned.value = ownText.value)} disabled={ownText.value.trim() === "" || ownText.value === scanned.value}>Scan</Button>
            <label class="button small">
              Choose a file
              <input type="file" class="hidden-text" accept="text/*,.txt,.md,.csv,.json" onChange={(event) => void take(event.currentTarget.files?.[0])} />
            </label>
          </span>
          {trouble.value && <p class="soft small">{trouble.value}</p>}
        </>
      )}
    </div>
  );
}
