//! Times of one update, of AdamW alone, and of an evaluation: `cargo bench -p microtome-train`.

use divan::Bencher;
use microtome_model::{Activation, Config, MlpConfig, NormConfig, Tensor};
use microtome_train::{
    AdamW, AdamWSettings, Data, Init, Learner, Ties, TrainingConfig, losses_by_position, new_weights,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

/// Layers, heads, width, vocabulary, context, windows in a batch.
const SETTINGS: [(&str, [usize; 6]); 3] = [
    ("4 layers, 128 wide, 12 x 64 characters", [4, 4, 128, 65, 64, 12]),
    ("6 layers, 384 wide, 12 x 128 characters", [6, 6, 384, 65, 128, 12]),
    ("6 layers, 128 wide, 12 x 128 of 2976 tokens", [6, 4, 128, 2976, 128, 12]),
];

/// A learner, and what it reads.
fn learner(name: &str) -> (Learner, Data, usize) {
    let [n_layers, n_heads, d_model, d_vocab, n_ctx, batch] =
        SETTINGS.iter().find(|(of, _)| *of == name).expect("one of the settings").1;
    let sizes = Config {
        n_layers,
        n_heads,
        d_model,
        d_head: d_model / n_heads,
        d_vocab,
        n_ctx,
        mlp: Some(MlpConfig { d_mlp: 4 * d_model, activation: Activation::GeluNew }),
        norm: Some(NormConfig { eps: 1e-5 }),
    };
    let ties = Ties { unembed: true, biases_fixed: false };
    let weights = new_weights(&sizes, 1, true, Init::default()).unwrap();
    let learner = Learner::new(&sizes, &weights, ties, &TrainingConfig::default(), 1).unwrap();
    (learner, Data::random(d_vocab, None, n_ctx, 1), batch)
}

#[divan::bench(args = SETTINGS.map(|(name, _)| name), sample_count = 20)]
fn update(bencher: Bencher, name: &str) {
    let (mut learner, data, batch) = learner(name);
    let mut step = 0;
    bencher.bench_local(|| {
        let windows = data.batch(step, 0, batch);
        learner.update(step, &[windows]).unwrap();
        step += 1;
    });
}

#[divan::bench(args = SETTINGS.map(|(name, _)| name), sample_count = 20)]
fn adamw_alone(bencher: Bencher, name: &str) {
    let (learner, _, _) = learner(name);
    let list = learner.parameters().list();
    let gradients: Vec<Tensor> = list.iter().map(|p| p.var.ones_like().unwrap()).collect();
    let mut optimiser = AdamW::new(list, AdamWSettings { beta1: 0.9, beta2: 0.99, decay: 0.1 });
    bencher.bench_local(|| optimiser.update(list, &gradients, 1.0, 1e-9).unwrap());
}

#[divan::bench(args = SETTINGS.map(|(name, _)| name), sample_count = 20)]
fn evaluate_a_batch(bencher: Bencher, name: &str) {
    let (learner, data, batch) = learner(name);
    let windows = data.batch(0, 0, batch);
    bencher.bench_local(|| losses_by_position(learner.model(), &windows).unwrap());
}
