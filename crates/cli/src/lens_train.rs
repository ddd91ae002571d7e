//! `microtome train lens`: a tuned lens for a model.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use microtome::model::{Precision, Preparation};
use microtome_train::Start;
use microtome_train::lens::{LensEvaluation, LensLine, LensObserver, LensTraining, train_lens};

use crate::args::{self, WeightsArg};
use crate::output::{STOPPED, duration};
use crate::progress;

/// Train a tuned lens: for each layer the affine map after which the unembedding comes closest to the model's output
///
/// Every map begins at the identity, where the tuned lens is the logit lens, and learns to lower KL(output || lens). Options take the
/// place of what the file says. `last/` in the run's folder is the lens in the format of the package tuned-lens; `microtome lens
/// --tuned` reads through it. Ctrl-C keeps a checkpoint; the same command goes on from there.
#[derive(clap::Args)]
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
    /// The text that the model reads
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Number of updates [default: 1000]
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Windows of a batch [default: 16]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Highest learning rate [default: 0.001]
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Seed of the order of windows [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Folder of the run [default: runs/lens]
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

pub fn run(args: &Args) -> Result<ExitCode> {
    if args.example {
        print!("{}", LensTraining::EXAMPLE);
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
    let mut screen = Screen { quiet: args.quiet, bar: None, began: None };
    let result = train_lens(&model, &config, start, &mut screen);
    if let Some(bar) = screen.bar.take() {
        bar.finish_and_clear();
    }
    let summary = result?;
    let (out, state) = (config.out.display(), &summary.record.state);
    if summary.stopped {
        eprintln!("stopped after step {}; the same command goes on from there", state.step);
        return Ok(ExitCode::from(STOPPED));
    }
    if !args.quiet {
        println!("{} steps in {}", state.step, duration(state.elapsed_secs));
        println!("lens    {out}/last\ncurves  {out}/curves.png");
    }
    Ok(ExitCode::SUCCESS)
}

/// What the file says, with options in its place.
fn settings(args: &Args) -> Result<LensTraining> {
    let mut config = match &args.config {
        Some(file) => LensTraining::read(file)?,
        None => LensTraining::default(),
    };
    if let Some(model) = &args.model {
        config.model.name = model.clone();
    }
    if let Some(weights) = args.weights {
        config.model.weights = weights.into();
    }
    if let Some(text) = &args.text {
        (config.data.text, config.data.corpus) = (Some(text.clone()), None);
    }
    if let Some(out) = &args.out {
        config.out = out.clone();
    }
    config.seed = args.seed.unwrap_or(config.seed);
    config.training.steps = args.steps.unwrap_or(config.training.steps);
    config.training.batch = args.batch.unwrap_or(config.training.batch);
    config.training.learning_rate = args.learning_rate.unwrap_or(config.training.learning_rate);
    Ok(config)
}

/// A run as it is shown: a bar on a terminal, a line at each evaluation.
struct Screen {
    quiet: bool,
    bar: Option<ProgressBar>,
    /// When the updates of this sitting began, and the first of them.
    began: Option<(Instant, u64)>,
}

impl Screen {
    fn say(&self, line: &str) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.suspend(|| println!("{line}")),
            None => println!("{line}"),
        }
    }
}

impl LensObserver for Screen {
    fn note(&mut self, message: &str) {
        self.say(message);
    }

    fn update(&mut self, line: &LensLine, steps: u64, _batch: usize) {
        let (began, first) = *self.began.get_or_insert((Instant::now(), line.step));
        if self.quiet || !std::io::stderr().is_terminal() {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let style = "{wide_bar} {pos}/{len} {msg}";
            let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::new(steps).with_style(style);
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        bar.set_position(line.step);
        let mean = line.losses.iter().sum::<f64>() / line.losses.len().max(1) as f64;
        let done = line.step - first;
        let left = match done {
            0 => String::new(),
            _ => {
                let secs = began.elapsed().as_secs_f64() / done as f64;
                format!(", {} left", duration(secs * (steps - line.step) as f64))
            }
        };
        bar.set_message(format!("mean KL {mean:.4}{left}"));
    }

    fn evaluation(&mut self, evaluation: &LensEvaluation) {
        let layers: Vec<String> = evaluation.kl.iter().map(|kl| format!("{kl:.4}")).collect();
        let step = evaluation.step;
        self.say(&format!("step {step:6}  KL(output || lens) entering L0, L1 ...: {}", layers.join("  ")));
    }

    fn should_stop(&mut self) -> bool {
        progress::is_stopped()
    }
}
