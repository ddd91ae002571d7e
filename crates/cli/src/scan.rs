//! `microtome neurons scan`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use microtome::corpus_scan::{
    CorpusScan, Features, Neurons, ScanSettings, ScanText, ScanWatch, neurons_named, scan,
};
use microtome::{Component, TextModel};

use crate::args::{ModelArgs, load};
use crate::neurons_text::scan_text;
use crate::output::{STOPPED, print};
use crate::progress;
use crate::whole_file::check_writable;

/// Where in a text neurons are most active, and how their activation is distributed
///
/// The text is a file of any length; documents in it are divided by <|endoftext|>. It is read a batch of windows at a
/// time, so that memory does not grow with it. With --out the scan is saved every few seconds and --resume goes on
/// with it, to the same numbers.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome neurons scan corpus.txt --neurons L2N17,L3 --top 10 --out scan.json
  microtome neurons scan corpus.txt --neurons L2N17,L3 --top 10 --out scan.json --resume
  microtome neurons scan -m gpt2 openwebtext.txt --neurons L9 --limit 1000000 --out scan.json
  printf %s \"The cat sat on the mat.\" | microtome neurons scan - --neurons L2N17")]
pub struct ScanArgs {
    /// The text file; `-` reads standard input, all of it at once
    text: PathBuf,
    /// Neurons L2N17, and layers L3 for all of their neurons
    #[arg(long, value_name = "LIST", value_delimiter = ',', required = true, value_parser = neurons_named)]
    neurons: Vec<Component>,
    #[command(flatten)]
    how: ScanOptions,
}

/// How a text is scanned, and where what is found goes.
#[derive(clap::Args)]
pub struct ScanOptions {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Passages kept of each feature or neuron, one of a window at most
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    /// Tokens kept on either side of the most active one
    #[arg(long, value_name = "N", default_value_t = 12)]
    context: usize,
    /// One counts as active above this
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_hyphen_values = true)]
    threshold: f64,
    /// Tokens that are run together, BOS included [default: 128, or the context where it is shorter]
    #[arg(long, value_name = "TOKENS")]
    window: Option<usize>,
    /// Windows that are run at a time
    #[arg(long, value_name = "N", default_value_t = 8)]
    batch: usize,
    /// Stop after so many tokens; --resume with a higher limit goes on
    #[arg(long, value_name = "TOKENS")]
    limit: Option<u64>,
    /// Save the scan to FILE, every few seconds and at its end
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Go on with the scan in --out
    #[arg(long, requires = "out", help_heading = "Output")]
    resume: bool,
    /// How many to print
    #[arg(long, value_name = "N", default_value_t = 10, help_heading = "Output")]
    list: usize,
}

pub fn run(args: &ScanArgs) -> Result<ExitCode> {
    let begun = args.how.begun()?;
    let model = args.how.load()?;
    let neurons = Neurons::new(&args.neurons, model.config())?;
    args.how.scan(&args.text, &model, &neurons, begun)
}

impl ScanOptions {
    /// The model.
    pub fn load(&self) -> Result<TextModel> {
        load(&self.model.model, self.model.prepare.preparation())
    }

    /// The scan that is gone on with; where there is none, whether a new one can be saved.
    pub fn begun(&self) -> Result<Option<CorpusScan>> {
        match &self.out {
            Some(out) if self.resume => Ok(Some(CorpusScan::read(out)?)),
            Some(out) if out.is_file() => {
                bail!(
                    "`{0}` is there already; go on with it with --resume, or name another file",
                    out.display()
                )
            }
            Some(out) => {
                check_writable(out)?;
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// Scans a text and says what was found.
    pub fn scan(
        &self,
        text: &Path,
        model: &TextModel,
        features: &dyn Features,
        begun: Option<CorpusScan>,
    ) -> Result<ExitCode> {
        let piped = match text.to_str() {
            Some("-") => {
                let text = std::io::read_to_string(std::io::stdin());
                Some(text.context("cannot read standard input as UTF-8 text")?)
            }
            _ => None,
        };
        let text = piped.as_deref().map_or(ScanText::File(text), ScanText::Given);
        let usual = ScanSettings::default();
        let settings = ScanSettings {
            window: self.window.unwrap_or(usual.window.min(model.config().n_ctx)),
            batch: self.batch,
            bos: self.model.prepare.bos(),
            top: self.top,
            context: self.context,
            threshold: self.threshold,
        };
        let started = Instant::now();
        let mut bar = progress::Bytes::default();
        let mut save = |scan: &CorpusScan| match &self.out {
            Some(out) => scan.write(out),
            None => Ok(()),
        };
        let mut watch = ScanWatch {
            cancel: progress::stop_on_ctrl_c(),
            progress: &mut |scan| bar.show(scan.place.byte, scan.text_bytes),
            save: Some(&mut save),
            limit: self.limit,
        };
        let found = scan(model, text, features, &settings, begun, &mut watch);
        bar.finish();
        let found = found?;
        print(&scan_text(&found, self.list, started.elapsed()))?;
        if found.complete || self.limit.is_some_and(|limit| found.tokens >= limit) {
            return Ok(ExitCode::SUCCESS);
        }
        let how = match &self.out {
            Some(_) => "go on with --resume",
            None => "with --out it can be gone on with",
        };
        eprintln!("stopped: {} of {} bytes read; {how}", found.place.byte, found.text_bytes);
        Ok(ExitCode::from(STOPPED))
    }
}
