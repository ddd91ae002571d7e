//! Files of a circuit: its picture, DOT, and the JSON that other programs read.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use microtome::circuit::attribution_graph::attribution_graph;
use microtome::circuit::dot::dot;
use microtome::circuit::eap_json::eap_json;
use microtome::circuit::scores::Keep;
use microtome::circuit::{Circuit, EdgeScores};
use microtome::{Experiment, Record, TextModel};

use crate::answer::check_own_file;
use crate::output::{OutputArgs, write_picture};
use crate::whole_file::write_whole;

/// Where a circuit is written to.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Output")]
pub struct CircuitFiles {
    /// Draw the circuit as a graph, an SVG, or a PNG where the name ends so
    #[arg(long, value_name = "FILE")]
    graph: Option<PathBuf>,
    /// Write the circuit in DOT, the language of Graphviz
    #[arg(long, value_name = "FILE")]
    dot: Option<PathBuf>,
    /// Write the scores as the JSON that the EAP-IG library and MIB read, the circuit in_graph
    #[arg(long, value_name = "FILE")]
    eap: Option<PathBuf>,
    /// Write the circuit as the attribution-graph JSON that public viewers open; of one prompt pair
    #[arg(long, value_name = "FILE")]
    attribution_graph: Option<PathBuf>,
}

/// Edges of a circuit that is written, where --top does not say.
const DEFAULT_TOP: usize = 100;

impl CircuitFiles {
    /// Whether any file is asked for.
    fn any(&self) -> bool {
        self.named().iter().any(|(_, file)| file.is_some())
    }

    /// Whether every file has a place of its own that can be written, and can be made of this experiment.
    fn check(&self, experiment: &Experiment, output: &OutputArgs) -> Result<()> {
        let given: Vec<(&str, &PathBuf)> =
            self.named().into_iter().filter_map(|(flag, file)| Some((flag, file.as_ref()?))).collect();
        for (i, (flag, file)) in given.iter().enumerate() {
            if let Some((other, _)) = given[..i].iter().find(|(_, earlier)| earlier == file) {
                bail!("{other} and {flag} both write `{}`; give each its own file", file.display());
            }
            check_own_file(flag, file, output)?;
        }
        if self.attribution_graph.is_some() && experiment.prompts.len() > 1 {
            let n_prompts = experiment.prompts.len();
            return Err(microtome::Error::NotOnePrompt { n_prompts }.into());
        }
        Ok(())
    }

    /// The same, and whether `--top` says something of a file that is asked for.
    pub fn check_top(&self, top: Option<usize>, experiment: &Experiment, output: &OutputArgs) -> Result<()> {
        match (self.any(), top) {
            (true, Some(0)) => bail!("--top 0 takes no edge; take at least one"),
            (true, _) => self.check(experiment, output),
            (false, Some(_)) => bail!(
                "--top says how large a circuit is written; name a file with --graph, --dot, --eap or --attribution-graph"
            ),
            (false, None) => Ok(()),
        }
    }

    /// Writes the files asked for, of the strongest edges of a record.
    pub fn write_strongest(&self, top: Option<usize>, model: &TextModel, record: &Record) -> Result<()> {
        if !self.any() {
            return Ok(());
        }
        let scores = EdgeScores::of_record(record)?;
        let circuit = scores.circuit(top.unwrap_or(DEFAULT_TOP), Keep::Paths);
        self.write(&scores, &circuit, model, record)
    }

    /// Writes the files asked for.
    fn write(
        &self,
        scores: &EdgeScores,
        circuit: &Circuit,
        model: &TextModel,
        record: &Record,
    ) -> Result<()> {
        if let Some(file) = &self.graph {
            write_picture(file, &scores.graph_plot(circuit, &record.subtitle()).to_svg())?;
        }
        if let Some(file) = &self.dot {
            write_whole(file, dot(scores, circuit, &record.subtitle()).as_bytes())?;
        }
        if let Some(file) = &self.eap {
            write_whole(file, eap_json(scores, circuit, model.config()).as_bytes())?;
        }
        if let Some(file) = &self.attribution_graph {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let json = attribution_graph(record, scores, circuit, now.as_millis() as u64)?;
            write_whole(file, json.as_bytes())?;
        }
        Ok(())
    }

    fn named(&self) -> [(&'static str, &Option<PathBuf>); 4] {
        [
            ("--graph", &self.graph),
            ("--dot", &self.dot),
            ("--eap", &self.eap),
            ("--attribution-graph", &self.attribution_graph),
        ]
    }
}
