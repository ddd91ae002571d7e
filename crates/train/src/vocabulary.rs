//! How text becomes tokens: every character one, byte-pair encoding learnt from the text, or a tokenizer
//! that exists.
//!
//! A vocabulary made here is written as a `tokenizer.json` and read back from it, so that training reads
//! text exactly as whoever loads the checkpoint will. GPT-2's pre-tokenization cuts the text into words
//! before pairs are counted, and every byte is a token, so that every text can be read.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use microtome_model::Tokenizer;
use microtome_model::tokenizer::{END_OF_TEXT, character_tokenizer};
use rayon::prelude::*;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, ModelWrapper};

use crate::config::BpeConfig;
use crate::error::{Error, Result};

/// A tokenizer in the form in which it lies beside a checkpoint.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    tokenizer: Tokenizer,
    /// `tokenizer.json`; `None` for GPT-2's own vocabulary, which needs no file.
    json: Option<String>,
    /// Ids of characters, where every character is a token: a table is faster than the general way.
    characters: Option<HashMap<char, u32>>,
    end_of_text: Option<u32>,
}

impl Vocabulary {
    /// `tokenizer.json` of the characters of texts, in the order of their code points, with
    /// `<|endoftext|>` after them if documents are to be told apart.
    pub fn characters(texts: impl Iterator<Item = String>, documents: Documents) -> String {
        let mut set = BTreeSet::new();
        for text in texts {
            set.extend(text.chars());
        }
        let end_of_text = (documents == Documents::Apart).then_some(set.len() as u32);
        character_tokenizer(set.into_iter().zip(0..), end_of_text)
    }

    /// `tokenizer.json` of a byte-level byte-pair encoding learnt from texts: smaller than asked for where
    /// no pair is left that occurs often enough.
    ///
    /// # Errors
    /// [`Error::MakeTokenizer`], `what` being the name of the texts.
    pub fn bpe(
        texts: impl Iterator<Item = String> + Send,
        settings: BpeConfig,
        what: &str,
    ) -> Result<String> {
        let failed = |problem: String| Error::MakeTokenizer { what: what.to_owned(), problem };
        let trainer = BpeTrainer::builder()
            .vocab_size(settings.vocab)
            .min_frequency(settings.min_frequency)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
            .build();
        let mut tokenizer = tokenizers::Tokenizer::new(ModelWrapper::BPE(BPE::default()));
        tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
        tokenizer.with_decoder(Some(ByteLevel::default()));
        // A mark in a text is a token already, and no word to learn from.
        let parts = |text: String| text.split(END_OF_TEXT).map(str::to_owned).collect::<Vec<_>>();
        let texts = texts.flat_map(parts);
        tokenizer
            .train(&mut TrainerWrapper::BpeTrainer(trainer), texts)
            .map_err(|e| failed(e.to_string()))?;
        tokenizer.to_string(false).map_err(|e| failed(e.to_string()))
    }

    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Model`], [`Error::Io`].
    pub fn read(path: &Path) -> Result<Vocabulary> {
        let json = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        Vocabulary::with_json(Tokenizer::from_json(path)?, Some(json))
    }

    /// The vocabulary of a checkpoint.
    ///
    /// # Errors
    /// [`Error::Model`] where it cannot be written again.
    pub fn of(tokenizer: Tokenizer) -> Result<Vocabulary> {
        let json = tokenizer.to_json()?;
        Vocabulary::with_json(tokenizer, json)
    }

    fn with_json(tokenizer: Tokenizer, json: Option<String>) -> Result<Vocabulary> {
        let end_of_text = tokenizer.encode(END_OF_TEXT).ok().and_then(|ids| match ids.as_slice() {
            [id] => Some(*id),
            _ => None,
        });
        let one_character = |id: u32| -> Option<(char, u32)> {
            let bytes = tokenizer.token_bytes(id).ok()?;
            let mut chars = std::str::from_utf8(&bytes).ok()?.chars();
            match (chars.next(), chars.next()) {
                (Some(c), None) => Some((c, id)),
                _ => None,
            }
        };
        // A byte-level vocabulary also has tokens of one character, and others: it fails at the first.
        let ids = (0..tokenizer.vocab_size() as u32).filter(|&id| Some(id) != end_of_text);
        let characters = ids.map(one_character).collect::<Option<HashMap<char, u32>>>();
        Ok(Vocabulary { tokenizer, json, characters, end_of_text })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The file beside a checkpoint.
    pub fn json(&self) -> Option<&str> {
        self.json.as_deref()
    }

    /// Number of tokens.
    pub fn size(&self) -> usize {
        self.tokenizer.vocab_size()
    }

    /// The token between documents.
    pub fn end_of_text(&self) -> Option<u32> {
        self.end_of_text
    }

    /// Tokens of a text.
    ///
    /// # Errors
    /// [`Error::Model`] for a character outside the vocabulary.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let Some(characters) = &self.characters else {
            let parts: Vec<Vec<u32>> = pieces(text)
                .par_iter()
                .map(|piece| self.tokenizer.encode(piece))
                .collect::<Result<_, _>>()?;
            return Ok(parts.concat());
        };
        let unknown = |(position, character)| microtome_model::Error::UnknownCharacter {
            character,
            position,
            vocab: characters.len(),
        };
        let id = |(at, c): (usize, char)| characters.get(&c).copied().ok_or_else(|| unknown((at, c)));
        match self.end_of_text {
            None => Ok(text.chars().enumerate().map(id).collect::<Result<_, _>>()?),
            Some(end) => {
                let mut tokens = Vec::with_capacity(text.len());
                for (i, part) in text.split(END_OF_TEXT).enumerate() {
                    tokens.extend((i > 0).then_some(end));
                    for item in part.chars().enumerate() {
                        tokens.push(id(item)?);
                    }
                }
                Ok(tokens)
            }
        }
    }
}

/// Whether texts are one, or documents with `<|endoftext|>` in front of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Documents {
    /// One text.
    One,
    /// Documents.
    Apart,
}

/// A text cut where no token of GPT-2's pre-tokenization goes across: before a single space that stands
/// between a character that is no space and a letter.
pub(crate) fn pieces(text: &str) -> Vec<&str> {
    const PIECE: usize = 1 << 16;
    let bytes = text.as_bytes();
    let mut pieces = Vec::new();
    let mut start = 0;
    while bytes.len() - start > 2 * PIECE {
        let is_cut = |&at: &usize| {
            bytes[at] == b' ' && bytes[at - 1].is_ascii_graphic() && bytes[at + 1].is_ascii_alphabetic()
        };
        let Some(cut) = (start + PIECE..bytes.len() - 1).find(is_cut) else { break };
        pieces.push(&text[start..cut]);
        start = cut;
    }
    pieces.push(&text[start..]);
    pieces
}
