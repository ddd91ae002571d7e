//! `cargo xtask check-sae`: sparse autoencoders trained here, read by SAELens.
//!
//! Trains small autoencoders of both architectures on the embedded model, in f32 and in half precision, at a
//! site of the residual stream and at one with heads; makes transcoders of every architecture (`make_transcoders`, an
//! example of the library); the embedded autoencoder is checked as well. Features and reconstruction
//! here (`sae_codes`, an example of the library) are compared with those of `sae_lens.SAE.load_from_disk` on the same activations; and so
//! are those of the files that SAELens saves of each.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::cargo::cargo;
use crate::python::{TORCH, environment, ran};

const SAE_LENS: &str = "sae-lens==6.54.12";

/// Tokens each is trained on.
const TOKENS: u64 = 200_000;

/// Autoencoders to train: name and settings.
const TRAINED: [(&str, &str); 4] = [
    ("topk", "[sae]\nhook = \"blocks.3.hook_resid_pre\"\narchitecture = \"topk\"\nfeatures = 512\nk = 16"),
    ("standard", "[sae]\nhook = \"blocks.2.hook_mlp_out\"\narchitecture = \"standard\"\nfeatures = 256"),
    ("heads", "[sae]\nhook = \"blocks.1.attn.hook_z\"\narchitecture = \"topk\"\nfeatures = 256\nk = 8"),
    (
        "half",
        "[sae]\nhook = \"blocks.3.hook_resid_pre\"\narchitecture = \"topk\"\nfeatures = 256\nk = 8\n\
         [checkpoints]\ndtype = \"float16\"",
    ),
];

/// Folders that `make_transcoders` writes.
const TRANSCODERS: [&str; 4] =
    ["transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder"];

/// Which Python.
#[derive(Args)]
pub struct CheckSae {
    /// A Python with sae-lens; without one, an environment is made under target/ (6 GB and more).
    #[arg(long)]
    python: Option<PathBuf>,
}

impl CheckSae {
    /// Trains, runs both sides, and fails where they differ.
    pub fn run(&self, root: &Path) -> Result<()> {
        let python = match &self.python {
            Some(python) => std::path::absolute(python)?,
            None => environment(root, &[TORCH[0], TORCH[1], SAE_LENS])?,
        };
        let dir = root.join("target/check-sae");
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make `{}`", dir.display()))?;
        // As the rest of the workspace is built, so that nothing is compiled once more.
        let needed = ["--bin", "microtome", "--example", "make_transcoders", "--example", "sae_codes"];
        ran(cargo().args(["build", "--quiet", "--workspace"]).args(needed).current_dir(root))?;
        let built = root.join("target/debug");
        let example = |name: &str| Command::new(built.join("examples").join(name));
        let mut folders = vec![root.join("models/demo/sae")];
        for (name, settings) in TRAINED {
            let file = dir.join(format!("{name}.toml"));
            let text = format!(
                "{settings}\n[data]\ncorpus = {{ seed = 11, documents = 4000 }}\n[training]\ntokens = {TOKENS}\n"
            );
            std::fs::write(&file, text).with_context(|| format!("cannot write `{}`", file.display()))?;
            let out = dir.join(name);
            let train = ["sae", "train", "--fresh", "--quiet"];
            ran(Command::new(built.join("microtome")).args(train).arg(&file).arg("--out").arg(&out))?;
            folders.push(out.join("last"));
        }
        let made = dir.join("transcoders");
        ran(example("make_transcoders").arg(&made))?;
        folders.extend(TRANSCODERS.map(|name| made.join(name)));
        let codes = dir.join("codes.safetensors");
        let read = |folder: &Path, again: Option<&Path>| {
            ran(example("sae_codes").arg(folder).arg(&codes))?;
            let script = root.join("xtask/peers/read_sae.py");
            let read = ran(Command::new(&python).arg(script).arg(folder).arg(&codes).args(again));
            read.with_context(|| format!("SAELens reads `{}` otherwise", folder.display()))
        };
        for folder in folders {
            // What SAELens has read it saves, and that is read here.
            let again = dir.join("again");
            read(&folder, Some(&again))?;
            read(&again, None)?;
        }
        Ok(())
    }
}
