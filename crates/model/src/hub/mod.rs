//! Models of the Hugging Face hub, through the cache that its Python tools use.
//!
//! The cache is theirs byte for byte, so nothing is fetched twice, whoever fetched it first:
//!
//! ```text
//! models--<org>--<name>/
//!   refs/main                      the commit that `main` was when last asked
//!   blobs/<etag>                   one file each; <etag>.incomplete while it is being fetched
//!   snapshots/<commit>/<file>      relative symlink to a blob
//!   .no_exist/<commit>/<file>      empty: the model is known to lack this file
//! ```
//!
//! [`Hub::snapshot`] answers from the cache without a request if a model is there, and otherwise
//! fetches what is missing: `config.json`, the weights in the first form the model has, and the
//! tokenizer. A file enters the cache under its final name only when its length and, for large
//! files, its SHA-256 are right.

mod cache;
mod download;
mod settings;

use std::path::{Path, PathBuf};

use crate::archive::index_files;
use download::Repo;
pub use settings::HubSettings;

/// Why a model could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Not something that can be a model id.
    #[error("`{id}` is neither an existing path nor a model id; expected `name` or `org/name`")]
    InvalidId {
        /// What was asked for.
        id: String,
    },
    /// The network is switched off and the model is not in the cache.
    #[error(
        "model `{id}` is not in the cache at `{}` and HF_HUB_OFFLINE is set; connect once without it, \
         or pass a local directory",
        cache.display()
    )]
    Offline {
        /// The model.
        id: String,
        /// Where it was looked for.
        cache: PathBuf,
    },
    /// The server cannot be reached.
    #[error(
        "model `{id}` is not in the cache at `{}` and {url} cannot be reached ({problem}); connect \
         once, or pass a local directory",
        cache.display()
    )]
    Unreachable {
        /// The model.
        id: String,
        /// Where it was looked for.
        cache: PathBuf,
        /// What was asked.
        url: String,
        /// What the network said.
        problem: String,
    },
    /// The server knows no such model.
    #[error("model `{id}` not found at {endpoint}; check the spelling, or set HF_TOKEN if it is private")]
    ModelNotFound {
        /// The model.
        id: String,
        /// The server.
        endpoint: String,
    },
    /// The server wants to know who asks.
    #[error(
        "model `{id}` is gated or private (status {status}); accept its terms on its page at {endpoint} \
         and set HF_TOKEN to an access token"
    )]
    Unauthorized {
        /// The model.
        id: String,
        /// The server.
        endpoint: String,
        /// HTTP status, 401 or 403.
        status: u16,
    },
    /// The model exists but lacks a file that cannot be done without.
    #[error("model `{id}` has no {expected}")]
    FileNotFound {
        /// The model.
        id: String,
        /// The file or files looked for.
        expected: &'static str,
    },
    /// The repository exists and has no file of this name.
    #[error("`{id}` has no file `{file}`; see its page at {endpoint} for what it has")]
    NoSuchFile {
        /// The repository.
        id: String,
        /// The file, with its folder.
        file: String,
        /// The server.
        endpoint: String,
    },
    /// A download broke off and could not be taken up again.
    #[error(
        "download of `{file}` stopped at {received} of {total} bytes ({problem}); running the same \
         command again resumes there"
    )]
    Interrupted {
        /// The file.
        file: String,
        /// Bytes on disk.
        received: u64,
        /// Bytes of the whole file.
        total: u64,
        /// What the network said.
        problem: String,
    },
    /// A file arrived whole but wrong.
    #[error("download of `{file}` has {what} {found}; expected {expected}; it was thrown away")]
    Corrupt {
        /// The file.
        file: String,
        /// `size` or `sha256`.
        what: &'static str,
        /// What the server announced.
        expected: String,
        /// What arrived.
        found: String,
    },
    /// The server answers in a way the hub does not.
    #[error("{url} answered with {found}; expected {expected}")]
    Answer {
        /// What was asked.
        url: String,
        /// Status or header.
        found: String,
        /// What should have come.
        expected: &'static str,
    },
    /// The cache cannot be written or read.
    #[error("cannot use the cache at `{}`: {source}", path.display())]
    Cache {
        /// File or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A downloaded index of shards cannot be read.
    #[error("model `{id}` has a broken index of shards: {problem}")]
    Index {
        /// The model.
        id: String,
        /// Why.
        problem: String,
    },
}

type Result<T, E = HubError> = std::result::Result<T, E>;

/// Hears how a download goes. `()` hears nothing.
pub trait DownloadProgress {
    /// A file of `total_bytes` starts, or starts over.
    fn init(&mut self, total_bytes: u64, file: &str);
    /// More bytes are on disk, including those a resumed download found there.
    fn advance(&mut self, bytes: u64);
    /// The file is complete and checked.
    fn finish(&mut self);
}

impl DownloadProgress for () {
    fn init(&mut self, _total_bytes: u64, _file: &str) {}
    fn advance(&mut self, _bytes: u64) {}
    fn finish(&mut self) {}
}

/// A server of models and the cache in front of it.
#[derive(Debug)]
pub struct Hub {
    settings: HubSettings,
}

/// Where models that are known by a bare name live.
const BARE_NAME_ORGS: [&str; 2] = ["openai-community", "distilbert"];

/// Single weight files and the indices of their sharded forms, in order of preference.
const WEIGHTS: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// Each way to store a tokenizer, in order of preference.
const TOKENIZERS: [&[&str]; 2] = [&["tokenizer.json"], &["vocab.json", "merges.txt"]];

const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

impl Hub {
    /// A hub with these settings.
    pub fn new(settings: HubSettings) -> Hub {
        Hub { settings }
    }

    /// Directory with the files of a model: from the cache if it is there, else fetched.
    ///
    /// # Errors
    /// [`HubError`]: one variant per way this fails.
    pub fn snapshot(&self, id: &str, progress: &mut dyn DownloadProgress) -> Result<PathBuf> {
        if !is_id(id) {
            return Err(HubError::InvalidId { id: id.to_owned() });
        }
        let cached = self.candidates(id).find_map(|repo| {
            let dir = repo.snapshot_dir()?;
            has_model(&dir).then_some((repo, dir))
        });
        match cached {
            Some((repo, dir)) if self.settings.offline || knows_tokenizer(&repo, &dir) => Ok(dir),
            Some((mut repo, dir)) => match fetch(&mut repo, progress) {
                Ok(fetched) => Ok(fetched),
                // Config and weights are here; whether a tokenizer exists cannot be found out now.
                Err(HubError::Unreachable { .. }) => Ok(dir),
                Err(other) => Err(other),
            },
            None if self.settings.offline => {
                Err(HubError::Offline { id: id.to_owned(), cache: self.settings.cache_dir.clone() })
            }
            None => fetch(&mut Repo::new(&self.settings, id), progress),
        }
    }

    /// Files of a repository by their paths in it, in this order: from the cache if all are there, else fetched.
    ///
    /// # Errors
    /// [`HubError::NoSuchFile`] for one it does not have, and the other ways this fails.
    pub fn files(
        &self,
        id: &str,
        names: &[String],
        progress: &mut dyn DownloadProgress,
    ) -> Result<Vec<PathBuf>> {
        let inside =
            |name: &String| name.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if !is_id(id) || !names.iter().all(inside) {
            return Err(HubError::InvalidId { id: id.to_owned() });
        }
        let mut repo = Repo::new(&self.settings, id);
        if let Some(dir) = repo.snapshot_dir() {
            let cached: Vec<PathBuf> = names.iter().map(|name| dir.join(name)).collect();
            if cached.iter().all(|path| path.is_file()) {
                return Ok(cached);
            }
        }
        if self.settings.offline {
            return Err(HubError::Offline { id: id.to_owned(), cache: self.settings.cache_dir.clone() });
        }
        let endpoint = &self.settings.endpoint;
        let missing = |file: &String| HubError::NoSuchFile {
            id: id.to_owned(),
            file: file.clone(),
            endpoint: endpoint.clone(),
        };
        names.iter().map(|name| repo.file(name, progress)?.ok_or_else(|| missing(name))).collect()
    }

    /// The model under its own name and, for a bare name, under those of its likely owners.
    fn candidates<'a>(&'a self, id: &'a str) -> impl Iterator<Item = Repo<'a>> {
        let orgs = if id.contains('/') { &[][..] } else { &BARE_NAME_ORGS[..] };
        let owned = orgs.iter().map(move |org| format!("{org}/{id}"));
        std::iter::once(id.to_owned()).chain(owned).map(|id| Repo::new(&self.settings, &id))
    }
}

fn fetch(repo: &mut Repo, progress: &mut dyn DownloadProgress) -> Result<PathBuf> {
    let missing = |repo: &Repo, expected| HubError::FileNotFound { id: repo.id().to_owned(), expected };
    let Some(config) = repo.file("config.json", progress)? else {
        return Err(missing(repo, "config.json"));
    };
    let mut found = None;
    for name in WEIGHTS {
        found = repo.file(name, progress)?;
        if found.is_some() {
            break;
        }
    }
    let Some(weights) = found else {
        return Err(missing(repo, "model.safetensors or pytorch_model.bin, whole or sharded"));
    };
    if weights.extension().is_some_and(|e| e == "json") {
        let shards = index_files(&weights)
            .map_err(|e| HubError::Index { id: repo.id().to_owned(), problem: e.to_string() })?;
        for shard in shards {
            if repo.file(&shard, progress)?.is_none() {
                return Err(HubError::Index {
                    id: repo.id().to_owned(),
                    problem: format!("`{shard}` is not there"),
                });
            }
        }
    }
    for files in TOKENIZERS {
        let mut complete = true;
        for name in files {
            complete = complete && repo.file(name, progress)?.is_some();
        }
        if complete {
            break;
        }
    }
    repo.file(TOKENIZER_CONFIG, progress)?;
    Ok(config.parent().unwrap_or(Path::new("")).to_owned())
}

/// Whether a snapshot has a configuration and weights, all shards included.
fn has_model(dir: &Path) -> bool {
    let has = |name: &str| dir.join(name).is_file();
    let has_weights = WEIGHTS.into_iter().any(|name| {
        let is_index = name.ends_with(".json");
        has(name)
            && (!is_index || index_files(&dir.join(name)).is_ok_and(|shards| shards.iter().all(|s| has(s))))
    });
    has("config.json") && has_weights
}

/// Whether a tokenizer is there, or known not to exist.
fn knows_tokenizer(repo: &Repo, dir: &Path) -> bool {
    let has = |files: &[&str]| files.iter().all(|name| dir.join(name).is_file());
    let lacks = |files: &[&str]| files.iter().any(|name| repo.is_known_missing(name));
    TOKENIZERS.iter().any(|files| has(files)) || TOKENIZERS.iter().all(|files| lacks(files))
}

/// `name` or `org/name`, each of letters, digits, `-`, `_` and `.`, as the hub allows.
fn is_id(id: &str) -> bool {
    let is_part = |part: &str| {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !part.is_empty()
            && part.len() <= 96
            && part.chars().all(legal)
            && !part.starts_with('.')
            && !part.contains("..")
    };
    id.split('/').count() <= 2 && id.split('/').all(is_part)
}
