//! Tensors as `torch.save` writes a dict of them: a zip of one pickle and one raw file per storage.
//!
//! The pickle is of protocol 2 and says what PyTorch's says of contiguous f32 tensors, so that `torch.load` takes it, with
//! `weights_only` too. Files carry no time: the same tensors give the same bytes.

use std::io::{Cursor, Write};

use candle_core::{DType, Tensor};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::error::{Error, Result};
use crate::run::with_rows;

/// Named tensors as the bytes of a PyTorch file, in f32.
///
/// # Errors
/// [`Error::Tensor`] where a tensor cannot be brought to f32.
pub fn to_torch(tensors: &[(String, Tensor)]) -> Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default());
    let mut put = |name: &str, bytes: &[u8]| -> std::io::Result<()> {
        zip.start_file(format!("archive/{name}"), options)?;
        zip.write_all(bytes)
    };
    let in_memory = |error: std::io::Error| Error::Tensor(candle_core::Error::wrap(error));
    put("data.pkl", &pickle(tensors)).map_err(in_memory)?;
    put("byteorder", b"little").map_err(in_memory)?;
    for (key, (_, tensor)) in tensors.iter().enumerate() {
        let bytes: Vec<u8> = with_rows(&tensor.to_dtype(DType::F32)?.contiguous()?, |values| {
            values.iter().flat_map(|x| x.to_le_bytes()).collect()
        })?;
        put(&format!("data/{key}"), &bytes).map_err(in_memory)?;
    }
    put("version", b"3\n").map_err(in_memory)?;
    let file = zip.finish().map_err(|error| in_memory(error.into()))?;
    Ok(file.into_inner())
}

/// A dict of calls of `torch._utils._rebuild_tensor_v2`.
fn pickle(tensors: &[(String, Tensor)]) -> Vec<u8> {
    // Protocol 2, an empty dict, a mark.
    let mut out = b"\x80\x02}(".to_vec();
    for (key, (name, tensor)) in tensors.iter().enumerate() {
        let key = key.to_string();
        let storage = [
            text("storage"),
            b"ctorch\nFloatStorage\n".to_vec(),
            text(&key),
            text("cpu"),
            number(tensor.elem_count()),
        ];
        let dims = tensor.dims();
        let strides = (0..dims.len()).map(|axis| number(dims[axis + 1..].iter().product()));
        let arguments = [
            [tuple(&storage), b"Q".to_vec()].concat(),
            number(0),
            tuple(&dims.iter().map(|&dim| number(dim)).collect::<Vec<_>>()),
            tuple(&strides.collect::<Vec<_>>()),
            // No gradient wanted, and no hooks.
            b"\x89".to_vec(),
            b"ccollections\nOrderedDict\n)R".to_vec(),
        ];
        out.extend(text(name));
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n");
        out.extend(tuple(&arguments));
        out.extend(b"R");
    }
    out.extend(b"u.");
    out
}

fn text(text: &str) -> Vec<u8> {
    [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

/// Up to 2^63 - 1, as a long of eight bytes.
fn number(value: usize) -> Vec<u8> {
    [b"\x8a\x08".as_slice(), &(value as i64).to_le_bytes()].concat()
}

fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(".as_slice(), &items.concat(), b"t"].concat()
}
