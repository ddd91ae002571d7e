//! Reference data, small files written by the tests, and pickles made by hand.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use microtome_model::hub::HubSettings;
use microtome_model::load::{LoadOptions, Loaded, load};
use safetensors::tensor::{Dtype, TensorView};

/// A directory of reference data; `None` (after saying so) where it is not there, which only
/// developers' machines may do.
fn shared(variable: &str, default: &str) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let dir = std::env::var_os(variable).map_or_else(|| workspace.join("..").join(default), PathBuf::from);
    if dir.is_dir() {
        return Some(dir);
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "no reference data at {}; set {variable}",
        dir.display()
    );
    eprintln!("skipped: no reference data at {}; set {variable}", dir.display());
    None
}

pub fn golden() -> Option<PathBuf> {
    shared("MICROTOME_GOLDEN", "shared/golden/tiny")
}

pub fn shakespeare() -> Option<PathBuf> {
    shared("MICROTOME_SHAKESPEARE", "shared/models/nanogpt-shakespeare")
}

/// Sizes of the golden model.
pub fn golden_sizes(golden: &Path) -> BTreeMap<String, usize> {
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(golden.join("golden.json")).unwrap()).unwrap();
    let config = json["config"].as_object().unwrap();
    config.iter().map(|(k, v)| (k.clone(), v.as_u64().unwrap() as usize)).collect()
}

/// Loads a path without a hub.
pub fn load_path(path: &Path) -> microtome_model::Result<Loaded> {
    load(path.to_str().unwrap(), &options(), &mut ())
}

pub fn options() -> LoadOptions {
    let hub = HubSettings { offline: true, ..HubSettings::from_vars(|_| None) };
    LoadOptions { hub, ..LoadOptions::default() }
}

/// Message of the error that something ends in.
pub fn message<T>(result: microtome_model::Result<T>) -> String {
    match result {
        Ok(_) => panic!("expected an error"),
        Err(error) => error.to_string(),
    }
}

/// A tensor to write: shape and values.
pub type Raw = (Vec<usize>, Vec<f32>);

/// Deterministic values between -1 and 1, another sequence for every seed.
pub fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

pub fn raw(shape: &[usize], seed: u64) -> Raw {
    (shape.to_vec(), values(shape.iter().product(), seed))
}

pub fn write_safetensors(path: &Path, tensors: &BTreeMap<String, Raw>) {
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, x))| {
            (name.clone(), shape.clone(), x.iter().flat_map(|v| v.to_le_bytes()).collect())
        })
        .collect();
    write_safetensors_as(path, Dtype::F32, &bytes);
}

pub fn write_safetensors_as(path: &Path, dtype: Dtype, tensors: &[(String, Vec<usize>, Vec<u8>)]) {
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| (name.clone(), TensorView::new(dtype, shape.clone(), bytes).unwrap()));
    safetensors::serialize_to_file(views, None, path).unwrap();
}

/// Reads a safetensors file of floats the plain way, to compare with and to write variants of.
pub fn read_safetensors(path: &Path) -> BTreeMap<String, Raw> {
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    file.tensors()
        .into_iter()
        .map(|(name, view)| {
            let x = view.data().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
            (name, (view.shape().to_vec(), x))
        })
        .collect()
}

/// A torch zip: the pickle and raw storages, stored as they are.
pub fn write_torch_zip(path: &Path, pickle: &[u8], storages: &[(&str, &[u8])]) {
    let mut zip = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    zip.start_file("archive/data.pkl", options).unwrap();
    zip.write_all(pickle).unwrap();
    for (key, bytes) in storages {
        zip.start_file(format!("archive/data/{key}"), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

/// A string, as protocol 2 writes it.
pub fn p_str(text: &str) -> Vec<u8> {
    let mut out = b"X".to_vec();
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.bytes());
    out
}

pub fn p_int(value: usize) -> Vec<u8> {
    let mut out = b"J".to_vec();
    out.extend((value as i32).to_le_bytes());
    out
}

pub fn p_tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(".to_vec(), items.concat(), b"t".to_vec()].concat()
}

pub fn p_sizes(sizes: &[usize]) -> Vec<u8> {
    p_tuple(&sizes.iter().map(|&n| p_int(n)).collect::<Vec<_>>())
}

/// A call of `torch._utils._rebuild_tensor_v2`.
pub fn p_tensor(class: &str, key: &str, offset: usize, shape: &[usize], strides: &[usize]) -> Vec<u8> {
    let id = p_tuple(&[
        p_str("storage"),
        format!("ctorch\n{class}\n").into_bytes(),
        p_str(key),
        p_str("cpu"),
        p_int(0),
    ]);
    let storage = [id, b"Q".to_vec()].concat();
    let args = p_tuple(&[
        storage,
        p_int(offset),
        p_sizes(shape),
        p_sizes(strides),
        vec![0x89],
        b"ccollections\nOrderedDict\n)R".to_vec(),
    ]);
    [b"ctorch._utils\n_rebuild_tensor_v2\n".to_vec(), args, b"R".to_vec()].concat()
}

/// A whole pickle of a dict with string keys.
pub fn p_dict(items: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let body: Vec<u8> = items.iter().flat_map(|(k, v)| [p_str(k), v.clone()].concat()).collect();
    [b"\x80\x02}(".to_vec(), body, b"u.".to_vec()].concat()
}

pub fn le_bytes(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|v| v.to_le_bytes()).collect()
}

pub fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
}
