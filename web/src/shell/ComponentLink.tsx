import type { ComponentChildren } from "preact";
import { change, encode, parseComponent, snapshot } from "../state";
import { actionsFor } from "./componentActions";
import { cardHandlers, closeNow, closeSoon, openCard, openNow } from "./componentCard";

interface ComponentLinkProps {
  /** As the API writes it: `L4H6`, `m4`, `a4`, `L4N120`. */
  name: string;
  /** What is shown instead of the name. */
  children?: ComponentChildren;
}

/** A part of the model by name: a link to the view that shows it, with a card of what is known of it. */
export function ComponentLink({ name, children }: ComponentLinkProps) {
  const component = parseComponent(name);
  const action = component && actionsFor(name, component)[0];
  if (!action) return <span class="mono">{children ?? name}</span>;
  const open = openCard.value?.name === name;
  return (
    <a
      class="link mono component" href={encode({ ...snapshot(), ...action.fields })} aria-haspopup="dialog" aria-expanded={open}
      title={undefined} {...cardHandlers(name)}
      onFocus={(event) => event.currentTarget.matches(":focus-visible") && openNow({ name, anchor: event.currentTarget })}
      onBlur={closeSoon}
      onPointerDown={(event) => {
        // A finger has no hovering: its first touch opens the card, which has the links.
        if (event.pointerType !== "mouse" && openCard.peek()?.name !== name) openNow({ name, anchor: event.currentTarget });
      }}
      onKeyDown={(event) => {
        if (event.key === "Escape") closeNow();
        if (event.key !== "ArrowDown") return;
        event.preventDefault();
        document.querySelector<HTMLElement>(".componentcard a")?.focus();
      }}
      onClick={(event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
        event.preventDefault();
        const touched = (event as MouseEvent & { pointerType?: string }).pointerType === "touch";
        if (touched) return;
        closeNow();
        change(action.fields);
      }}
    >
      {children ?? name}
    </a>
  );
}
