import { useComputed } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { runExperiment } from "../api";
import { plain } from "../components";
import { asked, change, componentTitle, encode, parseComponent, snapshot, useResource, useRoles, workspace } from "../state";
import { SCORES, scoreOf, scoreTable } from "../views/roles";
import { importance } from "../views/surgery/questions";
import { actionsFor } from "./componentActions";
import { closeNow, closeSoon, keepOpen, openCard } from "./componentCard";
import type { OpenCard } from "./componentCard";

const GAP = 6;

/** The card of the part that is pointed at, wherever its name stands. */
export function ComponentCard() {
  const card = openCard.value;
  // Every view has its own names: a card does not outlive the one it was opened in.
  useLayoutEffect(() => closeNow(), [workspace.view.value]);
  return card && <Card key={card.name} card={card} />;
}

function Card({ card: { name, anchor } }: { card: OpenCard }) {
  const box = useRef<HTMLDivElement>(null);
  const [place, setPlace] = useState<{ left: number; top: number } | null>(null);
  useLayoutEffect(() => {
    const size = box.current?.getBoundingClientRect();
    if (!size) return;
    const at = anchor.getBoundingClientRect();
    const below = at.bottom + GAP + size.height <= window.innerHeight - 8;
    const left = Math.max(8, Math.min(at.left, window.innerWidth - size.width - 8));
    const top = Math.max(8, below ? at.bottom + GAP : at.top - GAP - size.height);
    if (place?.left !== left || place.top !== top) setPlace({ left, top });
  });
  // Opened by a press, it is there until something else is pressed.
  useEffect(() => {
    const away = ({ target }: Event): void => {
      const inside = target instanceof Node && (box.current?.contains(target) || (anchor instanceof Node && anchor.contains(target)));
      if (!inside) closeNow();
    };
    document.addEventListener("pointerdown", away, true);
    return () => document.removeEventListener("pointerdown", away, true);
  }, [anchor]);
  const component = parseComponent(name);
  if (!component) return null;
  return (
    <div
      class="componentcard" role="dialog" aria-label={name} ref={box} style={place ? { left: `${place.left}px`, top: `${place.top}px` } : { visibility: "hidden" }}
      onPointerEnter={keepOpen} onPointerLeave={closeSoon} onFocusIn={keepOpen} onFocusOut={closeSoon}
      onKeyDown={(event) => {
        if (event.key !== "Escape") return;
        closeNow();
        anchor.focus();
      }}
    >
      <div><strong class="mono">{name}</strong> <span class="soft">{componentTitle(component)}</span></div>
      {component.kind === "head" && <HeadFacts name={name} />}
      <ul>
        {actionsFor(name, component).map(({ text, fields }) => (
          <li key={text}>
            <a
              class="link" href={encode({ ...snapshot(), ...fields })}
              onClick={(event) => {
                if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
                event.preventDefault();
                closeNow();
                change(fields);
              }}
            >
              {text}
            </a>
          </li>
        ))}
      </ul>
    </div>
  );
}

/** A head's scores, and how it ranks among all heads for the prompt at hand. */
function HeadFacts({ name }: { name: string }) {
  const roles = useRoles().data.value;
  const key = useComputed(() => (asked.value && asked.value.prompt !== "" ? importance(asked.value, "gradient") : null));
  const record = useResource(key, runExperiment).data.value;
  const table = record?.results.tables?.[0] ?? null;
  const here = scoreOf(table, name);
  const rank = table && here !== null ? 1 + table.values.filter((value) => value !== null && value > here).length : null;
  return (
    <dl>
      {SCORES.map(({ value, name: score }) => (
        <div key={value}>
          <dt>{score}</dt>
          <dd>{format(scoreOf(scoreTable(roles, value), name))}</dd>
        </div>
      ))}
      <div>
        <dt title={table?.title}>importance here, by gradient</dt>
        <dd>{format(here)}{rank !== null && table && <span class="soft"> · {rank} of {table.values.length}</span>}</dd>
      </div>
    </dl>
  );
}

const format = (value: number | null): string => (value === null ? "…" : plain(value));
