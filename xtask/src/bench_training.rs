//! `cargo xtask bench-training`: training runs here and in PyTorch, in turns on this machine.
//!
//! The settings are nanoGPT's for a CPU (`peers/train_characters.py` says which) and a larger one, on any text. Both
//! sides run at once and are paused by turns; what counts is the time each works. Then each trains once more, off the
//! clock, and reports the loss on all windows of the last tenth of the text: evaluating takes longer than many
//! updates. What differs is the seed of the weights and of the windows.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::bench_peer::machine;
use crate::cargo::released;
use crate::python::{TORCH, environment};
use crate::turns::{Finished, in_turns};

/// What to train on, and how often.
#[derive(Args)]
pub struct BenchTraining {
    /// The text, for example tiny Shakespeare.
    #[arg(long)]
    text: PathBuf,
    /// Updates of a run in nanoGPT's setting; a tenth of it in the larger one.
    #[arg(long, default_value_t = 2000)]
    steps: usize,
    /// Runs of each side.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// A setting of your own instead: layers, heads, width, context, batch.
    #[arg(long, num_args = 5)]
    sizes: Vec<usize>,
    /// Seconds that one side works before the other goes on.
    #[arg(long, default_value_t = 3)]
    turn: u64,
    /// A Python with torch; without one, an environment is made under target/ (2 GB and more).
    #[arg(long)]
    python: Option<PathBuf>,
    /// A file for the report, which is printed as well.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// A model's sizes, what it reads at a time, and for how many updates.
struct Setting {
    name: String,
    /// Layers, heads, width, context, batch.
    sizes: [usize; 5],
    steps: usize,
}

/// A setting with what both sides gave, ours first.
struct Measured {
    setting: Setting,
    /// Milliseconds an update, of every round.
    update_ms: Vec<[f64; 2]>,
    /// On the last tenth of the text, in nats; `None` before both were asked.
    losses: Option<[f64; 2]>,
}

impl BenchTraining {
    /// Runs both sides in turns and prints medians and their ratios.
    pub fn run(&self, root: &Path) -> Result<()> {
        let text = self.text.canonicalize().with_context(|| format!("no text `{}`", self.text.display()))?;
        let python = match &self.python {
            Some(python) => std::path::absolute(python)?,
            None => environment(root, &TORCH)?,
        };
        let sides = Sides {
            root: root.to_owned(),
            program: released(root)?,
            python,
            text,
            turn: Duration::from_secs(self.turn),
        };
        let load_before = machine::load_average();
        let measured = |setting| Measured { setting, update_ms: vec![], losses: None };
        let mut all: Vec<Measured> = self.settings()?.into_iter().map(measured).collect();
        for round in 1..=self.rounds {
            for Measured { setting, update_ms, .. } in &mut all {
                let [ours, theirs] = setting.update_ms(&sides, round)?;
                eprintln!("round {round}, {}: microtome {ours:.1} ms, torch {theirs:.1} ms", setting.name);
                update_ms.push([ours, theirs]);
            }
            // A run takes minutes: one that is stopped does not take those before it along.
            self.keep(&report(root, &all, load_before))?;
        }
        for Measured { setting, losses, .. } in &mut all {
            *losses = Some(setting.losses(&sides)?);
        }
        let report = report(root, &all, load_before);
        self.keep(&report)?;
        print!("{report}");
        Ok(())
    }

    fn keep(&self, report: &str) -> Result<()> {
        let Some(out) = &self.out else { return Ok(()) };
        fs::write(out, report).with_context(|| format!("cannot write `{}`", out.display()))
    }

    fn settings(&self) -> Result<Vec<Setting>> {
        let setting = |sizes: [usize; 5], steps| {
            let [layers, heads, width, context, batch] = sizes;
            let name =
                format!("{layers} layers, {heads} heads, {width} wide, context {context}, batch {batch}");
            Setting { name, sizes, steps }
        };
        Ok(match self.sizes[..] {
            [] => vec![
                setting([4, 4, 128, 64, 12], self.steps),
                setting([6, 6, 384, 128, 12], (self.steps / 10).max(2)),
            ],
            [layers, heads, width, context, batch] => {
                vec![setting([layers, heads, width, context, batch], self.steps)]
            }
            _ => bail!("five sizes"),
        })
    }
}

/// Medians of both sides and of their ratios in a round, with their ranges, as Markdown.
fn report(root: &Path, all: &[Measured], load_before: Option<f64>) -> String {
    let busy = |load: Option<f64>| load.map_or("unknown".to_owned(), |load| format!("{load:.1}"));
    let (before, after) = (busy(load_before), busy(machine::load_average()));
    let commit = machine::commit(root).unwrap_or("unknown".to_owned());
    let mut text = format!(
        "{}. Load average {before} before, {after} after. Commit {commit}.\n\n\
         | setting | updates | microtome, ms an update | torch, eager, ms an update | torch / microtome | loss here, nats | loss there |\n\
         |---|---|---|---|---|---|---|\n",
        machine::described()
    );
    for Measured { setting, update_ms, losses } in all {
        let Setting { name, steps, .. } = setting;
        let ours = spread(update_ms.iter().map(|[ours, _]| *ours), 1);
        let theirs = spread(update_ms.iter().map(|[_, theirs]| *theirs), 1);
        let ratios = spread(update_ms.iter().map(|[ours, theirs]| theirs / ours), 2);
        let [here, there] = match losses {
            Some(losses) => losses.map(|loss| format!("{loss:.3}")),
            None => ["-", "-"].map(str::to_owned),
        };
        let _ = writeln!(text, "| {name} | {steps} | {ours} | {theirs} | {ratios} | {here} | {there} |");
    }
    text
}

/// Median, smallest and largest.
fn spread(values: impl Iterator<Item = f64>, digits: usize) -> String {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values[..] {
        [] => "-".to_owned(),
        [first, .., last] => {
            format!("{:.digits$} ({first:.digits$} to {last:.digits$})", values[values.len() / 2])
        }
        [only] => format!("{only:.digits$}"),
    }
}

/// What a run evaluates at its end.
#[derive(Clone, Copy, PartialEq)]
enum Evaluated {
    /// As little as may be.
    Little,
    /// The last tenth of the text.
    All,
}

impl Setting {
    /// What an update takes on each side: a run of all of them less a run of a single one, which starts and reads the
    /// text as well.
    fn update_ms(&self, sides: &Sides, seed: usize) -> Result<[f64; 2]> {
        let worked = |steps: usize| -> Result<[f64; 2]> {
            let ours = self.microtome(sides, steps, seed, Evaluated::Little)?;
            let theirs = self.torch(sides, steps, seed, Evaluated::Little);
            Ok(in_turns([ours, theirs], sides.turn)?.map(|finished| finished.worked.as_secs_f64()))
        };
        let (short, long) = (worked(1)?, worked(self.steps)?);
        Ok([0, 1].map(|i| 1e3 * (long[i] - short[i]) / (self.steps - 1) as f64))
    }

    /// The loss of each side after all updates.
    fn losses(&self, sides: &Sides) -> Result<[f64; 2]> {
        let ours = self.microtome(sides, self.steps, 1, Evaluated::All)?;
        let theirs = self.torch(sides, self.steps, 1, Evaluated::All);
        let [_, Finished { output, .. }] = in_turns([ours, theirs], sides.turn)?;
        let record: Value = serde_json::from_slice(&fs::read(sides.run().join("record.json"))?)?;
        let ours = record["best"]["validation_loss"].as_f64().context("no loss in record.json")?;
        let value: Value = serde_json::from_str(&output).context("the PyTorch side's result")?;
        let theirs = value["validation_loss"].as_f64().context("no `validation_loss` in its result")?;
        Ok([ours, theirs])
    }

    fn torch(&self, sides: &Sides, steps: usize, seed: usize, evaluated: Evaluated) -> Command {
        let windows = if evaluated == Evaluated::All { "all" } else { "1" };
        let numbers = [seed, steps].into_iter().chain(self.sizes);
        let mut command = Command::new(&sides.python);
        command.arg(sides.root.join("xtask/peers/train_characters.py")).arg(&sides.text).arg(windows);
        command.args(numbers.map(|n| n.to_string()));
        command
    }

    fn microtome(&self, sides: &Sides, steps: usize, seed: usize, evaluated: Evaluated) -> Result<Command> {
        let dir = sides.dir();
        fs::create_dir_all(&dir)?;
        let [n_layers, n_heads, d_model, n_ctx, batch] = self.sizes;
        let config = dir.join("config.toml");
        let settings = format!(
            "seed = {seed}\n\
             [model]\nn_layers = {n_layers}\nn_heads = {n_heads}\nd_model = {d_model}\nn_ctx = {n_ctx}\n\
             activation = \"gelu\"\nbias = false\n\
             [data]\ntext = {text:?}\ntokenizer = \"characters\"\n\
             [training]\nsteps = {steps}\nbatch = {batch}\nlearning_rate = 1e-3\nmin_learning_rate = 1e-4\n\
             warmup = {warmup}\nweight_decay = 0.1\nbeta2 = 0.99\nclip = 1.0\n\
             [evaluation]\nevery = {steps}\nbatches = {batches}\ntelemetry = false\n\
             [checkpoints]\nevery = {steps}\n",
            text = sides.text.display().to_string(),
            steps = self.steps,
            warmup = 100.min(self.steps / 2),
            batches = if evaluated == Evaluated::All { "\"all\"" } else { "1" },
        );
        fs::write(&config, settings)?;
        let mut command = Command::new(&sides.program);
        command.arg("train").arg(&config).arg("--out").arg(sides.run()).args(["--fresh", "--quiet"]);
        command.args(["--steps", &steps.to_string()]);
        Ok(command)
    }
}

/// What both sides are started with.
struct Sides {
    root: PathBuf,
    program: PathBuf,
    python: PathBuf,
    text: PathBuf,
    turn: Duration,
}

impl Sides {
    fn dir(&self) -> PathBuf {
        self.root.join("target/bench-training")
    }

    fn run(&self) -> PathBuf {
        self.dir().join("run")
    }
}
