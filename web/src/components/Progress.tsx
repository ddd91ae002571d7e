import type { Phase } from "../state";
import { Button } from "./Button";

interface WorkingProps {
  phase: Phase;
  progress?: { runs: number; runs_wanted: number } | null;
}

/** A thin line that moves once something takes over 100 ms; it keeps its place so that nothing jumps. */
export function Working({ phase, progress }: WorkingProps) {
  const on = phase === "working" || phase === "long";
  const known = on && progress && progress.runs_wanted > 1;
  const share = known ? `${(100 * progress.runs) / progress.runs_wanted}%` : "0%";
  return <div class={`working ${on ? "on" : ""} ${known ? "known" : ""}`} style={{ "--done": share }} aria-hidden="true" />;
}

interface ProgressProps extends WorkingProps {
  onStop: () => void;
}

/** How far it is and a way to stop, once something takes over half a second. */
export function Progress({ phase, progress, onStop }: ProgressProps) {
  if (phase !== "long") return null;
  const far = progress && progress.runs_wanted > 1 ? `${progress.runs} of ${progress.runs_wanted} runs` : "working";
  return (
    <span class="progress" role="status">
      {far}
      <Button small onPress={onStop}>Stop</Button>
    </span>
  );
}
