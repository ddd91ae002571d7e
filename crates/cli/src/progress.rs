//! Progress on long work, and stopping it.
//!
//! Bars go to standard error and only to a terminal, so that pipes stay clean.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use microtome::model::DownloadProgress;
use microtome::{DEFAULT_BUDGET, Experiment, Record, TextModel, Watch};

/// Set by Ctrl-C.
static STOP: AtomicBool = AtomicBool::new(false);

/// Work shorter than this shows no bar.
const QUIET: Duration = Duration::from_millis(300);

/// From here on the first Ctrl-C only asks to stop, and a second one quits.
pub fn catch_ctrl_c() {
    // A handler can be set once; commands that run several experiments come here more than once.
    let _ = ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    });
}

/// The same, and what it sets: for work that looks by itself whether it is to stop.
pub fn stop_on_ctrl_c() -> &'static AtomicBool {
    catch_ctrl_c();
    &STOP
}

/// Whether Ctrl-C was pressed.
pub fn is_stopped() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// Runs an experiment with a bar; Ctrl-C stops it and keeps what is finished, a second one quits.
pub fn run(experiment: &Experiment, model: &TextModel, memory_mib: Option<usize>) -> Result<Record> {
    catch_ctrl_c();
    let started = Instant::now();
    let mut bar: Option<ProgressBar> = None;
    let mut progress = |done: usize, total: usize| {
        if bar.is_none() && started.elapsed() > QUIET && std::io::stderr().is_terminal() {
            let style = "{wide_bar} {pos}/{len} runs, {eta} left (Ctrl-C keeps these)";
            let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
            bar = Some(ProgressBar::new(total as u64).with_style(style).with_elapsed(started.elapsed()));
        }
        if let Some(bar) = &bar {
            bar.set_position(done as u64);
        }
    };
    let memory_budget = memory_mib.map_or(DEFAULT_BUDGET, |mib| mib.saturating_mul(1 << 20));
    let record = experiment
        .run(model, &mut Watch { cancel: &STOP, progress: &mut progress, partial: None, memory_budget });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(record?)
}

/// A bar for a file that is read.
pub struct Bytes {
    started: Instant,
    bar: Option<ProgressBar>,
}

impl Default for Bytes {
    fn default() -> Bytes {
        Bytes { started: Instant::now(), bar: None }
    }
}

impl Bytes {
    /// How much of it is read.
    pub fn show(&mut self, done: u64, total: u64) {
        if self.bar.is_none() && self.started.elapsed() > QUIET && std::io::stderr().is_terminal() {
            let style = "{wide_bar} {bytes}/{total_bytes}, {eta} left (Ctrl-C stops)";
            let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
            self.bar = Some(ProgressBar::new(total).with_style(style).with_elapsed(self.started.elapsed()));
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }

    /// Takes it away.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// A download bar.
#[derive(Default)]
pub struct Download {
    bar: Option<ProgressBar>,
}

impl DownloadProgress for Download {
    fn init(&mut self, total_bytes: u64, file: &str) {
        if !std::io::stderr().is_terminal() {
            eprintln!("fetching {file} ({:.1} MB)", total_bytes as f64 / 1e6);
            return;
        }
        let style = "{msg:24} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left";
        let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
        self.bar = Some(ProgressBar::new(total_bytes).with_style(style).with_message(file.to_owned()));
    }

    fn advance(&mut self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish();
        }
    }
}
