//! A text as windows of tokens, read piece by piece.
//!
//! Documents stand between `<|endoftext|>` marks, as training reads them, and no window crosses one. A document is cut into windows one
//! after the other, the last as short as it comes. It is tokenized in pieces of some 64 KiB, cut where no token of GPT-2's
//! pre-tokenization goes across (before a single space between a character that is no space and a letter); where a mebibyte has no
//! such place it is cut anyway. Pieces depend on where the one before ended and on nothing else, so reading can begin again
//! at any of them.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use microtome_model::tokenizer::END_OF_TEXT;
use serde::{Deserialize, Serialize};

use super::{ScanSettings, tokens};
use crate::error::{Error, Result};
use crate::text_model::{Bos, TextModel};

/// A text to be scanned.
#[derive(Debug, Clone, Copy)]
pub enum ScanText<'a> {
    /// A file.
    File(&'a Path),
    /// The text itself.
    Given(&'a str),
}

/// What a text is read from.
trait Readable: Read + Seek {}
impl<T: Read + Seek> Readable for T {}

impl ScanText<'_> {
    /// What it is called in a scan and in errors.
    pub(super) fn name(self) -> String {
        match self {
            ScanText::File(path) => path.display().to_string(),
            ScanText::Given(_) => "the text given".to_owned(),
        }
    }

    /// How many bytes it has.
    pub(super) fn bytes(self) -> Result<u64> {
        match self {
            ScanText::File(path) => {
                let about = std::fs::metadata(path).map_err(|e| Error::scan_text(self.name(), &e))?;
                Ok(about.len())
            }
            ScanText::Given(text) => Ok(text.len() as u64),
        }
    }
}

impl<'a> ScanText<'a> {
    fn open(self) -> std::io::Result<Box<dyn Readable + 'a>> {
        Ok(match self {
            ScanText::File(path) => Box::new(File::open(path)?),
            ScanText::Given(text) => Box::new(Cursor::new(text.as_bytes())),
        })
    }
}

impl<'a> From<&'a Path> for ScanText<'a> {
    fn from(path: &'a Path) -> ScanText<'a> {
        ScanText::File(path)
    }
}

impl<'a> From<&'a PathBuf> for ScanText<'a> {
    fn from(path: &'a PathBuf) -> ScanText<'a> {
        ScanText::File(path)
    }
}

/// Where a reader is in a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The byte where the piece begins that the next token stands in.
    pub byte: u64,
    /// How many tokens of that piece are read already.
    pub tokens: usize,
    /// Fingerprint (blake3) of everything before that byte.
    pub hash: String,
}

impl Place {
    /// Before the first byte.
    pub fn beginning() -> Place {
        Place { byte: 0, tokens: 0, hash: blake3::Hasher::new().finalize().to_hex().to_string() }
    }
}

/// Tokens that are run together.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Window {
    /// BOS where it stands in front, then the text's.
    pub ids: Vec<u32>,
    /// The first that belongs to the text.
    pub first: usize,
    /// The byte at which each token of the text begins; `None` where the vocabulary does not keep every byte.
    pub offsets: Vec<Option<u64>>,
}

/// Sizes of pieces, in bytes.
#[derive(Debug, Clone, Copy)]
struct PieceSize {
    /// From here on it ends at the next good place.
    least: usize,
    /// Here it ends in any case.
    most: usize,
}

const PIECE: PieceSize = PieceSize { least: 1 << 16, most: 1 << 20 };

/// A text being read.
pub(super) struct TextWindows<'m> {
    model: &'m TextModel,
    /// What the text is called.
    name: String,
    text: Box<dyn Readable + 'm>,
    size: PieceSize,
    bos: Option<u32>,
    /// Tokens of the text in a window.
    len: usize,
    /// Bytes read and not cut into pieces yet; the first is byte `at` of the file.
    buffer: Vec<u8>,
    at: u64,
    at_end: bool,
    /// Of all before `at`.
    hasher: blake3::Hasher,
    /// Tokens of the document under way that are in no window yet.
    waiting: VecDeque<Waiting>,
    /// Whether they are its last.
    document_ends: bool,
    /// Pieces that waiting tokens stand in: where each begins, and the fingerprint before it.
    pieces: VecDeque<(u64, String)>,
    /// Tokens of the next piece that were given before.
    skip: usize,
}

struct Waiting {
    id: u32,
    offset: Option<u64>,
    piece: u64,
    index: usize,
}

impl<'m> TextWindows<'m> {
    /// Goes on at a place, having checked that the text before it is what it was.
    pub fn open(
        text: ScanText<'m>,
        model: &'m TextModel,
        settings: &ScanSettings,
        place: &Place,
    ) -> Result<TextWindows<'m>> {
        TextWindows::with_pieces(text, model, settings, place, PIECE)
    }

    fn with_pieces(
        text: ScanText<'m>,
        model: &'m TextModel,
        settings: &ScanSettings,
        place: &Place,
        size: PieceSize,
    ) -> Result<TextWindows<'m>> {
        let name = text.name();
        let failed = |e: std::io::Error| Error::scan_text(name.clone(), &e);
        let mut text = text.open().map_err(failed)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader((&mut text).take(place.byte)).map_err(failed)?;
        let found = hasher.finalize().to_hex().to_string();
        if found != place.hash {
            let (begun, asked) = (place.hash.clone(), found);
            return Err(Error::ScanDiffers { what: "text read so far, by its fingerprint", begun, asked });
        }
        text.seek(SeekFrom::Start(place.byte)).map_err(failed)?;
        let bos = model.bos().filter(|_| settings.bos == Bos::Prepend);
        Ok(TextWindows {
            model,
            name,
            text,
            size,
            bos,
            len: settings.window - usize::from(bos.is_some()),
            buffer: vec![],
            at: place.byte,
            at_end: false,
            hasher,
            waiting: VecDeque::new(),
            document_ends: false,
            pieces: VecDeque::new(),
            skip: place.tokens,
        })
    }

    /// The next window; `None` after the last.
    pub fn next(&mut self) -> Result<Option<Window>> {
        while self.waiting.is_empty() || (self.waiting.len() < self.len && !self.document_ends) {
            self.document_ends = match self.read_piece()? {
                Some(ends) => ends,
                None if self.waiting.is_empty() => return Ok(None),
                None => true,
            };
        }
        let taken: Vec<Waiting> = self.waiting.drain(..self.len.min(self.waiting.len())).collect();
        let needed = self.waiting.front().map_or(self.at, |token| token.piece);
        while self.pieces.front().is_some_and(|&(start, _)| start < needed) {
            self.pieces.pop_front();
        }
        Ok(Some(Window {
            ids: self.bos.into_iter().chain(taken.iter().map(|token| token.id)).collect(),
            first: usize::from(self.bos.is_some()),
            offsets: taken.iter().map(|token| token.offset).collect(),
        }))
    }

    /// Where the next window begins.
    pub fn place(&self) -> Place {
        match (self.waiting.front(), self.pieces.front()) {
            (Some(token), Some((byte, hash))) => {
                Place { byte: *byte, tokens: token.index, hash: hash.clone() }
            }
            _ => Place { byte: self.at, tokens: 0, hash: self.hasher.finalize().to_hex().to_string() },
        }
    }

    /// Cuts off a piece and tokenizes it; whether a document ends there. `None` at the end of the text.
    fn read_piece(&mut self) -> Result<Option<bool>> {
        self.fill()?;
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let mark = END_OF_TEXT.as_bytes();
        let buffer = &self.buffer;
        let most = self.size.most.min(buffer.len());
        let good = |&at: &usize| {
            buffer[at] == b' ' && buffer[at - 1].is_ascii_graphic() && buffer[at + 1].is_ascii_alphabetic()
        };
        let end_of_document = match buffer.windows(mark.len()).position(|bytes| bytes == mark) {
            Some(at) => Some(at),
            None if self.at_end => Some(buffer.len()),
            None => None,
        };
        let cut = (self.size.least.max(1)..most.min(buffer.len() - 1)).find(good);
        let (end, consumed, ends) = match (end_of_document, cut) {
            (Some(end), cut) if end <= most && cut.is_none_or(|cut| end <= cut) => {
                (end, (end + mark.len()).min(buffer.len()), true)
            }
            (_, Some(cut)) => (cut, cut, false),
            (_, None) => {
                // Not inside a character.
                let inside = |&at: &usize| at < buffer.len() && buffer[at] & 0xc0 == 0x80;
                let end = most - (0..most).take_while(|back| inside(&(most - back))).count();
                (end, end, false)
            }
        };
        let text = std::str::from_utf8(&buffer[..end]).map_err(|e| Error::ScanText {
            path: self.name.clone(),
            reason: format!("byte {} is no UTF-8", self.at + e.valid_up_to() as u64),
        })?;
        let ids = tokens(self.model, text)?;
        let offsets = self.offsets(&ids, end)?;
        self.pieces.push_back((self.at, self.hasher.finalize().to_hex().to_string()));
        let piece = self.at;
        let skip = std::mem::take(&mut self.skip);
        let waiting = ids.into_iter().zip(offsets).enumerate().skip(skip);
        self.waiting.extend(waiting.map(|(index, (id, offset))| Waiting { id, offset, piece, index }));
        self.hasher.update(&self.buffer[..consumed]);
        self.buffer.drain(..consumed);
        self.at += consumed as u64;
        Ok(Some(ends))
    }

    /// Reads until what is to be looked at for a piece is there.
    fn fill(&mut self) -> Result<()> {
        let wanted = self.size.most + END_OF_TEXT.len();
        if self.buffer.len() < wanted && !self.at_end {
            let missing = (wanted - self.buffer.len()) as u64;
            let read = (&mut self.text).take(missing).read_to_end(&mut self.buffer);
            let read = read.map_err(|e| Error::scan_text(self.name.clone(), &e))?;
            self.at_end = (read as u64) < missing;
        }
        Ok(())
    }

    /// Where tokens begin that together are `bytes` long, if they are.
    fn offsets(&self, ids: &[u32], bytes: usize) -> Result<Vec<Option<u64>>> {
        let Some(tokenizer) = self.model.tokenizer() else { return Ok(vec![None; ids.len()]) };
        let mut at = self.at;
        let mut starts = Vec::with_capacity(ids.len());
        for &id in ids {
            starts.push(Some(at));
            at += tokenizer.token_bytes(id)?.len() as u64;
        }
        Ok(if at == self.at + bytes as u64 { starts } else { vec![None; ids.len()] })
    }
}

#[cfg(test)]
mod tests {
    use microtome_model::tokenizer::{Tokenizer, character_tokenizer};
    use microtome_model::{Config, Model, Processing, Weights};

    use super::*;

    fn model() -> TextModel {
        let config = Config {
            n_layers: 1,
            n_heads: 1,
            d_model: 4,
            d_head: 4,
            d_vocab: 50257,
            n_ctx: 16,
            mlp: None,
            norm: None,
        };
        let weights = Weights::random(&config, 0, 1.0).unwrap();
        let model = Model::new(config, weights, Processing::Raw).unwrap();
        TextModel::from_model("toy", model).unwrap().with_tokenizer(Tokenizer::gpt2())
    }

    const TEXT: &str = "It was unbelievably cold.  Snow   fell, they said; \"néver\" again!<|endoftext|><|endoftext|>\
        Another document: 1234 words\nand lines. 日本語 too, of course<|endoftext|>end";

    fn settings(window: usize) -> ScanSettings {
        ScanSettings { window, ..Default::default() }
    }

    fn all(mut windows: TextWindows) -> (Vec<Window>, Vec<Place>) {
        let (mut found, mut places) = (vec![], vec![windows.place()]);
        while let Some(window) = windows.next().unwrap() {
            found.push(window);
            places.push(windows.place());
        }
        (found, places)
    }

    fn text_file(text: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text.txt");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn windows_are_the_tokens_of_each_document_in_order_whatever_the_size_of_pieces() {
        let model = model();
        let (_dir, path) = text_file(TEXT.as_bytes());
        let mut expected = vec![];
        for document in TEXT.split(END_OF_TEXT) {
            for ids in tokens(&model, document).unwrap().chunks(4) {
                expected.push([&[50256], ids].concat());
            }
        }
        for least in [1, 7, 20, 1 << 16] {
            let size = PieceSize { least, most: 1 << 20 };
            let open = |place: &Place| {
                TextWindows::with_pieces(ScanText::File(&path), &model, &settings(5), place, size).unwrap()
            };
            let (windows, places) = all(open(&Place::beginning()));
            let ids: Vec<Vec<u32>> = windows.iter().map(|window| window.ids.clone()).collect();
            assert_eq!(ids, expected, "pieces of {least}");
            for window in &windows {
                for (&id, offset) in window.ids[1..].iter().zip(&window.offsets) {
                    let start = offset.unwrap() as usize;
                    let bytes = model.tokenizer().unwrap().token_bytes(id).unwrap();
                    assert_eq!(TEXT.as_bytes()[start..start + bytes.len()], bytes);
                }
            }
            // Begun again anywhere, the rest is the same.
            for (i, place) in places.iter().enumerate() {
                assert_eq!(all(open(place)).0, windows[i..], "from {place:?}");
            }
        }
    }

    #[test]
    fn text_without_a_good_place_is_cut_between_characters() {
        let model = model();
        let text = "é".repeat(20);
        let (_dir, path) = text_file(text.as_bytes());
        let size = PieceSize { least: 3, most: 5 };
        let windows =
            TextWindows::with_pieces(ScanText::File(&path), &model, &settings(16), &Place::beginning(), size);
        let (windows, _) = all(windows.unwrap());
        let ids: Vec<u32> = windows.iter().flat_map(|window| window.ids[1..].to_vec()).collect();
        assert_eq!(model.text(&ids), text);
    }

    #[test]
    fn a_text_that_has_changed_or_is_no_utf8_is_refused() {
        let model = model();
        let (_dir, path) = text_file(TEXT.as_bytes());
        let size = PieceSize { least: 7, most: 1 << 20 };
        let open = |place: &Place| {
            TextWindows::with_pieces(ScanText::File(&path), &model, &settings(5), place, size)
        };
        let (_, places) = all(open(&Place::beginning()).unwrap());
        std::fs::write(&path, TEXT.replacen("It", "Is", 1)).unwrap();
        assert!(open(&places[0]).is_ok(), "nothing was read");
        let message = open(places.last().unwrap()).err().unwrap().to_string();
        assert!(message.contains("fingerprint"), "{message}");
        std::fs::write(&path, b"good \xff bad").unwrap();
        let message = open(&Place::beginning()).unwrap().next().unwrap_err().to_string();
        assert!(message.contains("byte 5"), "{message}");
    }

    #[test]
    fn characters_have_their_bytes_as_offsets() {
        let model = model();
        let ids = "aé b".chars().zip(0..).collect::<Vec<_>>();
        let json = character_tokenizer(ids, None);
        let tokenizer = Tokenizer::parse_json(Path::new("tokenizer.json"), json.as_bytes()).unwrap();
        let model = model.with_tokenizer(tokenizer);
        let (_dir, path) = text_file("éa b".as_bytes());
        let (windows, _) =
            all(TextWindows::open(ScanText::File(&path), &model, &settings(3), &Place::beginning()).unwrap());
        let offsets: Vec<_> = windows.iter().flat_map(|window| window.offsets.clone()).collect();
        assert_eq!(offsets, [Some(0), Some(2), Some(3), Some(4)]);
        assert_eq!(windows[0].ids, [1, 0, 2]);
    }
}
