//! The directory of a safetensors file: eight bytes of length, then JSON, then the data.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::{Entry, StoredDtype, StoredFile};
use crate::error::{Error, Result};

/// The safetensors format's own bound.
const MAX_HEADER_BYTES: u64 = 100_000_000;

pub(super) fn entries(file: &StoredFile) -> Result<BTreeMap<String, Entry>> {
    let path = file.path();
    let (metadata, data_start, file_len) = read_header(file)?;
    let data_end = data_start.saturating_add(metadata.data_len() as u64);
    if file_len < data_end {
        return Err(Error::Truncated {
            path: path.to_owned(),
            part: "tensors".to_owned(),
            expected: data_end,
            found: file_len,
        });
    }
    if file_len > data_end {
        return Err(damaged(path, format!("describes {data_end} bytes, the file has {file_len}")));
    }
    let entry = |info: &safetensors::tensor::TensorInfo| Entry {
        file: file.clone(),
        dtype: stored(info.dtype),
        shape: info.shape.clone(),
        strides: None,
        start: data_start + info.data_offsets.0 as u64,
        len: (info.data_offsets.1 - info.data_offsets.0) as u64,
    };
    Ok(metadata.tensors().into_iter().map(|(name, info)| (name, entry(info))).collect())
}

/// The parsed header, where the data starts, and the length of the whole file.
fn read_header(stored: &StoredFile) -> Result<(Metadata, u64, u64)> {
    let path = stored.path();
    let io = |source| Error::Io { path: path.to_owned(), source };
    let mut file = stored.open().map_err(io)?;
    let file_len = stored.len().map_err(io)?;
    let truncated = |expected| Error::Truncated {
        path: path.to_owned(),
        part: "header".to_owned(),
        expected,
        found: file_len,
    };
    if file_len < 8 {
        return Err(truncated(8));
    }
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(io)?;
    let header_len = u64::from_le_bytes(length);
    if header_len > MAX_HEADER_BYTES {
        return Err(damaged(path, format!("claims {header_len} bytes, more than {MAX_HEADER_BYTES}")));
    }
    if file_len < 8 + header_len {
        return Err(truncated(8 + header_len));
    }
    let mut header = Vec::new();
    file.take(header_len).read_to_end(&mut header).map_err(io)?;
    // Parsing checks that the tensors tile the data without gaps and match their shapes.
    let metadata = serde_json::from_slice(&header).map_err(|e| damaged(path, e.to_string()))?;
    Ok((metadata, 8 + header_len, file_len))
}

fn damaged(path: &Path, problem: String) -> Error {
    Error::Damaged { path: path.to_owned(), part: "header".to_owned(), problem }
}

fn stored(dtype: Dtype) -> StoredDtype {
    match dtype {
        Dtype::F32 => StoredDtype::F32,
        Dtype::F16 => StoredDtype::F16,
        Dtype::BF16 => StoredDtype::BF16,
        Dtype::F64 => StoredDtype::F64,
        other => StoredDtype::Other(format!("{other:?}")),
    }
}
