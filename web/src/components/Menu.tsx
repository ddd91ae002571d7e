import { useEffect, useRef, useState } from "preact/hooks";

export interface MenuItem {
  key: string;
  text: string;
  note?: string | undefined;
  disabled?: boolean;
  onPress?: () => void;
  href?: string;
  download?: string;
}

interface MenuProps {
  text: string;
  label?: string;
  items: readonly MenuItem[];
  align?: "left" | "right";
}

/** A button that opens a list. Escape, a click elsewhere and Tab close it; arrows go through it. */
export function Menu({ text, label, items, align = "right" }: MenuProps) {
  const [open, setOpen] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  const opener = useRef<HTMLButtonElement>(null);
  const all = (): HTMLElement[] => Array.from(box.current?.querySelectorAll<HTMLElement>('[role="menuitem"]') ?? []);
  useEffect(() => {
    if (!open) return;
    all()[0]?.focus();
    const away = (event: PointerEvent): void => {
      if (event.target instanceof Node && !box.current?.contains(event.target)) setOpen(false);
    };
    document.addEventListener("pointerdown", away);
    return () => document.removeEventListener("pointerdown", away);
  }, [open]);
  const close = (): void => {
    setOpen(false);
    opener.current?.focus();
  };
  const walk = (event: KeyboardEvent): void => {
    if (!open) return;
    if (event.key === "Escape") {
      event.stopPropagation();
      close();
    } else if (event.key === "Tab") {
      setOpen(false);
    } else if (["ArrowDown", "ArrowUp", "Home", "End"].includes(event.key)) {
      event.preventDefault();
      const list = all();
      const now = list.indexOf(document.activeElement as HTMLElement);
      const next = { ArrowDown: now + 1, ArrowUp: now - 1 + list.length, Home: 0, End: list.length - 1 }[event.key] ?? 0;
      list[next % list.length]?.focus();
    }
  };
  return (
    <div class={`menu ${align}`} ref={box} onKeyDown={walk}>
      <button type="button" class="button" ref={opener} aria-haspopup="menu" aria-expanded={open} aria-label={label} onClick={() => setOpen(!open)}>
        {text} <span aria-hidden="true">▾</span>
      </button>
      {open && (
        <div class="list" role="menu" aria-label={label ?? text}>
          {items.map((item) => <Item key={item.key} item={item} onDone={close} />)}
        </div>
      )}
    </div>
  );
}

function Item({ item, onDone }: { item: MenuItem; onDone: () => void }) {
  const inside = (
    <>
      <span>{item.text}</span>
      {item.note && <span class="soft small">{item.note}</span>}
    </>
  );
  if (item.href) return <a class="item" role="menuitem" tabIndex={-1} href={item.href} download={item.download} onClick={onDone}>{inside}</a>;
  const press = (): void => {
    onDone();
    item.onPress?.();
  };
  return <button type="button" class="item" role="menuitem" tabIndex={-1} disabled={item.disabled} onClick={press}>{inside}</button>;
}
