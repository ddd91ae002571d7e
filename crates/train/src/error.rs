//! Everything that can go wrong while training, with its message.

use std::path::{Path, PathBuf};

/// What can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model or its files.
    #[error(transparent)]
    Model(#[from] microtome_model::Error),
    /// What is measured on the way.
    #[error(transparent)]
    Measure(#[from] microtome::Error),
    /// A file or folder that cannot be read or written.
    #[error("cannot {action} `{}`: {source}{}", path.display(), room(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A configuration that is no TOML, or has a key that does not exist.
    #[error("`{}`: {}", path.display(), plain(source))]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, excerpt and reason.
        source: Box<toml::de::Error>,
    },
    /// A setting with a value that makes no sense.
    #[error("`{key}` is {found}; expected {expected}")]
    Setting {
        /// The key, section first.
        key: &'static str,
        /// Its value.
        found: String,
        /// What fits.
        expected: String,
    },
    /// A text that does not fill one context.
    #[error(
        "the {part} part of {what} has {tokens} tokens; a window takes {needed} (`model.n_ctx` and one more). \
         Give more text or a smaller n_ctx"
    )]
    TooShort {
        /// Training or validation.
        part: &'static str,
        /// The text.
        what: String,
        /// How many tokens it has.
        tokens: usize,
        /// How many it must have.
        needed: usize,
    },
    /// A text that does not make two windows.
    #[error(
        "{what} makes {windows} window(s) of tokens, and one to learn from and one to measure on are needed; give more text"
    )]
    TooFewWindows {
        /// The text.
        what: String,
        /// How many windows it makes.
        windows: usize,
    },
    /// Windows at the beginning of documents, in a text without any.
    #[error(
        "`data.windows` is \"documents\" and the {part} part of {what} has no document of {needed} tokens that \
         begins with <|endoftext|>; take \"anywhere\""
    )]
    NoDocuments {
        /// Training or validation.
        part: &'static str,
        /// The text.
        what: String,
        /// Tokens from a document's beginning to the end of the text, at least.
        needed: usize,
    },
    /// A tokenizer that could not be made.
    #[error("cannot make a tokenizer of {what}: {problem}")]
    MakeTokenizer {
        /// From which text.
        what: String,
        /// Why not.
        problem: String,
    },
    /// A loss, or a gradient, that is NaN or infinite.
    #[error(
        "the {what} at step {step} is {value}: training has diverged. {}\n  tip: lower training.learning_rate, \
         or raise training.warmup",
        kept(*checkpoint)
    )]
    NotFinite {
        /// `loss` or `gradient norm`.
        what: &'static str,
        /// The update that was not made.
        step: u64,
        /// NaN or an infinity.
        value: f64,
        /// Step of the last checkpoint.
        checkpoint: Option<u64>,
    },
    /// A folder that holds a run with other settings.
    #[error(
        "`{}` holds a run in which `{key}` is {there}, and here it is {here}; take another --out, or --fresh \
         to throw that run away", dir.display()
    )]
    OtherRun {
        /// The folder.
        dir: PathBuf,
        /// The first setting that differs.
        key: String,
        /// There.
        there: String,
        /// Here.
        here: String,
    },
    /// A folder with something else in it.
    #[error(
        "`{}` is not empty and holds no run of the trainer (no config.toml); take another --out", dir.display()
    )]
    NotARun {
        /// The folder.
        dir: PathBuf,
    },
    /// A folder that another process writes to.
    #[error("another run is writing to `{}`; wait for it, or take another --out", dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// Nothing to resume.
    #[error("`{}` holds no checkpoint to resume from; leave out --resume to start one", dir.display())]
    NothingToResume {
        /// The folder.
        dir: PathBuf,
    },
    /// A text that is no longer what the run began with.
    #[error(
        "the text has changed since the run in `{}` began: its hash was {there} and is {here}; take another \
         --out, or --fresh to start over", dir.display()
    )]
    TextChanged {
        /// The folder.
        dir: PathBuf,
        /// The hash then.
        there: String,
        /// The hash now.
        here: String,
    },
    /// A model that is no longer the one the run began with.
    #[error(
        "the model has changed since the run in `{}` began: its fingerprint was {there} and is {here}; take another \
         --out, or --fresh to start over", dir.display()
    )]
    ModelChanged {
        /// The folder.
        dir: PathBuf,
        /// The fingerprint then.
        there: String,
        /// The fingerprint now.
        here: String,
    },
    /// A file of a run that is not as the trainer left it.
    #[error("`{}` {problem}; --fresh starts over", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// For `map_err` on what the file system says.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { action, path, source }
    }

    /// The same, saying which checkpoint is kept.
    pub(crate) fn with_checkpoint(self, checkpoint: Option<u64>) -> Error {
        match self {
            Error::NotFinite { what, step, value, .. } => Error::NotFinite { what, step, value, checkpoint },
            other => other,
        }
    }

    pub(crate) fn setting(
        key: &'static str,
        found: impl std::fmt::Display,
        expected: impl Into<String>,
    ) -> Error {
        Error::Setting { key, found: found.to_string(), expected: expected.into() }
    }
}

impl From<microtome_model::TensorError> for Error {
    fn from(source: microtome_model::TensorError) -> Error {
        Error::Model(source.into())
    }
}

/// What the parser says, with its names of number types in words.
fn plain(error: &toml::de::Error) -> String {
    let mut text = error.to_string();
    for (name, words) in [
        ("expected usize", "expected a whole number, 0 or more"),
        ("expected u64", "expected a whole number, 0 or more"),
        ("expected f64", "expected a number"),
        ("expected a boolean", "expected true or false"),
    ] {
        text = text.replace(name, words);
    }
    text.trim_end().to_owned()
}

fn kept(checkpoint: Option<u64>) -> String {
    match checkpoint {
        Some(step) => format!("The checkpoint of step {step} is kept"),
        None => "There is no checkpoint yet".to_owned(),
    }
}

fn room(source: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    match source.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => {
            ". The last checkpoint is kept: make room and give the same command again"
        }
        _ => "",
    }
}
