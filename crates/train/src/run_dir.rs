//! The folder of a run: logs that grow, and checkpoints that are there whole or not at all.
//!
//! A checkpoint `last` is replaced in three steps, each of which leaves a state that [`RunDir::settle`]
//! can tell from the others, so that a run killed at any moment finds the old checkpoint or the new one:
//!
//! 1. the new one is written to `last.new`, every file and the folder being flushed to disk;
//! 2. `last` becomes `last.old`;
//! 3. `last.new` becomes `last`, and `last.old` is removed.
//!
//! Without `last`, `last.new` is whole if there is a `last.old`: step 2 came after it was. With `last`, or
//! with neither, `last.new` is a piece of work that was broken off.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The folder of a run.
#[derive(Debug, Clone)]
pub struct RunDir {
    root: PathBuf,
}

/// Held by the process that writes to the folder.
const LOCK: &str = ".lock";

/// Everything a run may have written, besides checkpoints of single steps.
const OURS: [&str; 23] = [
    "config.toml",
    "tokenizer.json",
    "record.json",
    "losses.jsonl",
    "telemetry.jsonl",
    "samples.txt",
    "losses.svg",
    "losses.png",
    "heads.svg",
    "heads.png",
    "curves.svg",
    "curves.png",
    "study.json",
    "study.svg",
    "study.png",
    "last",
    "last.new",
    "last.old",
    "best",
    "best.new",
    "best.old",
    "steps",
    "steps.new",
];

impl RunDir {
    /// Names a folder, which need not exist.
    pub fn new(root: &Path) -> RunDir {
        RunDir { root: root.to_owned() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Checks that a run goes on with the text and the model it began with, told by their hashes.
    ///
    /// # Errors
    /// [`Error::TextChanged`], [`Error::ModelChanged`].
    pub fn check_origin(&self, text: [&str; 2], model: [&str; 2]) -> Result<()> {
        let dir = || self.root.clone();
        match (text, model) {
            ([there, here], _) if there != here => {
                Err(Error::TextChanged { dir: dir(), there: there.to_owned(), here: here.to_owned() })
            }
            (_, [there, here]) if there != here => {
                Err(Error::ModelChanged { dir: dir(), there: there.to_owned(), here: here.to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Makes the folder.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(&self) -> Result<()> {
        fs::create_dir_all(&self.root).map_err(Error::io("create", &self.root))
    }

    /// Keeps other processes from writing here, until the file returned is closed.
    ///
    /// # Errors
    /// [`Error::InUse`] where another process does; [`Error::Io`].
    pub fn lock(&self) -> Result<File> {
        let path = self.path(LOCK);
        let open = || OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = open().map_err(Error::io("write", &path))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Err(Error::InUse { dir: self.root.clone() }),
            // Some network file systems know no locks; a run alone there needs none.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
        }
    }

    /// Whether there is nothing in it, or no such folder.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn is_empty(&self) -> Result<bool> {
        match fs::read_dir(&self.root) {
            Ok(mut entries) => Ok(entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == LOCK))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(true),
            Err(e) => Err(Error::io("read", &self.root)(e)),
        }
    }

    /// Removes what a run has written here, and nothing else.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn clear(&self) -> Result<()> {
        // The configuration goes last: while it is there the folder is known as a run.
        for name in OURS.iter().rev() {
            remove(&self.path(name))?;
        }
        Ok(())
    }

    /// Finishes or undoes a replacement that was broken off.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn settle(&self, name: &str) -> Result<()> {
        let [current, new, old] = self.names(name);
        if !current.exists() && old.exists() {
            let whole = if new.exists() { &new } else { &old };
            rename(whole, &current)?;
        }
        remove(&new)?;
        remove(&old)
    }

    /// Replaces a folder by one that `write` fills.
    ///
    /// # Errors
    /// [`Error::Io`], and those of `write`; the folder is then what it was.
    pub fn replace(&self, name: &str, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let [current, new, old] = self.names(name);
        self.settle(name)?;
        fs::create_dir_all(&new).map_err(Error::io("create", &new))?;
        // What could not be written must not take up the room that others need.
        write(&new).and_then(|()| flush_all(&new)).inspect_err(|_| drop(fs::remove_dir_all(&new)))?;
        if current.exists() {
            rename(&current, &old)?;
        }
        rename(&new, &current)?;
        flush_dir(current.parent().unwrap_or(&self.root))?;
        remove(&old)
    }

    fn names(&self, name: &str) -> [PathBuf; 3] {
        [self.path(name), self.path(&format!("{name}.new")), self.path(&format!("{name}.old"))]
    }
}

/// Reads a file of JSON that a run has written.
///
/// # Errors
/// [`Error::Io`], [`Error::Damaged`].
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    serde_json::from_slice(&bytes)
        .map_err(|e| Error::Damaged { problem: format!("cannot be read: {e}"), path: path.to_owned() })
}

/// Writes a file of a folder that is not yet in its place.
///
/// # Errors
/// [`Error::Io`].
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(Error::io("write", path))
}

/// Writes a file whole or not at all.
///
/// # Errors
/// [`Error::Io`].
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    microtome::whole_file::write_whole(path, bytes).map_err(Error::io("write", path))
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(Error::io("rename", from))
}

/// Removes a file or a folder, if it is there.
fn remove(path: &Path) -> Result<()> {
    let result = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    };
    result.map_err(Error::io("remove", path))
}

fn flush_all(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let path = entry.map_err(Error::io("read", dir))?.path();
        let flush = || File::open(&path)?.sync_all();
        flush().map_err(Error::io("write", &path))?;
    }
    flush_dir(dir)
}

/// Flushes the names in a folder, where the system can.
fn flush_dir(dir: &Path) -> Result<()> {
    if cfg!(unix) {
        let flush = || File::open(dir)?.sync_all();
        flush().map_err(Error::io("write", dir))?;
    }
    Ok(())
}

/// A file of lines that grows. Its length at a checkpoint is part of the checkpoint.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
    len: u64,
}

impl Log {
    /// Opens a log and cuts off what came after its first `len` bytes.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Damaged`] where it is shorter than that.
    pub fn open(path: &Path, len: u64) -> Result<Log> {
        let open = || OpenOptions::new().create(true).truncate(false).write(true).open(path);
        let mut file = open().map_err(Error::io("write", path))?;
        let found = file.metadata().map_err(Error::io("read", path))?.len();
        if found < len {
            let problem =
                format!("has {found} bytes and had {len} at the last checkpoint: something else changed it");
            return Err(Error::Damaged { path: path.to_owned(), problem });
        }
        let cut = || {
            file.set_len(len)?;
            file.seek(SeekFrom::Start(len)).map(drop)
        };
        let mut cut = cut;
        cut().map_err(Error::io("write", path))?;
        Ok(Log { path: path.to_owned(), file, len })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a line.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn line(&mut self, line: &str) -> Result<()> {
        let bytes = format!("{line}\n");
        self.file.write_all(bytes.as_bytes()).map_err(Error::io("write", &self.path))?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Flushes it to disk and says how long it is.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn flush(&mut self) -> Result<u64> {
        self.file.sync_data().map_err(Error::io("write", &self.path))?;
        Ok(self.len)
    }
}
