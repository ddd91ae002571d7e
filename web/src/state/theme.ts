// Light or dark: as the system says until the user says otherwise.

import { computed, effect, signal } from "@preact/signals";

export type Theme = "light" | "dark";
const KEY = "microtome.theme";

const system = window.matchMedia("(prefers-color-scheme: dark)");
const systemDark = signal(system.matches);
system.addEventListener("change", () => (systemDark.value = system.matches));

const chosen = signal<Theme | null>(stored());

export const theme = computed<Theme>(() => chosen.value ?? (systemDark.value ? "dark" : "light"));

export function toggleTheme(): void {
  chosen.value = theme.peek() === "dark" ? "light" : "dark";
  window.localStorage.setItem(KEY, chosen.value);
}

export function followTheme(): () => void {
  return effect(() => {
    document.documentElement.dataset["theme"] = theme.value;
  });
}

function stored(): Theme | null {
  const value = window.localStorage.getItem(KEY);
  return value === "light" || value === "dark" ? value : null;
}
