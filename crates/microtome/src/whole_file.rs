//! Writing files whole or not at all.

use std::fs::File;
use std::io::{Error, ErrorKind, Result, Write as _};
use std::path::{Path, PathBuf};

/// Writes a file whole or not at all: under another name first, then renamed. Devices and pipes, which
/// a rename would replace, are written to as they are.
///
/// # Errors
/// What the file system says.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    write_whole_by(path, |file| file.write_all(bytes))
}

/// The same of what is written piece by piece and never stands in memory as a whole.
///
/// # Errors
/// What the file system says, and what `write` does.
pub fn write_whole_by(path: &Path, write: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    match Place::of(path)? {
        Place::Stream => write(&mut std::fs::OpenOptions::new().write(true).open(path)?),
        Place::File { path, partial } => {
            let write = || {
                let mut file = File::create(&partial)?;
                write(&mut file)?;
                file.sync_all()?;
                std::fs::rename(&partial, path)
            };
            write().inspect_err(|_| drop(std::fs::remove_file(&partial)))
        }
    }
}

/// Whether a file could be written, found out by writing nothing next to it.
///
/// # Errors
/// What the file system says.
pub fn check_writable(path: &Path) -> Result<()> {
    match Place::of(path)? {
        Place::Stream => Ok(()),
        Place::File { partial, .. } => File::create(&partial).and_then(|_| std::fs::remove_file(&partial)),
    }
}

/// What stands, or will stand, where something is to be written.
enum Place {
    /// A device or a pipe.
    Stream,
    /// A file, links followed, with the name it has until it is whole.
    File { path: PathBuf, partial: PathBuf },
}

impl Place {
    fn of(path: &Path) -> Result<Place> {
        let path = match std::fs::metadata(path) {
            Ok(at) if at.is_dir() => {
                return Err(Error::new(ErrorKind::IsADirectory, "it is a folder; name a file in it"));
            }
            Ok(at) if !at.is_file() || path.starts_with("/dev") => return Ok(Place::Stream),
            Ok(_) => std::fs::canonicalize(path)?,
            Err(_) => path.to_owned(),
        };
        let name =
            path.file_name().ok_or_else(|| Error::new(ErrorKind::InvalidInput, "it is no file name"))?;
        let partial = path.with_file_name(format!(".{}.part", name.to_string_lossy()));
        Ok(Place::File { path, partial })
    }
}
