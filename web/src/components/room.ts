// How much room an element has to draw in.

import type { RefObject } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Room } from "./heatmapLayout";

/** Where panels stack, nothing bounds the height from above. */
const STACKED = "(max-width: 859px)";

/** The element's size as it changes; the height is null where the content decides it. */
export function useRoom(fit: "width" | "both"): [RefObject<HTMLDivElement>, Room] {
  const box = useRef<HTMLDivElement>(null);
  const [room, setRoom] = useState<Room>({ width: 0, height: null });
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const measure = (): void => {
      const bounded = fit === "both" && !window.matchMedia(STACKED).matches;
      const next = { width: element.clientWidth, height: bounded ? element.clientHeight : null };
      setRoom((old) => (old.width === next.width && old.height === next.height ? old : next));
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, [fit]);
  return [box, room];
}
