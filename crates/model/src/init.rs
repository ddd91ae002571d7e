//! Random weights: for toys, tests, timing at a given shape.
//!
//! Every tensor has its own stream of noise, fixed by the seed and the tensor's name, so a model with
//! more layers begins like one with fewer.

use candle_core::{Device, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

use crate::config::Config;
use crate::error::Result;
use crate::weights::{Affine, BlockWeights, Linear, MlpWeights, Weights};

impl Weights {
    /// Seeded normal weights, f32, with biases and gains that are not trivial. Linear maps have
    /// standard deviation `gain / sqrt(in)`: at 1 signals keep their size, above it attention is
    /// sharper and components matter more.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) where a size is 0.
    pub fn random(config: &Config, seed: u64, gain: f64) -> Result<Weights> {
        let normal = |name: &str, shape: &[usize], std: f64, mean: f64| -> Result<Tensor> {
            let mut key = [0u8; 32];
            key[..8].copy_from_slice(&seed.to_le_bytes());
            key[8..].copy_from_slice(&blake3::hash(name.as_bytes()).as_bytes()[..24]);
            let mut rng = ChaCha8Rng::from_seed(key);
            let noise = |_| {
                let x: f64 = StandardNormal.sample(&mut rng);
                (mean + std * x) as f32
            };
            let values: Vec<f32> = (0..shape.iter().product()).map(noise).collect();
            Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
        };
        let linear = |name: String, d_in: usize, d_out: usize| -> Result<Linear> {
            let w = normal(&name, &[d_in, d_out], gain / (d_in as f64).sqrt(), 0.0)?;
            Ok(Linear { w, b: normal(&format!("{name}.b"), &[d_out], 0.1, 0.0)? })
        };
        let norm = |name: String| -> Result<Option<Affine>> {
            let affine = |_| -> Result<Affine> {
                let w = normal(&format!("{name}.w"), &[config.d_model], 0.3, 1.0)?;
                Ok(Affine { w, b: normal(&format!("{name}.b"), &[config.d_model], 0.1, 0.0)? })
            };
            config.norm.map(affine).transpose()
        };
        let width = config.d_attn();
        let block = |layer: usize| -> Result<BlockWeights> {
            let name = |part: &str| format!("blocks.{layer}.{part}");
            let mlp = |sizes: crate::MlpConfig| -> Result<MlpWeights> {
                Ok(MlpWeights {
                    input: linear(name("mlp.in"), config.d_model, sizes.d_mlp)?,
                    output: linear(name("mlp.out"), sizes.d_mlp, config.d_model)?,
                })
            };
            Ok(BlockWeights {
                ln1: norm(name("ln1"))?,
                qkv: linear(name("attn.qkv"), config.d_model, 3 * width)?,
                out: linear(name("attn.out"), width, config.d_model)?,
                ln2: if config.mlp.is_some() { norm(name("ln2"))? } else { None },
                mlp: config.mlp.map(mlp).transpose()?,
            })
        };
        Ok(Weights {
            embed: normal("embed", &[config.d_vocab, config.d_model], 1.0, 0.0)?,
            pos_embed: normal("pos_embed", &[config.n_ctx, config.d_model], 0.5, 0.0)?,
            blocks: (0..config.n_layers).map(block).collect::<Result<_>>()?,
            ln_final: norm("ln_final".to_owned())?,
            unembed: linear("unembed".to_owned(), config.d_model, config.d_vocab)?,
        })
    }
}
