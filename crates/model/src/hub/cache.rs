//! The cache's files: locked while they are fetched, checked before they get their name.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{HubError, Result};

/// Gives a complete part file its final name if its content is what was announced.
pub(super) fn accept(name: &str, part: &Path, blob: &Path, etag: &str, size: u64) -> Result<()> {
    let cache = |source| HubError::Cache { path: part.to_owned(), source };
    make_parent(blob)?;
    if size == 0 {
        File::create(part).map_err(cache)?;
    }
    let found = file_len(part);
    let mut mismatch = (found != size).then(|| ("size", size.to_string(), found.to_string()));
    if mismatch.is_none() && is_sha256(etag) {
        let digest = sha256_of(part).map_err(cache)?;
        mismatch = (digest != etag).then(|| ("sha256", etag.to_owned(), digest));
    }
    if let Some((what, expected, found)) = mismatch {
        fs::remove_file(part).map_err(cache)?;
        return Err(HubError::Corrupt { file: name.to_owned(), what, expected, found });
    }
    fs::rename(part, blob).map_err(cache)
}

fn sha256_of(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Keeps two programs from writing the same part file, with the Python tools' own lock files.
pub(super) struct Lock {
    /// Held until dropped; `None` on file systems without locks.
    _file: Option<File>,
    pub(super) waited: bool,
}

impl Lock {
    pub(super) fn new(cache_dir: &Path, repo_dir: &Path, etag: &str) -> Result<Lock> {
        let folder = repo_dir.file_name().unwrap_or_default();
        let path = cache_dir.join(".locks").join(folder).join(format!("{etag}.lock"));
        make_parent(&path)?;
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(|source| HubError::Cache { path, source })?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: Some(file), waited: false }),
            Err(fs::TryLockError::WouldBlock) => {
                let is_held = file.lock().is_ok();
                Ok(Lock { _file: is_held.then_some(file), waited: true })
            }
            Err(fs::TryLockError::Error(_)) => Ok(Lock { _file: None, waited: false }),
        }
    }
}

#[cfg(unix)]
pub(super) fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
pub(super) fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

pub(super) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    make_parent(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let staged = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = fs::write(&staged, bytes).and_then(|()| fs::rename(&staged, path));
    written.map_err(|source| HubError::Cache { path: path.to_owned(), source })
}

pub(super) fn make_parent(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(parent).map_err(|source| HubError::Cache { path: parent.to_owned(), source })
}

pub(super) fn part_of(blob: &Path) -> PathBuf {
    let mut name = blob.as_os_str().to_owned();
    name.push(".incomplete");
    PathBuf::from(name)
}

pub(super) fn file_len(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |m| m.len())
}

/// Etags and commits become file names; nothing else may pass.
pub(super) fn is_file_name(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    !text.is_empty() && text.len() <= 128 && text.chars().all(legal)
}

fn is_sha256(etag: &str) -> bool {
    etag.len() == 64 && etag.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
