//! One forward and backward pass in all weights: what a training step costs before the optimiser.
//!
//! `cargo bench -p microtome-model --bench learning`

use divan::Bencher;
use microtome_model::{
    Activation, Config, MlpConfig, Model, NormConfig, Processing, Tensor, Var, Weights, cross_entropy,
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
    ("6 layers, 192 wide, 16 x 128 of 3000 tokens", [6, 8, 192, 3000, 128, 16]),
];

#[divan::bench(args = SETTINGS.map(|(name, _)| name), sample_count = 20)]
fn forward_and_backward(bencher: Bencher, name: &str) {
    let [n_layers, n_heads, d_model, d_vocab, n_ctx, batch] =
        SETTINGS.iter().find(|(of, _)| *of == name).expect("one of the settings").1;
    let config = Config {
        n_layers,
        n_heads,
        d_model,
        d_head: d_model / n_heads,
        d_vocab,
        n_ctx,
        mlp: Some(MlpConfig { d_mlp: 4 * d_model, activation: Activation::GeluNew }),
        norm: Some(NormConfig { eps: 1e-5 }),
    };
    let model = learner(&config);
    let token = |i: usize| (i * i * 31 + i * 7) as u32 % d_vocab as u32;
    let windows: Vec<Vec<u32>> =
        (0..batch).map(|window| (0..n_ctx).map(|pos| token(window * n_ctx + pos)).collect()).collect();
    let targets: Vec<u32> = (0..batch * n_ctx).map(|i| token(i + 1)).collect();
    bencher.bench_local(|| {
        let loss = cross_entropy(&model.batch_logits(&windows, None).expect("windows fit"), &targets);
        loss.expect("targets fit").backward().expect("the loss leads to variables")
    });
}

/// A model whose weights are variables, with the unembedding tied to the embedding.
fn learner(config: &Config) -> Model {
    let mut weights = Weights::random(config, 1, 1.0).expect("sizes are above 0");
    let learn = |tensor: &mut Tensor| {
        *tensor = Var::from_tensor(tensor).expect("a tensor can be a variable").as_tensor().clone();
    };
    learn(&mut weights.embed);
    learn(&mut weights.pos_embed);
    for block in &mut weights.blocks {
        for map in [&mut block.qkv, &mut block.out] {
            learn(&mut map.w);
            learn(&mut map.b);
        }
        for norm in block.ln1.iter_mut().chain(&mut block.ln2) {
            learn(&mut norm.w);
            learn(&mut norm.b);
        }
        if let Some(mlp) = &mut block.mlp {
            for map in [&mut mlp.input, &mut mlp.output] {
                learn(&mut map.w);
                learn(&mut map.b);
            }
        }
    }
    weights.unembed.w = weights.embed.t().expect("a matrix has a transpose");
    Model::new(config.clone(), weights, Processing::Raw).expect("the weights fit")
}
