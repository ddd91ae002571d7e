//! One update of a sparse autoencoder: features, losses, gradients by hand, Adam.
//!
//! With `x` one of `B` activations, scaled so that their mean norm is `sqrt(d_in)`, and `D_i` the decoder row of
//! feature `i`, of norm 1:
//!
//! ```text
//! p = (x - b_dec) W_enc + b_enc        f = relu(p), or relu of the k largest of p
//! y = f D + b_dec
//! loss = mean over x of |y - x|^2 + price * sum of f                                    standard
//!      = mean over x of |y - x|^2 + weight * |e - g D|^2,  e = x - y held fixed         topk
//! ```
//!
//! In topk's second term (Gao et al. 2024, "Scaling and evaluating sparse autoencoders") `g` is relu of the `d_in / 2` largest of
//! `p` among dead features: they learn what the others leave, and so come back. `weight` is the configured one, and a
//! smaller one where fewer features than `d_in / 2` are dead, by their share of that.
//!
//! Before an update the part of the gradient of `D_i` along `D_i` is taken off, and after it `D_i` is brought back to norm 1
//! (Bricken et al. 2023, "Towards Monosemanticity"). Few features are active, so everything behind the encoder's product is
//! summed over those alone. Sums have one order whatever the number of threads.

use std::collections::BTreeMap;

use microtome_kernels::{Matrix, PackedMatrix, Precision, Then, linear};
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

use super::config::Sparsity;
use crate::adamw::{AdamW, AdamWSettings};
use crate::error::{Error, Result};
use crate::random::{generator, share};

/// Adam's memories.
const ADAM: AdamWSettings = AdamWSettings { beta1: 0.9, beta2: 0.999, decay: 0.0 };

/// Length of a resampled feature's encoder row, of the mean of the living ones' (Bricken et al. 2023).
const RESAMPLED: f32 = 0.2;

/// What is learnt, matrices row after row.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbers {
    /// A row for each feature: what its pre-activation is read along. `W_enc` turned.
    pub encoder: Vec<f32>,
    /// One for each feature.
    pub b_enc: Vec<f32>,
    /// A row for each feature: what it writes.
    pub decoder: Vec<f32>,
    /// As wide as an activation.
    pub b_dec: Vec<f32>,
}

impl Numbers {
    /// With their names, always in the same order.
    pub(super) fn named(&self) -> [(&'static str, &Vec<f32>); 4] {
        let Numbers { encoder, b_enc, decoder, b_dec } = self;
        [("encoder", encoder), ("b_enc", b_enc), ("decoder", decoder), ("b_dec", b_dec)]
    }

    fn zeros(&self) -> Numbers {
        let zeros = |values: &Vec<f32>| vec![0.0; values.len()];
        Numbers {
            encoder: zeros(&self.encoder),
            b_enc: zeros(&self.b_enc),
            decoder: zeros(&self.decoder),
            b_dec: zeros(&self.b_dec),
        }
    }
}

/// What a batch costs, means over its activations in the scaled units.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Costs {
    /// What is learnt from: all terms together.
    pub loss: f64,
    /// Squared error.
    pub mse: f64,
    /// Sum of feature activations.
    pub l1: f64,
    /// Active features.
    pub l0: f64,
    /// The auxiliary loss, weighted.
    pub aux: f64,
}

/// An autoencoder being trained.
#[derive(Debug)]
pub struct SaeLearner {
    d_in: usize,
    sparsity: Sparsity,
    dead_after: u64,
    pub(super) numbers: Numbers,
    pub(super) optimiser: AdamW,
    /// Tokens since each feature was last active.
    pub(super) idle: Vec<u64>,
}

/// The active features of some activations.
struct Codes {
    /// Where each row's begin, and where the last one's end.
    starts: Vec<usize>,
    features: Vec<u32>,
    values: Vec<f32>,
}

impl Codes {
    fn of(rows: Vec<Vec<(u32, f32)>>) -> Codes {
        let mut starts = vec![0];
        let (mut features, mut values) = (vec![], vec![]);
        for row in rows {
            features.extend(row.iter().map(|active| active.0));
            values.extend(row.iter().map(|active| active.1));
            starts.push(features.len());
        }
        Codes { starts, features, values }
    }

    fn rows(&self) -> usize {
        self.starts.len() - 1
    }

    fn row(&self, row: usize) -> impl Iterator<Item = (usize, f32)> + '_ {
        let range = self.starts[row]..self.starts[row + 1];
        self.features[range.clone()].iter().map(|&i| i as usize).zip(self.values[range].iter().copied())
    }

    /// For each active feature the rows it is active in and where these stand in `values`, rows in order.
    fn by_feature(&self) -> BTreeMap<u32, Vec<(usize, usize)>> {
        let mut lists: BTreeMap<u32, Vec<(usize, usize)>> = BTreeMap::new();
        for row in 0..self.rows() {
            for at in self.starts[row]..self.starts[row + 1] {
                lists.entry(self.features[at]).or_default().push((row, at));
            }
        }
        lists
    }
}

impl SaeLearner {
    /// Before the first update: decoder rows of norm 1 in directions drawn at random, the encoder the decoder turned, `b_dec`
    /// given (the mean of activations).
    pub fn new(d_sae: usize, b_dec: Vec<f32>, sparsity: Sparsity, dead_after: u64, seed: u64) -> SaeLearner {
        let d_in = b_dec.len();
        let mut rng = generator(seed, "decoder", 0);
        let mut decoder: Vec<f32> =
            (0..d_sae * d_in).map(|_| -> f32 { StandardNormal.sample(&mut rng) }).collect();
        decoder.par_chunks_mut(d_in).for_each(normalise);
        let numbers = Numbers { encoder: decoder.clone(), b_enc: vec![0.0; d_sae], decoder, b_dec };
        SaeLearner::of(numbers, sparsity, dead_after)
    }

    /// With these numbers, before the first update.
    pub fn of(numbers: Numbers, sparsity: Sparsity, dead_after: u64) -> SaeLearner {
        let optimiser = AdamW::of_lengths(numbers.named().into_iter().map(|(_, n)| n.len()), ADAM);
        let idle = vec![0; numbers.b_enc.len()];
        SaeLearner { d_in: numbers.b_dec.len(), sparsity, dead_after, numbers, optimiser, idle }
    }

    /// The numbers as they are now.
    pub fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// Tokens since each feature was last active.
    pub fn idle(&self) -> &[u64] {
        &self.idle
    }

    /// How many features are dead.
    pub fn dead(&self) -> usize {
        self.idle.iter().filter(|&&idle| idle >= self.dead_after).count()
    }

    /// Makes update number `step`, counted from 0, from the activations of a batch, `[rows, d_in]`.
    ///
    /// # Errors
    /// [`Error::NotFinite`], nothing being changed.
    pub fn update(&mut self, step: u64, x: &[f32], learning_rate: f64) -> Result<Costs> {
        let (costs, mut gradients, active) = self.costs(step, x);
        if !costs.loss.is_finite() {
            let (what, value) = ("loss", costs.loss);
            return Err(Error::NotFinite { what, step: step + 1, value, checkpoint: None });
        }
        let d_in = self.d_in;
        let rows = self.numbers.decoder.par_chunks(d_in).zip(gradients.decoder.par_chunks_mut(d_in));
        rows.for_each(|(row, gradient)| {
            let along = dot(row, gradient);
            add_times(gradient, -along, row);
        });
        let Numbers { encoder, b_enc, decoder, b_dec } = &mut self.numbers;
        let mut pairs: [(&mut [f32], &[f32]); 4] = [
            (encoder, &gradients.encoder),
            (b_enc, &gradients.b_enc),
            (decoder, &gradients.decoder),
            (b_dec, &gradients.b_dec),
        ];
        self.optimiser.update_numbers(&mut pairs, learning_rate);
        self.numbers.decoder.par_chunks_mut(d_in).for_each(normalise);
        let tokens = (x.len() / d_in) as u64;
        for (idle, active) in self.idle.iter_mut().zip(active) {
            *idle = if active { 0 } else { idle.saturating_add(tokens) };
        }
        Ok(costs)
    }

    /// What a batch costs at update number `step`, and the gradients of that, before anything is done to them.
    pub fn gradients(&self, step: u64, x: &[f32]) -> (Costs, Numbers) {
        let (costs, gradients, _) = self.costs(step, x);
        (costs, gradients)
    }

    /// The same, and which features were active.
    fn costs(&self, step: u64, x: &[f32]) -> (Costs, Numbers, Vec<bool>) {
        let (d_in, rows) = (self.d_in, x.len() / self.d_in);
        let per_row = 1.0 / rows as f32;
        let (centred, pre) = self.pre_activations(x);
        let codes = self.codes(&pre);
        let errors = self.errors(&codes, x);
        let mut gradients = self.numbers.zeros();
        let price = self.price(step);
        let dy: Vec<f32> = errors.iter().map(|error| 2.0 * per_row * error).collect();
        self.backward(&codes, &dy, &centred, price * per_row, &mut gradients);
        for dy in dy.chunks_exact(d_in) {
            add_times(&mut gradients.b_dec, 1.0, dy);
        }
        let mean = |sum: f64| sum / rows as f64;
        let mut costs = Costs {
            mse: mean(squares(&errors, d_in)),
            l1: mean(codes.values.iter().map(|&f| f64::from(f)).sum()),
            l0: mean(codes.values.len() as f64),
            ..Costs::default()
        };
        if let Some((codes, weight)) = self.auxiliary(&pre) {
            // What the dead features' part still lacks of the error, whose sign is turned.
            let mut lacks = errors;
            lacks.par_chunks_mut(d_in).enumerate().for_each(|(row, lacks)| self.add_row(&codes, row, lacks));
            let dy: Vec<f32> = lacks.iter().map(|lack| 2.0 * weight * per_row * lack).collect();
            self.backward(&codes, &dy, &centred, 0.0, &mut gradients);
            costs.aux = f64::from(weight) * mean(squares(&lacks, d_in));
        }
        // Each activation reaches the encoder less b_dec.
        for (row, &gradient) in self.numbers.encoder.chunks_exact(d_in).zip(&gradients.b_enc) {
            if gradient != 0.0 {
                add_times(&mut gradients.b_dec, -gradient, row);
            }
        }
        costs.loss = costs.mse + f64::from(price) * costs.l1 + costs.aux;
        let mut active = vec![false; self.idle.len()];
        codes.features.iter().for_each(|&i| active[i as usize] = true);
        (costs, gradients, active)
    }

    /// `x - b_dec`, and the encoder's `p`.
    fn pre_activations(&self, x: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let Numbers { encoder, b_enc, b_dec, .. } = &self.numbers;
        let (d_in, d_sae) = (self.d_in, b_enc.len());
        let mut centred = x.to_vec();
        centred.par_chunks_mut(d_in).for_each(|row| add_times(row, -1.0, b_dec));
        let w_enc = PackedMatrix::new(Matrix::dense(encoder, d_sae, d_in).transposed(), Precision::F32);
        let input = Matrix::dense(&centred, x.len() / d_in, d_in);
        let pre = linear(input, &w_enc, 0..d_sae, b_enc, Then::Keep);
        (centred, pre)
    }

    /// The active features of each row of pre-activations.
    fn codes(&self, pre: &[f32]) -> Codes {
        let row = |row: &[f32]| match self.sparsity {
            Sparsity::Price { .. } => {
                (0u32..).zip(row.iter().copied()).filter(|&(_, p)| p > 0.0).collect::<Vec<_>>()
            }
            Sparsity::Largest { k, .. } => largest((0u32..).zip(row.iter().copied()).collect(), k),
        };
        Codes::of(pre.par_chunks(self.idle.len()).map(row).collect())
    }

    /// The dead features that are to learn from this batch, and the weight of their loss.
    fn auxiliary(&self, pre: &[f32]) -> Option<(Codes, f32)> {
        let Sparsity::Largest { aux, .. } = self.sparsity else { return None };
        let dead: Vec<u32> =
            (0..).zip(&self.idle).filter(|(_, i)| **i >= self.dead_after).map(|d| d.0).collect();
        if aux == 0.0 || dead.is_empty() {
            return None;
        }
        let most = (self.d_in / 2).max(1);
        let weight = aux * (dead.len() as f64 / most as f64).min(1.0);
        let row = |row: &[f32]| largest(dead.iter().map(|&i| (i, row[i as usize])).collect(), most);
        Some((Codes::of(pre.par_chunks(self.idle.len()).map(row).collect()), weight as f32))
    }

    /// `y - x`.
    fn errors(&self, codes: &Codes, x: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; x.len()];
        let rows = out.par_chunks_mut(self.d_in).zip(x.par_chunks(self.d_in)).enumerate();
        rows.for_each(|(row, (out, x))| {
            out.copy_from_slice(&self.numbers.b_dec);
            self.add_row(codes, row, out);
            add_times(out, -1.0, x);
        });
        out
    }

    /// Adds what the active features of a row write.
    fn add_row(&self, codes: &Codes, row: usize, out: &mut [f32]) {
        for (feature, value) in codes.row(row) {
            add_times(out, value, self.decoder_row(feature));
        }
    }

    fn decoder_row(&self, feature: usize) -> &[f32] {
        &self.numbers.decoder[feature * self.d_in..][..self.d_in]
    }

    /// Adds the gradients in encoder, `b_enc` and decoder, given those in what the features write, and a price on each of them.
    fn backward(&self, codes: &Codes, dy: &[f32], centred: &[f32], price: f32, into: &mut Numbers) {
        let d_in = self.d_in;
        let row_of = |values: &'_ [f32], row: usize| -> std::ops::Range<usize> {
            debug_assert!(values.len() >= (row + 1) * d_in);
            row * d_in..(row + 1) * d_in
        };
        // The gradient in each active feature.
        let by_row = |row: usize| -> Vec<f32> {
            let dy = &dy[row_of(dy, row)];
            codes.row(row).map(|(feature, _)| dot(dy, self.decoder_row(feature)) + price).collect()
        };
        let df: Vec<f32> = (0..codes.rows()).into_par_iter().map(by_row).collect::<Vec<_>>().concat();
        let lists: Vec<(u32, Vec<(usize, usize)>)> = codes.by_feature().into_iter().collect();
        let sums = |(feature, list): &(u32, Vec<(usize, usize)>)| {
            let (mut encoder, mut decoder, mut bias) = (vec![0.0; d_in], vec![0.0; d_in], 0.0);
            for &(row, at) in list {
                add_times(&mut decoder, codes.values[at], &dy[row_of(dy, row)]);
                add_times(&mut encoder, df[at], &centred[row_of(centred, row)]);
                bias += df[at];
            }
            (*feature as usize, encoder, decoder, bias)
        };
        for (feature, encoder, decoder, bias) in lists.par_iter().map(sums).collect::<Vec<_>>() {
            add_times(&mut into.encoder[feature * d_in..][..d_in], 1.0, &encoder);
            add_times(&mut into.decoder[feature * d_in..][..d_in], 1.0, &decoder);
            into.b_enc[feature] += bias;
        }
    }

    /// The price of a unit of activation at an update.
    fn price(&self, step: u64) -> f32 {
        match self.sparsity {
            Sparsity::Price { l1, warmup, .. } => {
                (l1 * ((step + 1) as f64 / (warmup + 1) as f64).min(1.0)) as f32
            }
            Sparsity::Largest { .. } => 0.0,
        }
    }

    /// Gives every dead feature a new direction, and says how many there were (Bricken et al. 2023): each takes an activation, drawn
    /// with a probability proportional to the square of its squared error and no two the same, and points along what the
    /// reconstruction lacks of it. Its encoder row points the same way, with a fifth of the mean length of living ones; its
    /// bias and Adam's memories of it become 0.
    pub fn resample(&mut self, x: &[f32], seed: u64, step: u64) -> usize {
        let mut rng = generator(seed, "resampling", step);
        let dead: Vec<usize> = (0..self.idle.len()).filter(|&i| self.idle[i] >= self.dead_after).collect();
        if dead.is_empty() {
            return 0;
        }
        let d_in = self.d_in;
        let errors = self.errors(&self.codes(&self.pre_activations(x).1), x);
        let mut weights: Vec<f64> = errors.chunks_exact(d_in).map(|row| squares(row, d_in).powi(2)).collect();
        let norm = |row: &[f32]| dot(row, row).sqrt();
        let living = (0..self.idle.len()).filter(|&i| self.idle[i] < self.dead_after);
        let norms: Vec<f32> = living.map(|i| norm(&self.numbers.encoder[i * d_in..][..d_in])).collect();
        let length = match norms.len() {
            0 => 1.0,
            n => RESAMPLED * norms.iter().sum::<f32>() / n as f32,
        };
        let mut done = 0;
        for &feature in &dead {
            let total: f64 = weights.iter().sum();
            if total <= 0.0 || !total.is_finite() {
                break;
            }
            let mut draw = share(&mut rng) * total;
            let chosen = weights.iter().position(|weight| {
                draw -= weight;
                draw < 0.0
            });
            let chosen = chosen.unwrap_or_else(|| weights.iter().rposition(|&w| w > 0.0).unwrap_or(0));
            weights[chosen] = 0.0;
            let mut direction: Vec<f32> =
                errors[chosen * d_in..][..d_in].iter().map(|error| -error).collect();
            normalise(&mut direction);
            let range = feature * d_in..(feature + 1) * d_in;
            self.numbers.decoder[range.clone()].copy_from_slice(&direction);
            for (to, x) in self.numbers.encoder[range.clone()].iter_mut().zip(&direction) {
                *to = length * x;
            }
            self.numbers.b_enc[feature] = 0.0;
            for (parameter, range) in [(0, range.clone()), (1, feature..feature + 1), (2, range)] {
                let moments = &mut self.optimiser.moments[parameter];
                moments.first[range.clone()].fill(0.0);
                moments.second[range].fill(0.0);
            }
            self.idle[feature] = 0;
            done += 1;
        }
        done
    }
}

/// The `k` largest, 0 and below left out; of equal ones the first stay.
fn largest(mut all: Vec<(u32, f32)>, k: usize) -> Vec<(u32, f32)> {
    if k < all.len() {
        all.select_nth_unstable_by(k, |a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        all.truncate(k);
    }
    all.retain(|active| active.1 > 0.0);
    all.sort_unstable_by_key(|active| active.0);
    all
}

/// Brings a row to norm 1.
fn normalise(row: &mut [f32]) {
    let norm = dot(row, row).sqrt();
    if norm > 0.0 {
        row.iter_mut().for_each(|x| *x /= norm);
    }
}

/// Sum of squares, rows after each other, in f64.
fn squares(values: &[f32], width: usize) -> f64 {
    let row = |row: &[f32]| row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
    values.par_chunks(width).map(row).collect::<Vec<_>>().into_iter().sum()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    let (mut a_chunks, mut b_chunks) = (a.chunks_exact(16), b.chunks_exact(16));
    for (a, b) in (&mut a_chunks).zip(&mut b_chunks) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f32>() + rest
}

fn add_times(to: &mut [f32], factor: f32, row: &[f32]) {
    for (to, x) in to.iter_mut().zip(row) {
        *to += factor * x;
    }
}
