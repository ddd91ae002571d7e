import { useSignal } from "@preact/signals";
import { Button } from "../../components";
import { change, workspace } from "../../state";

/** One more prompt whose curves are drawn. */
export function AddPrompt() {
  const text = useSignal("");
  const { others, corrupt, prompt } = workspace;
  const add = (added: string): void => {
    if (added.trim() === "" || others.peek().includes(added)) return;
    change({ others: [...others.peek(), added] });
    text.value = "";
  };
  const submit = (event: Event): void => {
    event.preventDefault();
    add(text.value);
  };
  const offersCorrupt = corrupt.value !== "" && corrupt.value !== prompt.value && !others.value.includes(corrupt.value);
  return (
    <form class="row tight addprompt" onSubmit={submit}>
      <input class="textbox mono grow" aria-label="Another prompt" placeholder="Another prompt to compare" value={text.value} onInput={(event) => (text.value = event.currentTarget.value)} />
      <button type="submit" class="button small" disabled={text.value.trim() === ""}>Add</button>
      {offersCorrupt && <Button small onPress={() => add(corrupt.peek())} title={corrupt.value}>Add corrupt</Button>}
    </form>
  );
}
