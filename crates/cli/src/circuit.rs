//! `microtome circuit`: find, curve and judge.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use microtome::circuit::curve::CircuitCurve;
use microtome::circuit::eap_json::{circuit_json, read_eap_json};
use microtome::circuit::judge::{CircuitJudgement, NamedCircuit};
use microtome::circuit::search::{Begun, CircuitSearch, CircuitSize, FindBy};
use microtome::circuit::{Circuit, Edge, Graph, Pick, Rest};
use microtome::{Experiment, Method, Record, TextModel};

use crate::answer::{answer, answer_then};
use crate::args::{ModelArgs, PairArgs, load, read_record};
use crate::edges::{Along, gradients};
use crate::output;
use crate::whole_file::write_whole;

/// Find circuits, measure them at every size, judge them
///
/// A circuit is a set of edges of the model; everything outside it is replaced by what it is in the corrupt prompt. It
/// is faithful where the metric stays what it is for the whole model.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Find(FindArgs),
    Curve(CurveArgs),
    Judge(JudgeArgs),
}

/// How edges are scored and taken.
#[derive(clap::Args)]
struct Ranking {
    /// Steps of integrated gradients for the scores; 0: the derivative at the clean run
    #[arg(long, value_name = "N", default_value_t = 5)]
    steps: usize,
    /// What the steps go along
    #[arg(long, value_enum, default_value_t = Along::Inputs)]
    along: Along,
    /// Which scores come first: strongest (whatever their sign), helpful, or grow (from the logits down)
    #[arg(long, value_enum, default_value_t = PickArg::Strongest)]
    pick: PickArg,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum PickArg {
    Strongest,
    Helpful,
    Grow,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum RestArg {
    /// The corrupt prompt's values
    Resample,
    /// The mean over all corrupt prompts
    Mean,
    /// Nothing
    Zero,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Edges cut one after the other, from the logits down
    Acdc,
    /// The edges with the largest scores
    Edges,
    /// The heads and MLPs with the largest scores
    Nodes,
}

/// Find circuits: by cutting edges (ACDC), by the scores of edges, by those of nodes
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome circuit find \"Paris is the capital of\" -c \"Rome is the capital of\" -t \" France\" -f \" Italy\"
  microtome circuit find --pairs docs/names.json --by acdc,edges,nodes --threshold 0.05,0.2 --save circuits
  microtome circuit find --pairs docs/names.json --by edges --size 20,50,100 --pick grow
  microtome circuit find -m gpt2 --pairs ioi.json --by acdc --threshold 0.05 --record acdc.json   (Ctrl-C keeps it)
  microtome circuit find -m gpt2 --pairs ioi.json --by acdc --threshold 0.05 --record acdc.json --resume acdc.json")]
struct FindArgs {
    #[command(flatten)]
    pairs: PairArgs,
    /// How to find them; several ways are compared
    #[arg(long, value_enum, value_delimiter = ',', default_value = "edges")]
    by: Vec<Way>,
    /// ACDC: an edge is cut where the metric then changes by less; a circuit for each number
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    threshold: Vec<f64>,
    /// Edges and nodes: as few as reach this faithfulness [default: 0.9]
    #[arg(long, value_name = "SHARE", conflicts_with = "size")]
    faithful: Option<f64>,
    /// Edges and nodes: so many; a circuit for each number
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    size: Vec<usize>,
    #[command(flatten)]
    ranking: Ranking,
    /// What edges outside the circuit carry
    #[arg(long, value_enum, default_value_t = RestArg::Resample)]
    rest: RestArg,
    /// Go on with the ACDC of this record, which was stopped
    #[arg(long, value_name = "RECORD")]
    resume: Option<PathBuf>,
    /// Write every circuit into this folder, as JSON of the EAP-IG library's form, by its name
    #[arg(long, value_name = "FOLDER", help_heading = "Output")]
    save: Option<PathBuf>,
    #[command(flatten)]
    output: output::OutputArgs,
}

/// The faithfulness of circuits of every size, by score and at random; CPR, CMD, stability
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome circuit curve --pairs docs/names.json --curves faithfulness.svg
  microtome circuit curve --pairs docs/names.json --show cmd --random 20
  microtome circuit curve --pairs docs/names.json --pick grow --shares 0.01,0.05,0.25,1")]
struct CurveArgs {
    #[command(flatten)]
    pairs: PairArgs,
    #[command(flatten)]
    ranking: Ranking,
    /// What edges outside the circuit carry
    #[arg(long, value_enum, default_value_t = RestArg::Resample)]
    rest: RestArg,
    /// Shares of all edges, growing [default: those of MIB, 0.001 to 1]
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    shares: Vec<f64>,
    /// Random rankings beside it
    #[arg(long, value_name = "N", default_value_t = 10)]
    random: usize,
    #[command(flatten)]
    output: output::OutputArgs,
}

/// Judge circuits: faithful, complete, minimal, and beside random ones
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome circuit judge --pairs docs/names.json --circuit circuits/edges-40.json
  microtome circuit judge --pairs docs/names.json --found found.json --show minimality --list 40
  microtome circuit judge --pairs docs/names.json --edges \"mine=input->a1.h2<v>,a1.h2->logits\"")]
struct JudgeArgs {
    #[command(flatten)]
    pairs: PairArgs,
    /// A circuit as JSON of the EAP-IG library's form (in_graph); several may be given
    #[arg(long, value_name = "FILE")]
    circuit: Vec<PathBuf>,
    /// The circuits of a record of `microtome circuit find`
    #[arg(long, value_name = "RECORD")]
    found: Option<PathBuf>,
    /// A circuit by its edges as records write them, for example names=input->a0.h1<q>,a0.h1->logits; several may be given
    #[arg(long, value_name = "NAME=EDGES")]
    edges: Vec<String>,
    /// What edges outside the circuit carry; minimality is by the first [default: all three; without mean where prompts differ in length]
    #[arg(long, value_enum, value_delimiter = ',')]
    rest: Vec<RestArg>,
    /// Random circuits of as many edges [default: 10]
    #[arg(long, value_name = "N")]
    random: Option<usize>,
    /// Subsets of the circuit for minimality, beside the circuit itself [default: 4]
    #[arg(long, value_name = "N")]
    subsets: Option<usize>,
    #[command(flatten)]
    output: output::OutputArgs,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.what {
        What::Find(args) => find(args),
        What::Curve(args) => curve(args),
        What::Judge(args) => judge(args),
    }
}

fn find(args: &FindArgs) -> Result<ExitCode> {
    let way = |way: &Way| -> Result<FindBy> {
        let gradients = args.ranking.gradients();
        let size = match (args.faithful, &args.size[..]) {
            (Some(goal), _) => CircuitSize::Faithful(goal),
            (None, []) => CircuitSize::Faithful(0.9),
            (None, sizes) => CircuitSize::Count(sizes.to_vec()),
        };
        Ok(match way {
            Way::Acdc if args.threshold.is_empty() => {
                bail!("--by acdc needs a threshold in the metric's unit, for example --threshold 0.1")
            }
            Way::Acdc => FindBy::Acdc(args.threshold.clone()),
            Way::Edges => FindBy::Edges { gradients, pick: pick(args.ranking.pick), size },
            Way::Nodes => FindBy::Nodes { gradients, size },
        })
    };
    if !args.threshold.is_empty() && !args.by.contains(&Way::Acdc) {
        bail!("--threshold is for ACDC; add --by acdc");
    }
    let scored = args.by.iter().any(|way| *way != Way::Acdc);
    if !scored && (args.faithful.is_some() || !args.size.is_empty()) {
        bail!("--faithful and --size are for edges and nodes; ACDC takes --threshold");
    }
    let by = args.by.iter().map(way).collect::<Result<Vec<_>>>()?;
    let search = CircuitSearch { by, rest: rest(args.rest), begun: vec![] };
    let mut experiment = args.pairs.experiment(Method::CircuitSearch(search.clone()))?;
    if let Some(file) = &args.resume {
        let begun = begun(file, &experiment, search.rest)?;
        experiment.method = Method::CircuitSearch(CircuitSearch { begun, ..search });
    }
    if let Some(folder) = &args.save {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
    }
    answer_then(&experiment, &args.output, |model, record| {
        args.save.as_deref().map_or(Ok(()), |folder| save(folder, model, record))
    })
}

/// The searches by ACDC in a record of the same question.
fn begun(file: &Path, experiment: &Experiment, rest: Rest) -> Result<Vec<Begun>> {
    let record = read_record(file)?;
    let begun = Begun::of_record(&record);
    if begun.is_empty() {
        bail!("`{}` has no search by ACDC; leave out --resume", file.display());
    }
    let asked = |experiment: &Experiment| Experiment { method: Method::Measure, ..experiment.clone() };
    let same_rest = matches!(&record.experiment.method, Method::CircuitSearch(search) if search.rest == rest);
    if asked(&record.experiment) != asked(experiment) || !same_rest {
        bail!(
            "the search in `{}` is of another model, other prompts, another metric, rest or seed; give the same as it had",
            file.display()
        );
    }
    Ok(begun)
}

/// Every circuit that was found to its end, as a file.
fn save(folder: &Path, model: &TextModel, record: &Record) -> Result<()> {
    for found in record.results.circuits.iter().filter(|found| found.begun.is_none()) {
        let circuit = Circuit::new(Graph::of(model.config()), found.edges.iter().copied())?;
        let file = folder.join(format!("{}.json", found.name));
        write_whole(&file, circuit_json(&circuit, model.config()).as_bytes())?;
    }
    Ok(())
}

fn curve(args: &CurveArgs) -> Result<ExitCode> {
    let method = Method::CircuitCurve(CircuitCurve {
        gradients: args.ranking.gradients(),
        pick: pick(args.ranking.pick),
        rest: rest(args.rest),
        shares: args.shares.clone(),
        random: Some(args.random),
    });
    let experiment = args.pairs.experiment(method)?;
    answer(&experiment, &args.output)
}

fn judge(args: &JudgeArgs) -> Result<ExitCode> {
    let mut circuits = Vec::new();
    if let Some(file) = &args.found {
        let found = read_record(file)?.results.circuits.into_iter().filter(|found| found.begun.is_none());
        circuits.extend(found.map(|found| NamedCircuit { name: found.name, edges: found.edges }));
        if circuits.is_empty() {
            bail!("`{}` has no circuit; take a record of `microtome circuit find`", file.display());
        }
    }
    if !args.circuit.is_empty() {
        let ModelArgs { model, prepare, .. } = &args.pairs.model;
        let model = load(model, prepare.preparation())?;
        for file in &args.circuit {
            let text =
                std::fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
            let read =
                read_eap_json(&text, model.config()).with_context(|| format!("`{}`", file.display()))?;
            let name = file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
            circuits.push(NamedCircuit { name, edges: read.circuit.edges });
        }
    }
    for text in &args.edges {
        circuits.push(named_edges(text)?);
    }
    if circuits.is_empty() {
        bail!(
            "no circuit; give --circuit FILE, --found RECORD of `microtome circuit find`, or --edges NAME=EDGES"
        );
    }
    let method = Method::CircuitJudgement(CircuitJudgement {
        circuits,
        rests: args.rest.iter().copied().map(rest).collect(),
        random: args.random,
        subsets: args.subsets,
    });
    let experiment = args.pairs.experiment(method)?;
    answer(&experiment, &args.output)
}

/// `NAME=EDGE,EDGE`
fn named_edges(text: &str) -> Result<NamedCircuit> {
    let Some((name, edges)) = text.split_once('=') else {
        bail!(
            "`{text}` has no name; write --edges NAME=EDGES, for example names=input->a0.h1<q>,a0.h1->logits"
        );
    };
    let edge = |edge: &str| -> Result<Edge> { Ok(edge.trim().parse()?) };
    let edges = edges.split(',').filter(|edge| !edge.trim().is_empty()).map(edge).collect::<Result<_>>()?;
    Ok(NamedCircuit { name: name.to_owned(), edges })
}

impl Ranking {
    fn gradients(&self) -> microtome::circuit::edge_attribution::GradientsAt {
        gradients((self.steps > 0).then_some(self.steps), self.along)
    }
}

fn pick(pick: PickArg) -> Pick {
    match pick {
        PickArg::Strongest => Pick::Strongest,
        PickArg::Helpful => Pick::Helpful,
        PickArg::Grow => Pick::Grow,
    }
}

fn rest(rest: RestArg) -> Rest {
    match rest {
        RestArg::Resample => Rest::Resample,
        RestArg::Mean => Rest::Mean,
        RestArg::Zero => Rest::Zero,
    }
}
