//! Random models of every kind the crate knows, small enough to run thousands of times.

use microtome_model::{
    Activation, Config, DType, MlpConfig, Model, NormConfig, Precision, Processing, Tensor, Weights, as_f64,
};

/// Which parts a toy has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Full,
    AttentionOnly,
    NoNorm,
}

pub const KINDS: [Kind; 3] = [Kind::Full, Kind::AttentionOnly, Kind::NoNorm];

pub fn config(kind: Kind) -> Config {
    Config {
        n_layers: 3,
        n_heads: 2,
        d_model: 12,
        d_head: 5,
        d_vocab: 17,
        n_ctx: 12,
        mlp: (kind != Kind::AttentionOnly)
            .then_some(MlpConfig { d_mlp: 23, activation: Activation::GeluNew }),
        norm: (kind != Kind::NoNorm).then_some(NormConfig { eps: 1e-5 }),
    }
}

pub fn model(kind: Kind, processing: Processing) -> Model {
    exact(kind, processing, 1.3)
}

/// The same in f32 with packed weights: what a user's passes are computed with.
pub fn packed_model(kind: Kind, processing: Processing) -> Model {
    packed(kind, processing, 1.3)
}

/// A model in f64 and the same in f32 with plain weights, both with the gain of [`exact_and_packed`].
pub fn exact_and_plain(kind: Kind, processing: Processing) -> (Model, Model) {
    let gain = if kind == Kind::NoNorm { 0.7 } else { 1.3 };
    let weights = Weights::random(&config(kind), 7, gain).unwrap();
    (exact(kind, processing, gain), Model::new(config(kind), weights, processing).unwrap())
}

/// A model in f64 and the same in f32 with packed weights. Where no LayerNorm holds the stream, a gain of 1.3
/// makes scores in the hundreds, whose rounding alone turns a pattern; there it is lower.
pub fn exact_and_packed(kind: Kind, processing: Processing) -> (Model, Model) {
    let gain = if kind == Kind::NoNorm { 0.7 } else { 1.3 };
    (exact(kind, processing, gain), packed(kind, processing, gain))
}

fn exact(kind: Kind, processing: Processing, gain: f64) -> Model {
    let config = config(kind);
    let weights = Weights::random(&config, 7, gain).unwrap().to_dtype(DType::F64).unwrap();
    Model::new(config, weights, processing).unwrap()
}

fn packed(kind: Kind, processing: Processing, gain: f64) -> Model {
    let config = config(kind);
    let weights = Weights::random(&config, 7, gain).unwrap();
    Model::new(config, weights, processing).unwrap().packed(Precision::F32).unwrap()
}

pub fn values(tensor: &Tensor) -> Vec<f64> {
    as_f64(tensor).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The largest difference; equal infinities are equal, NaN is infinitely far.
pub fn distance(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.dims(), b.dims());
    let differ = |(a, b): (f64, f64)| if a == b { 0.0 } else { (a - b).abs() };
    values(a)
        .into_iter()
        .zip(values(b))
        .map(differ)
        .fold(0.0, |worst, d| if d.is_nan() { f64::INFINITY } else { worst.max(d) })
}
