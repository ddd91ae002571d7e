//! `microtome sae train`: a sparse autoencoder from a model's activations on a text.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use microtome::model::{Precision, Preparation};
use microtome_train::Start;
use microtome_train::sae::{Kind, SaeEvaluation, SaeLine, SaeObserver, SaeTraining, train_sae};

use crate::args::{self, WeightsArg};
use crate::output::{STOPPED, duration};
use crate::progress;

/// Train a sparse autoencoder on a model's activations
///
/// The text is read in windows, the activations of a hook are shuffled in a buffer, and the autoencoder learns to
/// write each as a sum of few directions. Options take the place of what the file says; without a file they and the
/// defaults are all there is. `last/` in the run's folder is the autoencoder in SAELens's format, losses.jsonl has the
/// numbers of every update and curves.png draws them. Ctrl-C keeps a checkpoint; the same command goes on from there
/// and ends with the same numbers as a run that was not stopped.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  microtome sae train --hook blocks.3.hook_resid_pre --text corpus.txt --features 1024 --k 16
  microtome sae train --hook blocks.3.hook_mlp_out --text corpus.txt --architecture standard --l1 5
  microtome sae train --example > sae.toml
  microtome sae train sae.toml")]
pub struct Args {
    /// Settings; `--example` prints a file with all of them
    #[arg(value_name = "CONFIG.toml")]
    config: Option<PathBuf>,
    /// Print a complete commented CONFIG.toml
    #[arg(long, exclusive = true)]
    example: bool,
    /// The model: demo, a checkpoint file or directory, or a Hugging Face id
    #[arg(short, long, env = "MICROTOME_MODEL", value_name = "MODEL")]
    model: Option<String>,
    /// Weight processing of the model
    #[arg(long, value_enum)]
    weights: Option<WeightsArg>,
    /// Where activations are read, for example blocks.3.hook_resid_pre
    #[arg(long, value_name = "HOOK")]
    hook: Option<String>,
    /// The text that the model reads
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// How many features [default: eight times the width of the activation]
    #[arg(long, value_name = "N")]
    features: Option<usize>,
    /// How features are read [default: topk]
    #[arg(long, value_enum)]
    architecture: Option<ArchitectureArg>,
    /// Topk: how many features are active at a position [default: 32]
    #[arg(long, value_name = "K")]
    k: Option<usize>,
    /// Standard: the price of a unit of activation [default: 5]
    #[arg(long, value_name = "PRICE")]
    l1: Option<f64>,
    /// Tokens to learn from; a shorter text is read again [default: 4000000]
    #[arg(long, value_name = "N")]
    tokens: Option<u64>,
    /// Highest learning rate [default: 0.001]
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Seed of everything random [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Folder of the run [default: runs/sae]
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Only go on with a run that has a checkpoint
    #[arg(long, conflicts_with = "fresh")]
    resume: bool,
    /// Throw away the run that is in the folder
    #[arg(long)]
    fresh: bool,
    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum ArchitectureArg {
    Standard,
    Topk,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    if args.example {
        print!("{}", SaeTraining::EXAMPLE);
        return Ok(ExitCode::SUCCESS);
    }
    let config = settings(args)?;
    let start = match (args.resume, args.fresh) {
        (true, _) => Start::Resume,
        (_, true) => Start::Fresh,
        _ => Start::Continue,
    };
    let preparation = Preparation { processing: config.model.weights, precision: Precision::F32 };
    let model = args::load(&config.model.name, preparation)?;
    progress::catch_ctrl_c();
    let mut screen = Screen { quiet: args.quiet, ..Screen::default() };
    let result = train_sae(&model, &config, start, &mut screen);
    screen.clear();
    let summary = result?;
    let (out, record) = (config.out.display(), &summary.record);
    if summary.stopped {
        let step = record.step;
        eprintln!("stopped after step {step}; the same command goes on from there");
        return Ok(ExitCode::from(STOPPED));
    }
    if !args.quiet {
        let (steps, tokens) = (record.step, record.tokens);
        println!("{steps} steps, {tokens} tokens, in {}", duration(record.elapsed_secs));
        println!("autoencoder  {out}/last\ncurves       {out}/curves.png");
    }
    Ok(ExitCode::SUCCESS)
}

/// What the file says, with options in its place.
fn settings(args: &Args) -> Result<SaeTraining> {
    let mut config = match &args.config {
        Some(file) => SaeTraining::read(file)?,
        None => SaeTraining::default(),
    };
    fn put<T: Clone>(to: &mut T, given: Option<&T>) {
        if let Some(given) = given {
            *to = given.clone();
        }
    }
    put(&mut config.model.name, args.model.as_ref());
    put(&mut config.model.weights, args.weights.map(Into::into).as_ref());
    put(&mut config.sae.hook, args.hook.as_ref());
    put(&mut config.training.tokens, args.tokens.as_ref());
    put(&mut config.training.learning_rate, args.learning_rate.as_ref());
    put(&mut config.seed, args.seed.as_ref());
    put(&mut config.out, args.out.as_ref());
    if let Some(text) = &args.text {
        (config.data.text, config.data.corpus) = (Some(text.clone()), None);
    }
    if let Some(architecture) = args.architecture {
        config.sae.architecture = match architecture {
            ArchitectureArg::Standard => Kind::Standard,
            ArchitectureArg::Topk => Kind::Topk,
        };
    }
    config.sae.features = args.features.or(config.sae.features);
    config.sae.k = args.k.or(config.sae.k);
    config.training.l1 = args.l1.or(config.training.l1);
    Ok(config)
}

/// A run as it is shown: a bar on a terminal, a line at each evaluation.
#[derive(Default)]
struct Screen {
    quiet: bool,
    bar: Option<ProgressBar>,
    /// When the updates of this sitting began, and the first of them.
    began: Option<(Instant, u64)>,
    /// Tokens a second and time left.
    pace: Option<String>,
}

impl Screen {
    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn say(&self, line: &str) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.suspend(|| println!("{line}")),
            None => println!("{line}"),
        }
    }

    fn bar(&mut self) -> Option<&ProgressBar> {
        if self.quiet || !std::io::stderr().is_terminal() {
            return None;
        }
        Some(self.bar.get_or_insert_with(|| {
            let style = "{wide_bar} {pos}/{len} {msg}";
            let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::new(1).with_style(style);
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        }))
    }
}

impl SaeObserver for Screen {
    fn note(&mut self, message: &str) {
        self.say(message);
    }

    fn filling(&mut self, rows: usize, of: usize) {
        if let Some(bar) = self.bar() {
            bar.set_message(format!("reading activations, {} %", (100 * rows / of.max(1)).min(100)));
        }
    }

    fn update(&mut self, line: &SaeLine, steps: u64, batch: usize) {
        let (began, first) = *self.began.get_or_insert((Instant::now(), line.step));
        let done = line.step - first;
        self.pace = (done > 0).then(|| {
            let secs = began.elapsed().as_secs_f64() / done as f64;
            let left = duration(secs * (steps - line.step) as f64);
            format!("{:.0} tokens/s, {left} left", batch as f64 / secs)
        });
        let pace = self.pace.clone().unwrap_or_default();
        if let Some(bar) = self.bar() {
            bar.set_length(steps);
            bar.set_position(line.step);
            bar.set_message(format!("loss {:.4}, L0 {:.1}, {} dead, {pace}", line.loss, line.l0, line.dead));
        }
    }

    fn evaluation(&mut self, evaluation: &SaeEvaluation) {
        let SaeEvaluation { step, l0, mse, explained_variance, dead, .. } = evaluation;
        let share = |share: &Option<f64>| share.map_or("-".to_owned(), |share| format!("{share:.4}"));
        let pace = self.pace.as_ref().map_or(String::new(), |pace| format!("  {pace}"));
        self.say(&format!(
            "step {step:6}  L0 {l0:.2}  squared error {mse:.4}  explained variance {}  loss recovered {} (from 0) \
             {} (from the mean)  {dead} dead{pace}",
            share(explained_variance),
            share(&evaluation.recovered_from_zero),
            share(&evaluation.recovered_from_mean),
        ));
    }

    fn should_stop(&mut self) -> bool {
        progress::is_stopped()
    }
}
