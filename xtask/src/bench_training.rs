//! `cargo xtask bench-training`: training runs here and in PyTorch, in turns on this machine.
//!
//! The settings are nanoGPT's for a CPU (`peers/train_characters.py` says which) and a larger one, on any text. Both
//! sides run at once and are paused by turns; what counts is the time each works. Both report the loss on all
//! windows of the last tenth of the text. What differs is the seed of the weights and of the windows.

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

/// What one run of one side gave.
struct Outcome {
    update_ms: f64,
    validation_loss: f64,
}

/// A setting with the runs of both sides.
struct Measured {
    setting: Setting,
    ours: Vec<Outcome>,
    theirs: Vec<Outcome>,
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
        let measured = |setting| Measured { setting, ours: vec![], theirs: vec![] };
        let mut all: Vec<Measured> = self.settings()?.into_iter().map(measured).collect();
        let mut text_of_report = String::new();
        for round in 0..self.rounds {
            for Measured { setting, ours, theirs } in &mut all {
                let [a, b] = setting.measured(&sides, round)?;
                let name = &setting.name;
                eprintln!(
                    "round {}, {name}: microtome {:.1} ms, torch {:.1} ms",
                    round + 1,
                    a.update_ms,
                    b.update_ms
                );
                ours.push(a);
                theirs.push(b);
            }
            text_of_report = report(root, &all, load_before);
            // A run takes minutes: one that is stopped does not take those before it along.
            if let Some(out) = &self.out {
                fs::write(out, &text_of_report)
                    .with_context(|| format!("cannot write `{}`", out.display()))?;
            }
        }
        print!("{text_of_report}");
        Ok(())
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

/// Both sides' medians with their ranges, as Markdown.
fn report(root: &Path, all: &[Measured], load_before: Option<f64>) -> String {
    let busy = |load: Option<f64>| load.map_or("unknown".to_owned(), |load| format!("{load:.1}"));
    let (before, after) = (busy(load_before), busy(machine::load_average()));
    let commit = machine::commit(root).unwrap_or("unknown".to_owned());
    let mut text = format!(
        "{}. Load average {before} before, {after} after. Commit {commit}.\n\n\
         | setting | updates | microtome, ms an update | torch, eager, ms an update | ratio | loss here, nats | loss there |\n\
         |---|---|---|---|---|---|---|\n",
        machine::described()
    );
    for Measured { setting, ours, theirs } in all {
        let times = |outcomes: &[Outcome]| {
            let mut times: Vec<f64> = outcomes.iter().map(|outcome| outcome.update_ms).collect();
            times.sort_by(f64::total_cmp);
            times
        };
        let (a, b) = (times(ours), times(theirs));
        let median = |times: &[f64]| times[times.len() / 2];
        let cell = |times: &[f64]| {
            format!("{:.1} ({:.1} to {:.1})", median(times), times[0], times[times.len() - 1])
        };
        let losses = |outcomes: &[Outcome]| -> String {
            outcomes.iter().map(|o| format!("{:.3}", o.validation_loss)).collect::<Vec<_>>().join(", ")
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {:.2} x | {} | {} |",
            setting.name,
            setting.steps,
            cell(&a),
            cell(&b),
            median(&b) / median(&a),
            losses(ours),
            losses(theirs)
        );
    }
    text
}

impl Setting {
    /// A run of each side, ours first: all its updates, and before it a single one, which starts, reads the text and
    /// evaluates as long. The difference is what the updates take.
    fn measured(&self, sides: &Sides, round: usize) -> Result<[Outcome; 2]> {
        let run = |steps: usize| -> Result<[Finished; 2]> {
            in_turns([self.microtome(sides, steps, round)?, self.torch(sides, steps)], sides.turn)
        };
        let (short, long) = (run(1)?, run(self.steps)?);
        let update_ms = |i: usize| {
            1e3 * (long[i].worked.as_secs_f64() - short[i].worked.as_secs_f64()) / (self.steps - 1) as f64
        };
        let record: Value = serde_json::from_slice(&fs::read(sides.run().join("record.json"))?)?;
        let ours = record["best"]["validation_loss"].as_f64().context("no loss in record.json")?;
        let value: Value = serde_json::from_str(&long[1].output).context("the PyTorch side's result")?;
        let theirs = value["validation_loss"].as_f64().context("no `validation_loss` in its result")?;
        Ok([
            Outcome { update_ms: update_ms(0), validation_loss: ours },
            Outcome { update_ms: update_ms(1), validation_loss: theirs },
        ])
    }

    fn torch(&self, sides: &Sides, steps: usize) -> Command {
        let numbers = std::iter::once(steps).chain(self.sizes);
        let mut command = Command::new(&sides.python);
        command.arg(sides.root.join("xtask/peers/train_characters.py")).arg(&sides.text);
        command.args(numbers.map(|n| n.to_string()));
        command
    }

    fn microtome(&self, sides: &Sides, steps: usize, seed: usize) -> Result<Command> {
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
             [evaluation]\nevery = {steps}\nbatches = \"all\"\ntelemetry = false\n\
             [checkpoints]\nevery = {steps}\n",
            text = sides.text.display().to_string(),
            steps = self.steps,
            warmup = 100.min(self.steps / 2),
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
