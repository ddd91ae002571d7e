import type { Far, Phase } from "../state";
import { Button } from "./Button";

interface WorkingProps {
  phase: Phase;
  progress?: Far | null;
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
  /** What is counted; runs where left out. */
  unit?: string;
}

/** How far it is and a way to stop, once something takes over half a second. */
export function Progress({ phase, progress, onStop, unit = "runs" }: ProgressProps) {
  if (phase !== "long") return null;
  return (
    <span class="progress" role="status">
      {howFar(progress, unit)}
      <Button small onPress={onStop}>Stop</Button>
    </span>
  );
}

/** `12 of 90 runs`; on a busy server, that its turn has not come. */
export function howFar(progress: Far | null | undefined, unit: string): string {
  if (progress?.queued) return "waiting in line";
  return progress && progress.runs_wanted > 1 ? `${progress.runs} of ${progress.runs_wanted} ${unit}` : "working";
}
