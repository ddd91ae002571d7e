//! Times of one update at the shape of nanoGPT's small character model, of AdamW alone, and of an
//! evaluation: `cargo bench -p microtome-train`.

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

const BATCH: usize = 12;

/// 4 layers of 4 heads, 128 wide, 65 characters, context 64: 0.8 M parameters.
fn sizes() -> Config {
    Config {
        n_layers: 4,
        n_heads: 4,
        d_model: 128,
        d_head: 32,
        d_vocab: 65,
        n_ctx: 64,
        mlp: Some(MlpConfig { d_mlp: 512, activation: Activation::GeluNew }),
        norm: Some(NormConfig { eps: 1e-5 }),
    }
}

fn learner() -> Learner {
    let (sizes, ties) = (sizes(), Ties { unembed: true, biases_fixed: false });
    let weights = new_weights(&sizes, 1, true, Init::default()).unwrap();
    Learner::new(&sizes, &weights, ties, &TrainingConfig::default(), 1).unwrap()
}

#[divan::bench]
fn update(bencher: Bencher) {
    let mut learner = learner();
    let data = Data::random(65, None, 64, 1);
    let mut step = 0;
    bencher.bench_local(|| {
        let batch = data.batch(step, 0, BATCH);
        learner.update(step, &[batch]).unwrap();
        step += 1;
    });
}

#[divan::bench]
fn adamw_alone(bencher: Bencher) {
    let learner = learner();
    let list = learner.parameters().list();
    let gradients: Vec<Tensor> = list.iter().map(|p| p.var.ones_like().unwrap()).collect();
    let mut optimiser = AdamW::new(list, AdamWSettings { beta1: 0.9, beta2: 0.99, decay: 0.1 });
    bencher.bench_local(|| optimiser.update(list, &gradients, 1.0, 1e-9).unwrap());
}

#[divan::bench]
fn evaluate_a_batch(bencher: Bencher) {
    let learner = learner();
    let windows = Data::random(65, None, 64, 1).batch(0, 0, BATCH);
    bencher.bench_local(|| losses_by_position(learner.model(), &windows).unwrap());
}
