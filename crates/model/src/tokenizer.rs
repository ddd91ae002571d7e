//! Text to token ids and back, for every vocabulary a checkpoint may come with.
//!
//! Four kinds behind one type: a `tokenizer.json`, GPT-2's older `vocab.json` with `merges.txt`,
//! nanoGPT's `meta.pkl` (one token per character), and GPT-2's own byte-pair vocabulary, which is
//! built into the program. Nothing here ever adds a beginning-of-text token; [`Tokenizer::bos`]
//! says which one it would be. `<|endoftext|>` written in a text is the special token, as in
//! Hugging Face's GPT-2 tokenizer.
//!
//! ```
//! use microtome_model::tokenizer::Tokenizer;
//! let gpt2 = Tokenizer::gpt2();
//! assert_eq!(gpt2.encode(" Paris")?, [6342]);
//! assert_eq!(gpt2.single_token(" Paris")?, 6342);
//! # Ok::<(), microtome_model::Error>(())
//! ```

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tiktoken_rs::r50k_base_singleton;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, DecoderWrapper, ModelWrapper};

use crate::error::{Error, Result};
use crate::family::Settings;
use crate::pickle::Pickle;

/// The text of GPT-2's one special token.
pub const END_OF_TEXT: &str = "<|endoftext|>";

const GPT2_END_OF_TEXT_ID: u32 = 50256;

const GPT2_VOCAB_SIZE: usize = 50257;

/// A vocabulary and the rules that cut text into it. Cloning shares it.
#[derive(Clone)]
pub struct Tokenizer {
    kind: Arc<Kind>,
    bos: Option<u32>,
    source: String,
}

enum Kind {
    /// Built in; parsed when first used, which a run on token ids never does.
    Gpt2,
    HuggingFace(Box<HuggingFace>),
    Characters(Characters),
}

struct HuggingFace {
    inner: tokenizers::Tokenizer,
    /// Which byte each character of a byte-level token stands for; empty for other vocabularies.
    byte_of_char: HashMap<char, u8>,
}

struct Characters {
    id_of: HashMap<char, u32>,
    char_of: HashMap<u32, char>,
    vocab_size: usize,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("source", &self.source).field("bos", &self.bos).finish()
    }
}

impl Tokenizer {
    /// GPT-2's byte-pair encoding of 50257 tokens, built in. The first call makes its tables.
    pub fn gpt2() -> Tokenizer {
        r50k_base_singleton();
        Tokenizer {
            kind: Arc::new(Kind::Gpt2),
            bos: Some(GPT2_END_OF_TEXT_ID),
            source: "GPT-2 BPE (built in)".to_owned(),
        }
    }

    /// Reads the tokenizer that lies in a directory: `tokenizer.json`, else `vocab.json` with
    /// `merges.txt`, else `meta.pkl`; `None` if there is none of them.
    ///
    /// # Errors
    /// Those of the reader of the file found.
    pub fn from_dir(dir: &Path) -> Result<Option<Tokenizer>> {
        let [json, vocab, merges, meta] =
            ["tokenizer.json", "vocab.json", "merges.txt", "meta.pkl"].map(|name| dir.join(name));
        if json.is_file() {
            Tokenizer::from_json(&json).map(Some)
        } else if vocab.is_file() && merges.is_file() {
            Tokenizer::from_vocab_and_merges(&vocab, &merges).map(Some)
        } else if meta.is_file() {
            Tokenizer::from_meta_pkl(&meta).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Reads a Hugging Face `tokenizer.json`, and the beginning-of-text token from the
    /// `tokenizer_config.json` or `config.json` beside it.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::TokenizerFile`].
    pub fn from_json(path: &Path) -> Result<Tokenizer> {
        let bytes = std::fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        let inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| unreadable(path, &e))?;
        let bos = bos_beside(path, &inner)?;
        Tokenizer::from_inner(inner, bos, path, "tokenizer.json")
    }

    /// The `tokenizer.json` in `bytes`, which is spoken of as `path`; its
    /// beginning-of-text token is `<|endoftext|>`.
    ///
    /// # Errors
    /// [`Error::TokenizerFile`].
    pub fn parse_json(path: &Path, bytes: &[u8]) -> Result<Tokenizer> {
        let inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| unreadable(path, &e))?;
        let bos = inner.token_to_id(END_OF_TEXT);
        Tokenizer::from_inner(inner, bos, path, "tokenizer.json")
    }

    /// Reads GPT-2's `vocab.json` and `merges.txt`: byte-level BPE, GPT-2's pre-tokenisation.
    ///
    /// # Errors
    /// [`Error::TokenizerFile`].
    pub fn from_vocab_and_merges(vocab: &Path, merges: &Path) -> Result<Tokenizer> {
        let text = |path: &Path| {
            path.to_str().map(str::to_owned).ok_or_else(|| unreadable(path, &"its name is not UTF-8"))
        };
        let bpe = BPE::from_file(&text(vocab)?, &text(merges)?).build().map_err(|e| unreadable(vocab, &e))?;
        let mut inner = tokenizers::Tokenizer::new(ModelWrapper::BPE(bpe));
        inner.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
        inner.with_decoder(Some(ByteLevel::default()));
        if inner.token_to_id(END_OF_TEXT).is_some() {
            inner
                .add_special_tokens([AddedToken::from(END_OF_TEXT, true)])
                .map_err(|e| unreadable(vocab, &e))?;
        }
        let bos = bos_beside(vocab, &inner)?;
        Tokenizer::from_inner(inner, bos, vocab, "vocab.json and merges.txt")
    }

    fn from_inner(
        mut inner: tokenizers::Tokenizer,
        bos: Option<u32>,
        path: &Path,
        files: &str,
    ) -> Result<Tokenizer> {
        // A prompt is neither cut nor filled up behind the reader's back.
        inner.with_truncation(None).map_err(|e| unreadable(path, &e))?.with_padding(None);
        let is_byte_level = matches!(inner.get_decoder(), Some(DecoderWrapper::ByteLevel(_)));
        let byte_of_char = if is_byte_level { byte_level_alphabet() } else { HashMap::new() };
        let source = format!("{} tokens from {files}", inner.get_vocab_size(true));
        let kind = Kind::HuggingFace(Box::new(HuggingFace { inner, byte_of_char }));
        Ok(Tokenizer { kind: Arc::new(kind), bos, source })
    }

    /// Reads nanoGPT's `meta.pkl`: `stoi` and `itos` of a character vocabulary.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Pickle`], [`Error::TokenizerFile`] if the dicts are not there or
    /// contradict each other.
    pub fn from_meta_pkl(path: &Path) -> Result<Tokenizer> {
        let bytes = std::fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        let pickle =
            Pickle::parse(&bytes).map_err(|source| Error::Pickle { path: path.to_owned(), source })?;
        let characters = Characters::from_pickle(&pickle).map_err(|problem| unreadable(path, &problem))?;
        let source = format!("{} characters from meta.pkl", characters.vocab_size);
        Ok(Tokenizer { kind: Arc::new(Kind::Characters(characters)), bos: None, source })
    }

    /// The vocabulary as a `tokenizer.json`; `None` for GPT-2's own, which needs no file.
    ///
    /// # Errors
    /// [`Error::Tokenize`] where the tokenizer cannot be written.
    pub fn to_json(&self) -> Result<Option<String>> {
        match &*self.kind {
            Kind::Gpt2 => Ok(None),
            Kind::HuggingFace(hf) => hf
                .inner
                .to_string(false)
                .map(Some)
                .map_err(|e| Error::Tokenize { text: self.source.clone(), problem: e.to_string() }),
            Kind::Characters(characters) => {
                let ids = characters.id_of.iter().map(|(&c, &id)| (c, id));
                Ok(Some(character_tokenizer(ids, None)))
            }
        }
    }

    /// The same vocabulary with another beginning-of-text token.
    pub fn with_bos(self, bos: Option<u32>) -> Tokenizer {
        Tokenizer { bos, ..self }
    }

    /// Token ids of a text; no token is added in front.
    ///
    /// # Errors
    /// [`Error::UnknownCharacter`] for character vocabularies, [`Error::Tokenize`] for others.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        match &*self.kind {
            Kind::Gpt2 => Ok(r50k_base_singleton().encode_with_special_tokens(text)),
            Kind::HuggingFace(hf) => {
                let encoding =
                    hf.inner.encode_fast(text, false).map_err(|e| hf.why_not(text, e.to_string()))?;
                Ok(encoding.get_ids().to_vec())
            }
            Kind::Characters(characters) => characters.encode(text),
        }
    }

    /// Text of token ids. Bytes that are not valid UTF-8, such as half an emoji, and ids outside
    /// the vocabulary become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut bytes = Vec::new();
        for &id in ids {
            match self.token_bytes(id) {
                Ok(piece) => bytes.extend(piece),
                Err(_) => bytes.extend("\u{fffd}".bytes()),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The bytes a token stands for.
    ///
    /// # Errors
    /// [`Error::UnknownToken`].
    pub fn token_bytes(&self, id: u32) -> Result<Vec<u8>> {
        let unknown = || Error::UnknownToken { id, d_vocab: self.vocab_size() };
        match &*self.kind {
            Kind::Gpt2 => r50k_base_singleton().decode_bytes(&[id]).map_err(|_| unknown()),
            Kind::HuggingFace(hf) => hf.token_bytes(id).ok_or_else(unknown),
            Kind::Characters(characters) => {
                characters.char_of.get(&id).map(|c| c.to_string().into_bytes()).ok_or_else(unknown)
            }
        }
    }

    /// A token as shown to people: its text, with bytes that are no UTF-8 as `<0xE2>`, and an id
    /// outside the vocabulary as `<50300>`.
    pub fn display(&self, id: u32) -> String {
        let Ok(bytes) = self.token_bytes(id) else { return format!("<{id}>") };
        let mut text = String::new();
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            for byte in chunk.invalid() {
                text.push_str(&format!("<0x{byte:02X}>"));
            }
        }
        text
    }

    /// The token a model of this vocabulary expects in front of a text, if it has one.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The one token that a text is, for a target: [`Tokenizer::single_token_for`].
    ///
    /// # Errors
    /// [`Error::NotOneToken`], and those of [`Tokenizer::encode`].
    pub fn single_token(&self, text: &str) -> Result<u32> {
        self.single_token_for("target", text)
    }

    /// The one token that a text is; `role` opens the message if it is not: `target`, `foil`.
    ///
    /// # Errors
    /// [`Error::NotOneToken`] with a similar text that is one token; those of
    /// [`Tokenizer::encode`].
    pub fn single_token_for(&self, role: &'static str, text: &str) -> Result<u32> {
        let ids = self.encode(text)?;
        match ids.as_slice() {
            [id] => Ok(*id),
            _ => Err(Error::NotOneToken {
                role,
                text: text.to_owned(),
                pieces: ids.iter().map(|&id| self.display(id)).collect(),
                suggestion: self.one_token_like(text),
            }),
        }
    }

    /// Number of token ids, special ones included.
    pub fn vocab_size(&self) -> usize {
        match &*self.kind {
            Kind::Gpt2 => GPT2_VOCAB_SIZE,
            Kind::HuggingFace(hf) => hf.inner.get_vocab_size(true),
            Kind::Characters(characters) => characters.vocab_size,
        }
    }

    /// Number of token ids without those added later, which a model may have no embedding for.
    pub(crate) fn base_vocab_size(&self) -> usize {
        match &*self.kind {
            Kind::HuggingFace(hf) => hf.inner.get_vocab_size(false),
            _ => self.vocab_size(),
        }
    }

    /// Where the vocabulary came from, for records: `GPT-2 BPE (built in)`.
    pub fn describe(&self) -> String {
        self.source.clone()
    }

    /// The text with a space in front if that is one token, else its longest beginning that is.
    fn one_token_like(&self, text: &str) -> Option<String> {
        // No vocabulary has longer words, and a whole pasted paragraph should not be tried.
        const LONGEST: usize = 40;
        let is_one = |candidate: &str| self.encode(candidate).is_ok_and(|ids| ids.len() == 1);
        let spaced = format!(" {text}");
        if text.len() <= LONGEST && !text.is_empty() && is_one(&spaced) {
            return Some(spaced);
        }
        let ends = text.char_indices().map(|(at, c)| at + c.len_utf8()).take(LONGEST);
        let beginnings: Vec<&str> = ends.map(|end| &text[..end]).collect();
        let longest = beginnings.into_iter().rev().find(|b| !b.trim().is_empty() && is_one(b))?;
        Some(longest.to_owned())
    }
}

impl HuggingFace {
    /// Why a text has no tokens: a character of it has none, or else the problem named.
    fn why_not(&self, text: &str, problem: String) -> Error {
        let has_none = |c: &(usize, char)| self.inner.encode_fast(c.1.to_string(), false).is_err();
        match text.chars().enumerate().find(has_none) {
            Some((position, character)) => {
                Error::UnknownCharacter { character, position, vocab: self.inner.get_vocab_size(true) }
            }
            None => Error::Tokenize { text: text.to_owned(), problem },
        }
    }

    fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        let token = self.inner.id_to_token(id)?;
        if self.inner.get_added_vocabulary().is_special_token(&token) {
            return Some(token.into_bytes());
        }
        if self.byte_of_char.is_empty() {
            return self.inner.decode(&[id], false).ok().map(String::into_bytes);
        }
        // Added words are stored as plain text, outside the byte alphabet.
        let bytes: Option<Vec<u8>> = token.chars().map(|c| self.byte_of_char.get(&c).copied()).collect();
        Some(bytes.unwrap_or_else(|| token.into_bytes()))
    }
}

impl Characters {
    fn from_pickle(pickle: &Pickle) -> Result<Characters, String> {
        let root = pickle.root();
        let dict = |key: &str| {
            root.get(key).and_then(|v| v.entries()).ok_or_else(|| format!("it has no dict `{key}`"))
        };
        let mut char_of = HashMap::new();
        for (id, text) in dict("itos")? {
            let id = id.as_int().and_then(|i| u32::try_from(i).ok()).ok_or("a key of `itos` is not an id")?;
            let mut chars = text.as_str().ok_or("a value of `itos` is not a string")?.chars();
            let (Some(c), None) = (chars.next(), chars.next()) else {
                return Err(format!("token {id} in `itos` is not one character"));
            };
            char_of.insert(id, c);
        }
        let mut id_of = HashMap::new();
        for (text, id) in dict("stoi")? {
            let c =
                text.as_str().and_then(|s| s.chars().next()).ok_or("a key of `stoi` is not a character")?;
            let id =
                id.as_int().and_then(|i| u32::try_from(i).ok()).ok_or("a value of `stoi` is not an id")?;
            if char_of.get(&id) != Some(&c) {
                return Err(format!("`stoi` and `itos` disagree about token {id}"));
            }
            id_of.insert(c, id);
        }
        let vocab_size = root.get("vocab_size").and_then(|v| v.as_usize()).unwrap_or(char_of.len());
        if char_of.keys().any(|&id| id as usize >= vocab_size) {
            return Err(format!("an id of `itos` is not below vocab_size {vocab_size}"));
        }
        Ok(Characters { id_of, char_of, vocab_size })
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let id_of = |(position, character): (usize, char)| {
            self.id_of.get(&character).copied().ok_or(Error::UnknownCharacter {
                character,
                position,
                vocab: self.vocab_size,
            })
        };
        text.chars().enumerate().map(id_of).collect()
    }
}

/// A `tokenizer.json` in which every character is one token, and any other character an error; with it
/// `<|endoftext|>`, if it gets an id.
pub fn character_tokenizer(ids: impl IntoIterator<Item = (char, u32)>, end_of_text: Option<u32>) -> String {
    let mut ids: Vec<(char, u32)> = ids.into_iter().collect();
    ids.sort_by_key(|&(_, id)| id);
    let mut vocab: Map<String, Value> = ids.into_iter().map(|(c, id)| (c.to_string(), json!(id))).collect();
    let added = |id: u32| {
        json!({ "id": id, "content": END_OF_TEXT, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true })
    };
    vocab.extend(end_of_text.map(|id| (END_OF_TEXT.to_owned(), json!(id))));
    let every_character = json!({
        "type": "Split", "pattern": { "Regex": "[\\s\\S]" }, "behavior": "Isolated", "invert": false,
    });
    let file = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": end_of_text.map(added).into_iter().collect::<Vec<_>>(),
        "normalizer": null,
        "pre_tokenizer": every_character,
        "post_processor": null,
        "decoder": { "type": "Fuse" },
        // No token stands for the unknown, so that an unknown character is an error.
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "" },
    });
    file.to_string()
}

fn unreadable(path: &Path, problem: &dyn std::fmt::Display) -> Error {
    Error::TokenizerFile { path: path.to_owned(), problem: problem.to_string() }
}

/// The beginning-of-text token that the files beside a tokenizer name, else `<|endoftext|>`.
fn bos_beside(path: &Path, inner: &tokenizers::Tokenizer) -> Result<Option<u32>> {
    let beside = |name: &str| -> Result<Option<Settings>> {
        let path = path.with_file_name(name);
        if path.is_file() { Settings::read(&path).map(Some) } else { Ok(None) }
    };
    if let Some(settings) = beside("tokenizer_config.json")? {
        // Either the text itself or an object describing an added token.
        let text = settings.get("bos_token").and_then(|v| v.as_str().or_else(|| v.get("content")?.as_str()));
        if let Some(id) = text.and_then(|t| inner.token_to_id(t)) {
            return Ok(Some(id));
        }
    }
    if let Some(settings) = beside("config.json")? {
        let id = settings.get("bos_token_id").and_then(|v| u32::try_from(v.as_u64()?).ok());
        if let Some(id) = id.filter(|&id| inner.id_to_token(id).is_some()) {
            return Ok(Some(id));
        }
    }
    Ok(inner.token_to_id(END_OF_TEXT))
}

/// GPT-2's stand-in character for each byte: printable Latin-1 stands for itself, the other 68
/// bytes, in order, for the characters from U+0100 on.
fn byte_level_alphabet() -> HashMap<char, u8> {
    let is_printable = |b: &u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let others = (0..=255u8).filter(|b| !is_printable(b)).zip('\u{100}'..);
    let printable = (0..=255u8).filter(is_printable).map(|b| (b, char::from(b)));
    printable.chain(others).map(|(byte, c)| (c, byte)).collect()
}
