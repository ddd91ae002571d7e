//! `cargo xtask bench-peer`: the same tasks here and in Python, in turns on this machine, and whether their
//! answers agree.
//!
//! Every engine is one process that loads one checkpoint of random weights, of GPT-2 small's shape, and then
//! answers tasks line by line; what a line holds stands in `peers/peer_tasks.py` and in the example
//! `peer_tasks` of the crate `microtome`. In every round each task goes through all engines, which take turns
//! at being first. An engine times the task alone. Answers are compared every time; where they are further
//! apart than rounding explains, nothing is reported but that.

mod engine;
pub mod machine;
mod report;
mod tasks;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::cargo::released_example;
use crate::make_model::{MakeModel, Shape};
use crate::python;
use engine::{Engine, Launch};
use report::{Memory, Report, Row, Times};

/// Whom to compare with, at what, and how often.
#[derive(Args)]
pub struct BenchPeer {
    /// Turns of every engine at every task.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Who to compare with.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "tl4,torch")]
    peers: Vec<Peer>,
    /// Tasks by name, for example `zero_all,forward,load`; all where left out.
    #[arg(long, value_delimiter = ',')]
    tasks: Vec<String>,
    /// A Python with torch and TransformerLens; without one, an environment is made under target/ (6 GB).
    #[arg(long)]
    python: Option<PathBuf>,
    /// Threads of every engine; as many as there are cores where left out.
    #[arg(long)]
    threads: Option<usize>,
    /// A file for the report, which is printed as well.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Where, and of what, when it is not the processor at GPT-2 small's shape.
    #[arg(skip)]
    setting: Setting,
}

/// What `cargo xtask gpu` asks for.
struct Setting {
    device: &'static str,
    precision: &'static str,
    shape: Shape,
    /// The example `peer_tasks` where it is built already.
    ours: Option<PathBuf>,
}

impl Default for Setting {
    fn default() -> Setting {
        Setting { device: "cpu", precision: "f32", shape: Shape::Gpt2Small, ours: None }
    }
}

/// A Python side.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// This library on the processor, where the other one is on a GPU.
    #[value(skip)]
    Cpu,
    /// TransformerLens 4, its bridge to transformers, as its users write it.
    Tl4,
    /// TransformerLens 3, as its users write it.
    Tl3,
    /// torch by hand, in the strongest form known.
    Torch,
}

/// What the environment holds beside torch.
const TRANSFORMER_LENS_4: [&str; 2] = ["transformers==5.23.0", "transformer-lens==4.3.0"];
/// What stands beside the environment for `tl3`: all else it depends on, its successor does too.
const TRANSFORMER_LENS_3: [&str; 2] = ["transformer-lens==3.9.0", "better-abc==0.0.3"];

const OURS: &str = "microtome";

/// Between two engines, so that threads which wait for work in a loop have gone to sleep.
const PAUSE: Duration = Duration::from_millis(300);

/// A task that takes an engine longer than this is done at most [`SLOW_RUNS`] times.
const SLOW_SECS: f64 = 5.0;
const SLOW_RUNS: usize = 3;

/// Floating-point operations of the product that says how fast the machine is, 2048 a side.
const PRODUCT_FLOP: f64 = 2.0 * 2048.0 * 2048.0 * 2048.0;

impl BenchPeer {
    /// The same tasks on a GPU, with the example `peer_tasks` built already.
    pub fn on_gpu(
        (shape, precision): (Shape, &'static str),
        rounds: u64,
        peers: Vec<Peer>,
        ours: PathBuf,
        python: PathBuf,
    ) -> BenchPeer {
        let setting = Setting { device: "cuda", precision, shape, ours: Some(ours) };
        BenchPeer { rounds, peers, tasks: vec![], python: Some(python), threads: None, out: None, setting }
    }

    /// Makes what is missing, measures, and prints the report.
    pub fn run(&self, root: &Path) -> Result<()> {
        print!("{}", self.measured(root)?);
        Ok(())
    }

    /// Makes what is missing, measures, and gives the report.
    pub fn measured(&self, root: &Path) -> Result<String> {
        let tasks = tasks::named(&self.tasks)?;
        let dir = root.join("target/bench-peer");
        fs::create_dir_all(&dir).with_context(|| format!("cannot make `{}`", dir.display()))?;
        // Under this name TransformerLens finds it, too.
        let checkpoint = dir.join(if self.setting.shape == Shape::Gpt2Small { "gpt2" } else { "gpt2-xl" });
        if !checkpoint.exists() {
            MakeModel::of_shape(self.setting.shape, checkpoint.clone()).run()?;
        }
        let launches = self.launches(root, &dir, &checkpoint)?;
        let load_before = machine::load_average();
        let mut engines = launches.iter().map(Launch::start).collect::<Result<Vec<_>>>()?;
        let with_bf16 = Launch {
            arguments: vec![
                checkpoint.display().to_string(),
                self.setting.device.to_owned(),
                "bf16".to_owned(),
            ],
            ..launches[0].clone()
        };
        let mut bench = Bench::new(&engines, tasks, self.wants("load"));
        bench.is_rounded = self.setting.precision != "f32";
        for round in 0..self.rounds as usize {
            eprintln!("round {} of {}", round + 1, self.rounds);
            bench.round(round, &mut engines, &launches, &with_bf16)?;
            // A round takes minutes: one that is stopped does not take those before it along.
            if let Some(out) = &self.out {
                let preface = self.preface(root, &engines, &bench, (load_before, machine::load_average()));
                let text = bench.report(preface).markdown();
                fs::write(out, text).with_context(|| format!("cannot write `{}`", out.display()))?;
            }
        }
        let preface = self.preface(root, &engines, &bench, (load_before, machine::load_average()));
        Ok(bench.report(preface).markdown())
    }

    fn wants(&self, task: &str) -> bool {
        self.tasks.is_empty() || self.tasks.iter().any(|name| name == task)
    }

    fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// How ours and every peer are started, ours first; builds and installs what they need.
    fn launches(&self, root: &Path, dir: &Path, checkpoint: &Path) -> Result<Vec<Launch>> {
        let program = match &self.setting.ours {
            Some(program) => program.clone(),
            None => released_example(root, "peer_tasks")?,
        };
        let python = match &self.python {
            // A bare name is looked up on the path, as elsewhere.
            Some(python) if python.components().count() == 1 => python.clone(),
            Some(python) => std::path::absolute(python)?,
            None => {
                let packages: Vec<&str> = python::TORCH.into_iter().chain(TRANSFORMER_LENS_4).collect();
                python::environment(root, &packages)?
            }
        };
        let (checkpoint, threads) = (checkpoint.display().to_string(), self.threads().to_string());
        let (device, precision) = (self.setting.device, self.setting.precision);
        let ours = |name: &'static str, device: &str| Launch {
            name,
            program: program.clone(),
            arguments: [&checkpoint[..], device, precision].map(str::to_owned).to_vec(),
            variables: vec![("RAYON_NUM_THREADS", threads.clone())],
            log: dir.join(name).with_extension("log"),
        };
        let mut launches = vec![ours(OURS, device)];
        for peer in &self.peers {
            let name = match peer {
                Peer::Cpu => {
                    launches.push(ours("cpu", "cpu"));
                    continue;
                }
                Peer::Tl4 => "tl4",
                Peer::Tl3 => "tl3",
                Peer::Torch => "torch",
            };
            let mut variables = vec![("OMP_NUM_THREADS", threads.clone())];
            if *peer == Peer::Tl3 {
                let packages = python::beside(root, &python, name, &TRANSFORMER_LENS_3)?;
                variables.push(("PYTHONPATH", packages.display().to_string()));
            }
            let script = root.join("xtask/peers/peer_tasks.py").display().to_string();
            launches.push(Launch {
                name,
                program: python.clone(),
                arguments: [&script, name, &checkpoint, &threads, device, precision]
                    .map(str::to_owned)
                    .to_vec(),
                variables,
                log: dir.join(name).with_extension("log"),
            });
        }
        Ok(launches)
    }

    fn preface(
        &self,
        root: &Path,
        engines: &[Engine],
        bench: &Bench,
        (before, after): (Option<f64>, Option<f64>),
    ) -> Vec<String> {
        let busy = |load: Option<f64>| load.map_or("unknown".to_owned(), |load| format!("{load:.1}"));
        let (gflops, before, after) = (bench.product_gflops, busy(before), busy(after));
        let versions: Vec<String> =
            engines.iter().map(|engine| versions(engine.name(), &engine.ready)).collect();
        let commit = machine::commit(root).unwrap_or("unknown".to_owned());
        let rounds = if self.rounds == 1 { "1 round".to_owned() } else { format!("{} rounds", self.rounds) };
        vec![
            format!(
                "{}; {} threads. Load average {before} before, {after} after.",
                machine::described(),
                self.threads()
            ),
            format!(
                "Products in the nearest cache: {:.0} GFLOP/s at best; a product of 2048 x 2048 matrices in \
                 torch: {gflops:.0}.",
                bench.peak_gflops
            ),
            format!("{}; commit {commit}.", versions.join("; ")),
            format!(
                "Medians (lowest to highest; number of runs) of {rounds} in turns. An engine does what takes it \
                 more than {SLOW_SECS} s {SLOW_RUNS} times at most."
            ),
        ]
    }
}

/// `tl4: torch 2.15.0, transformers 5.23.0`
fn versions(name: &str, ready: &Value) -> String {
    let packages = ready["versions"].as_object().into_iter().flatten();
    let packages: BTreeSet<String> = packages
        .map(|(package, version)| format!("{package} {}", version.as_str().unwrap_or("unknown")))
        .collect();
    let packages = packages.into_iter().collect::<Vec<_>>().join(", ");
    if name == OURS { packages } else { format!("{name}: {packages}") }
}

/// What has been measured so far.
struct Bench {
    names: Vec<&'static str>,
    tasks: Vec<Measured>,
    /// By engine: seconds from the start of a process to its first logits; `None` where nobody asked.
    load: Option<Vec<Times>>,
    memory: Vec<Memory>,
    /// Ours with bf16 weights.
    memory_bf16: Option<u64>,
    product_gflops: f64,
    /// Of our own loops, the best seen.
    peak_gflops: f64,
    /// Whether numbers are rounded so far that answers are compared but not held against each other.
    is_rounded: bool,
}

/// One task's measurements; by engine, ours first.
struct Measured {
    task: &'static tasks::Task,
    times: Vec<Times>,
    differences: Vec<Option<f64>>,
    /// Our first answer, which all others are held against.
    ours: Vec<f64>,
    flop: Option<u64>,
}

impl Bench {
    fn new(engines: &[Engine], tasks: Vec<&'static tasks::Task>, load: bool) -> Bench {
        let n = engines.len();
        let measured = |task| Measured {
            task,
            times: vec![Times::default(); n],
            differences: vec![None; n],
            ours: vec![],
            flop: None,
        };
        let loaded = |engine: &Engine| Memory { loaded: engine.ready["peak_mib"].as_u64(), at_end: None };
        Bench {
            names: engines.iter().map(Engine::name).collect(),
            tasks: tasks.into_iter().map(measured).collect(),
            load: load.then(|| vec![Times::default(); n]),
            memory: engines.iter().map(loaded).collect(),
            memory_bf16: None,
            product_gflops: 0.0,
            peak_gflops: 0.0,
            is_rounded: false,
        }
    }

    /// One turn of every engine at every task. Ours is first in round 0.
    fn round(
        &mut self,
        round: usize,
        engines: &mut [Engine],
        launches: &[Launch],
        with_bf16: &Launch,
    ) -> Result<()> {
        let n = engines.len();
        let turns = || (0..n).map(move |turn| (turn + round) % n);
        if let Some(engine) = engines.iter_mut().find(|engine| ![OURS, "cpu"].contains(&engine.name())) {
            std::thread::sleep(PAUSE);
            for _ in 0..3 {
                let product = engine.ask(&json!({"task": "matmul"}))?.context("torch multiplies matrices")?;
                self.product_gflops = self.product_gflops.max(PRODUCT_FLOP / product.secs / 1e9);
            }
        }
        if let Some(engine) = engines.first_mut() {
            std::thread::sleep(PAUSE);
            let peak = engine.ask(&json!({"task": "peak"}))?.context("microtome multiplies")?;
            self.peak_gflops = peak.values.iter().copied().fold(self.peak_gflops, f64::max);
        }
        if let Some(load) = &mut self.load {
            for turn in turns() {
                std::thread::sleep(PAUSE);
                load[turn].0.push(launches[turn].start()?.ready_secs);
            }
        }
        for measured in &mut self.tasks {
            for turn in turns() {
                std::thread::sleep(PAUSE);
                if turn == 0 && measured.task.bf16 {
                    // A process of its own, so that the other's memory is that of one model.
                    let mut engine = with_bf16.start()?;
                    self.memory_bf16 = engine.ready["peak_mib"].as_u64();
                    std::thread::sleep(PAUSE);
                    measured.turn(turn, &mut engine, self.is_rounded)?;
                    continue;
                }
                let peak = measured.turn(turn, &mut engines[turn], self.is_rounded)?;
                self.memory[turn].at_end = self.memory[turn].at_end.max(peak);
            }
            let last = |(name, times): (&&str, &Times)| Some(format!("{name} {:.3} s", times.0.last()?));
            let last: Vec<String> = self.names.iter().zip(&measured.times).filter_map(last).collect();
            eprintln!("  {} at {} tokens: {}", measured.task.name, measured.task.tokens, last.join(", "));
        }
        Ok(())
    }

    fn report(&self, preface: Vec<String>) -> Report {
        let no_task = |what: &str, times| {
            let differences = vec![None; self.names.len() - 1];
            Row { what: what.to_owned(), times, flop: None, differences, tolerance: None }
        };
        let load =
            self.load.clone().map(|times| no_task("from the start of a process to its first logits", times));
        let rows = self.tasks.iter().map(|measured| Row {
            what: format!("{}; {} tokens", measured.task.what, measured.task.tokens),
            times: measured.times.clone(),
            flop: measured.flop,
            differences: measured.differences[1..].to_vec(),
            tolerance: Some(measured.task.tolerance).filter(|limit| limit.is_finite() && !self.is_rounded),
        });
        Report {
            engines: self.names.iter().map(|name| (*name).to_owned()).collect(),
            preface,
            rows: rows.chain(load).collect(),
            memory: self.memory.clone(),
            memory_bf16: self.memory_bf16,
            product_gflops: self.product_gflops,
            peak_gflops: self.peak_gflops,
        }
    }
}

impl Measured {
    /// One engine's turn: it does the task as often as the task says, and its answers are compared with our
    /// first one. Gives the most memory it has held.
    fn turn(&mut self, index: usize, engine: &mut Engine, is_rounded: bool) -> Result<Option<u64>> {
        let mut request = self.task.request();
        let mut peak = None;
        for _ in 0..self.task.repeats {
            let times = &mut self.times[index].0;
            if times.len() >= SLOW_RUNS && times.iter().all(|&secs| secs > SLOW_SECS) {
                break;
            }
            if index == 0 {
                request["count"] = self.ours.is_empty().into();
            }
            let Some(answer) = engine.ask(&request)? else {
                ensure!(index > 0, "the example peer_tasks does not have the task `{}`", self.task.name);
                break;
            };
            times.push(answer.secs);
            peak = peak.max(answer.peak_mib);
            if self.ours.is_empty() {
                (self.ours, self.flop) = (answer.values, answer.flop);
                continue;
            }
            let (ours, theirs) = ((OURS, &self.ours[..]), (engine.name(), &answer.values[..]));
            let apart = match is_rounded {
                true => self.task.difference_within(f64::INFINITY, ours, theirs)?,
                false => self.task.difference(ours, theirs)?,
            };
            self.differences[index] = Some(self.differences[index].unwrap_or(0.0).max(apart));
        }
        Ok(peak)
    }
}
