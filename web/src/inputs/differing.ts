// Which tokens of two prompts are not each other's.

/**
 * Position by position where there are as many; where there are not, what is in no longest common
 * subsequence, so that one word too many marks one word.
 */
export function differing(a: readonly string[], b: readonly string[]): [boolean[], boolean[]] {
  if (a.length === b.length) {
    const odd = a.map((label, i) => label !== b[i]);
    return [odd, odd];
  }
  const width = b.length + 1;
  // longest[i * width + j]: length of the longest common subsequence of a[i..] and b[j..]
  const longest = new Uint16Array((a.length + 1) * width);
  const at = (i: number, j: number): number => longest[i * width + j] ?? 0;
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      longest[i * width + j] = a[i] === b[j] ? 1 + at(i + 1, j + 1) : Math.max(at(i + 1, j), at(i, j + 1));
    }
  }
  const oddA = a.map(() => true);
  const oddB = b.map(() => true);
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    if (a[i] === b[j]) {
      oddA[i++] = false;
      oddB[j++] = false;
    } else if (at(i + 1, j) >= at(i, j + 1)) i += 1;
    else j += 1;
  }
  return [oddA, oddB];
}
