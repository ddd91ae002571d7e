//! How an autoencoder is named, and where its files are.
//!
//! One name, everywhere:
//!
//! ```text
//! demo                   the one inside the program, of the demo model
//! folder                 a folder with cfg.json and sae_weights.safetensors
//! release/id             gpt2-small-res-jb/blocks.8.hook_resid_pre, as SAELens names it
//! org/repo/folder        of a Hugging Face repository; org/repo for files that lie in no folder
//! ```
//!
//! A folder that exists is meant before anything on the hub.

use std::fmt;
use std::path::{Path, PathBuf};

use microtome_model::demo::NAME as DEMO;
use microtome_model::{DownloadProgress, Hub, HubSettings};
use serde::{Deserialize, Serialize};

use super::error::SaeError;
use super::releases::{Entry, of_files, of_release, release_names};
use super::{CONFIG_FILE, Sae, WEIGHTS_FILE};
use crate::error::Result;

/// The name of an autoencoder: a folder, `release/id` of SAELens, or `org/repo/folder` of the hub.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct SaeChoice(pub String);

impl fmt::Display for SaeChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for SaeChoice {
    fn from(name: &str) -> SaeChoice {
        SaeChoice(name.to_owned())
    }
}

/// Where the files of an autoencoder are.
#[derive(Debug, Clone, PartialEq)]
enum Place {
    /// In this program.
    Inside,
    /// On this machine.
    Folder(PathBuf),
    /// On the hub; the folder is empty where they lie in none.
    Hub { repo: String, folder: String, entry: Option<Entry> },
}

impl SaeChoice {
    /// Where its files are.
    ///
    /// # Errors
    /// [`SaeError::UnknownName`] where it can be no name, with what names look like.
    fn place(&self) -> Result<Place, SaeError> {
        let unknown = |problem: String| Err(SaeError::UnknownName { name: self.0.clone(), problem });
        let name = self.0.trim_end_matches('/');
        let path = Path::new(name);
        if path.is_dir() || path.is_absolute() || name.starts_with('.') || name.starts_with('~') {
            return Ok(Place::Folder(path.to_owned()));
        }
        if name == DEMO {
            return Ok(Place::Inside);
        }
        let Some((first, rest)) = name.split_once('/') else {
            return unknown("there is no such folder, and the name of one on the hub has a slash".to_owned());
        };
        if let Some(entries) = of_release(first) {
            return match entries.iter().find(|entry| entry.id == rest) {
                Some(entry) => Ok(Place::Hub {
                    repo: entry.repo.to_owned(),
                    folder: entry.folder.clone(),
                    entry: Some(entry.clone()),
                }),
                None => {
                    let ids: Vec<&str> = entries.iter().map(|entry| &entry.id[..]).collect();
                    unknown(format!("release `{first}` has {}", ids.join(", ")))
                }
            };
        }
        if !first.contains('.') && first.starts_with("gpt2-") && rest.contains("hook") {
            return unknown(format!("the releases known are {}", release_names().join(", ")));
        }
        let (repo, folder) = match rest.split_once('/') {
            Some((repo, folder)) => (format!("{first}/{repo}"), folder.to_owned()),
            None => (name.to_owned(), String::new()),
        };
        let entry = of_files(&repo, &folder);
        Ok(Place::Hub { repo, folder, entry })
    }
}

impl Sae {
    /// Opens what a name stands for: files of this machine, or of the hub, through its cache.
    ///
    /// # Errors
    /// [`SaeError`], as [`crate::Error::Sae`]: a name that means nothing, files that cannot be had, and what
    /// [`Sae::load`] refuses.
    pub fn open(choice: &SaeChoice, hub: &HubSettings, progress: &mut dyn DownloadProgress) -> Result<Sae> {
        let sae = match choice.place()? {
            Place::Inside => Sae::demo()?,
            Place::Folder(folder) => Sae::load(&folder)?,
            Place::Hub { repo, folder, entry } => {
                let inside = |file: &str| match &folder[..] {
                    "" => file.to_owned(),
                    folder => format!("{folder}/{file}"),
                };
                let names = [inside(CONFIG_FILE), inside(WEIGHTS_FILE)];
                let fetched = Hub::new(hub.clone()).files(&repo, &names, progress);
                let files = fetched
                    .map_err(|source| SaeError::Hub { name: choice.0.clone(), source: Box::new(source) })?;
                let [config, weights] = &files[..] else {
                    return Err(
                        SaeError::UnknownName { name: choice.0.clone(), problem: String::new() }.into()
                    );
                };
                let sae = Sae::load_files(config, weights)?;
                match entry {
                    Some(entry) => sae.of_release(&entry)?,
                    None => sae,
                }
            }
        };
        Ok(sae.named(choice.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(name: &str) -> (String, String, Option<String>) {
        match SaeChoice::from(name).place().unwrap() {
            Place::Hub { repo, folder, entry } => (repo, folder, entry.and_then(|entry| entry.neuronpedia)),
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn a_release_and_its_repository_mean_the_same_files() {
        let by_release = hub("gpt2-small-res-jb/blocks.11.hook_resid_post");
        assert_eq!(by_release, hub("jbloom/GPT2-Small-SAEs-Reformatted/blocks.11.hook_resid_post/"));
        assert_eq!(by_release.2.as_deref(), Some("gpt2-small/12-res-jb"));
        let split = hub("gpt2-small-res-jb-feature-splitting/blocks.8.hook_resid_pre_768");
        assert_eq!(split.2.as_deref(), Some("gpt2-small/8-res_fs768-jb"));
        assert_eq!(hub("someone/saes"), ("someone/saes".to_owned(), String::new(), None));
        assert_eq!(hub("someone/saes/layer_3/wide").1, "layer_3/wide");
    }

    #[test]
    fn folders_come_first_and_names_that_mean_nothing_say_what_would() {
        let folder = tempfile::tempdir().unwrap();
        let name = SaeChoice(folder.path().display().to_string());
        assert_eq!(name.place().unwrap(), Place::Folder(folder.path().to_owned()));
        let problem = |name: &str| SaeChoice::from(name).place().unwrap_err().to_string();
        assert!(problem("res-jb").contains("no such folder"));
        assert!(problem("gpt2-small-res-jb/blocks.12.hook_resid_pre").contains("blocks.11.hook_resid_post"));
        assert!(problem("gpt2-small-res-jc/blocks.8.hook_resid_pre").contains("gpt2-small-res-jb"));
    }
}
