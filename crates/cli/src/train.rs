//! `microtome train`: a model from a text.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use microtome::model::DownloadProgress;
use microtome_train::{Config, Evaluation, Observer, Progress, Start, Telemetry, train};

use crate::device;
use crate::output::{STOPPED, duration};
use crate::progress;
use crate::study::{self, Study};

/// Train a model as a TOML file says, and resume the run if it was stopped
///
/// The run's folder gets `best/` and `last/`, which every other command takes as --model, the losses of
/// every step (losses.jsonl) and what was measured on the way. The same command goes on where a run was
/// stopped, and reaches the same losses as one that was not.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    study: Option<Study>,
    /// The run's settings; `--example` prints a file with all of them
    #[arg(value_name = "CONFIG.toml", required_unless_present = "example")]
    config: Option<PathBuf>,
    /// Print a complete commented CONFIG.toml
    #[arg(long, conflicts_with_all = ["config", "out", "init_from", "steps", "resume", "fresh", "quiet"])]
    example: bool,
    /// Folder of the run, instead of the file's
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Start from a checkpoint or model id instead of a new model
    #[arg(long, value_name = "MODEL")]
    init_from: Option<String>,
    /// Number of updates, instead of the file's
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
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
    device::refuse_gpu("training")?;
    if let Some(study) = &args.study {
        return study::run(study);
    }
    if args.example {
        print!("{}", Config::EXAMPLE);
        return Ok(ExitCode::SUCCESS);
    }
    let Some(file) = &args.config else { bail!("no CONFIG.toml; --example prints one") };
    let mut config = Config::read(file)?;
    if let Some(out) = &args.out {
        config.out = out.clone();
    }
    if let Some(spec) = &args.init_from {
        config.model.init_from = Some(spec.clone());
    }
    if let Some(steps) = args.steps {
        // A run cut short, or prolonged, learns at the rates it would have had.
        config.training.decay_steps.get_or_insert(config.training.steps);
        config.training.steps = steps;
    }
    let start = match (args.resume, args.fresh) {
        (true, _) => Start::Resume,
        (_, true) => Start::Fresh,
        _ => Start::Continue,
    };
    progress::catch_ctrl_c();
    let mut screen = Screen::new(args.quiet);
    let result = train(&config, start, &mut screen);
    screen.clear();
    let summary = result?;
    let out = config.out.display();
    if summary.stopped {
        eprintln!("stopped after step {}; the same command goes on from there", summary.step);
        return Ok(ExitCode::from(STOPPED));
    }
    if !args.quiet {
        if let Some(best) = summary.best {
            println!(
                "{} steps in {}; best validation loss {:.4} at step {}",
                summary.step,
                duration(summary.record.elapsed_secs),
                best.validation_loss,
                best.step
            );
        }
        println!("the best model is in {out}/best: microtome info {out}/best");
    }
    Ok(ExitCode::SUCCESS)
}

/// A run as it is shown: a bar on a terminal, a line at each evaluation otherwise.
pub struct Screen {
    quiet: bool,
    bar: Option<ProgressBar>,
    is_terminal: bool,
    /// When the steps of this sitting began, and the first of them.
    began: Option<(Instant, u64)>,
    last: Option<Progress>,
}

impl Screen {
    pub fn new(quiet: bool) -> Screen {
        let is_terminal = std::io::stderr().is_terminal();
        Screen { quiet, bar: None, is_terminal, began: None, last: None }
    }

    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    pub fn say(&self, line: &str) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.suspend(|| println!("{line}")),
            None => println!("{line}"),
        }
    }

    /// Tokens a second and time left, from the steps of this sitting.
    fn pace(&self, progress: &Progress) -> Option<(f64, f64)> {
        let (began, first) = self.began?;
        let steps = progress.step.checked_sub(first).filter(|&steps| steps > 0)?;
        let secs_per_step = began.elapsed().as_secs_f64() / steps as f64;
        let left = (progress.steps - progress.step) as f64;
        Some((progress.tokens as f64 / secs_per_step, secs_per_step * left))
    }
}

impl Observer for Screen {
    fn note(&mut self, message: &str) {
        self.say(message);
    }

    fn update(&mut self, progress: &Progress) {
        self.last = Some(*progress);
        if self.began.is_none() {
            self.began = Some((Instant::now(), progress.step));
        }
        if self.quiet || !self.is_terminal {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let style = "{wide_bar} {pos}/{len} {msg}";
            let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::new(progress.steps).with_style(style);
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        bar.set_position(progress.step);
        let message = format!("loss {:.4}", progress.update.loss);
        let message = match self.pace(progress) {
            Some((rate, left)) => format!("{message}, {rate:.0} tokens/s, {} left", duration(left)),
            None => message,
        };
        if let Some(bar) = &self.bar {
            bar.set_message(message);
        }
    }

    fn evaluation(&mut self, evaluation: &Evaluation) {
        let Evaluation { step, train_loss, validation_loss, in_context_score } = evaluation;
        let mut line = format!(
            "step {step:6}  training {train_loss:.4}  validation {validation_loss:.4}  in-context score \
             {in_context_score:.3}"
        );
        if let Some((rate, left)) = self.last.as_ref().and_then(|progress| self.pace(progress)) {
            line += &format!("  {rate:.0} tokens/s, {} left", duration(left));
        }
        self.say(&line);
    }

    fn telemetry(&mut self, telemetry: &Telemetry) {
        let Telemetry { first_loss, second_loss, .. } = telemetry;
        let Some((layer, head, score)) = telemetry.best_induction() else { return };
        self.say(&format!(
            "             random tokens {first_loss:.4}, said again {second_loss:.4}  best induction head \
             L{layer}H{head} {score:.3}"
        ));
    }

    fn sample(&mut self, text: &str) {
        self.say(&format!("             {text:?}"));
    }

    fn download(&mut self) -> Box<dyn DownloadProgress> {
        Box::new(progress::Download::default())
    }

    fn should_stop(&mut self) -> bool {
        progress::is_stopped()
    }
}
