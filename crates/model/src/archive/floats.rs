//! Stored floats to tensors: read, convert, put into row-major order, check.

use std::io::SeekFrom;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{Device, Tensor, WithDType};
use half::{bf16, f16};
use microtome_kernels::filled;
use rayon::prelude::*;

use super::{Entry, StoredDtype};
use crate::error::{Error, Result};

/// Elements read and converted at a time: large enough to stream, small enough to stay in cache.
const PIECE_ELEMENTS: usize = 1 << 15;

/// A float type that weights are computed in.
pub(super) trait Float: WithDType + Default {
    fn of_f32(x: f32) -> Self;
    fn of_f64(x: f64) -> Self;
    fn finite(self) -> bool;
}

impl Float for f32 {
    fn of_f32(x: f32) -> f32 {
        x
    }

    fn of_f64(x: f64) -> f32 {
        x as f32
    }

    fn finite(self) -> bool {
        self.is_finite()
    }
}

impl Float for f64 {
    fn of_f32(x: f32) -> f64 {
        f64::from(x)
    }

    fn of_f64(x: f64) -> f64 {
        x
    }

    fn finite(self) -> bool {
        self.is_finite()
    }
}

pub(super) fn read<T: Float>(name: &str, entry: &Entry) -> Result<Tensor> {
    let numel: usize = entry.shape.iter().product();
    let (values, all_finite): (Vec<T>, bool) = match &entry.strides {
        _ if numel == 0 => (vec![], true),
        None => elements(name, entry, numel)?,
        Some(strides) => strided(name, entry, strides, numel)?,
    };
    if !all_finite {
        check_finite(name, entry, &values)?;
    }
    Ok(Tensor::from_vec(values, entry.shape.as_slice(), &Device::Cpu)?)
}

/// A view with strides, such as a transposed matrix, gathered into row-major order; and whether all that it is
/// gathered from is finite.
fn strided<T: Float>(name: &str, entry: &Entry, strides: &[usize], numel: usize) -> Result<(Vec<T>, bool)> {
    let reach =
        entry.shape.iter().zip(strides).map(|(&size, &stride)| (size as u64 - 1).checked_mul(stride as u64));
    let span = reach.into_iter().try_fold(1u64, |sum, steps| sum.checked_add(steps?));
    let stored = entry.len / entry.dtype.size().max(1) as u64;
    // An expanded view (stride 0) can describe more elements than any machine holds.
    let span = match span {
        Some(span) if span <= stored && numel as u64 <= stored => span as usize,
        _ => {
            return Err(Error::Damaged {
                path: entry.file.path().to_owned(),
                part: format!("description of `{name}`"),
                problem: format!(
                    "shape {:?} with strides {strides:?} does not fit the {stored} elements stored",
                    entry.shape
                ),
            });
        }
    };
    let (source, all_finite): (Vec<T>, bool) = elements(name, entry, span)?;
    let mut index = vec![0; strides.len()];
    let mut at = 0;
    let mut values = Vec::with_capacity(numel);
    for _ in 0..numel {
        values.push(source[at]);
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < entry.shape[axis] {
                break;
            }
            at -= strides[axis] * entry.shape[axis];
            index[axis] = 0;
        }
    }
    Ok((values, all_finite))
}

/// The first `count` elements of an entry's storage, converted, and whether all are finite.
fn elements<T: Float>(name: &str, entry: &Entry, count: usize) -> Result<(Vec<T>, bool)> {
    let convert = conversion(name, entry)?;
    let size = entry.dtype.size();
    let needed = count as u64 * size as u64;
    if needed > entry.len {
        return Err(Error::Truncated {
            path: entry.file.path().to_owned(),
            part: format!("tensor `{name}`"),
            expected: entry.start + needed,
            found: entry.start + entry.len,
        });
    }
    let all_finite = AtomicBool::new(true);
    let read = |bytes: &mut Vec<u8>, first: usize, out: &mut [T]| -> std::io::Result<()> {
        let mut file = entry.file.open()?;
        file.seek(SeekFrom::Start(entry.start + (first * size) as u64))?;
        bytes.resize(out.len() * size, 0);
        file.read_exact(bytes)?;
        convert(bytes, out);
        // Looked at here, where it is at hand. No early end: that would keep the loop from being vectorised.
        if !out.iter().fold(true, |all, x| all & x.finite()) {
            all_finite.store(false, Ordering::Relaxed);
        }
        Ok(())
    };
    let values = filled(count, PIECE_ELEMENTS, Vec::new, read)
        .map_err(|source| Error::Io { path: entry.file.path().to_owned(), source })?;
    Ok((values, all_finite.into_inner()))
}

/// Fills a slice from as many stored elements.
type Convert<T> = fn(&[u8], &mut [T]);

/// How stored bytes become floats.
fn conversion<T: Float>(name: &str, entry: &Entry) -> Result<Convert<T>> {
    Ok(match entry.dtype {
        StoredDtype::F32 => |bytes, out| fill(bytes, out, |b| T::of_f32(f32::from_le_bytes(b))),
        StoredDtype::F16 => |bytes, out| fill(bytes, out, |b| T::of_f32(f16::from_le_bytes(b).to_f32())),
        StoredDtype::BF16 => |bytes, out| fill(bytes, out, |b| T::of_f32(bf16::from_le_bytes(b).to_f32())),
        StoredDtype::F64 => |bytes, out| fill(bytes, out, |b| T::of_f64(f64::from_le_bytes(b))),
        StoredDtype::Other(ref found) => {
            return Err(Error::TensorDtype {
                path: entry.file.path().to_owned(),
                tensor: name.to_owned(),
                found: found.clone(),
            });
        }
    })
}

fn fill<T, const N: usize>(bytes: &[u8], out: &mut [T], value: impl Fn([u8; N]) -> T) {
    for (x, &b) in out.iter_mut().zip(bytes.as_chunks().0) {
        *x = value(b);
    }
}

fn check_finite<T: Float>(name: &str, entry: &Entry, values: &[T]) -> Result<()> {
    let count_in = |piece: &[T]| piece.iter().filter(|x| !x.finite()).count();
    let count = values.par_chunks(PIECE_ELEMENTS).map(count_in).sum();
    if count == 0 {
        return Ok(());
    }
    let first = values.iter().position(|x| !x.finite()).unwrap_or_default();
    Err(Error::NotFinite {
        path: entry.file.path().to_owned(),
        tensor: name.to_owned(),
        count,
        first: unravel(first, &entry.shape),
    })
}

/// The position in each axis of the element that is `at` places into row-major order.
fn unravel(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (axis, &size) in shape.iter().enumerate().rev() {
        index[axis] = at % size;
        at /= size;
    }
    index
}
