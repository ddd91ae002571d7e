import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";

interface HoverCardProps {
  at: { x: number; y: number };
  children: ComponentChildren;
}

const OFFSET = 14;

/** A card beside the pointer, kept inside the window. */
export function HoverCard({ at, children }: HoverCardProps) {
  const card = useRef<HTMLDivElement>(null);
  const [size, setSize] = useState({ width: 0, height: 0 });
  useLayoutEffect(() => {
    const box = card.current?.getBoundingClientRect();
    if (box && (box.width !== size.width || box.height !== size.height)) setSize({ width: box.width, height: box.height });
  });
  const left = at.x + OFFSET + size.width > window.innerWidth - 8 ? Math.max(8, at.x - OFFSET - size.width) : at.x + OFFSET;
  const top = at.y + OFFSET + size.height > window.innerHeight - 8 ? Math.max(8, at.y - OFFSET - size.height) : at.y + OFFSET;
  return <div class="hovercard" role="tooltip" ref={card} style={{ left: `${left}px`, top: `${top}px` }}>{children}</div>;
}
