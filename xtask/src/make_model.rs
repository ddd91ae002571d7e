//! `cargo xtask make-model`: a Hugging Face GPT-2 checkpoint of random weights.
//!
//! The architecture and the scale of the numbers are GPT-2's, so a forward pass takes the time and the
//! memory of the real one and nothing saturates: matrices 0.06 N(0, 1) (three times GPT-2's initial
//! 0.02), biases 0.1 N(0, 1), LayerNorm gains 1 + 0.2 N(0, 1). Names carry the prefix `transformer.`,
//! matrices are stored `[in, out]` as `Conv1D` has them, and there is no `lm_head`: it is tied to
//! `wte`. Tensors are drawn one at a time while the file is written, so the largest shape needs the
//! memory of its largest tensor only.
//!
//! A tokenizer is written on request, for programs that load no model without one: its words are `t0`,
//! `t1` and so on, in order of their ids, and the last token is `<|endoftext|>`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use safetensors::{Dtype, View};
use serde_json::json;

use crate::noise;

/// What to write, and where.
#[derive(Args)]
pub struct MakeModel {
    /// Directory to make; it must not exist yet.
    dir: PathBuf,
    /// Sizes to start from.
    #[arg(long, value_enum, default_value = "gpt2-small")]
    shape: Shape,
    /// Number of blocks instead of the shape's.
    #[arg(long)]
    layers: Option<usize>,
    /// Heads per block instead of the shape's; must divide the width.
    #[arg(long)]
    heads: Option<usize>,
    /// Width of the residual stream instead of the shape's; MLPs are four times as wide.
    #[arg(long)]
    width: Option<usize>,
    /// Longest prompt in tokens instead of the shape's.
    #[arg(long)]
    ctx: Option<usize>,
    /// Tokens in the vocabulary instead of the shape's.
    #[arg(long)]
    vocab: Option<usize>,
    /// Seed of the weights.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A tokenizer of invented words, too.
    #[arg(long)]
    tokenizer: bool,
}

/// The published sizes.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// 6 layers, 12 heads, width 768.
    Distilgpt2,
    /// 12 layers, 12 heads, width 768.
    Gpt2Small,
    /// 24 layers, 16 heads, width 1024.
    Gpt2Medium,
    /// 36 layers, 20 heads, width 1280.
    Gpt2Large,
    /// 48 layers, 25 heads, width 1600.
    Gpt2Xl,
}

#[derive(Clone, Copy)]
struct Sizes {
    layers: usize,
    heads: usize,
    width: usize,
    ctx: usize,
    vocab: usize,
}

impl Shape {
    /// Its name in words.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Distilgpt2 => "distilgpt2",
            Shape::Gpt2Small => "GPT-2 small",
            Shape::Gpt2Medium => "GPT-2 medium",
            Shape::Gpt2Large => "GPT-2 large",
            Shape::Gpt2Xl => "GPT-2 XL",
        }
    }

    fn sizes(self) -> Sizes {
        let (layers, heads, width) = match self {
            Shape::Distilgpt2 => (6, 12, 768),
            Shape::Gpt2Small => (12, 12, 768),
            Shape::Gpt2Medium => (24, 16, 1024),
            Shape::Gpt2Large => (36, 20, 1280),
            Shape::Gpt2Xl => (48, 25, 1600),
        };
        Sizes { layers, heads, width, ctx: 1024, vocab: 50257 }
    }
}

impl MakeModel {
    /// A checkpoint of a shape, with a tokenizer.
    pub fn of_shape(shape: Shape, dir: PathBuf) -> MakeModel {
        let (layers, heads, width, ctx, vocab) = (None, None, None, None, None);
        let (seed, tokenizer) = (0, true);
        MakeModel { dir, shape, layers, heads, width, ctx, vocab, seed, tokenizer }
    }

    /// Writes the checkpoint under a name of its own and renames it when it is whole.
    pub fn run(&self) -> Result<()> {
        let sizes = self.sizes()?;
        let dir = &self.dir;
        ensure!(!dir.exists(), "`{}` exists already; remove it or name another directory", dir.display());
        let mut part = dir.as_os_str().to_owned();
        part.push(format!(".{}.part", std::process::id()));
        let part = PathBuf::from(part);
        fs::create_dir_all(&part).with_context(|| format!("cannot make `{}`", part.display()))?;
        let written = self.write(&part, sizes).and_then(|()| {
            fs::rename(&part, dir).with_context(|| format!("cannot rename to `{}`", dir.display()))
        });
        if written.is_err() {
            // The reason it failed is the one to report.
            let _ = fs::remove_dir_all(&part);
        }
        written?;
        let parameters: usize = tensors(sizes, self.seed).iter().map(|(_, tensor)| tensor.len()).sum();
        println!("{}: {parameters} parameters, {:.2} MB", dir.display(), 4e-6 * parameters as f64);
        Ok(())
    }

    fn sizes(&self) -> Result<Sizes> {
        let shape = self.shape.sizes();
        let sizes = Sizes {
            layers: self.layers.unwrap_or(shape.layers),
            heads: self.heads.unwrap_or(shape.heads),
            width: self.width.unwrap_or(shape.width),
            ctx: self.ctx.unwrap_or(shape.ctx),
            vocab: self.vocab.unwrap_or(shape.vocab),
        };
        let Sizes { layers, heads, width, ctx, vocab } = sizes;
        ensure!([layers, heads, width, ctx, vocab].iter().all(|&n| n > 0), "every size must be at least 1");
        ensure!(width % heads == 0, "{heads} heads do not divide the width {width}; give a divisor");
        Ok(sizes)
    }

    fn write(&self, dir: &Path, sizes: Sizes) -> Result<()> {
        let config = serde_json::to_string_pretty(&config(sizes))? + "\n";
        fs::write(dir.join("config.json"), config).context("cannot write config.json")?;
        if self.tokenizer {
            for (name, content) in tokenizer(sizes.vocab) {
                let written = fs::write(dir.join(name), content.to_string());
                written.with_context(|| format!("cannot write {name}"))?;
            }
        }
        // transformers refuses a file that does not name its framework.
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let file = dir.join("model.safetensors");
        safetensors::serialize_to_file(tensors(sizes, self.seed), Some(metadata), &file)
            .context("cannot write model.safetensors")?;
        // safetensors makes a file that only its owner may read.
        let permissions = fs::metadata(dir.join("config.json"))?.permissions();
        fs::set_permissions(&file, permissions).context("cannot make model.safetensors readable")
    }
}

fn config(sizes: Sizes) -> serde_json::Value {
    let Sizes { layers, heads, width, ctx, vocab } = sizes;
    json!({
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "n_layer": layers,
        "n_head": heads,
        "n_embd": width,
        "n_inner": null,
        "n_positions": ctx,
        "n_ctx": ctx,
        "vocab_size": vocab,
        "layer_norm_epsilon": 1e-5,
        "scale_attn_weights": true,
        "tie_word_embeddings": true,
        "bos_token_id": vocab - 1,
        "eos_token_id": vocab - 1,
        "torch_dtype": "float32",
    })
}

/// The files of a tokenizer of invented words.
fn tokenizer(vocab: usize) -> [(&'static str, serde_json::Value); 2] {
    const END: &str = "<|endoftext|>";
    let last = vocab - 1;
    let words = (0..last).map(|id| (format!("t{id}"), id)).chain([(END.to_owned(), last)]);
    let ids: serde_json::Map<_, _> = words.map(|(word, id)| (word, id.into())).collect();
    let end = json!({
        "id": last, "content": END, "special": true,
        "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
    });
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [end],
        "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": null,
        "decoder": null,
        "model": {"type": "WordLevel", "vocab": ids, "unk_token": END},
    });
    let settings = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END, "eos_token": END, "unk_token": END,
    });
    [("tokenizer.json", tokenizer), ("tokenizer_config.json", settings)]
}

/// A tensor that is drawn when it is written.
struct Drawn {
    shape: Vec<usize>,
    seed: u64,
    number: u64,
    mean_and_std: (f32, f32),
}

impl Drawn {
    fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

impl View for Drawn {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        noise::bytes(self.seed, self.number, self.len(), self.mean_and_std).into()
    }
    fn data_len(&self) -> usize {
        4 * self.len()
    }
}

const MATRIX: (f32, f32) = (0.0, 0.06);
const BIAS: (f32, f32) = (0.0, 0.1);
const GAIN: (f32, f32) = (1.0, 0.2);

/// Name and content of every tensor, in the order of the forward pass.
fn tensors(sizes: Sizes, seed: u64) -> Vec<(String, Drawn)> {
    let Sizes { layers, width, ctx, vocab, .. } = sizes;
    let mut list: Vec<(String, Drawn)> = Vec::new();
    let mut push = |name: String, shape: &[usize], mean_and_std| {
        let number = list.len() as u64;
        list.push((
            format!("transformer.{name}"),
            Drawn { shape: shape.to_vec(), seed, number, mean_and_std },
        ));
    };
    push("wte.weight".to_owned(), &[vocab, width], MATRIX);
    push("wpe.weight".to_owned(), &[ctx, width], MATRIX);
    for layer in 0..layers {
        let mut pair = |part: &str, shape: &[usize], weight| {
            push(format!("h.{layer}.{part}.weight"), shape, weight);
            push(format!("h.{layer}.{part}.bias"), &shape[shape.len() - 1..], BIAS);
        };
        pair("ln_1", &[width], GAIN);
        pair("attn.c_attn", &[width, 3 * width], MATRIX);
        pair("attn.c_proj", &[width, width], MATRIX);
        pair("ln_2", &[width], GAIN);
        pair("mlp.c_fc", &[width, 4 * width], MATRIX);
        pair("mlp.c_proj", &[4 * width, width], MATRIX);
    }
    push("ln_f.weight".to_owned(), &[width], GAIN);
    push("ln_f.bias".to_owned(), &[width], BIAS);
    list
}

#[cfg(test)]
mod tests {
    use microtome_model::{LoadOptions, Model, Processing, RunOptions, load};

    use super::*;

    fn tiny(dir: PathBuf) -> MakeModel {
        let shape = Shape::Gpt2Small;
        let (layers, heads, width, ctx, vocab) = (Some(2), Some(4), Some(32), Some(16), Some(50));
        MakeModel { dir, shape, layers, heads, width, ctx, vocab, seed: 3, tokenizer: false }
    }

    #[test]
    fn a_made_model_loads_and_gives_finite_logits() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("tiny");
        tiny(dir.clone()).run().unwrap();
        let loaded = load(dir.to_str().unwrap(), &LoadOptions::default(), &mut ()).unwrap();
        assert_eq!(loaded.source.family, "gpt2");
        assert_eq!(loaded.assumptions, [""; 0]);
        let config = &loaded.config;
        assert_eq!((config.n_layers, config.n_heads, config.d_model, config.d_head), (2, 4, 32, 8));
        assert_eq!((config.n_ctx, config.d_vocab, config.d_mlp()), (16, 50, 128));
        for processing in [Processing::Raw, Processing::Folded] {
            let model = Model::new(loaded.config.clone(), loaded.weights.clone(), processing).unwrap();
            let run = model.run(&[7, 1, 49, 0, 3], &RunOptions::default()).unwrap();
            let logits = run.logits().unwrap().to_vec2::<f32>().unwrap();
            assert!(logits.iter().flatten().all(|x| x.is_finite()));
            // Neither uniform nor saturated.
            let (low, high) = logits[4].iter().fold((f32::MAX, f32::MIN), |(l, h), &x| (l.min(x), h.max(x)));
            assert!((0.5..20.0).contains(&(high - low)), "{low} {high}");
        }
        let left: Vec<_> = fs::read_dir(home.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "nothing but the model is left behind: {left:?}");
    }

    #[test]
    fn the_tokenizer_of_a_made_model_reads_its_invented_words() {
        let home = tempfile::tempdir().unwrap();
        let make = MakeModel { tokenizer: true, ..tiny(home.path().join("tiny")) };
        make.run().unwrap();
        let loaded = load(make.dir.to_str().unwrap(), &LoadOptions::default(), &mut ()).unwrap();
        assert_eq!(loaded.bos, Some(49));
        assert_eq!(loaded.tokenizer.unwrap().encode("t7 t0 t48").unwrap(), [7, 0, 48]);
    }

    #[test]
    fn the_seed_alone_decides_the_weights() {
        let home = tempfile::tempdir().unwrap();
        let read = |name: &str, seed: u64| {
            let make = MakeModel { seed, ..tiny(home.path().join(name)) };
            make.run().unwrap();
            fs::read(make.dir.join("model.safetensors")).unwrap()
        };
        let first = read("a", 1);
        assert!(first == read("b", 1));
        assert!(first != read("c", 2));
    }

    #[test]
    fn an_existing_directory_is_never_written_into() {
        let home = tempfile::tempdir().unwrap();
        let message = tiny(home.path().to_owned()).run().unwrap_err().to_string();
        assert!(message.contains("exists already"), "{message}");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[test]
    fn sizes_that_make_no_model_are_errors() {
        let heads = MakeModel { heads: Some(5), ..tiny("x".into()) };
        assert!(heads.sizes().is_err_and(|e| e.to_string().contains("5 heads")));
        let none = MakeModel { layers: Some(0), ..tiny("x".into()) };
        assert!(none.sizes().is_err());
    }

    #[test]
    fn gpt2_small_has_gpt2s_number_of_parameters() {
        let count = |shape: Shape| tensors(shape.sizes(), 0).iter().map(|(_, t)| t.len()).sum::<usize>();
        assert_eq!(count(Shape::Gpt2Small), 124_439_808);
        assert_eq!(count(Shape::Gpt2Xl), 1_557_611_200);
    }
}
