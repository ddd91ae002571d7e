//! From what a user types to a model in memory.
//!
//! A spec is `demo`, the model inside the program (`demo.rs`); a path (a directory, a checkpoint, a
//! weight file; a directory that is called `demo` is `./demo`); or a model id of the Hugging Face hub.
//! [`load`] finds the files, recognises the family by what is inside them rather than by their names,
//! picks the tokenizer, and writes down in [`Loaded::assumptions`] whatever the files left open.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};

use crate::archive::TensorArchive;
use crate::config::{Activation, Config};
use crate::demo;
use crate::error::{Error, Result};
use crate::family::{self, Opened, Settings, gpt2, nanogpt, tl};
use crate::hub::{DownloadProgress, Hub, HubSettings};
use crate::model::{Model, Preparation};
use crate::prepare::{Prepared, prepare};
use crate::tokenizer::Tokenizer;
use crate::weight_hash::weight_hash;
use crate::weights::Weights;

/// A model with everything known about where it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Sizes and choices.
    pub config: Config,
    /// All tensors.
    pub weights: Weights,
    /// The vocabulary; `None` for a model that takes token ids only.
    pub tokenizer: Option<Tokenizer>,
    /// The token the model expects in front of a text, if it has one.
    pub bos: Option<u32>,
    /// What was read.
    pub source: Source,
    /// What the files leave open and this crate decided, one sentence each.
    pub assumptions: Vec<String>,
    /// Fingerprint of the weights: [`weight_hash`].
    pub weight_hash: String,
}

/// A model ready to run, with everything known about where it came from.
#[derive(Debug, Clone)]
pub struct LoadedModel {
    /// The model, its weights packed for this processor.
    pub model: Model,
    /// How many numbers its weights hold as they were read: [`Weights::n_parameters`].
    pub n_parameters: usize,
    /// The vocabulary; `None` for a model that takes token ids only.
    pub tokenizer: Option<Tokenizer>,
    /// The token the model expects in front of a text, if it has one.
    pub bos: Option<u32>,
    /// What was read.
    pub source: Source,
    /// What the files leave open and this crate decided, one sentence each.
    pub assumptions: Vec<String>,
    /// Fingerprint of the weights as they were read: [`weight_hash`].
    pub weight_hash: String,
}

/// What a model was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// `gpt2`, `nanogpt` or `transformerlens`.
    pub family: &'static str,
    /// The spec as given.
    pub spec: String,
    /// The files that hold the weights.
    pub files: Vec<PathBuf>,
    /// Element type of the token embedding in the file: `F32`, `F16`, ...
    pub dtype: String,
}

/// How to load.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Type to compute in, `F32` or `F64`.
    pub dtype: DType,
    /// Where a model made ready to run computes; weights are read and processed on the CPU.
    pub device: Device,
    /// Activation to use where the checkpoint itself does not name one (nanoGPT, TransformerLens).
    pub activation: Option<Activation>,
    /// Cache, endpoint and token for models from the hub.
    pub hub: HubSettings,
}

impl Default for LoadOptions {
    /// `F32`, the CPU, no activation asked for, hub settings from the environment.
    fn default() -> LoadOptions {
        LoadOptions { dtype: DType::F32, device: Device::Cpu, activation: None, hub: HubSettings::from_env() }
    }
}

/// Loads the weights of the model that `spec` names.
///
/// # Errors
/// [`Error::SpecNotFound`] if it is neither a file nor a possible model id; [`Error::NoModel`] for a
/// directory without one; [`Error::Hub`] if it cannot be fetched; the errors of
/// [`TensorArchive::open`], of the families and of [`Tokenizer`].
pub fn load(spec: &str, options: &LoadOptions, progress: &mut dyn DownloadProgress) -> Result<Loaded> {
    with_checkpoint(spec, options, progress, |Checkpoint { opened, vocabulary, source }| {
        let family::Model { config, weights, mut assumptions } = opened.whole()?;
        let (tokenizer, assumed) = vocabulary.read(&config, source.family)?;
        assumptions.extend(assumed);
        let bos = tokenizer.as_ref().and_then(Tokenizer::bos);
        let weight_hash = weight_hash(&config, &weights)?;
        Ok(Loaded { config, weights, tokenizer, bos, source, assumptions, weight_hash })
    })
}

/// Loads the model that `spec` names, ready to run. Beside the model no more of its weights is held at a time than
/// one block, and what lies outside the blocks.
///
/// # Errors
/// As [`load()`].
pub fn load_model(
    spec: &str,
    prepared: Preparation,
    options: &LoadOptions,
    progress: &mut dyn DownloadProgress,
) -> Result<LoadedModel> {
    with_checkpoint(spec, options, progress, |Checkpoint { opened, vocabulary, source }| {
        let (config, mut assumptions) = (opened.config.clone(), opened.assumptions.clone());
        // The vocabulary is read by one thread: begun first, it ends while the others still have weights to prepare.
        let (read, prepared) =
            rayon::join(|| vocabulary.read(&config, source.family), || prepare(opened, prepared));
        let Prepared { model, n_parameters, weight_hash } = prepared?;
        let (tokenizer, assumed) = read?;
        assumptions.extend(assumed);
        let bos = tokenizer.as_ref().and_then(Tokenizer::bos);
        Ok(LoadedModel { model, n_parameters, tokenizer, bos, source, assumptions, weight_hash })
    })
}

/// A checkpoint before its weights are read.
struct Checkpoint<'a> {
    opened: Opened<'a>,
    vocabulary: Vocabulary<'a>,
    source: Source,
}

/// Where a model's vocabulary is looked for.
enum Vocabulary<'a> {
    Embedded,
    Files { files: &'a Files, archive: &'a TensorArchive },
}

impl Vocabulary<'_> {
    /// The tokenizer, and what was assumed to have it.
    fn read(&self, config: &Config, family: &str) -> Result<(Option<Tokenizer>, Vec<String>)> {
        let mut assumptions = vec![];
        let tokenizer = match self {
            Vocabulary::Embedded => {
                Some(Tokenizer::parse_json(demo::TOKENIZER.path(), demo::TOKENIZER.bytes)?)
            }
            Vocabulary::Files { files, archive } => {
                let tokenizer = tokenizer_for(&files.dir, archive, family, config, &mut assumptions)?;
                check_tokenizer(tokenizer.as_ref(), config, files)?;
                tokenizer
            }
        };
        Ok((tokenizer, assumptions))
    }
}

/// Finds what `spec` names, opens it, and has it read.
fn with_checkpoint<T>(
    spec: &str,
    options: &LoadOptions,
    progress: &mut dyn DownloadProgress,
    read: impl FnOnce(Checkpoint) -> Result<T>,
) -> Result<T> {
    let path = Path::new(spec);
    let files = if spec == demo::NAME {
        let archive = TensorArchive::embedded(demo::WEIGHTS.path(), demo::WEIGHTS.bytes)?;
        let settings = Settings::parse(demo::CONFIG.path(), demo::CONFIG.bytes)?;
        let opened = gpt2::open(&archive, &settings, options.dtype)?;
        let source = source(spec, &archive, opened.blocks.family());
        return read(Checkpoint { opened, vocabulary: Vocabulary::Embedded, source });
    } else if path.is_dir() {
        files_in(path)?
    } else if path.exists() {
        files_beside(path)
    } else if looks_like_path(spec) {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        return Err(Error::SpecNotFound {
            spec: spec.to_owned(),
            tried: vec![absolute.display().to_string()],
        });
    } else {
        files_in(&Hub::new(options.hub.clone()).snapshot(spec, progress)?)?
    };
    let archive = TensorArchive::open(&files.weights)?;
    let settings = files.config.as_deref().map(Settings::read).transpose()?;
    let opened = open_family(&archive, settings.as_ref(), options)?;
    let source = source(spec, &archive, opened.blocks.family());
    let vocabulary = Vocabulary::Files { files: &files, archive: &archive };
    read(Checkpoint { opened, vocabulary, source })
}

fn source(spec: &str, archive: &TensorArchive, family: &'static str) -> Source {
    Source { family, spec: spec.to_owned(), files: archive.files().to_vec(), dtype: stored_dtype(archive) }
}

/// The files one model is read from.
#[derive(Debug)]
struct Files {
    weights: PathBuf,
    config: Option<PathBuf>,
    dir: PathBuf,
}

/// Weight files in a directory, in order of preference.
const WEIGHT_NAMES: [&str; 5] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "ckpt.pt",
];

const CONFIG_NAMES: [&str; 2] = ["config.json", "cfg.json"];

fn files_in(dir: &Path) -> Result<Files> {
    let named = WEIGHT_NAMES.iter().map(|name| dir.join(name)).find(|p| p.is_file());
    let weights = match named {
        Some(weights) => weights,
        None => only_weight_file(dir)?,
    };
    Ok(files_beside(&weights))
}

/// The single weight file of a directory in which it has a name of its own.
fn only_weight_file(dir: &Path) -> Result<PathBuf> {
    let io = |source| Error::Io { path: dir.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let is_weights =
            path.extension().is_some_and(|e| ["safetensors", "pth", "pt"].iter().any(|known| e == *known));
        if is_weights && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    match found.len() {
        1 => Ok(found.remove(0)),
        n => {
            let names: Vec<_> = found.iter().filter_map(|p| p.file_name()?.to_str()).collect();
            let found = if n == 0 { "no weight file".to_owned() } else { names.join(", ") };
            Err(Error::NoModel {
                path: dir.to_owned(),
                found,
                expected: "model.safetensors, pytorch_model.bin (or their index), ckpt.pt, or exactly one \
                           .safetensors, .pth or .pt file; a file itself can be named too",
            })
        }
    }
}

fn files_beside(weights: &Path) -> Files {
    let config = CONFIG_NAMES.iter().map(|name| weights.with_file_name(name)).find(|p| p.is_file());
    let dir = match weights.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    Files { weights: weights.to_owned(), config, dir }
}

fn open_family<'a>(
    archive: &'a TensorArchive,
    settings: Option<&Settings>,
    options: &LoadOptions,
) -> Result<Opened<'a>> {
    if nanogpt::recognises(archive) {
        return nanogpt::open(archive, options.activation, options.dtype);
    }
    if tl::recognises(archive) {
        let usable = settings.filter(|s| tl::recognises_settings(s));
        let mut opened = tl::open(archive, usable, options.activation, options.dtype)?;
        if let (Some(other), None) = (settings, usable) {
            let name = other.path().file_name().unwrap_or_default().to_string_lossy();
            opened.assumptions.push(format!(
                "`{name}` beside the weights was not used: it has no HookedTransformerConfig keys"
            ));
        }
        return Ok(opened);
    }
    if let Some(settings) = settings {
        return gpt2::open(archive, settings, options.dtype);
    }
    if gpt2::recognises(archive) {
        return Err(Error::NoModel {
            path: archive.path().to_owned(),
            found: "GPT-2 weights without a config.json".to_owned(),
            expected: "a config.json beside them, for the number of heads",
        });
    }
    let names: Vec<&str> = archive.names().take(3).collect();
    Err(Error::NoModel {
        path: archive.path().to_owned(),
        found: format!("tensors named {} ...", names.join(", ")),
        expected: "the names of Hugging Face GPT-2, nanoGPT or TransformerLens",
    })
}

fn tokenizer_for(
    dir: &Path,
    archive: &TensorArchive,
    family: &str,
    config: &Config,
    assumptions: &mut Vec<String>,
) -> Result<Option<Tokenizer>> {
    if let Some(tokenizer) = Tokenizer::from_dir(dir)? {
        return Ok(Some(tokenizer));
    }
    // nanoGPT rounds GPT-2's 50257 up to 50304.
    let has_gpt2_size = match family {
        nanogpt::NAME => config.d_vocab >= GPT2_VOCAB && config.d_vocab <= GPT2_VOCAB_PADDED,
        _ => config.d_vocab == GPT2_VOCAB,
    };
    if !has_gpt2_size {
        return Ok(None);
    }
    let dataset = archive
        .pickle()
        .and_then(|p| p.root().get("config")?.get("dataset")?.as_str().map(str::to_owned))
        .map(|name| format!(" (trained on `{name}`)"))
        .unwrap_or_default();
    assumptions.push(format!(
        "tokenizer is GPT-2's, because the vocabulary has {} tokens and no tokenizer lies beside the \
         weights{dataset}",
        config.d_vocab
    ));
    Ok(Some(Tokenizer::gpt2()))
}

const GPT2_VOCAB: usize = 50257;

const GPT2_VOCAB_PADDED: usize = 50304;

/// A tokenizer that produces ids the model has no embedding for belongs to another model.
fn check_tokenizer(tokenizer: Option<&Tokenizer>, config: &Config, files: &Files) -> Result<()> {
    match tokenizer {
        Some(tokenizer) if tokenizer.base_vocab_size() > config.d_vocab => Err(Error::TokenizerFile {
            path: files.dir.clone(),
            problem: format!(
                "it has {} tokens ({}), the model's vocabulary only {}",
                tokenizer.base_vocab_size(),
                tokenizer.describe(),
                config.d_vocab
            ),
        }),
        _ => Ok(()),
    }
}

fn stored_dtype(archive: &TensorArchive) -> String {
    let embeddings = ["wte.weight", "embed.W_E"];
    let name = archive.names().find(|n| embeddings.iter().any(|e| n.ends_with(e)));
    name.and_then(|n| archive.dtype(n).ok()).map(|d| d.name().to_owned()).unwrap_or_default()
}

/// Whether a spec that does not exist was meant as a path: ids have at most one slash, do not
/// start like a path, and do not end like a weight file.
fn looks_like_path(spec: &str) -> bool {
    let file_endings = [".pt", ".pth", ".bin", ".safetensors", ".json", ".pkl"];
    spec.is_empty()
        || spec.starts_with(['.', '/', '~', '\\'])
        || spec.ends_with('/')
        || spec.contains(['\\', ':'])
        || spec.matches('/').count() > 1
        || file_endings.iter().any(|end| spec.ends_with(end))
}
