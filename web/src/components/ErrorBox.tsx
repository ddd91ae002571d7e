import type { ApiError } from "../api";
import { Button } from "./Button";

interface ErrorBoxProps {
  error: ApiError;
  onRetry?: () => void;
}

/** What went wrong and what to do about it, in the server's words. */
export function ErrorBox({ error, onRetry }: ErrorBoxProps) {
  const detail = error.detail.charAt(0).toUpperCase() + error.detail.slice(1);
  return (
    <div class="errorbox" role="alert">
      <div>{detail}</div>
      {error.hint && <div class="hint">{error.hint.charAt(0).toUpperCase() + error.hint.slice(1)}</div>}
      {onRetry && <div><Button small onPress={onRetry}>Try again</Button></div>}
    </div>
  );
}
