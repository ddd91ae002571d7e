//! `microtome export`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::ValueEnum;
use microtome::model::demo::NAME as DEMO;
use microtome::model::{DType, LoadOptions, checkpoint_files, load};

use crate::progress;
use crate::whole_file::write_whole;

/// Write a model as a Hugging Face checkpoint: config.json, model.safetensors, tokenizer.json
///
/// Other programs (transformers, TransformerLens) read it, and so does this one. Attention-only and
/// norm-free models, which that layout cannot express, are written in TransformerLens's.
#[derive(clap::Args)]
pub struct Args {
    /// demo, a checkpoint file or directory, or a Hugging Face id
    #[arg(short, long, env = "MICROTOME_MODEL", value_name = "MODEL", default_value = DEMO)]
    model: String,
    /// The directory; made if it is not there
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Type of the numbers in the file
    #[arg(long, value_enum, default_value_t = FloatArg::F32)]
    dtype: FloatArg,
}

#[derive(ValueEnum, Debug, Clone, Copy)]
enum FloatArg {
    F32,
    F16,
    Bf16,
    F64,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let dtype = match args.dtype {
        FloatArg::F32 => DType::F32,
        FloatArg::F16 => DType::F16,
        FloatArg::Bf16 => DType::BF16,
        FloatArg::F64 => DType::F64,
    };
    let loaded = load(&args.model, &LoadOptions::default(), &mut progress::Download::default())?;
    let mut files = checkpoint_files(&loaded.config, &loaded.weights, loaded.bos, dtype)?.to_vec();
    if let Some(json) = loaded.tokenizer.as_ref().map(|tokenizer| tokenizer.to_json()).transpose()?.flatten()
    {
        files.push(("tokenizer.json", json.into_bytes()));
    }
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot make `{}`", args.out.display()))?;
    for (name, bytes) in files {
        let path = args.out.join(name);
        write_whole(&path, &bytes)?;
        eprintln!("wrote {} ({:.2} MB)", path.display(), bytes.len() as f64 / 1e6);
    }
    Ok(ExitCode::SUCCESS)
}
