export { artefacts, saveRecord, scatterFiles } from "./artefacts";
export type { Artefact } from "./artefacts";
export { escapeHtml, htmlDocument } from "./document";
export { fileName, saveFile, saveText } from "./download";
