import type { ComponentChildren } from "preact";

interface PanelProps {
  title?: ComponentChildren;
  note?: ComponentChildren;
  aside?: ComponentChildren;
  /** Takes the height that is left. */
  fill?: boolean;
  /** Scrolls by itself where its content is taller. */
  scroll?: boolean;
  /** What it is called where it has no title in words. */
  label?: string;
  class?: string;
  children?: ComponentChildren;
}

/** A framed part of a view. */
export function Panel({ title, note, aside, fill, scroll, label, class: more, children }: PanelProps) {
  const names = ["panel", fill && "fill", scroll && "scroll", more].filter(Boolean).join(" ");
  // A region that scrolls must be reachable by keyboard.
  return (
    <section class={names} aria-label={label} {...(scroll ? { tabIndex: 0 } : {})}>
      {(title || aside) && (
        <header>
          {title && <h2>{title}</h2>}
          {note && <span class="note">{note}</span>}
          {aside && <div class="aside">{aside}</div>}
        </header>
      )}
      {children}
    </section>
  );
}
