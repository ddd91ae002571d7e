//! Where this process computes: one device, opened when the first model is loaded.

use std::sync::OnceLock;

use anyhow::{Result, bail};
use microtome::model::{DeviceChoice, OpenDevice, device_name, gpu_support};

static CHOICE: OnceLock<DeviceChoice> = OnceLock::new();

static OPEN: OnceLock<OpenDevice> = OnceLock::new();

/// Keeps what the command line asked for.
pub fn choose(choice: DeviceChoice) {
    CHOICE.get_or_init(|| choice);
}

/// Refuses a GPU that was asked for by name.
///
/// # Errors
/// Where one was.
pub fn refuse_gpu(what: &str) -> Result<()> {
    match CHOICE.get() {
        Some(choice @ (DeviceChoice::Cuda(_) | DeviceChoice::Metal)) => {
            bail!("{what} computes on the CPU only; leave out --device {choice}")
        }
        _ => Ok(()),
    }
}

/// The device. Says on standard error why it is not a GPU, where this build looked for one.
pub fn open() -> Result<&'static OpenDevice> {
    let is_first = OPEN.get().is_none();
    let open = quietly()?;
    if let (true, Some(problem)) = (is_first, &open.fallback) {
        eprintln!("note: computing on the CPU: {problem}");
    }
    Ok(open)
}

/// The same without a word.
pub fn quietly() -> Result<&'static OpenDevice> {
    if let Some(open) = OPEN.get() {
        return Ok(open);
    }
    let open = CHOICE.get().copied().unwrap_or_default().open()?;
    Ok(OPEN.get_or_init(|| open))
}

/// The device in words, with what this build could use.
pub fn describe() -> Result<String> {
    let name = device_name(&open()?.device);
    Ok(format!("{name} (GPUs this build can use: {})", gpu_support()))
}
