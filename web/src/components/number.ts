// Numbers as they are shown: the API's values, rounded for reading.

/** A change, with its sign; zero has none. */
export function signed(value: number): string {
  const text = plain(Math.abs(value));
  if (Number(text) === 0) return plain(0);
  return (value < 0 ? "−" : "+") + text;
}

/** About three figures: `0.92`, `14.7`, `1284`; whole numbers, as ranks are, as they are. */
export function plain(value: number): string {
  if (Number.isInteger(value)) return String(value).replace("-", "−");
  const size = Math.abs(value);
  const digits = size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2;
  const text = value.toFixed(digits).replace("-", "−");
  return /[1-9]/.test(text) ? text : text.replace("−", "");
}

/** All that matters of a value: six significant figures. */
export function exact(value: number): string {
  if (value === 0) return "0";
  return Number(value.toPrecision(6)).toString().replace("-", "−").replace("e−", "e-");
}

/** A probability in percent: `91 %`, `0.3 %`, `< 0.1 %`. */
export function percent(prob: number): string {
  const value = prob * 100;
  if (value >= 99.95) return "100 %";
  if (value >= 9.95) return `${value.toFixed(0)} %`;
  if (value >= 0.095) return `${value.toFixed(1)} %`;
  return value === 0 ? "0 %" : "< 0.1 %";
}

/** A duration in the unit that reads best: `61 ms`, `1.4 s`. */
export function duration(secs: number): string {
  if (secs < 0.0095) return `${(secs * 1000).toFixed(1)} ms`;
  if (secs < 0.9995) return `${(secs * 1000).toFixed(0)} ms`;
  return secs < 99.95 ? `${secs.toFixed(1)} s` : `${Math.floor(secs / 60)} min ${Math.round(secs % 60)} s`;
}

/** A number in full, with its sign. */
export function signedExact(value: number): string {
  return value > 0 ? `+${exact(value)}` : exact(value);
}
