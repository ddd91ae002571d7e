import { useEffect, useRef } from "preact/hooks";
import { VIEWS, change, encode, model, snapshot, workspace } from "../state";
import type { View } from "../state";

export const VIEW_NAMES: Readonly<Record<View, string>> = {
  surgery: "Surgery", ablation: "Ablation", patching: "Patching", lens: "Logit lens", attention: "Attention", attribution: "Attribution", circuit: "Circuit", neurons: "Neurons", features: "Features", steering: "Steering",
};

/** The views. They are links, so that one may be opened in another tab. */
export function Rail() {
  const go = (event: MouseEvent, view: View): void => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    change({ view });
  };
  // At the bottom of a narrow window the bar is longer than the window: the view on show is in sight.
  const bar = useRef<HTMLElement>(null);
  useEffect(() => {
    const [nav, link] = [bar.current, bar.current?.querySelector<HTMLElement>("[aria-current]")];
    if (nav && link) nav.scrollLeft = link.offsetLeft - (nav.clientWidth - link.offsetWidth) / 2;
  }, [workspace.view.value]);
  return (
    <nav class="rail" aria-label="Views" ref={bar}>
      {VIEWS.map((view) => (
        <a key={view} href={encode({ ...snapshot(), view })} aria-current={workspace.view.value === view ? "page" : undefined} onClick={(event) => go(event, view)}>
          {VIEW_NAMES[view]}
        </a>
      ))}
      <div class="foot">
        <a href="/docs">API</a>
        <span>{model.value ? `version ${model.value.version}` : ""}</span>
      </div>
    </nav>
  );
}
