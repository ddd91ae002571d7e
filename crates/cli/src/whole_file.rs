//! Writing files whole or not at all, with what to say when that fails.

use std::path::Path;

use anyhow::{Context, Result};
use microtome::whole_file;

/// Writes a file whole or not at all.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    whole_file::write_whole(path, bytes).with_context(|| format!("cannot write `{}`", path.display()))
}

/// Whether a file could be written.
pub fn check_writable(path: &Path) -> Result<()> {
    whole_file::check_writable(path).with_context(|| format!("cannot write `{}`", path.display()))
}
