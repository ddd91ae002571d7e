//! What a model reads: a stream of tokens in two parts, and windows of it.
//!
//! A window is `n_ctx + 1` tokens: the model reads all but the last and predicts all but the first. Which
//! windows make the batch of a step follows from the seed and the step alone.

use std::ops::Range;

use microtome_model::tokenizer::END_OF_TEXT;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::config::{Batches, Config, CorpusConfig, DataConfig, Windows};
use crate::corpus;
use crate::error::{Error, Result};
use crate::random::{below, generator, share};
use crate::vocabulary::{Vocabulary, pieces};

/// Documents tokenized at a time.
const BLOCK: u64 = 4096;

/// The texts of a run, read or made when they are asked for.
#[derive(Debug, Clone)]
pub enum Texts {
    /// One text.
    File(String),
    /// Documents of the generator.
    Corpus(CorpusConfig),
}

impl Texts {
    /// The texts a configuration names; `None` for random tokens only.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(config: &DataConfig) -> Result<Option<Texts>> {
        match (&config.text, config.corpus) {
            (Some(path), _) => {
                let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
                Ok(Some(Texts::File(text)))
            }
            (None, Some(corpus)) => Ok(Some(Texts::Corpus(corpus))),
            (None, None) => Ok(None),
        }
    }

    /// All of them, a long one in pieces.
    pub fn iter(&self) -> Box<dyn Iterator<Item = String> + Send + '_> {
        match self {
            Texts::File(text) => Box::new(pieces(text).into_iter().map(str::to_owned)),
            Texts::Corpus(CorpusConfig { seed, documents, favour }) => {
                Box::new((0..*documents).map(|index| corpus::favouring(*favour, *seed, index).text))
            }
        }
    }
}

/// Tokens in a row, in two bytes each where that is enough.
#[derive(Debug, Clone)]
pub(crate) enum Stream {
    Narrow(Vec<u16>),
    Wide(Vec<u32>),
}

impl Stream {
    pub fn new(vocab: usize) -> Stream {
        if vocab <= 1 << 16 { Stream::Narrow(vec![]) } else { Stream::Wide(vec![]) }
    }

    pub fn extend(&mut self, tokens: &[u32]) {
        match self {
            Stream::Narrow(all) => all.extend(tokens.iter().map(|&id| id as u16)),
            Stream::Wide(all) => all.extend(tokens),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Stream::Narrow(all) => all.len(),
            Stream::Wide(all) => all.len(),
        }
    }

    pub fn slice(&self, range: Range<usize>) -> Vec<u32> {
        match self {
            Stream::Narrow(all) => all[range].iter().map(|&id| u32::from(id)).collect(),
            Stream::Wide(all) => all[range].to_vec(),
        }
    }

    fn positions(&self, id: u32) -> Vec<usize> {
        match self {
            Stream::Narrow(all) => {
                all.iter().enumerate().filter(|&(_, &t)| u32::from(t) == id).map(|(at, _)| at).collect()
            }
            Stream::Wide(all) => {
                all.iter().enumerate().filter(|&(_, &t)| t == id).map(|(at, _)| at).collect()
            }
        }
    }
}

/// One of the two parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What the model learns from.
    Training,
    /// What it is measured on.
    Validation,
}

impl Part {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Part::Training => "training",
            Part::Validation => "validation",
        }
    }
}

/// What a run reads.
#[derive(Debug, Clone)]
pub struct Data {
    stream: Option<Stream>,
    /// First token of the validation part.
    cut: usize,
    /// Positions of `<|endoftext|>` that windows may begin at, in each part; none for windows anywhere.
    documents: [Vec<usize>; 2],
    windows: Windows,
    repeats: f64,
    vocab: usize,
    bos: Option<u32>,
    n_ctx: usize,
    seed: u64,
    hash: Option<String>,
}

impl Data {
    /// Tokenizes texts, documents in parallel, `<|endoftext|>` in front of each. `config` is resolved.
    ///
    /// # Errors
    /// [`Error::TooShort`], [`Error::NoDocuments`]; [`Error::Model`] for a character outside the
    /// vocabulary.
    pub fn read(
        texts: &Texts,
        vocabulary: &Vocabulary,
        config: &DataConfig,
        n_ctx: usize,
        seed: u64,
    ) -> Result<Data> {
        let mut stream = Stream::new(vocabulary.size());
        let mut hasher = blake3::Hasher::new();
        let cut = match texts {
            Texts::File(text) => {
                hasher.update(text.as_bytes());
                stream.extend(&vocabulary.encode(text)?);
                (stream.len() as f64 * (1.0 - config.validation)) as usize
            }
            Texts::Corpus(CorpusConfig { seed, documents, favour }) => {
                let Some(end) = vocabulary.end_of_text() else {
                    let expected = "a tokenizer with the token <|endoftext|>, which stands between documents";
                    return Err(Error::setting("data.tokenizer", "one without", expected));
                };
                let first_held_out = (*documents as f64 * (1.0 - config.validation)) as u64;
                let mut cut = 0;
                for start in (0..*documents).step_by(BLOCK as usize) {
                    let block = start..(start + BLOCK).min(*documents);
                    let texts: Vec<String> = block
                        .clone()
                        .into_par_iter()
                        .map(|index| corpus::favouring(*favour, *seed, index).text)
                        .collect();
                    let tokens: Vec<Vec<u32>> =
                        texts.par_iter().map(|text| vocabulary.encode(text)).collect::<Result<_>>()?;
                    for ((index, text), tokens) in block.zip(&texts).zip(&tokens) {
                        if index > 0 {
                            hasher.update(END_OF_TEXT.as_bytes());
                        }
                        hasher.update(text.as_bytes());
                        if index == first_held_out {
                            cut = stream.len();
                        }
                        stream.extend(&[end]);
                        stream.extend(tokens);
                    }
                }
                cut
            }
        };
        let mut data = Data {
            cut,
            documents: [vec![], vec![]],
            windows: config.windows,
            repeats: config.repeats.unwrap_or(0.0),
            vocab: vocabulary.size(),
            bos: vocabulary.tokenizer().bos(),
            n_ctx,
            seed,
            hash: Some(hasher.finalize().to_hex().to_string()),
            stream: Some(stream),
        };
        data.check(config, vocabulary.end_of_text())?;
        Ok(data)
    }

    /// No text: random sequences, repeated.
    pub fn random(vocab: usize, bos: Option<u32>, n_ctx: usize, seed: u64) -> Data {
        Data {
            stream: None,
            cut: 0,
            documents: [vec![], vec![]],
            windows: Windows::Anywhere,
            repeats: 1.0,
            vocab,
            bos,
            n_ctx,
            seed,
            hash: None,
        }
    }

    fn check(&mut self, config: &DataConfig, end_of_text: Option<u32>) -> Result<()> {
        let needed = self.n_ctx + 1;
        for part in [Part::Training, Part::Validation] {
            let range = self.range(part);
            if range.len() < needed {
                let what = config.describe();
                return Err(Error::TooShort { part: part.name(), what, tokens: range.len(), needed });
            }
        }
        if let (Windows::Documents, Some(stream)) = (self.windows, &self.stream) {
            let ends = end_of_text.map(|id| stream.positions(id)).unwrap_or_default();
            for part in [Part::Training, Part::Validation] {
                let range = self.range(part);
                // A window may begin one token later, right after the mark.
                let fits = |at: &&usize| range.contains(*at) && **at + 1 + needed <= range.end;
                let starts: Vec<usize> = ends.iter().filter(fits).copied().collect();
                if starts.is_empty() {
                    return Err(Error::NoDocuments {
                        part: part.name(),
                        what: config.describe(),
                        needed: needed + 1,
                    });
                }
                self.documents[part as usize] = starts;
            }
        }
        Ok(())
    }

    fn range(&self, part: Part) -> Range<usize> {
        let len = self.stream.as_ref().map_or(0, Stream::len);
        match part {
            Part::Training => 0..self.cut,
            Part::Validation => self.cut..len,
        }
    }

    /// Number of tokens of a part.
    pub fn tokens(&self, part: Part) -> usize {
        self.range(part).len()
    }

    /// Fingerprint of the text: blake3 of the file, or of the documents with `<|endoftext|>` between them.
    pub fn hash(&self) -> Option<&str> {
        self.hash.as_deref()
    }

    /// The windows of one batch of a step.
    pub fn batch(&self, step: u64, part: usize, windows: usize) -> Vec<Vec<u32>> {
        let mut rng = generator(self.seed, &format!("batch {part}"), step);
        (0..windows)
            .map(|_| {
                if share(&mut rng) < self.repeats {
                    self.repeated(&mut rng)
                } else {
                    self.window(Part::Training, &mut rng)
                }
            })
            .collect()
    }

    /// Windows to measure on, the same ones each time.
    pub fn fixed(&self, part: Part, windows: usize) -> Vec<Vec<u32>> {
        let mut rng = generator(self.seed, part.name(), 0);
        (0..windows).map(|_| self.window(part, &mut rng)).collect()
    }

    /// The windows of a part that every evaluation of a run measures on.
    pub fn measured(&self, part: Part, config: &Config) -> Vec<Vec<u32>> {
        match config.evaluation.batches {
            Batches::Count(batches) => self.fixed(part, batches * config.training.batch),
            Batches::All(_) => {
                let limit = self.whole(Part::Validation, usize::MAX).len().max(1);
                self.whole(part, limit)
            }
        }
    }

    /// A part from beginning to end, cut into windows, `limit` at most.
    pub fn whole(&self, part: Part, limit: usize) -> Vec<Vec<u32>> {
        let Some(stream) = &self.stream else { return self.fixed(part, limit) };
        let range = self.range(part);
        let count = ((range.len() - 1) / self.n_ctx).min(limit);
        let start = |i: usize| range.start + i * self.n_ctx;
        (0..count).map(|i| stream.slice(start(i)..start(i) + self.n_ctx + 1)).collect()
    }

    fn window(&self, part: Part, rng: &mut ChaCha8Rng) -> Vec<u32> {
        let Some(stream) = &self.stream else { return self.repeated(rng) };
        let (range, len) = (self.range(part), self.n_ctx + 1);
        let documents = &self.documents[part as usize];
        let start = match (self.windows, share(rng)) {
            (Windows::Documents, draw) if draw < 0.85 => {
                documents[below(rng, documents.len())] + usize::from(draw >= 0.7)
            }
            _ => range.start + below(rng, range.len() - len + 1),
        };
        stream.slice(start..start + len)
    }

    /// BOS where there is one, then a random sequence again and again: 4 tokens to half a context long.
    fn repeated(&self, rng: &mut ChaCha8Rng) -> Vec<u32> {
        let longest = (self.n_ctx / 2).max(1);
        let shortest = longest.min(4);
        let period = shortest + below(rng, longest - shortest + 1);
        self.repeat(period, rng)
    }

    /// BOS where there is one, then a random sequence of `period` tokens again and again.
    fn repeat(&self, period: usize, rng: &mut ChaCha8Rng) -> Vec<u32> {
        let mut token = || loop {
            let id = below(rng, self.vocab) as u32;
            if Some(id) != self.bos {
                break id;
            }
        };
        let sequence: Vec<u32> = (0..period).map(|_| token()).collect();
        self.bos.into_iter().chain(sequence.into_iter().cycle()).take(self.n_ctx + 1).collect()
    }

    /// Windows of a random sequence that takes up half the context, and again; the same ones each time.
    pub fn fixed_repeats(&self, windows: usize) -> Vec<Vec<u32>> {
        let mut rng = generator(self.seed, "repeats", 0);
        (0..windows).map(|_| self.repeat(self.period(), &mut rng)).collect()
    }

    /// Length of the sequence in [`Data::fixed_repeats`].
    pub fn period(&self) -> usize {
        (self.n_ctx / 2).max(1)
    }

    /// The beginning-of-text token in front of random sequences.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }
}
