//! Models and texts small enough to train in a test.

use std::path::Path;

use microtome_model::{Activation, Config as Sizes, MlpConfig, NormConfig};
use microtome_train::{Config, Init, Learner, ModelConfig, Ties, TrainingConfig, new_weights};

/// A text with something to learn: a few sentences, over and over, in an order that never repeats.
pub fn text(sentences: usize) -> String {
    let parts = ["the cat sat on the mat. ", "a dog ran home. ", "we saw it go. ", "the sun was up.\n"];
    let mut state = 12345u32;
    let mut next = || {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        parts[(state >> 30) as usize]
    };
    (0..sentences).map(|_| next()).collect()
}

/// A model of one layer.
pub fn sizes() -> Sizes {
    Sizes {
        n_layers: 1,
        n_heads: 2,
        d_model: 16,
        d_head: 8,
        d_vocab: 11,
        n_ctx: 8,
        mlp: Some(MlpConfig { d_mlp: 32, activation: Activation::GeluNew }),
        norm: Some(NormConfig { eps: 1e-5 }),
    }
}

/// A learner of that model.
pub fn learner(training: &TrainingConfig) -> Learner {
    let sizes = sizes();
    let ties = Ties { unembed: true, biases_fixed: false };
    Learner::new(&sizes, &new_weights(&sizes, 3, true, Init::default()).unwrap(), ties, training, 5).unwrap()
}

/// Windows of tokens below 11.
pub fn windows(n: usize, seed: u64) -> Vec<Vec<u32>> {
    microtome_train::Data::random(11, None, 8, seed).batch(0, 0, n)
}

/// A run of a few steps in `dir`, on a text that is written there.
pub fn config(dir: &Path) -> Config {
    std::fs::write(dir.join("text.txt"), text(400)).unwrap();
    let mut config = Config { out: dir.join("run"), ..Config::default() };
    config.data.text = Some(dir.join("text.txt"));
    config.model = ModelConfig {
        n_layers: Some(1),
        n_heads: Some(2),
        d_model: Some(16),
        n_ctx: Some(16),
        ..ModelConfig::default()
    };
    config.training = TrainingConfig { steps: 12, batch: 4, warmup: 2, ..TrainingConfig::default() };
    config.evaluation.every = 5;
    config.evaluation.batches = microtome_train::Batches::Count(2);
    config.checkpoints.every = 4;
    config
}
