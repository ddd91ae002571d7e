//! The model that comes with the program: `demo`.
//!
//! A small GPT-2 trained by this project's own trainer on text of its own generator. `models/demo/`
//! holds the files, how they were made, and what is known about the circuits inside.

use std::path::Path;

/// The spec it is asked for by.
pub const NAME: &str = "demo";

/// One of its files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct File {
    /// What messages call it.
    pub name: &'static str,
    pub bytes: &'static [u8],
}

impl File {
    pub fn path(&self) -> &'static Path {
        Path::new(self.name)
    }
}

pub(crate) const CONFIG: File =
    File { name: "demo/config.json", bytes: include_bytes!("../../../models/demo/config.json") };

pub(crate) const WEIGHTS: File =
    File { name: "demo/model.safetensors", bytes: include_bytes!("../../../models/demo/model.safetensors") };

pub(crate) const TOKENIZER: File =
    File { name: "demo/tokenizer.json", bytes: include_bytes!("../../../models/demo/tokenizer.json") };
