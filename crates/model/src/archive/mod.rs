//! Named tensors in a file, whatever the container.
//!
//! Three containers hold the weights of this family: safetensors, PyTorch's zip (`.pt`, `.pth`,
//! `.bin`), and an `*.index.json` that spreads either over several files. Opening one reads its
//! directory only; [`TensorArchive::tensor`] then reads one tensor's bytes, converts them to the
//! float type asked for, puts strided tensors into row-major order and refuses NaN and infinities,
//! which would otherwise show up much later as a heatmap full of blanks.
//!
//! Bytes are read with ordinary file reads in pieces rather than through a memory map: mapping a
//! file that another program may shorten is the one part of loading that safe Rust cannot express,
//! and reading costs no more when every byte is converted anyway.

mod floats;
mod safetensors;
mod torch_zip;
mod write_torch;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, Read, Seek};
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::pickle::Pickle;
pub use write_torch::to_torch;

/// The tensors of a weight file, or of several that an index joins.
#[derive(Debug)]
pub struct TensorArchive {
    path: PathBuf,
    files: Vec<PathBuf>,
    entries: BTreeMap<String, Entry>,
    pickle: Option<Pickle>,
}

/// Element type of a tensor as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredDtype {
    /// 32-bit float.
    F32,
    /// 16-bit float.
    F16,
    /// 16-bit float with the exponent range of `F32`.
    BF16,
    /// 64-bit float.
    F64,
    /// Anything else, under the container's name for it. Listed, but not read.
    Other(String),
}

/// Where a tensor's elements lie.
#[derive(Debug, Clone)]
struct Entry {
    file: StoredFile,
    dtype: StoredDtype,
    shape: Vec<usize>,
    /// Elements to step per axis; `None` for row-major.
    strides: Option<Vec<usize>>,
    /// Absolute byte offset of the tensor's first element.
    start: u64,
    /// Bytes from there to the end of the tensor's storage.
    len: u64,
}

/// What holds the bytes: a file, or a part of this program under the name it is spoken of by.
#[derive(Debug, Clone)]
enum StoredFile {
    Disk(PathBuf),
    Embedded { name: PathBuf, bytes: &'static [u8] },
}

/// Something that can be read from any place in it.
trait ReadSeek: Read + Seek {}

impl<T: Read + Seek> ReadSeek for T {}

impl StoredFile {
    fn path(&self) -> &Path {
        match self {
            StoredFile::Disk(path) => path,
            StoredFile::Embedded { name, .. } => name,
        }
    }

    fn open(&self) -> std::io::Result<Box<dyn ReadSeek>> {
        Ok(match self {
            StoredFile::Disk(path) => Box::new(File::open(path)?),
            StoredFile::Embedded { bytes, .. } => Box::new(Cursor::new(*bytes)),
        })
    }

    fn len(&self) -> std::io::Result<u64> {
        Ok(match self {
            StoredFile::Disk(path) => std::fs::metadata(path)?.len(),
            StoredFile::Embedded { bytes, .. } => bytes.len() as u64,
        })
    }
}

impl TensorArchive {
    /// Reads the directory of a weight file that is part of the program; `name` stands for it in
    /// messages.
    ///
    /// # Errors
    /// As [`TensorArchive::open`], for a file that is no index.
    pub fn embedded(name: &Path, bytes: &'static [u8]) -> Result<TensorArchive> {
        let head = &bytes[..bytes.len().min(HEAD_LEN as usize)];
        TensorArchive::of(StoredFile::Embedded { name: name.to_owned(), bytes }, head)
    }

    /// Reads the directory of the weight file at `path`, recognised by its first bytes.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Truncated`], [`Error::Damaged`], [`Error::Pickle`] and
    /// [`Error::Json`] for broken files; [`Error::LegacyTorch`] and [`Error::Container`] for files
    /// of another kind.
    pub fn open(path: &Path) -> Result<TensorArchive> {
        if path.extension().is_some_and(|e| e == "json") {
            return open_index(path);
        }
        TensorArchive::of(StoredFile::Disk(path.to_owned()), &read_head(path)?)
    }

    /// Reads the directory of a file that begins so.
    fn of(file: StoredFile, head: &[u8]) -> Result<TensorArchive> {
        let path = file.path().to_owned();
        let (entries, pickle) = match kind_of(head, &path) {
            Kind::Safetensors => (safetensors::entries(&file)?, None),
            Kind::TorchZip => {
                let (entries, pickle) = torch_zip::entries(&file)?;
                (entries, Some(pickle))
            }
            Kind::LegacyTorch => return Err(Error::LegacyTorch { path }),
            Kind::Other(found) => {
                return Err(Error::Container {
                    path,
                    found: found.to_owned(),
                    expected: "a safetensors file or a PyTorch checkpoint (zip)",
                });
            }
        };
        Ok(TensorArchive { files: vec![path.clone()], path, entries, pickle })
    }

    /// The file that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files that hold the tensors: the one opened, or those its index names.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Whether there is a tensor of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Shape of a tensor.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], with the nearest name there is.
    pub fn shape(&self, name: &str) -> Result<&[usize]> {
        Ok(&self.entry(name)?.shape)
    }

    /// Element type of a tensor as stored.
    ///
    /// # Errors
    /// [`Error::MissingTensor`].
    pub fn dtype(&self, name: &str) -> Result<&StoredDtype> {
        Ok(&self.entry(name)?.dtype)
    }

    /// The rest of a PyTorch checkpoint beside its tensors (`model_args`, `config`, ...); `None`
    /// for safetensors.
    pub fn pickle(&self) -> Option<&Pickle> {
        self.pickle.as_ref()
    }

    /// Reads one tensor to the CPU as `F32` or `F64`, in row-major order.
    ///
    /// # Errors
    /// [`Error::MissingTensor`]; [`Error::TensorDtype`] if it is not stored as floats;
    /// [`Error::NotFinite`] if it holds NaN or an infinity; [`Error::TargetDtype`] for another
    /// `dtype`; [`Error::Truncated`], [`Error::Damaged`] or [`Error::Io`] if the bytes are not there.
    pub fn tensor(&self, name: &str, dtype: DType) -> Result<Tensor> {
        let entry = self.entry(name)?;
        match dtype {
            DType::F32 => floats::read::<f32>(name, entry),
            DType::F64 => floats::read::<f64>(name, entry),
            other => Err(Error::TargetDtype { found: format!("{other:?}") }),
        }
    }

    fn entry(&self, name: &str) -> Result<&Entry> {
        self.entries.get(name).ok_or_else(|| Error::MissingTensor {
            path: self.path.clone(),
            tensor: name.to_owned(),
            suggestion: self
                .names()
                .map(|n| (strsim::jaro_winkler(n, name), n))
                .filter(|(likeness, _)| *likeness > 0.9)
                .max_by(|a, b| a.0.total_cmp(&b.0))
                .map(|(_, n)| n.to_owned()),
        })
    }
}

impl StoredDtype {
    /// Bytes per element; 0 for types that are not read.
    fn size(&self) -> usize {
        match self {
            StoredDtype::F16 | StoredDtype::BF16 => 2,
            StoredDtype::F32 => 4,
            StoredDtype::F64 => 8,
            StoredDtype::Other(_) => 0,
        }
    }

    /// Name in messages and records: `F32`, `F16`, `BF16`, `F64`, ...
    pub fn name(&self) -> &str {
        match self {
            StoredDtype::F32 => "F32",
            StoredDtype::F16 => "F16",
            StoredDtype::BF16 => "BF16",
            StoredDtype::F64 => "F64",
            StoredDtype::Other(name) => name,
        }
    }
}

enum Kind {
    Safetensors,
    TorchZip,
    LegacyTorch,
    Other(&'static str),
}

/// Enough to tell the containers apart.
const HEAD_LEN: u64 = 32;

fn read_head(path: &Path) -> Result<Vec<u8>> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let mut head = Vec::new();
    File::open(path).and_then(|f| f.take(HEAD_LEN).read_to_end(&mut head)).map_err(io)?;
    Ok(head)
}

fn kind_of(head: &[u8], path: &Path) -> Kind {
    // torch.save before 1.6 opens with a pickled magic number, 0x1950a86a20f9469cfc6c.
    const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
    if head.starts_with(b"PK\x03\x04") {
        Kind::TorchZip
    } else if head.starts_with(LEGACY) {
        Kind::LegacyTorch
    } else if head.starts_with(b"version https://git-lfs") {
        Kind::Other("a Git LFS pointer, not the weights themselves (run `git lfs pull`)")
    } else if path.extension().is_some_and(|e| e == "safetensors") || head.get(8) == Some(&b'{') {
        Kind::Safetensors
    } else if head.is_empty() {
        Kind::Other("empty")
    } else if head.starts_with(b"\x80") {
        Kind::Other("a bare pickle")
    } else {
        Kind::Other("of an unknown kind")
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The files an `*.index.json` names, relative to it.
///
/// # Errors
/// [`Error::Json`], [`Error::Io`], or [`Error::Damaged`] if a name points outside the directory.
pub(crate) fn index_files(path: &Path) -> Result<Vec<String>> {
    let mut files: Vec<String> = read_index(path)?.weight_map.into_values().collect();
    files.sort();
    files.dedup();
    for name in &files {
        // Shards lie beside their index; anything else could read files the user never named.
        let inside = !name.is_empty() && !name.contains(['/', '\\']) && name != "..";
        if !inside {
            return Err(Error::Damaged {
                path: path.to_owned(),
                part: "weight_map".to_owned(),
                problem: format!("`{name}` is not a file beside it"),
            });
        }
    }
    Ok(files)
}

fn read_index(path: &Path) -> Result<Index> {
    let bytes = std::fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    serde_json::from_slice(&bytes).map_err(|source| Error::Json { path: path.to_owned(), source })
}

fn open_index(path: &Path) -> Result<TensorArchive> {
    let mut entries = BTreeMap::new();
    let mut files = Vec::new();
    for name in index_files(path)? {
        let shard_path = path.with_file_name(&name);
        if name.ends_with(".json") {
            return Err(Error::Damaged {
                path: path.to_owned(),
                part: "weight_map".to_owned(),
                problem: format!("`{name}` is not a weight file"),
            });
        }
        let shard = TensorArchive::open(&shard_path)?;
        files.push(shard_path);
        entries.extend(shard.entries);
    }
    let archive = TensorArchive { path: path.to_owned(), files, entries, pickle: None };
    for tensor in read_index(path)?.weight_map.keys() {
        archive.entry(tensor)?;
    }
    Ok(archive)
}
