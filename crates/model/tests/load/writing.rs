//! Models written to files and read back.

use std::path::Path;

use microtome_model::{
    Activation, Config, DType, Linear, LoadOptions, Loaded, MlpConfig, NormConfig, Weights, checkpoint_files,
    family, load, to_safetensors, weight_hash,
};

fn config() -> Config {
    Config {
        n_layers: 2,
        n_heads: 2,
        d_model: 16,
        d_head: 8,
        // As many numbers as a byte can count, all of which differ between embedding and unembedding.
        d_vocab: 16,
        n_ctx: 6,
        mlp: Some(MlpConfig { d_mlp: 20, activation: Activation::Gelu }),
        norm: Some(NormConfig { eps: 1e-6 }),
    }
}

fn written(dir: &Path, config: &Config, weights: &Weights) -> Loaded {
    let checkpoint = family::write(config, weights).unwrap();
    std::fs::write(dir.join("model.safetensors"), to_safetensors(&checkpoint.tensors).unwrap()).unwrap();
    std::fs::write(dir.join("config.json"), serde_json::to_vec(&checkpoint.settings).unwrap()).unwrap();
    let loaded = load(dir.to_str().unwrap(), &LoadOptions::default(), &mut ()).unwrap();
    assert_eq!(loaded.source.family, checkpoint.family);
    assert_eq!(loaded.config, *config);
    assert_eq!(loaded.weight_hash, weight_hash(config, weights).unwrap());
    assert!(loaded.assumptions.is_empty(), "{:?}", loaded.assumptions);
    loaded
}

/// Without the unembedding's biases, which GPT-2 has none of.
fn weights(config: &Config) -> Weights {
    let weights = Weights::random(config, 5, 1.0).unwrap();
    let b = weights.unembed.b.zeros_like().unwrap();
    Weights { unembed: Linear { b, ..weights.unembed }, ..weights }
}

#[test]
fn a_model_that_gpt2_can_express_is_written_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let config = config();
    let untied = weights(&config);
    assert_eq!(written(dir.path(), &config, &untied).source.family, "gpt2");
    let w = untied.embed.t().unwrap();
    let tied = Weights { unembed: Linear { w, ..untied.unembed.clone() }, ..untied };
    assert_eq!(written(dir.path(), &config, &tied).source.family, "gpt2");
    let names = family::write(&config, &tied).unwrap().tensors;
    assert!(names.iter().all(|(name, _)| name != "lm_head.weight"));
}

#[test]
fn every_other_model_is_written_as_transformer_lens_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let full = config();
    for config in [
        Config { mlp: None, ..full.clone() },
        Config { norm: None, ..full.clone() },
        Config { mlp: None, norm: None, ..full.clone() },
        Config { d_head: 5, ..full.clone() },
    ] {
        let loaded = written(dir.path(), &config, &weights(&config));
        assert_eq!(loaded.source.family, "transformerlens");
    }
    // With biases of the unembedding, and with LayerNorms that were folded away.
    let biased = Weights::random(&full, 6, 1.0).unwrap();
    assert_eq!(written(dir.path(), &full, &biased).source.family, "transformerlens");
    let blocks = biased.blocks.iter().map(|block| {
        let block = block.clone();
        microtome_model::BlockWeights { ln1: None, ln2: None, ..block }
    });
    let folded = Weights { blocks: blocks.collect(), ln_final: None, ..biased.clone() };
    assert_eq!(written(dir.path(), &full, &folded).source.family, "transformerlens");
}

#[test]
fn half_precision_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let config = config();
    let half = weights(&config).to_dtype(DType::F16).unwrap();
    assert_eq!(written(dir.path(), &config, &half).source.dtype, "F16");
}

#[test]
fn a_number_too_large_for_half_precision_is_an_error_not_an_infinity() {
    let config = config();
    let mut weights = weights(&config);
    weights.embed = (weights.embed * 1e6).unwrap();
    let error = checkpoint_files(&config, &weights, None, DType::F16).unwrap_err().to_string();
    assert!(error.contains("wte") && error.contains("too large for float16"), "{error}");
    checkpoint_files(&config, &weights, None, DType::BF16).unwrap();
}
