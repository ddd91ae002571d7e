// Quoting for POSIX shells.

/** A word as a shell reads it back: bare where nothing in it means anything, else in single quotes. */
export function quote(word: string): string {
  if (/^[A-Za-z0-9_@%+=:,./-]+$/.test(word)) return word;
  return `'${word.replaceAll("'", "'\\''")}'`;
}

/** Words as one command, broken into lines of at most about `width` characters between options. */
export function commandLine(words: readonly string[], width = 100): string {
  const lines: string[] = [];
  let line = "";
  for (const word of words) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = `  ${word}`;
    } else {
      line += line === "" ? word : ` ${word}`;
    }
  }
  return [...lines, line].join(" \\\n");
}
