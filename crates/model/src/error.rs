//! What can go wrong in this crate, each with what was expected and what to do.

use std::path::PathBuf;

/// The result of everything fallible in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong between a file and a number.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tensor library refused an operation: a shape or dtype this crate should have checked.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// A file could not be read or written.
    #[error("cannot read `{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    // Loading.
    /// A configuration file is not the JSON it should be.
    #[error("`{}` is not valid JSON: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A pickle inside a file cannot be followed.
    #[error("`{}` holds a pickle that {source}", path.display())]
    Pickle {
        /// The file.
        path: PathBuf,
        /// Why.
        source: crate::pickle::PickleError,
    },
    /// A file is none of the containers weights come in.
    #[error("`{}` is {found}; expected {expected}", path.display())]
    Container {
        /// The file.
        path: PathBuf,
        /// What it looks like instead.
        found: String,
        /// What it should be, or what to do.
        expected: &'static str,
    },
    /// A file ends before the data its header promises.
    #[error(
        "`{}` is truncated: its {part} needs {expected} bytes, the file has {found}; fetch it again",
        path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The header, a tensor's name, or `tensors`.
        part: String,
        /// Bytes needed from the start of the file.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// The header or index of a weight file contradicts itself.
    #[error("`{}` has a damaged {part}: {problem}; fetch it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which part of it.
        part: String,
        /// What does not fit.
        problem: String,
    },
    /// A checkpoint in PyTorch's format from before version 1.6.
    #[error(
        "`{}` is in PyTorch's format from before 1.6; re-save it in Python with \
         torch.save(torch.load(path), path)",
        path.display()
    )]
    LegacyTorch {
        /// The file.
        path: PathBuf,
    },
    /// A file of a given name has no tensor of a given name.
    #[error(
        "tensor `{tensor}` not found in `{}`{}",
        path.display(),
        did_you_mean(suggestion.as_deref())
    )]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The name looked for.
        tensor: String,
        /// The nearest name there is.
        suggestion: Option<String>,
    },
    /// A tensor in a file has another shape than the configuration asks for.
    #[error("tensor `{tensor}` in `{}` has shape {found:?}; expected {expected:?}", path.display())]
    TensorShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape the configuration asks for.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A tensor in a file is of a type weights are not read from.
    #[error(
        "tensor `{tensor}` in `{}` has dtype {found}; expected F32, F16, BF16 or F64",
        path.display()
    )]
    TensorDtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its type.
        found: String,
    },
    /// Weights were asked for in a type they are not computed in.
    #[error("weights cannot be loaded as {found}; expected F32 or F64")]
    TargetDtype {
        /// The type asked for.
        found: String,
    },
    /// A tensor in a file holds NaN or an infinity.
    #[error(
        "tensor `{tensor}` in `{}` has {count} values that are NaN or infinite, the first at index \
         {first:?}",
        path.display()
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// How many values.
        count: usize,
        /// Index of the first in the tensor's shape.
        first: Vec<usize>,
    },
    /// A file has tensors that this architecture has no place for.
    #[error(
        "`{}` has tensors that {family} has no place for: {}; ignoring them would give other \
         numbers",
        path.display(),
        name_list(tensors)
    )]
    LeftoverTensors {
        /// The file.
        path: PathBuf,
        /// The architecture it was read as.
        family: &'static str,
        /// Their names.
        tensors: Vec<String>,
    },
    /// A configuration lacks a key that cannot be done without.
    #[error("`{}` has no `{key}`; expected {expected}", path.display())]
    ConfigMissing {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What it should say.
        expected: String,
    },
    /// A configuration asks for something this crate does not compute.
    #[error("`{key}` is {found} in `{}`; expected {expected}", path.display())]
    ConfigValue {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// What is supported.
        expected: String,
    },
    /// A directory holds no model, or more than one.
    #[error("no model to load in `{}`: {found}; expected {expected}", path.display())]
    NoModel {
        /// The directory or file.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What should be.
        expected: &'static str,
    },
    /// Neither a file of that name nor a possible model id.
    #[error("model `{spec}` not found; tried {}", name_list(tried))]
    SpecNotFound {
        /// What was asked for.
        spec: String,
        /// What was looked at.
        tried: Vec<String>,
    },
    /// A tokenizer's files cannot be read.
    #[error("cannot read the tokenizer in `{}`: {problem}", path.display())]
    TokenizerFile {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// The tokenizer could not turn a text into tokens.
    #[error("cannot tokenize `{text}`: {problem}")]
    Tokenize {
        /// The text.
        text: String,
        /// Why.
        problem: String,
    },
    /// A text has a character that a character vocabulary lacks.
    #[error(
        "character `{}` at position {position} is not in this model's vocabulary of {vocab} \
         characters",
        character.escape_debug()
    )]
    UnknownCharacter {
        /// The character.
        character: char,
        /// How many characters stand before it.
        position: usize,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// A token id is not in the vocabulary.
    #[error("token id {id} is not in the vocabulary of {vocab} tokens")]
    UnknownToken {
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// A text that should be one token is none or several.
    #[error(
        "{role} `{text}` is {} tokens{}; give one token{}",
        pieces.len(),
        in_parentheses(pieces),
        suggestion.as_ref().map(|s| format!(", for example `{s}`")).unwrap_or_default()
    )]
    NotOneToken {
        /// What the text is for: `target`, `foil`, ...
        role: &'static str,
        /// The text.
        text: String,
        /// Its tokens.
        pieces: Vec<String>,
        /// A similar text that is one token.
        suggestion: Option<String>,
    },
    /// Fetching a model failed.
    #[error(transparent)]
    Hub(#[from] crate::hub::HubError),
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map(|s| format!("; did you mean `{s}`?")).unwrap_or_default()
}

fn in_parentheses(pieces: &[String]) -> String {
    if pieces.is_empty() { String::new() } else { format!(" ({})", name_list(pieces)) }
}

/// Names in backticks, at most ten of them.
fn name_list(names: &[String]) -> String {
    const MOST: usize = 10;
    let mut list: Vec<String> = names.iter().take(MOST).map(|n| format!("`{n}`")).collect();
    if names.len() > MOST {
        list.push(format!("and {} more", names.len() - MOST));
    }
    list.join(", ")
}
