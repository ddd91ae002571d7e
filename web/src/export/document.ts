// An HTML document in one file, written in the browser: no script, nothing fetched when it is opened.

/** Text made safe to stand in HTML, in an attribute's quotes too. */
export function escapeHtml(text: string): string {
  const entities: { [char: string]: string } = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return text.replace(/[&<>"']/g, (char) => entities[char] ?? char);
}

const STYLE = `
:root { color-scheme: light dark; --ink: #1c1d1f; --soft: #66686d; --line: #dedcd6; --ground: #fbfaf8; --accent: #0f6e6e; --cut: #b93d33; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececee; --soft: #a2a4aa; --line: #35363b; --ground: #17181b; --accent: #5cc5c0; --cut: #f08a80; }
}
body { margin: 40px auto; max-width: 860px; padding: 0 20px; background: var(--ground); color: var(--ink); font: 14px/1.55 system-ui, sans-serif; }
h1 { font-size: 22px; margin: 0 0 4px; } h2 { font-size: 15px; margin: 32px 0 8px; } h3 { font-size: 13px; margin: 14px 0 2px; }
p { margin: 6px 0; } .soft, dt, caption { color: var(--soft); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 20px; margin: 0; } dd { margin: 0; overflow-wrap: anywhere; }
pre, code, .text { font-family: ui-monospace, monospace; font-size: 13px; }
pre { border: 1px solid var(--line); border-radius: 8px; padding: 12px; overflow: auto; max-height: 28em; }
.text { line-height: 2; white-space: pre-wrap; } .text span { border-bottom: 2px solid color-mix(in srgb, var(--accent) var(--p), transparent); }
.text .first { border-left: 2px solid var(--cut); padding-left: 2px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } caption { text-align: left; margin-bottom: 6px; }
th { font-weight: 400; color: var(--soft); } th, td { padding: 3px 10px 3px 0; vertical-align: top; text-align: right; border-bottom: 1px solid var(--line); } td:first-child.name, .definition { text-align: left; } td.name { white-space: nowrap; }
.is-cut { color: var(--cut); text-decoration: line-through; }
`;

/** A whole document. `body` is HTML. */
export function htmlDocument(title: string, body: string): string {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escapeHtml(title)}</title>
<style>${STYLE}</style>
<body>
${body}
</body>
</html>
`;
}
