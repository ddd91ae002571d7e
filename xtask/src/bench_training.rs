//! `cargo xtask bench-training`: training runs here and in PyTorch, in turns on this machine.
//!
//! The settings are nanoGPT's for a CPU (`peers/train_characters.py` says which) and a larger one, on any text. Both
//! sides report the median time of an update and the loss on all windows of the last tenth of the text. What
//! differs is the seed of the weights and of the windows.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::bench_peer::machine;
use crate::cargo::released;
use crate::python::{TORCH, environment, ran};

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
        let program = released(root)?;
        let load_before = machine::load_average();
        let measured = |setting| Measured { setting, ours: vec![], theirs: vec![] };
        let mut all: Vec<Measured> = self.settings()?.into_iter().map(measured).collect();
        let mut text_of_report = String::new();
        for round in 0..self.rounds {
            for Measured { setting, ours, theirs } in &mut all {
                theirs.push(setting.torch(root, &python, &text)?);
                ours.push(setting.microtome(root, &program, &text, round)?);
                let (a, b) = (&ours[round], &theirs[round]);
                let name = &setting.name;
                eprintln!(
                    "round {}, {name}: microtome {:.1} ms, torch {:.1} ms",
                    round + 1,
                    a.update_ms,
                    b.update_ms
                );
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
    fn torch(&self, root: &Path, python: &Path, text: &Path) -> Result<Outcome> {
        let script = root.join("xtask/peers/train_characters.py");
        let numbers = std::iter::once(self.steps).chain(self.sizes);
        let mut command = Command::new(python);
        command.arg(script).arg(text).args(numbers.map(|n| n.to_string()));
        let output = command.stderr(Stdio::inherit()).output().context("cannot start Python")?;
        if !output.status.success() {
            bail!("the PyTorch side ended with {}", output.status);
        }
        let value: Value = serde_json::from_slice(&output.stdout).context("the PyTorch side's result")?;
        let number = |key: &str| value[key].as_f64().with_context(|| format!("no `{key}` in its result"));
        Ok(Outcome { update_ms: number("median_ms")?, validation_loss: number("validation_loss")? })
    }

    /// One run here. Its updates are timed as the time of the whole command less that of one with a single
    /// update, which reads the text and evaluates as often.
    fn microtome(&self, root: &Path, program: &Path, text: &Path, seed: usize) -> Result<Outcome> {
        let dir = root.join("target/bench-training");
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
            text = text.display().to_string(),
            steps = self.steps,
            warmup = 100.min(self.steps / 2),
        );
        fs::write(&config, settings)?;
        let run = dir.join("run");
        let timed = |steps: usize| -> Result<f64> {
            let begun = Instant::now();
            let mut command = Command::new(program);
            command.arg("train").arg(&config).arg("--out").arg(&run).args(["--fresh", "--quiet"]);
            ran(command.args(["--steps", &steps.to_string()]))?;
            Ok(begun.elapsed().as_secs_f64())
        };
        let short = timed(1)?;
        let long = timed(self.steps)?;
        let update_ms = 1e3 * (long - short) / (self.steps - 1) as f64;
        let record: Value = serde_json::from_slice(&fs::read(run.join("record.json"))?)?;
        let loss = record["best"]["validation_loss"].as_f64().context("no loss in record.json")?;
        Ok(Outcome { update_ms, validation_loss: loss })
    }
}
