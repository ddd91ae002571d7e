//! Settings of any kind of run: a TOML file, read, written, compared, checked.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::run_dir::write_whole;

/// What a run is asked for, as its folder's `config.toml` keeps it.
pub(crate) trait Settings: Serialize + Sized {
    /// Reads the file.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Syntax`].
    fn read(path: &Path) -> Result<Self>;

    /// Writes the file.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn write(&self, path: &Path) -> Result<()>;

    /// The same, with what may change from one sitting to the next as it is `here`.
    fn comparable(&self, here: &Self) -> Self;
}

impl Settings for Config {
    fn read(path: &Path) -> Result<Config> {
        Config::read(path)
    }

    fn write(&self, path: &Path) -> Result<()> {
        Config::write(self, path)
    }

    /// More steps are no other run while the learning rates stay, nor are other checkpoints.
    fn comparable(&self, here: &Config) -> Config {
        let mut config = self.clone();
        config.training.steps = 0;
        config.checkpoints = here.checkpoints.clone();
        config.out = here.out.clone();
        config
    }
}

/// Settings from the text of a file.
pub(crate) fn parse_settings<C: DeserializeOwned>(text: &str, path: &Path) -> Result<C> {
    toml::from_str(text).map_err(|source| Error::Syntax { path: path.to_owned(), source: Box::new(source) })
}

/// Settings as a file.
pub(crate) fn write_settings(settings: &impl Serialize, path: &Path) -> Result<()> {
    let text = toml::to_string(settings).map_err(|e| Error::io("write", path)(std::io::Error::other(e)))?;
    write_whole(path, text.as_bytes())
}

pub(crate) fn at_least_1(key: &'static str, value: u64) -> Result<()> {
    if value == 0 { Err(Error::setting(key, value, "1 or more")) } else { Ok(()) }
}

pub(crate) fn at_most(key: &'static str, value: u64, most: u64) -> Result<()> {
    if value > most { Err(Error::setting(key, value, format!("at most {most}"))) } else { Ok(()) }
}
