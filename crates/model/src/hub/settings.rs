//! Where the hub is and where its cache lies, by the environment variables of its Python tools.

use std::path::PathBuf;
use std::time::Duration;

/// Server, cache and patience of a [`Hub`](super::Hub).
#[derive(Clone, PartialEq, Eq)]
pub struct HubSettings {
    /// The directory that holds `models--...`.
    pub cache_dir: PathBuf,
    /// The server, without a slash at its end.
    pub endpoint: String,
    /// Access token for gated and private models.
    pub token: Option<String>,
    /// Make no requests.
    pub offline: bool,
    /// How often a broken download is taken up again without getting further.
    pub retries: u32,
    /// Pause before the first new try; doubled for each further one.
    pub retry_delay: Duration,
}

const ENDPOINT: &str = "https://huggingface.co";

impl HubSettings {
    /// The settings the environment asks for.
    ///
    /// `HF_HUB_CACHE`, else `HUGGINGFACE_HUB_CACHE`, else `HF_HOME/hub`, else
    /// `~/.cache/huggingface/hub`; `HF_ENDPOINT`; `HF_TOKEN`, else the file `HF_TOKEN_PATH`, else
    /// `HF_HOME/token`; `HF_HUB_OFFLINE`.
    pub fn from_env() -> HubSettings {
        HubSettings::from_vars(|name| std::env::var(name).ok())
    }

    /// The settings that variables looked up by `var` ask for.
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> HubSettings {
        let var = |name: &str| var(name).filter(|value| !value.trim().is_empty());
        let path = |name: &str| var(name).map(PathBuf::from);
        let cache = || {
            let home = path("HOME").or_else(std::env::home_dir).unwrap_or_default();
            path("XDG_CACHE_HOME").unwrap_or_else(|| home.join(".cache"))
        };
        let hf_home = path("HF_HOME").unwrap_or_else(|| cache().join("huggingface"));
        let cache_dir = path("HF_HUB_CACHE")
            .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
            .unwrap_or_else(|| hf_home.join("hub"));
        let token_file = path("HF_TOKEN_PATH").unwrap_or_else(|| hf_home.join("token"));
        let token = var("HF_TOKEN").or_else(|| std::fs::read_to_string(token_file).ok());
        let endpoint = var("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let is_on =
            |value: String| matches!(value.to_ascii_lowercase().as_str(), "1" | "on" | "yes" | "true");
        HubSettings {
            cache_dir,
            endpoint: endpoint.trim().trim_end_matches('/').to_owned(),
            token: token.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()),
            offline: var("HF_HUB_OFFLINE").is_some_and(is_on),
            retries: 5,
            retry_delay: Duration::from_millis(500),
        }
    }
}

impl std::fmt::Debug for HubSettings {
    /// Everything but the token, which must not end up in a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubSettings")
            .field("cache_dir", &self.cache_dir)
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "(set)"))
            .field("offline", &self.offline)
            .field("retries", &self.retries)
            .field("retry_delay", &self.retry_delay)
            .finish()
    }
}
