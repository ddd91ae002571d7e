//! A text as a model that is there already reads it, for what is trained on the model's activations.
//!
//! Documents stand between `<|endoftext|>` marks and no window crosses one, as in a scan of a corpus: a document is cut
//! into windows one after the other, the last as short as it comes, BOS in front of each. The last windows are
//! kept for validation. An epoch reads the others once, in an order that follows from the seed and the epoch.

use std::path::PathBuf;

use microtome::{Bos, Text, TextModel};
use microtome_model::Processing;
use microtome_model::tokenizer::END_OF_TEXT;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::config::CorpusConfig;
use crate::data::{Part, Stream, Texts};
use crate::error::{Error, Result};
use crate::random::{below, generator};
use crate::vocabulary::pieces;

/// Pieces of text tokenized at a time.
const BLOCK: usize = 4096;

/// Context where none is asked for, or the model's if that is shorter.
const CONTEXT: usize = 128;

/// The model that reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelChoice {
    /// Checkpoint, folder or model id.
    pub name: String,
    /// How its weights are processed.
    pub weights: Processing,
}

impl Default for ModelChoice {
    fn default() -> ModelChoice {
        ModelChoice { name: microtome_model::demo::NAME.to_owned(), weights: Processing::Folded }
    }
}

/// Which text is read, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReadingConfig {
    /// A text file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<PathBuf>,
    /// The program's own corpus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corpus: Option<CorpusConfig>,
    /// Tokens of a window at most, BOS included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<usize>,
    /// Whether BOS stands in front of every window, where the vocabulary has one. It is never learnt from.
    pub bos: bool,
    /// Share of the windows kept for validation: the last.
    pub validation: f64,
}

impl Default for ReadingConfig {
    fn default() -> ReadingConfig {
        ReadingConfig { text: None, corpus: None, context: None, bos: true, validation: 0.05 }
    }
}

impl ReadingConfig {
    /// Checks what does not depend on the model.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub(crate) fn check(&self) -> Result<()> {
        match (&self.text, self.corpus) {
            (None, None) => {
                let expected = "`data.text` or `data.corpus`";
                return Err(Error::setting("data", "empty", expected));
            }
            (Some(text), Some(_)) => {
                let expected = "either a text or `data.corpus`, not both";
                return Err(Error::setting("data.text", format!("`{}`", text.display()), expected));
            }
            _ => {}
        }
        if !(self.validation > 0.0 && self.validation < 1.0) {
            let expected = "a share above 0 and below 1, for example 0.05";
            return Err(Error::setting("data.validation", self.validation, expected));
        }
        Ok(())
    }

    /// The same with the context written down.
    ///
    /// # Errors
    /// [`Error::Setting`] for a context the model does not have.
    pub(crate) fn resolved(&self, model: &TextModel) -> Result<ReadingConfig> {
        let n_ctx = model.config().n_ctx;
        let context = self.context.unwrap_or(CONTEXT.min(n_ctx));
        if !(2..=n_ctx).contains(&context) {
            let expected = format!("from 2 to {n_ctx}, the model's context");
            return Err(Error::setting("data.context", context, expected));
        }
        Ok(ReadingConfig { context: Some(context), ..self.clone() })
    }

    fn describe(&self) -> String {
        match &self.text {
            Some(path) => format!("`{}`", path.display()),
            None => "the corpus".to_owned(),
        }
    }
}

/// The windows of a text, in two parts.
#[derive(Debug, Clone)]
pub struct Reading {
    stream: Stream,
    /// Where each window begins in the stream; the last number is the stream's length.
    starts: Vec<usize>,
    /// The first window kept for validation.
    cut: usize,
    bos: Option<u32>,
    hash: String,
}

impl Reading {
    /// Tokenizes a text. `config` is resolved.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::TooFewWindows`]; [`Error::Measure`] where the model has no tokenizer, or none for a
    /// character.
    pub fn open(model: &TextModel, config: &ReadingConfig) -> Result<Reading> {
        let bos = model.bos().filter(|_| config.bos);
        let len = config.context.unwrap_or(CONTEXT) - usize::from(bos.is_some());
        let mut reading = Reading {
            stream: Stream::new(model.config().d_vocab),
            starts: vec![],
            cut: 0,
            bos,
            hash: String::new(),
        };
        let mut hasher = blake3::Hasher::new();
        match (&config.text, config.corpus) {
            (Some(path), _) => {
                let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
                hasher.update(text.as_bytes());
                reading.extend(model, text.split(END_OF_TEXT), len)?;
            }
            (None, Some(corpus)) => {
                for text in Texts::Corpus(corpus).iter().collect::<Vec<_>>().chunks(BLOCK) {
                    text.iter().for_each(|text| {
                        hasher.update(text.as_bytes());
                        hasher.update(END_OF_TEXT.as_bytes());
                    });
                    reading.extend(model, text.iter().map(String::as_str), len)?;
                }
            }
            (None, None) => {}
        }
        reading.hash = hasher.finalize().to_hex().to_string();
        let windows = reading.starts.len();
        reading.cut = windows - ((windows as f64 * config.validation).round() as usize).max(1).min(windows);
        reading.starts.push(reading.stream.len());
        if reading.cut == 0 {
            return Err(Error::TooFewWindows { what: config.describe(), windows });
        }
        Ok(reading)
    }

    /// Appends documents as windows of at most `len` tokens.
    fn extend<'a>(
        &mut self,
        model: &TextModel,
        documents: impl Iterator<Item = &'a str>,
        len: usize,
    ) -> Result<()> {
        let all: Vec<(usize, &str)> = documents
            .enumerate()
            .flat_map(|(document, text)| pieces(text).into_iter().map(move |piece| (document, piece)))
            .collect();
        let mut document = None;
        let mut filled = len;
        for block in all.chunks(BLOCK) {
            let encode = |&(_, text): &(usize, &str)| model.encode(&Text::Text(text.to_owned()), Bos::Omit);
            let tokens: Vec<_> = block.par_iter().map(encode).collect::<Result<_, _>>()?;
            for (&(of, _), (tokens, _)) in block.iter().zip(&tokens) {
                if document != Some(of) {
                    (document, filled) = (Some(of), len);
                }
                let mut rest = &tokens[..];
                while !rest.is_empty() {
                    if filled == len {
                        self.starts.push(self.stream.len());
                        filled = 0;
                    }
                    let (here, after) = rest.split_at(rest.len().min(len - filled));
                    self.stream.extend(here);
                    filled += here.len();
                    rest = after;
                }
            }
        }
        Ok(())
    }

    /// How many windows a part has.
    pub fn windows(&self, part: Part) -> usize {
        match part {
            Part::Training => self.cut,
            Part::Validation => self.starts.len() - 1 - self.cut,
        }
    }

    /// How many tokens of the text a part has.
    pub fn tokens(&self, part: Part) -> usize {
        match part {
            Part::Training => self.starts[self.cut],
            Part::Validation => self.stream.len() - self.starts[self.cut],
        }
    }

    /// A window of a part, BOS in front where there is one.
    pub fn window(&self, part: Part, index: usize) -> Vec<u32> {
        let index = index + if part == Part::Validation { self.cut } else { 0 };
        let tokens = self.stream.slice(self.starts[index]..self.starts[index + 1]);
        self.bos.into_iter().chain(tokens).collect()
    }

    /// The first position of a window that holds the text.
    pub fn first(&self) -> usize {
        usize::from(self.bos.is_some())
    }

    /// Windows of the validation part to measure on, at most so many, evenly spread over it; those of which nothing can be
    /// predicted are left out.
    ///
    /// # Errors
    /// [`Error::TooFewWindows`] where none is left.
    pub fn measured(&self, limit: usize) -> Result<Vec<Vec<u32>>> {
        let all = self.windows(Part::Validation);
        let count = limit.min(all);
        let window = |i| self.window(Part::Validation, i * all / count);
        let found: Vec<Vec<u32>> = (0..count).map(window).filter(|window| window.len() > 1).collect();
        match found.is_empty() {
            true => Err(Error::TooFewWindows { what: "the validation part".to_owned(), windows: 0 }),
            false => Ok(found),
        }
    }

    /// The order in which an epoch reads the training windows.
    pub(crate) fn order(&self, seed: u64, epoch: u64) -> Vec<u32> {
        shuffled(self.cut, &mut generator(seed, "windows", epoch))
    }

    /// Fingerprint of the text.
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

/// The numbers below `n` in an order drawn at random.
pub(crate) fn shuffled(n: usize, rng: &mut rand_chacha::ChaCha8Rng) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n as u32).collect();
    for i in (1..n).rev() {
        order.swap(i, below(rng, i + 1));
    }
    order
}
