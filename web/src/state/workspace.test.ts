// @vitest-environment happy-dom
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { canRedo, canUndo, change, openWorkspace, settle, stepped, typed, typing, workspace } from "./workspace";

const push = vi.spyOn(window.history, "pushState");
const replace = vi.spyOn(window.history, "replaceState");

describe("the workspace", () => {
  beforeEach(() => {
    vi.useFakeTimers();
    openWorkspace();
    vi.advanceTimersByTime(5000);
    push.mockClear();
    replace.mockClear();
  });
  afterEach(() => void vi.useRealTimers());

  it("makes_a_deliberate_change_one_step", () => {
    change({ view: "lens", pos: 3 });
    expect(push).toHaveBeenCalledTimes(1);
    expect(workspace.pos.value).toBe(3);
    expect(canUndo()).toBe(true);
    expect(canRedo()).toBe(false);
  });
  it("makes_no_step_of_a_change_that_changes_nothing", () => {
    change({ cut: ["L0H0"] });
    change({ cut: ["L0H0"] });
    expect(push).toHaveBeenCalledTimes(1);
  });
  it("makes_one_step_of_a_burst_of_keystrokes_and_another_after_a_pause", () => {
    typed({ prompt: "a" });
    typed({ prompt: "ab" });
    typed({ prompt: "abc" });
    expect([push.mock.calls.length, replace.mock.calls.length]).toEqual([1, 2]);
    expect(typing.value).toBe(true);
    vi.advanceTimersByTime(2000);
    expect(typing.value).toBe(false);
    typed({ prompt: "abcd" });
    expect(push).toHaveBeenCalledTimes(2);
  });
  it("does_not_take_arrow_keys_for_typing", () => {
    stepped({ pos: 1 });
    stepped({ pos: 2 });
    expect(typing.value).toBe(false);
    expect(push).toHaveBeenCalledTimes(1);
  });
  it("makes_no_step_of_what_the_page_fills_in", () => {
    settle({ prompt: "filled in" });
    expect([push.mock.calls.length, replace.mock.calls.length]).toEqual([0, 1]);
  });
  it("follows_the_browser_back", () => {
    change({ view: "attention" });
    window.history.replaceState({ index: 0 }, "", "/?view=lens&prompt=back");
    window.dispatchEvent(new PopStateEvent("popstate"));
    expect(workspace.view.value).toBe("lens");
    expect(workspace.prompt.value).toBe("back");
    expect(canRedo()).toBe(true);
  });
});
