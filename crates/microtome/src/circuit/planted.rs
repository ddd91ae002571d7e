//! A model whose circuit is known: weights set by hand that do induction, and nothing else of weight.
//!
//! Two layers of attention without LayerNorm or MLPs. The residual stream has four rooms: the token, the position, the token
//! before, the prediction; each is one-hot.
//!
//! 1. `a0.h0` looks from each position at the one before (query: position p, key: position j + 1) and writes its token into
//!    the third room.
//! 2. `a1.h0` looks at positions whose token before is the present token (query: token, key: the third room)
//!    and writes their token into the fourth.
//! 3. The unembedding reads the fourth room.
//!
//! So `A B ... A` is followed by `B` (Elhage et al. 2021, Olsson et al. 2022). A head that finds what it looks for gives it a
//! weight of at least 0.95; the rest is spread over the others, so softmax is not so sharp that derivatives vanish. All other
//! heads have small random weights: they are what a method that finds the circuit must leave out.

use std::collections::BTreeSet;

use microtome_model::{BlockWeights, Config, Device, Linear, Model, Processing, Tensor, Weights};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use rand_distr::{Distribution, StandardNormal};

use super::graph::Edge;
use crate::error::Result;
use crate::experiment::Prompt;
use crate::text_model::{Answer, Text, TextModel};

const N_TOKENS: usize = 32;
const N_POSITIONS: usize = 16;
const N_HEADS: usize = 3;
const D_HEAD: usize = 32;
/// Where the rooms of the residual stream begin.
const TOKEN: usize = 0;
const POSITION: usize = TOKEN + N_TOKENS;
const BEFORE: usize = POSITION + N_POSITIONS;
const PREDICTION: usize = BEFORE + N_TOKENS;
const D_MODEL: usize = PREDICTION + N_TOKENS;

/// How much higher the score is of what a head looks for.
const SCORE: f64 = 6.0;
/// The logit of what is predicted with weight 1.
const LOGIT: f32 = 8.0;
/// Standard deviation of what the heads without a task have.
const NOISE: f64 = 0.02;

/// Different tokens before the first of the two that repeat, at most.
const FILLERS: usize = 3;

/// The edges the circuit needs.
const NEEDED: [&str; 7] = [
    "input->a0.h0<q>",
    "input->a0.h0<k>",
    "input->a0.h0<v>",
    "a0.h0->a1.h0<k>",
    "input->a1.h0<q>",
    "input->a1.h0<v>",
    "a1.h0->logits",
];

/// A model with its circuit.
#[derive(Debug)]
pub struct Planted {
    /// The model. It takes token ids.
    pub model: TextModel,
    /// The edges the circuit needs.
    pub edges: BTreeSet<Edge>,
    /// Those of them that carry something else where the tokens of a prompt are others. `a0.h0` looks at positions, and
    /// these are the same in any two prompts: no patch from one to the other shows that its query and key matter.
    pub edges_of_tokens: BTreeSet<Edge>,
}

/// The model that does induction.
///
/// # Errors
/// [`Error::Model`](crate::Error::Model) where memory fails.
pub fn induction() -> Result<Planted> {
    let config = Config {
        n_layers: 2,
        n_heads: N_HEADS,
        d_model: D_MODEL,
        d_head: D_HEAD,
        d_vocab: N_TOKENS,
        n_ctx: N_POSITIONS,
        mlp: None,
        norm: None,
    };
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut embed = Matrix::zeros(N_TOKENS, D_MODEL);
    (0..N_TOKENS).for_each(|token| embed.set(token, TOKEN + token, 1.0));
    let mut pos_embed = Matrix::zeros(N_POSITIONS, D_MODEL);
    (0..N_POSITIONS).for_each(|pos| pos_embed.set(pos, POSITION + pos, 1.0));
    let mut unembed = Matrix::zeros(D_MODEL, N_TOKENS);
    (0..N_TOKENS).for_each(|token| unembed.set(PREDICTION + token, token, LOGIT));

    // Scores are divided by sqrt(d_head).
    let match_weight = (SCORE * (D_HEAD as f64).sqrt()) as f32;
    let mut previous = Head::zeros();
    for pos in 0..N_POSITIONS {
        previous.q.set(POSITION + pos, pos, match_weight);
        if pos + 1 < N_POSITIONS {
            previous.k.set(POSITION + pos, pos + 1, 1.0);
        }
    }
    let mut copying = Head::zeros();
    for token in 0..N_TOKENS {
        previous.v.set(TOKEN + token, token, 1.0);
        previous.out.set(token, BEFORE + token, 1.0);
        copying.q.set(TOKEN + token, token, match_weight);
        copying.k.set(BEFORE + token, token, 1.0);
        copying.v.set(TOKEN + token, token, 1.0);
        copying.out.set(token, PREDICTION + token, 1.0);
    }
    let mut block = |first: Head| -> Result<BlockWeights> {
        let mut heads = vec![first];
        heads.extend((1..N_HEADS).map(|_| Head::noise(&mut rng)));
        block_of(&heads)
    };
    let blocks = vec![block(previous)?, block(copying)?];
    let weights = Weights {
        embed: embed.tensor()?,
        pos_embed: pos_embed.tensor()?,
        blocks,
        ln_final: None,
        unembed: unembed.linear()?,
    };
    let model = TextModel::from_model("planted-induction", Model::new(config, weights, Processing::Raw)?)?;
    let edges = NEEDED.iter().map(|name| name.parse()).collect::<Result<BTreeSet<Edge>>>()?;
    let edges_of_tokens = NEEDED[2..].iter().map(|name| name.parse()).collect::<Result<_>>()?;
    Ok(Planted { model, edges, edges_of_tokens })
}

/// Pairs of prompts `0 .. A B .. A`, to be followed by `B`, all with the same places of `A` and `B`. Token 0 stands in front
/// of each and nowhere else; apart from that, the corrupt prompt shares no token with the clean one, and is followed by its
/// own `B`, the wrong answer.
pub fn pairs(count: usize, seed: u64) -> Vec<Prompt> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let distinct = FILLERS + 2;
    let pair = |_| {
        let mut tokens: Vec<u32> = (1..N_TOKENS as u32).collect();
        for place in (1..tokens.len()).rev() {
            tokens.swap(place, (rng.next_u64() % (place as u64 + 1)) as usize);
        }
        let of = |tokens: &[u32]| {
            // A filler, A, B, fillers, A.
            let mut prompt = vec![0];
            prompt.extend(tokens);
            prompt.push(tokens[1]);
            (Text::Ids(prompt), Answer::Id(tokens[2]))
        };
        let (clean, answer) = of(&tokens[..distinct]);
        let (corrupt, wrong) = of(&tokens[distinct..2 * distinct]);
        Prompt { clean, corrupt: Some(corrupt), answers: vec![answer], wrong_answers: vec![wrong] }
    };
    (0..count).map(pair).collect()
}

/// A matrix of numbers, row after row.
struct Matrix {
    rows: usize,
    columns: usize,
    values: Vec<f32>,
}

impl Matrix {
    fn zeros(rows: usize, columns: usize) -> Matrix {
        Matrix { rows, columns, values: vec![0.0; rows * columns] }
    }

    fn noise(rows: usize, columns: usize, rng: &mut ChaCha8Rng) -> Matrix {
        let normal = |_| {
            let x: f64 = StandardNormal.sample(rng);
            (NOISE * x) as f32
        };
        Matrix { rows, columns, values: (0..rows * columns).map(normal).collect() }
    }

    fn set(&mut self, row: usize, column: usize, value: f32) {
        self.values[row * self.columns + column] = value;
    }

    fn tensor(&self) -> Result<Tensor> {
        Ok(Tensor::from_slice(&self.values, (self.rows, self.columns), &Device::Cpu)?)
    }

    fn linear(&self) -> Result<Linear> {
        let w = self.tensor()?;
        let b = Tensor::from_vec(vec![0.0f32; self.columns], self.columns, &Device::Cpu)?;
        Ok(Linear { w, b })
    }
}

/// The weights of one head.
struct Head {
    q: Matrix,
    k: Matrix,
    v: Matrix,
    out: Matrix,
}

impl Head {
    fn noise(rng: &mut ChaCha8Rng) -> Head {
        let mut input = || Matrix::noise(D_MODEL, D_HEAD, rng);
        let (q, k, v) = (input(), input(), input());
        Head { q, k, v, out: Matrix::noise(D_HEAD, D_MODEL, rng) }
    }

    fn zeros() -> Head {
        let input = || Matrix::zeros(D_MODEL, D_HEAD);
        Head { q: input(), k: input(), v: input(), out: Matrix::zeros(D_HEAD, D_MODEL) }
    }
}

/// The heads side by side.
fn block_of(heads: &[Head]) -> Result<BlockWeights> {
    let thirds: [fn(&Head) -> &Matrix; 3] = [|head| &head.q, |head| &head.k, |head| &head.v];
    let mut inputs = Vec::new();
    for third in thirds {
        for head in heads {
            inputs.push(third(head).tensor()?);
        }
    }
    let w = Tensor::cat(&inputs, 1)?;
    let b = Tensor::from_vec(vec![0.0f32; w.dim(1)?], w.dim(1)?, &Device::Cpu)?;
    let outs = heads.iter().map(|head| head.out.tensor()).collect::<Result<Vec<_>>>()?;
    let out_b = Tensor::from_vec(vec![0.0f32; D_MODEL], D_MODEL, &Device::Cpu)?;
    Ok(BlockWeights {
        ln1: None,
        qkv: Linear { w, b },
        out: Linear { w: Tensor::cat(&outs, 0)?, b: out_b },
        ln2: None,
        mlp: None,
    })
}
