import type { ComponentChildren } from "preact";

/** Nothing to show yet, and what to do about it. */
export function Empty({ title, children, fill }: { title: string; children?: ComponentChildren; fill?: boolean }) {
  return (
    <div class={fill ? "empty fill" : "empty"}>
      <div>{title}</div>
      {children}
    </div>
  );
}
