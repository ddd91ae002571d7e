// Everything an answered experiment can be saved as. Drawings and tables come from the server, so that
// a file looks the same whoever asked for it.

import { fetchBlob, finishedJob } from "../api/client";
import type { Experiment, ExperimentRecord } from "../api/schema";
import { fileName, saveFile, saveText } from "./download";

export interface Artefact {
  /** What a menu calls it. */
  label: string;
  save: () => Promise<void>;
}

/** The record as it is, and of the table at `table` a drawing and its numbers. */
export function artefacts(record: ExperimentRecord, table = 0): Artefact[] {
  const { experiment } = record;
  const json: Artefact = {
    label: "Record (JSON)",
    save: () => Promise.resolve(saveRecord(record)),
  };
  if ((record.results.tables ?? []).length <= table) return [json];
  const fetched = (label: string, path: string, ending: string): Artefact => ({
    label,
    save: () => saveFromServer(experiment, path, fileName(experiment, ending)),
  });
  return [
    fetched("Plot (PNG)", `plot.png?table=${table}`, "png"),
    fetched("Plot (SVG)", `plot.svg?table=${table}`, "svg"),
    fetched("Table (CSV)", `table.csv?table=${table}`, "csv"),
    fetched("All tables (safetensors)", "tables.safetensors", "safetensors"),
    json,
  ];
}

/** The drawing of estimates against measurements, of a record that has both. */
export function scatterFiles({ experiment }: ExperimentRecord): Artefact[] {
  const file = (label: string, ending: string): Artefact => ({
    label, save: () => saveFromServer(experiment, `scatter.${ending}`, fileName(experiment, `scatter.${ending}`)),
  });
  return [file("Agreement (SVG)", "svg"), file("Agreement (PNG)", "png")];
}

export function saveRecord(record: ExperimentRecord): void {
  const name = fileName(record.experiment, "json");
  saveText(name, `${JSON.stringify(record, null, 2)}\n`, "application/json");
}

/** The server keeps answers by experiment: asking again costs nothing while it does. */
async function saveFromServer(experiment: Experiment, path: string, name: string): Promise<void> {
  const id = await finishedJob(experiment);
  saveFile(name, await fetchBlob(`/api/experiments/${id}/${path}`));
}
