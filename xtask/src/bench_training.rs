//! `cargo xtask bench-training`: a training run here and in PyTorch, in turns on this machine.
//!
//! The setting is nanoGPT's for a CPU (`peers/train_characters.py` says which), on any text. Both sides
//! report the median time of an update and the loss on all windows of the last tenth of the text. What
//! differs is the seed of the weights and of the windows.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::python::{TORCH, environment, ran};

/// What to train on, and how often.
#[derive(Args)]
pub struct BenchTraining {
    /// The text, for example tiny Shakespeare.
    #[arg(long)]
    text: PathBuf,
    /// Updates of a run.
    #[arg(long, default_value_t = 2000)]
    steps: usize,
    /// Runs of each side.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Sizes: layers, heads, width, context, batch.
    #[arg(long, num_args = 5, default_values_t = [4, 4, 128, 64, 12])]
    sizes: Vec<usize>,
    /// A Python with torch; without one, an environment is made under target/ (2 GB and more).
    #[arg(long)]
    python: Option<PathBuf>,
}

/// What one run of one side gave.
struct Outcome {
    update_ms: f64,
    validation_loss: f64,
}

impl BenchTraining {
    /// Runs both sides in turns and prints medians and their ratio.
    pub fn run(&self, root: &Path) -> Result<()> {
        let text = self.text.canonicalize().with_context(|| format!("no text `{}`", self.text.display()))?;
        let python = match &self.python {
            Some(python) => python.clone(),
            None => environment(root, &TORCH)?,
        };
        let built = ["build", "--release", "-p", "microtome-cli"];
        ran(Command::new("cargo").args(built).current_dir(root))?;
        let (mut ours, mut theirs) = (vec![], vec![]);
        for round in 0..self.rounds {
            theirs.push(self.torch(root, &python, &text)?);
            ours.push(self.microtome(root, &text, round)?);
            let (a, b) = (&ours[round], &theirs[round]);
            println!("round {}: microtome {:.1} ms, torch {:.1} ms", round + 1, a.update_ms, b.update_ms);
        }
        println!("\n| | update, median (range), ms | validation loss, nats |\n|---|---|---|");
        let mut medians = vec![];
        for (name, outcomes) in [("microtome", &ours), ("torch, eager", &theirs)] {
            let mut times: Vec<f64> = outcomes.iter().map(|outcome| outcome.update_ms).collect();
            times.sort_by(f64::total_cmp);
            let (median, last) = (times[times.len() / 2], times[times.len() - 1]);
            let losses: Vec<String> =
                outcomes.iter().map(|outcome| format!("{:.3}", outcome.validation_loss)).collect();
            println!("| {name} | {median:.1} ({:.1} to {last:.1}) | {} |", times[0], losses.join(", "));
            medians.push(median);
        }
        println!("\nmicrotome is {:.2} times as fast", medians[1] / medians[0]);
        Ok(())
    }

    fn torch(&self, root: &Path, python: &Path, text: &Path) -> Result<Outcome> {
        let script = root.join("xtask/peers/train_characters.py");
        let numbers = std::iter::once(self.steps).chain(self.sizes.iter().copied());
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
    fn microtome(&self, root: &Path, text: &Path, seed: usize) -> Result<Outcome> {
        let dir = root.join("target/bench-training");
        fs::create_dir_all(&dir)?;
        let [n_layers, n_heads, d_model, n_ctx, batch] = self.sizes[..] else { bail!("five sizes") };
        let config = dir.join("config.toml");
        let settings = format!(
            "seed = {seed}\n\
             [model]\nn_layers = {n_layers}\nn_heads = {n_heads}\nd_model = {d_model}\nn_ctx = {n_ctx}\n\
             activation = \"gelu\"\nbias = false\n\
             [data]\ntext = {text:?}\ntokenizer = \"characters\"\n\
             [training]\nsteps = {steps}\nbatch = {batch}\nlearning_rate = 1e-3\nmin_learning_rate = 1e-4\n\
             warmup = 100\nweight_decay = 0.1\nbeta2 = 0.99\nclip = 1.0\n\
             [evaluation]\nevery = {steps}\nbatches = \"all\"\ntelemetry = false\n\
             [checkpoints]\nevery = {steps}\n",
            text = text.display().to_string(),
            steps = self.steps,
        );
        fs::write(&config, settings)?;
        let run = dir.join("run");
        let timed = |steps: usize| -> Result<f64> {
            let begun = Instant::now();
            let mut command = Command::new(root.join("target/release/microtome"));
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
