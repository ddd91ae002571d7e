//! What a run begins with: its vocabulary and its weights, new or a checkpoint's.

use microtome_model::{Config as Sizes, Tokenizer, Weights};

use crate::config::{Config, TokenizerConfig};
use crate::data::Texts;
use crate::error::{Error, Result};
use crate::parameters::{Ties, grown_weights, new_weights};
use crate::run_dir::{RunDir, write_whole};
use crate::train::Observer;
use crate::vocabulary::{Documents, Vocabulary};

/// Weights to begin with, and what comes with them.
pub(crate) struct Beginning {
    pub sizes: Sizes,
    pub weights: Weights,
    pub ties: Ties,
}

/// The vocabulary of a run: what it began with where it goes on, else that of the checkpoint, a file, or a
/// new one.
///
/// # Errors
/// [`Error::Io`], [`Error::MakeTokenizer`], [`Error::Model`].
pub(crate) fn vocabulary(
    config: &Config,
    dir: &RunDir,
    resumes: bool,
    texts: &Texts,
    checkpoint: Option<Tokenizer>,
    observer: &mut dyn Observer,
) -> Result<Vocabulary> {
    let path = dir.path("tokenizer.json");
    if resumes && path.is_file() {
        return Vocabulary::read(&path);
    }
    let json = match &config.data.tokenizer {
        None => {
            let missing = || {
                let expected = "given, since the checkpoint has none";
                Error::setting("data.tokenizer", "not given", expected)
            };
            let vocabulary = Vocabulary::of(checkpoint.ok_or_else(missing)?)?;
            match vocabulary.json() {
                Some(json) => json.to_owned(),
                None => return Ok(vocabulary),
            }
        }
        Some(TokenizerConfig::Named(name)) if name == "characters" => {
            let documents = match texts {
                Texts::File(_) => Documents::One,
                Texts::Corpus(_) => Documents::Apart,
            };
            Vocabulary::characters(texts.iter(), documents)
        }
        Some(TokenizerConfig::Named(file)) => {
            let file = std::path::Path::new(file);
            std::fs::read_to_string(file).map_err(Error::io("read", file))?
        }
        Some(TokenizerConfig::Bpe { bpe }) => {
            observer.note(&format!("learning {} tokens from {}", bpe.vocab, config.data.describe()));
            Vocabulary::bpe(texts.iter(), *bpe, &config.data.describe())?
        }
    };
    write_whole(&path, json.as_bytes())?;
    Vocabulary::read(&path)
}

/// A new model.
///
/// # Errors
/// [`Error::Model`].
pub(crate) fn new_model(config: &Config, d_vocab: usize) -> Result<Beginning> {
    let model = &config.model;
    let sizes = model.sizes(d_vocab);
    let unembed = model.tied != Some(false);
    let weights = new_weights(&sizes, config.seed, unembed, model.init())?;
    Ok(Beginning { sizes, weights, ties: Ties { unembed, biases_fixed: model.bias == Some(false) } })
}

/// The weights of a checkpoint, its context cut to the one asked for, with the blocks and the MLPs that are
/// asked for and it lacks.
///
/// # Errors
/// [`Error::Setting`] where a size is asked for that it does not have and cannot be given.
pub(crate) fn from_checkpoint(
    config: &Config,
    resumes: bool,
    mut sizes: Sizes,
    mut weights: Weights,
) -> Result<Beginning> {
    let model = &config.model;
    let larger = grown(config, &sizes)?;
    if !resumes && larger == sizes && model.init_std.is_some() {
        let expected = "nothing, since nothing is added to the checkpoint";
        return Err(Error::setting("model.init_std", "given", expected));
    }
    if larger != sizes {
        weights = grown_weights(weights, &larger, config.seed, model.init().std)?;
        sizes = larger;
    }
    let asked = [
        ("model.n_heads", model.n_heads, sizes.n_heads),
        ("model.d_model", model.d_model, sizes.d_model),
        ("model.d_mlp", model.d_mlp, sizes.d_mlp()),
        ("model.norm", model.norm.map(usize::from), usize::from(sizes.norm.is_some())),
    ];
    for (key, asked, found) in asked {
        if let Some(asked) = asked.filter(|&asked| asked != found) {
            return Err(Error::setting(key, asked, format!("{found}, as in the checkpoint, or nothing")));
        }
    }
    if let (Some(asked), Some(mlp)) = (model.activation, sizes.mlp)
        && asked != mlp.activation
    {
        let expected = format!("{}, as in the checkpoint, or nothing", mlp.activation.name());
        return Err(Error::setting("model.activation", asked.name(), expected));
    }
    if let Some(n_ctx) = model.n_ctx {
        if n_ctx > sizes.n_ctx {
            let expected = format!("at most {}, the checkpoint's context", sizes.n_ctx);
            return Err(Error::setting("model.n_ctx", n_ctx, expected));
        }
        weights.pos_embed = weights.pos_embed.narrow(0, 0, n_ctx)?.contiguous()?;
        sizes.n_ctx = n_ctx;
    }
    let same = || -> Result<bool> {
        let (embed, unembed) = (weights.embed.t()?, &weights.unembed.w);
        Ok((embed - unembed)?.abs()?.max_all()?.to_scalar::<f32>()? == 0.0)
    };
    let unembed = match model.tied {
        Some(tied) => tied,
        None => same()?,
    };
    Ok(Beginning { sizes, weights, ties: Ties { unembed, biases_fixed: model.bias == Some(false) } })
}

/// The sizes of a checkpoint with more blocks, or with MLPs.
fn grown(config: &Config, sizes: &Sizes) -> Result<Sizes> {
    let model = &config.model;
    let mut larger = sizes.clone();
    if let Some(n_layers) = model.n_layers {
        if n_layers < sizes.n_layers {
            let expected = format!("at least {}, the checkpoint's layers", sizes.n_layers);
            return Err(Error::setting("model.n_layers", n_layers, expected));
        }
        larger.n_layers = n_layers;
    }
    match model.attention_only {
        Some(true) if sizes.mlp.is_some() => {
            let expected = "false, or nothing, since the checkpoint has MLPs";
            return Err(Error::setting("model.attention_only", "true", expected));
        }
        Some(false) if sizes.mlp.is_none() => larger.mlp = Some(model.mlp(sizes.d_model)),
        _ => {}
    }
    Ok(larger)
}
