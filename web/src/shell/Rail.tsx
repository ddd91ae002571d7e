import { VIEWS, change, encode, model, snapshot, workspace } from "../state";
import type { View } from "../state";

export const VIEW_NAMES: Readonly<Record<View, string>> = {
  surgery: "Surgery", ablation: "Ablation", patching: "Patching", lens: "Logit lens", attention: "Attention", circuit: "Circuit",
};

/** The views. They are links, so that one may be opened in another tab. */
export function Rail() {
  const go = (event: MouseEvent, view: View): void => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    change({ view });
  };
  return (
    <nav class="rail" aria-label="Views">
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
