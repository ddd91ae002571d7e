//! Features over a text of any length: where they are most active, and how they are distributed.
//!
//! The text is read in windows, a batch of which runs through the model at a time, as far as the layers read.
//! Of every feature ([`Features`]: neurons, or whatever else can be computed from rows of activations) is kept what a
//! [`FeatureSummary`] says: the passages with the highest activations, at most one of a window, a histogram, and moments.
//! Memory holds one batch, one piece of the text and the summaries, however long the text is.
//!
//! After every batch a scan is a value that can be saved, and gone on with to the very same numbers. That rests on two things:
//! batches are the same windows whatever was stopped in between, and a saved scan knows a byte of the text where reading can begin
//! again and the fingerprint of all before it.

mod neurons;
mod sae_features;
mod summary;
mod windows;
mod word;

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use microtome_model::{Hook, Positions, Precision, Processing, RunOptions, Tensor, with_rows};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::sae::SaeReport;
use crate::text_model::{About, Bos, Text, TextModel};
use crate::whole_file::write_whole_by;
pub use neurons::{Neurons, neurons_named};
pub use sae_features::SaeFeatures;
use summary::Seen;
pub use summary::{FeatureSummary, Histogram, Moments, Passage};
use windows::TextWindows;
pub use windows::{Place, ScanText};
pub use word::Word;
pub(crate) use word::sharing_words;

/// What is collected over a text: numbers computed from the activations of each token.
pub trait Features: Sync {
    /// Where activations are read.
    fn hooks(&self) -> Vec<Hook>;
    /// What each feature is called, in order.
    fn names(&self) -> Vec<String>;
    /// The features of some tokens, `[rows, features]`, from the activations at each hook, `[rows, ..]`.
    ///
    /// # Errors
    /// [`Error::Tensor`] where an operation fails.
    fn rows(&self, activations: &[&Tensor]) -> Result<Tensor>;
    /// The autoencoder they are of, where they are.
    fn sae(&self) -> Option<SaeReport> {
        None
    }
}

/// How a text is scanned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScanSettings {
    /// Tokens that are run together, BOS included.
    pub window: usize,
    /// Windows that are run at a time.
    pub batch: usize,
    /// Whether BOS stands in front of every window. It is never counted.
    pub bos: Bos,
    /// Passages kept of each feature.
    pub top: usize,
    /// Tokens shown on either side of the one that is most active.
    pub context: usize,
    /// A feature is active above this.
    pub threshold: f64,
}

impl Default for ScanSettings {
    fn default() -> ScanSettings {
        ScanSettings { window: 128, batch: 8, bos: Bos::Prepend, top: 10, context: 12, threshold: 0.0 }
    }
}

/// What was found over a text, or over the part of it that was read; and where to go on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusScan {
    /// The model.
    pub model: About,
    /// How its weights were processed.
    pub weights: Processing,
    /// How the numbers of its matrices were kept.
    pub precision: Precision,
    /// The autoencoder whose features they are; left out where they are neurons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sae: Option<SaeReport>,
    /// The text, as it was named.
    pub text: String,
    /// Its length in bytes.
    pub text_bytes: u64,
    /// How it was scanned.
    pub settings: ScanSettings,
    /// Windows read.
    pub windows: u64,
    /// Tokens counted, BOS left out.
    pub tokens: u64,
    /// Whether all of the text was read.
    pub complete: bool,
    /// Where the next window begins.
    pub place: Place,
    /// What was found of each feature.
    #[serde(deserialize_with = "sharing_words")]
    pub features: Vec<FeatureSummary>,
    /// Version of microtome.
    pub version: String,
}

/// Keeps what was found so far.
pub type Save<'a> = &'a mut dyn FnMut(&CorpusScan) -> Result<()>;

/// How a scan is watched, saved and bounded.
pub struct ScanWatch<'a> {
    /// Set to true by anyone, stops it after the batch under way; what was found is returned.
    pub cancel: &'a AtomicBool,
    /// Told what was found so far, before every batch and at the end.
    pub progress: &'a mut dyn FnMut(&CorpusScan),
    /// Given what was found so far, every few seconds.
    pub save: Option<Save<'a>>,
    /// Stop after the batch in which so many tokens are reached.
    pub limit: Option<u64>,
}

/// Between two saves, at least.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// Saving takes at most one part in so many of the time.
const SAVE_SHARE: u32 = 20;

/// Scans a text for features; `begun` goes on with a scan that was stopped.
///
/// # Errors
/// [`Error::NoTokenizer`]; [`Error::ScanText`] where the text cannot be read or is no UTF-8; [`Error::ScanDiffers`] where `begun` is a scan
/// of something else; [`Error::OutOfRange`] for a setting; [`Error::NotFinite`].
pub fn scan<'t>(
    model: &'t TextModel,
    text: impl Into<ScanText<'t>>,
    features: &dyn Features,
    settings: &ScanSettings,
    begun: Option<CorpusScan>,
    watch: &mut ScanWatch,
) -> Result<CorpusScan> {
    let text = text.into();
    settings.check(model)?;
    let fresh = CorpusScan::new(model, text, features, settings)?;
    let mut scan = match begun {
        Some(begun) => {
            begun.check(&fresh)?;
            begun
        }
        None => fresh,
    };
    let mut windows = TextWindows::open(text, model, settings, &scan.place)?;
    let hooks = features.hooks();
    // As far as is needed, where that is inside the blocks.
    let above = hooks.iter().map(|hook| hook.layer + 1).max();
    let stop_at_layer = above.filter(|&layer| hooks.iter().all(|hook| hook.fires_below(layer)));
    let options =
        RunOptions { reads: hooks.clone(), stop_at_layer, logits: Positions::Last, ..Default::default() };
    let mut saved = (Instant::now(), Duration::ZERO);
    let mut known: HashMap<u32, Word> = HashMap::new();
    while !scan.complete && watch.limit.is_none_or(|limit| scan.tokens < limit) {
        (watch.progress)(&scan);
        if watch.cancel.load(Ordering::Relaxed) {
            break;
        }
        let mut batch = Vec::new();
        while batch.len() < settings.batch
            && let Some(window) = windows.next()?
        {
            batch.push(window);
        }
        let ids: Vec<&[u32]> = batch.iter().map(|window| &window.ids[..]).collect();
        let runs = match ids.is_empty() {
            true => vec![],
            false => model.model().run_batch(&ids, &options)?,
        };
        for (window, run) in batch.iter().zip(&runs) {
            let read = hooks.iter().map(|&hook| run.cache.get(hook)).collect::<Result<Vec<_>, _>>()?;
            let rows = features.rows(&read)?;
            let n_features = scan.features.len();
            let word = |&id: &u32| known.entry(id).or_insert_with(|| model.label(id).into()).clone();
            let words: Vec<Word> = window.ids[window.first..].iter().map(word).collect();
            let seen = Seen { number: scan.windows, window, words: &words, settings };
            with_rows(&rows, |values| -> Result<()> {
                if values.iter().any(|x| !x.is_finite()) {
                    return Err(Error::NotFinite { what: format!("window {}", seen.number) });
                }
                let counted = &values[window.first * n_features..];
                let take = |(i, summary): (usize, &mut FeatureSummary)| {
                    summary.take(counted.iter().skip(i).step_by(n_features).copied(), &seen);
                };
                scan.features.par_iter_mut().with_min_len(64).enumerate().for_each(take);
                Ok(())
            })??;
            scan.windows += 1;
            scan.tokens += (window.ids.len() - window.first) as u64;
        }
        scan.complete = batch.len() < settings.batch;
        scan.place = windows.place();
        let (at, took) = saved;
        if let Some(save) = watch.save.as_mut()
            && at.elapsed() >= SAVE_EVERY.max(SAVE_SHARE * took)
        {
            let started = Instant::now();
            save(&scan)?;
            saved = (Instant::now(), started.elapsed());
        }
    }
    (watch.progress)(&scan);
    if let Some(save) = watch.save.as_mut() {
        save(&scan)?;
    }
    Ok(scan)
}

/// How many windows a text makes.
///
/// # Errors
/// As [`scan`].
pub fn count_windows<'t>(
    model: &'t TextModel,
    text: impl Into<ScanText<'t>>,
    settings: &ScanSettings,
) -> Result<usize> {
    settings.check(model)?;
    let mut windows = TextWindows::open(text.into(), model, settings, &Place::beginning())?;
    let mut count = 0;
    while windows.next()?.is_some() {
        count += 1;
    }
    Ok(count)
}

impl ScanSettings {
    fn check(&self, model: &TextModel) -> Result<()> {
        let bos = usize::from(self.bos == Bos::Prepend && model.bos().is_some());
        let n_ctx = model.config().n_ctx;
        let out =
            |name, value: usize, expected| Err(Error::OutOfRange { name, value: value as f64, expected });
        if self.window <= bos || self.window > n_ctx {
            return out("the window", self.window, "a token or more beside BOS, and at most the context");
        }
        if self.batch == 0 {
            return out("the number of windows run at a time", 0, "1 or more");
        }
        if !self.threshold.is_finite() {
            let (name, value) = ("the threshold", self.threshold);
            return Err(Error::OutOfRange { name, value, expected: "a number" });
        }
        Ok(())
    }
}

impl CorpusScan {
    /// Nothing read yet.
    fn new(
        model: &TextModel,
        text: ScanText,
        features: &dyn Features,
        settings: &ScanSettings,
    ) -> Result<CorpusScan> {
        let names = features.names();
        if names.is_empty() {
            return Err(Error::Missing {
                what: "a feature",
                hint: "name a neuron or a layer, for example L2N17 or L3, or an autoencoder",
            });
        }
        features.hooks().iter().try_for_each(|hook| hook.check(model.config()))?;
        if model.tokenizer().is_none() {
            return Err(Error::NoTokenizer { text: text.name() });
        }
        Ok(CorpusScan {
            model: model.about().clone(),
            weights: model.model().processing(),
            precision: model.model().precision(),
            sae: features.sae(),
            text: text.name(),
            text_bytes: text.bytes()?,
            settings: settings.clone(),
            windows: 0,
            tokens: 0,
            complete: false,
            place: Place::beginning(),
            features: names.into_iter().map(FeatureSummary::new).collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }

    /// Reads one that was saved.
    ///
    /// # Errors
    /// [`Error::ScanFile`].
    pub fn read(path: &Path) -> Result<CorpusScan> {
        let unreadable = |reason: String| Error::ScanFile { path: path.display().to_string(), reason };
        let file = File::open(path).map_err(|e| unreadable(e.to_string()))?;
        serde_json::from_reader(BufReader::new(file)).map_err(|e| unreadable(e.to_string()))
    }

    /// Saves it, whole or not at all.
    ///
    /// # Errors
    /// [`Error::ScanFile`].
    pub fn write(&self, path: &Path) -> Result<()> {
        let write = |file: &mut File| {
            let mut out = BufWriter::new(file);
            serde_json::to_writer(&mut out, self)?;
            out.flush()
        };
        write_whole_by(path, write)
            .map_err(|e| Error::ScanFile { path: path.display().to_string(), reason: e.to_string() })
    }

    /// Whether it can be gone on with as `fresh` would begin. The fingerprint of the text is checked where it is opened.
    fn check(&self, fresh: &CorpusScan) -> Result<()> {
        let names = |scan: &CorpusScan| {
            let names: Vec<&str> = scan.features.iter().map(|summary| &summary.feature[..]).collect();
            match &names[..] {
                [first, .., last] if names.len() > 4 => format!("{} from {first} to {last}", names.len()),
                few => few.join(", "),
            }
        };
        let same_names = self.features.len() == fresh.features.len()
            && self.features.iter().zip(&fresh.features).all(|(a, b)| a.feature == b.feature);
        let sae = |scan: &CorpusScan| scan.sae.as_ref().map(|sae| (sae.hash.clone(), sae.hook.clone()));
        let json = |settings: &ScanSettings| serde_json::to_string(settings).unwrap_or_default();
        let differs = |what, begun: String, asked: String| Err(Error::ScanDiffers { what, begun, asked });
        match () {
            () if self.model.weight_hash != fresh.model.weight_hash => {
                differs("model", self.model.model.clone(), fresh.model.model.clone())
            }
            () if (self.weights, self.precision) != (fresh.weights, fresh.precision) => {
                let of = |scan: &CorpusScan| format!("{} {}", scan.weights.name(), scan.precision.name());
                differs("weights", of(self), of(fresh))
            }
            () if self.model.tokenizer != fresh.model.tokenizer => {
                differs("vocabulary", self.model.tokenizer.clone(), fresh.model.tokenizer.clone())
            }
            () if self.text_bytes != fresh.text_bytes => {
                let of = |scan: &CorpusScan| format!("{} of {} bytes", scan.text, scan.text_bytes);
                differs("text", of(self), of(fresh))
            }
            () if self.settings != fresh.settings => {
                differs("settings", json(&self.settings), json(&fresh.settings))
            }
            () if sae(self) != sae(fresh) => {
                let of = |scan: &CorpusScan| match &scan.sae {
                    Some(sae) => format!("{} at {}, hash {}", sae.name, sae.hook, sae.hash),
                    None => "none".to_owned(),
                };
                differs("autoencoder", of(self), of(fresh))
            }
            () if !same_names => differs("features", names(self), names(fresh)),
            () => Ok(()),
        }
    }
}

/// The token ids of a piece of text, no BOS in front.
fn tokens(model: &TextModel, text: &str) -> Result<Vec<u32>> {
    Ok(model.encode(&Text::Text(text.to_owned()), Bos::Omit)?.0)
}
