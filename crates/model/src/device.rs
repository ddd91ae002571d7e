//! Where a model computes: the processor, or a GPU this build can use and this machine has.
//!
//! A build uses NVIDIA's GPUs with the feature `cuda` and Apple's with `metal`; without either it has neither, and
//! depends on nothing of theirs. Which device is used is chosen when a model is loaded. [`DeviceChoice::Auto`] takes
//! a GPU where there is one and else says why not; a device asked for by name and not there is an error.
//!
//! On a GPU the passes are composed of the tensor library's operations, all lanes still walking together; the kernels
//! are for the processor alone.

use std::fmt;
use std::str::FromStr;

use candle_core::{DType, Device, DeviceLocation, Tensor};

use crate::error::{Error, Result};

/// Which device is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DeviceChoice {
    /// A GPU where this build can use one and one is there, else the processor.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// NVIDIA's GPU of this number, counted from 0.
    Cuda(usize),
    /// Apple's GPU.
    Metal,
}

impl FromStr for DeviceChoice {
    type Err = Error;

    /// # Errors
    /// [`Error::UnknownDevice`].
    fn from_str(text: &str) -> Result<DeviceChoice> {
        let unknown = || Error::UnknownDevice { name: text.to_owned() };
        match text {
            "auto" => Ok(DeviceChoice::Auto),
            "cpu" => Ok(DeviceChoice::Cpu),
            "cuda" => Ok(DeviceChoice::Cuda(0)),
            "metal" => Ok(DeviceChoice::Metal),
            _ => match text.strip_prefix("cuda:").map(str::parse) {
                Some(Ok(number)) => Ok(DeviceChoice::Cuda(number)),
                _ => Err(unknown()),
            },
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            DeviceChoice::Auto => f.write_str("auto"),
            DeviceChoice::Cpu => f.write_str("cpu"),
            DeviceChoice::Cuda(number) => write!(f, "cuda:{number}"),
            DeviceChoice::Metal => f.write_str("metal"),
        }
    }
}

/// A device ready for use, and how it came to be this one.
#[derive(Debug, Clone)]
pub struct OpenDevice {
    /// The device.
    pub device: Device,
    /// Why it is the processor although a GPU was looked for, in a sentence; `None` where it was not.
    pub fallback: Option<String>,
}

impl DeviceChoice {
    /// The device that is meant.
    ///
    /// # Errors
    /// [`Error::NoDevice`] where one is asked for by name that this build cannot use or this machine does not have.
    pub fn open(self) -> Result<OpenDevice> {
        let found = |device| Ok(OpenDevice { device, fallback: None });
        let missing = |problem| Error::NoDevice { asked: self.to_string(), problem };
        match self {
            DeviceChoice::Cpu => found(Device::Cpu),
            DeviceChoice::Cuda(number) => found(open_cuda(number).map_err(missing)?),
            DeviceChoice::Metal => found(open_metal().map_err(missing)?),
            DeviceChoice::Auto => {
                let mut problems = Vec::new();
                for (is_built_in, open) in [
                    (cfg!(feature = "cuda"), (|| open_cuda(0)) as fn() -> Result<Device, String>),
                    (cfg!(feature = "metal"), open_metal),
                ] {
                    match is_built_in.then(open) {
                        Some(Ok(device)) => return found(device),
                        Some(Err(problem)) => problems.push(problem),
                        None => {}
                    }
                }
                let fallback = (!problems.is_empty()).then(|| problems.join("; "));
                Ok(OpenDevice { device: Device::Cpu, fallback })
            }
        }
    }
}

/// `cpu`, `cuda:0`, `metal`.
pub fn device_name(device: &Device) -> String {
    match device.location() {
        DeviceLocation::Cpu => "cpu".to_owned(),
        DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        DeviceLocation::Metal { .. } => "metal".to_owned(),
    }
}

/// Which GPUs this build can use, in words.
pub fn gpu_support() -> &'static str {
    match (cfg!(feature = "cuda"), cfg!(feature = "metal")) {
        (false, false) => "none",
        (true, false) => "cuda",
        (false, true) => "metal",
        (true, true) => "cuda, metal",
    }
}

#[cfg(feature = "cuda")]
fn open_cuda(number: usize) -> Result<Device, String> {
    microtome_kernels::cuda::load()?;
    // One stream for all threads: what one thread of a server computes, another may go on with.
    Device::new_cuda_with_stream(number).map_err(|error| {
        let first = error.to_string();
        let first = first.lines().next().unwrap_or_default();
        format!("NVIDIA GPU {number} cannot be used: {first}")
    })
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(_: usize) -> Result<Device, String> {
    Err("this build has no CUDA; build it where NVIDIA's compiler nvcc is, with `cargo build --release --features \
         cuda`"
        .to_owned())
}

#[cfg(feature = "metal")]
fn open_metal() -> Result<Device, String> {
    Device::new_metal(0).map_err(|error| {
        let first = error.to_string();
        format!("Apple's GPU cannot be used: {}", first.lines().next().unwrap_or_default())
    })
}

#[cfg(not(feature = "metal"))]
fn open_metal() -> Result<Device, String> {
    Err("this build has no Metal; build it on a Mac, with `cargo build --release --features metal`"
        .to_owned())
}

/// Bytes free on a GPU, where they can be known.
pub(crate) fn free_memory(device: &Device) -> Option<usize> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(cuda) = device {
        return cuda.cuda_stream().context().mem_get_info().ok().map(|(free, _)| free);
    }
    let _ = device;
    None
}

/// The same numbers in the machine's own memory; the same tensor where it lies there.
///
/// # Errors
/// [`Error::Tensor`] where the device fails.
pub fn on_cpu(x: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() {
        return Ok(x.clone());
    }
    // A view would bring along everything it is a view of.
    Ok(x.force_contiguous()?.to_device(&Device::Cpu)?)
}

/// The same numbers as f64 in the machine's own memory, for sums and for reading.
///
/// # Errors
/// [`Error::Tensor`] where the device fails.
pub fn as_f64(x: &Tensor) -> Result<Tensor> {
    Ok(on_cpu(x)?.to_dtype(DType::F64)?)
}

/// The same numbers on a device.
pub(crate) fn moved(x: &Tensor, device: &Device) -> Result<Tensor> {
    if x.device().same_device(device) {
        return Ok(x.clone());
    }
    Ok(x.force_contiguous()?.to_device(device)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_is_read_as_it_is_written() {
        for choice in [DeviceChoice::Auto, DeviceChoice::Cpu, DeviceChoice::Cuda(3), DeviceChoice::Metal] {
            assert_eq!(choice.to_string().parse::<DeviceChoice>().unwrap(), choice);
        }
        assert_eq!("cuda".parse::<DeviceChoice>().unwrap(), DeviceChoice::Cuda(0));
        for wrong in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "CPU"] {
            let message = wrong.parse::<DeviceChoice>().unwrap_err().to_string();
            assert!(message.contains("auto, cpu, cuda, cuda:1 or metal"), "{message}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_cuda_says_how_to_make_one_with_it() {
        let message = DeviceChoice::Cuda(0).open().unwrap_err().to_string();
        assert!(message.contains("`cuda:0`") && message.contains("--features cuda"), "{message}");
    }

    #[cfg(not(feature = "metal"))]
    #[test]
    fn a_build_without_metal_says_how_to_make_one_with_it() {
        let message = DeviceChoice::Metal.open().unwrap_err().to_string();
        assert!(message.contains("`metal`") && message.contains("--features metal"), "{message}");
    }

    #[cfg(not(any(feature = "cuda", feature = "metal")))]
    #[test]
    fn where_a_build_has_no_gpu_the_processor_is_taken_without_a_word() {
        let open = DeviceChoice::Auto.open().unwrap();
        assert!(open.device.is_cpu() && open.fallback.is_none());
    }
}
