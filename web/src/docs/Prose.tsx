/** A description: paragraphs, with code where it is in backticks. Markdown links keep their words. */
export function Prose({ text }: { text: string | undefined }) {
  if (!text) return null;
  const plain = text.replace(/\[([^\]]+)\](\([^)]*\))?/g, "$1");
  return (
    <>
      {plain.split(/\n\s*\n/).map((paragraph, i) => (
        <p class="prose" key={i}>
          {paragraph.split(/`([^`]+)`/).map((part, k) => (k % 2 === 1 ? <code key={k}>{part}</code> : part))}
        </p>
      ))}
    </>
  );
}
