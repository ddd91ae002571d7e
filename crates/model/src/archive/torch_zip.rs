//! The directory of a PyTorch checkpoint: a zip of one pickle and one raw file per storage.
//!
//! `<root>/data.pkl` describes each tensor as a call of `torch._utils._rebuild_tensor_v2(storage,
//! offset, size, stride, ...)` where `storage` is the persistent id `('storage', torch.FloatStorage,
//! key, device, numel)`; the bytes are `<root>/data/<key>`, stored uncompressed. Several tensors may
//! share a storage (tied embeddings), and a tensor may be a transposed view of one.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufReader, Read, Seek, SeekFrom};

use zip::{CompressionMethod, ZipArchive};

use super::{Entry, StoredDtype, StoredFile};
use crate::error::{Error, Result};
use crate::pickle::{MAX_BYTES, Pickle, Value};

/// Where training scripts keep the state dict, if it is not the whole checkpoint.
const STATE_DICT_KEYS: [&str; 3] = ["model", "state_dict", "model_state_dict"];

/// Wrappers (`Parameter`, subclasses) a tensor may be pickled in, one inside the other.
const MAX_WRAPPERS: usize = 8;

/// Start and length of an uncompressed zip entry.
#[derive(Clone, Copy)]
struct Span {
    start: u64,
    len: u64,
}

pub(super) fn entries(file: &StoredFile) -> Result<(BTreeMap<String, Entry>, Pickle)> {
    let path = file.path();
    let spans = zip_spans(file)?;
    let Some(root) = spans.keys().find_map(|name| name.strip_suffix("/data.pkl")) else {
        return Err(Error::Container {
            path: path.to_owned(),
            found: "a zip without data.pkl".to_owned(),
            expected: "a PyTorch checkpoint written by torch.save",
        });
    };
    check_byte_order(file, &spans, root)?;
    let bytes = read_span(file, spans[&format!("{root}/data.pkl")])?;
    let pickle = Pickle::parse(&bytes).map_err(|source| Error::Pickle { path: path.to_owned(), source })?;
    let mut entries = BTreeMap::new();
    for (name, value) in state_dict(&pickle) {
        let Some(description) = Description::of(value) else { continue };
        let entry = description.locate(file, name, &spans, root)?;
        entries.insert(name.to_owned(), entry);
    }
    if entries.is_empty() {
        return Err(Error::Container {
            path: path.to_owned(),
            found: "a PyTorch checkpoint without a dict of tensors".to_owned(),
            expected: "a state dict, alone or under `model` or `state_dict`",
        });
    }
    Ok((entries, pickle))
}

/// Names and values of the dict that holds the tensors.
fn state_dict(pickle: &Pickle) -> Vec<(&str, Value<'_>)> {
    let root = pickle.root();
    let inside = STATE_DICT_KEYS.iter().filter_map(|key| root.get(key));
    // The inner dict first: a training checkpoint may keep a loss beside it as a tensor.
    inside
        .chain([root])
        .filter_map(Value::entries)
        .find(|dict| dict.iter().any(|(_, value)| Description::of(*value).is_some()))
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(key, value)| Some((key.as_str()?, value)))
        .collect()
}

/// A tensor as its pickle describes it.
enum Description<'a> {
    Strided {
        args: Vec<Value<'a>>,
    },
    /// A tensor of a kind that is not read (sparse, quantised), by its constructor's name.
    Foreign(&'a str),
}

impl<'a> Description<'a> {
    fn of(value: Value<'a>) -> Option<Description<'a>> {
        let (mut callee, mut args) = value.as_call()?;
        for _ in 0..MAX_WRAPPERS {
            let (module, name) = callee.as_global()?;
            if !module.starts_with("torch") || !name.starts_with("_rebuild") {
                return None;
            }
            match name {
                "_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_tensor_v3" => {
                    return Some(Description::Strided { args });
                }
                "_rebuild_parameter" | "_rebuild_parameter_with_state" => {
                    (callee, args) = args.first()?.as_call()?;
                }
                "_rebuild_from_type_v2" => {
                    (callee, args) = (*args.first()?, args.get(2)?.elements()?);
                }
                other => return Some(Description::Foreign(other)),
            }
        }
        None
    }

    fn locate(
        self,
        file: &StoredFile,
        tensor: &str,
        spans: &HashMap<String, Span>,
        root: &str,
    ) -> Result<Entry> {
        let damaged = |problem: String| Error::Damaged {
            path: file.path().to_owned(),
            part: format!("description of `{tensor}`"),
            problem,
        };
        let args = match self {
            Description::Strided { args } => args,
            Description::Foreign(name) => {
                let dtype = StoredDtype::Other(name.to_owned());
                let file = file.clone();
                return Ok(Entry { file, dtype, shape: vec![], strides: None, start: 0, len: 0 });
            }
        };
        let [storage, offset, shape, strides, ..] = args.as_slice() else {
            return Err(damaged("it has too few arguments".to_owned()));
        };
        let storage = Storage::of(*storage).ok_or_else(|| damaged("it names no storage".to_owned()))?;
        // Version 3 keeps the element type beside an untyped storage.
        let class = args.get(6).and_then(|d| d.as_global()).map_or(storage.class, |(_, name)| name);
        let dtype = dtype_of(class);
        let (Some(offset), Some(shape), Some(strides)) =
            (offset.as_usize(), shape_of(*shape), sizes(*strides))
        else {
            return Err(damaged("its offset, shape or strides are not sizes".to_owned()));
        };
        if shape.len() != strides.len() {
            return Err(damaged(format!("shape {shape:?} and strides {strides:?} differ in length")));
        }
        let name = format!("{root}/data/{}", storage.key);
        let span =
            spans.get(&name).copied().ok_or_else(|| damaged(format!("there is no zip entry `{name}`")))?;
        let skipped = (offset as u64).saturating_mul(dtype.size() as u64);
        if skipped > span.len {
            return Err(damaged(format!("it starts past the end of `{name}`")));
        }
        let (start, len) = (span.start + skipped, span.len - skipped);
        let strides = (!is_row_major(&shape, &strides)).then_some(strides);
        Ok(Entry { file: file.clone(), dtype, shape, strides, start, len })
    }
}

struct Storage<'a> {
    class: &'a str,
    key: &'a str,
}

impl<'a> Storage<'a> {
    fn of(value: Value<'a>) -> Option<Storage<'a>> {
        let id = value.as_persistent()?.elements()?;
        let [tag, class, key, ..] = id.as_slice() else { return None };
        let is_storage = tag.as_str() == Some("storage");
        let (_, class) = class.as_global().filter(|_| is_storage)?;
        Some(Storage { class, key: key.as_str()? })
    }
}

fn dtype_of(class: &str) -> StoredDtype {
    match class {
        "FloatStorage" | "float32" => StoredDtype::F32,
        "HalfStorage" | "float16" => StoredDtype::F16,
        "BFloat16Storage" | "bfloat16" => StoredDtype::BF16,
        "DoubleStorage" | "float64" => StoredDtype::F64,
        other => StoredDtype::Other(other.trim_end_matches("Storage").to_owned()),
    }
}

fn sizes(value: Value) -> Option<Vec<usize>> {
    value.elements()?.into_iter().map(Value::as_usize).collect()
}

/// Sizes that multiply without overflow even as bytes of the widest type.
fn shape_of(value: Value) -> Option<Vec<usize>> {
    let shape = sizes(value)?;
    let mut nonzero = shape.iter().map(|&n| (n as u64).max(1));
    nonzero.try_fold(8u64, u64::checked_mul).filter(|&bytes| bytes < 1 << 62)?;
    Some(shape)
}

fn is_row_major(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(&size, &stride)| {
        let fits = size <= 1 || stride == expected;
        expected *= size.max(1);
        fits
    })
}

fn zip_spans(file: &StoredFile) -> Result<HashMap<String, Span>> {
    let path = file.path();
    let damaged =
        |problem: String| Error::Damaged { path: path.to_owned(), part: "zip directory".to_owned(), problem };
    let io = |source| Error::Io { path: path.to_owned(), source };
    let file_len = file.len().map_err(io)?;
    let reader = BufReader::new(file.open().map_err(io)?);
    let mut zip = ZipArchive::new(reader).map_err(|e| damaged(e.to_string()))?;
    let mut spans = HashMap::new();
    for index in 0..zip.len() {
        let entry = zip.by_index_raw(index).map_err(|e| damaged(e.to_string()))?;
        let name = entry.name().to_owned();
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
            return Err(damaged(format!(
                "`{name}` is compressed or encrypted; PyTorch stores entries as they are"
            )));
        }
        let start = entry.data_start().ok_or_else(|| damaged(format!("`{name}` has no start")))?;
        let len = entry.size();
        match start.checked_add(len) {
            Some(end) if end <= file_len => {}
            end => {
                return Err(Error::Truncated {
                    path: path.to_owned(),
                    part: name,
                    expected: end.unwrap_or(u64::MAX),
                    found: file_len,
                });
            }
        }
        spans.insert(name, Span { start, len });
    }
    Ok(spans)
}

fn check_byte_order(file: &StoredFile, spans: &HashMap<String, Span>, root: &str) -> Result<()> {
    let Some(&span) = spans.get(&format!("{root}/byteorder")) else { return Ok(()) };
    if span.len <= 16 && read_span(file, span)? == b"little" {
        return Ok(());
    }
    Err(Error::Container {
        path: file.path().to_owned(),
        found: "a PyTorch checkpoint whose byteorder is not `little`".to_owned(),
        expected: "one saved on a little-endian machine",
    })
}

fn read_span(file: &StoredFile, span: Span) -> Result<Vec<u8>> {
    let path = file.path();
    if span.len > MAX_BYTES as u64 {
        return Err(Error::Damaged {
            path: path.to_owned(),
            part: "data.pkl".to_owned(),
            problem: format!("it has {} bytes, more than {MAX_BYTES}", span.len),
        });
    }
    let io = |source| Error::Io { path: path.to_owned(), source };
    let mut reader = file.open().map_err(io)?;
    reader.seek(SeekFrom::Start(span.start)).map_err(io)?;
    let mut bytes = Vec::new();
    reader.take(span.len).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}
