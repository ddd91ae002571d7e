//! The learner of autoencoders: gradients against differences of an independent loss, dictionaries that are known,
//! dead features that come back.

use microtome_train::sae::{Numbers, SaeLearner, Sparsity};

/// Numbers from -1 to 1 that look random.
fn noise(n: usize, seed: u64) -> Vec<f32> {
    let value = |i: usize| ((i as f64 + 1.0) * 12.9898 + seed as f64 * 78.233).sin() * 43758.5453;
    (0..n).map(|i| (2.0 * value(i).fract().abs() - 1.0) as f32).collect()
}

const D_IN: usize = 6;
const D_SAE: usize = 10;
const ROWS: usize = 7;

fn numbers(seed: u64) -> Numbers {
    let mut decoder = noise(D_SAE * D_IN, seed);
    for row in decoder.chunks_exact_mut(D_IN) {
        let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        row.iter_mut().for_each(|x| *x /= norm);
    }
    Numbers {
        encoder: noise(D_SAE * D_IN, seed + 1),
        b_enc: noise(D_SAE, seed + 2),
        decoder,
        b_dec: noise(D_IN, seed + 3),
    }
}

/// All numbers in one row, in f64.
fn flat(numbers: &Numbers) -> Vec<f64> {
    let Numbers { encoder, b_enc, decoder, b_dec } = numbers;
    [encoder, b_enc, decoder, b_dec].into_iter().flatten().map(|&x| f64::from(x)).collect()
}

/// The loss as its definition has it, written again, in f64. `held` is the error that topk's second term holds fixed.
fn loss(
    all: &[f64],
    x: &[f32],
    kind: Sparsity,
    price: f64,
    dead: &[usize],
    held: Option<&[f64]>,
) -> (f64, Vec<f64>) {
    let encoder = &all[..D_SAE * D_IN];
    let b_enc = &all[D_SAE * D_IN..][..D_SAE];
    let decoder = &all[D_SAE * D_IN + D_SAE..][..D_SAE * D_IN];
    let b_dec = &all[2 * D_SAE * D_IN + D_SAE..];
    let (mut total, mut errors) = (0.0, vec![]);
    for (n, x) in x.chunks_exact(D_IN).enumerate() {
        let pre: Vec<f64> = (0..D_SAE)
            .map(|i| {
                let terms = (0..D_IN).map(|d| (f64::from(x[d]) - b_dec[d]) * encoder[i * D_IN + d]);
                terms.sum::<f64>() + b_enc[i]
            })
            .collect();
        let top = |among: &[usize], k: usize| -> Vec<f64> {
            let mut order = among.to_vec();
            order.sort_by(|&a, &b| pre[b].total_cmp(&pre[a]));
            let kept = &order[..k.min(order.len())];
            (0..D_SAE).map(|i| if kept.contains(&i) { pre[i].max(0.0) } else { 0.0 }).collect()
        };
        let everything: Vec<usize> = (0..D_SAE).collect();
        let features = match kind {
            Sparsity::Price { .. } => top(&everything, D_SAE),
            Sparsity::Largest { k, .. } => top(&everything, k),
        };
        let write = |features: &[f64], d: usize| -> f64 {
            features.iter().enumerate().map(|(i, f)| f * decoder[i * D_IN + d]).sum()
        };
        let lacks: Vec<f64> = (0..D_IN).map(|d| f64::from(x[d]) - b_dec[d] - write(&features, d)).collect();
        total += lacks.iter().map(|e| e * e).sum::<f64>() + price * features.iter().sum::<f64>();
        if let (Sparsity::Largest { aux, .. }, false) = (kind, dead.is_empty()) {
            let most = D_IN / 2;
            let weight = aux * (dead.len() as f64 / most as f64).min(1.0);
            let wanted = held.map_or(&lacks[..], |held| &held[n * D_IN..][..D_IN]);
            let revived = top(dead, most);
            total += weight * (0..D_IN).map(|d| (wanted[d] - write(&revived, d)).powi(2)).sum::<f64>();
        }
        errors.extend(lacks);
    }
    (total / ROWS as f64, errors)
}

fn gradients_are_differences(learner: &SaeLearner, kind: Sparsity, price: f64, dead: &[usize], step: u64) {
    let x = noise(ROWS * D_IN, 99);
    let all = flat(learner.numbers());
    let (costs, gradients) = learner.gradients(step, &x);
    let (value, held) = loss(&all, &x, kind, price, dead, None);
    // Sums of some sixty f32 terms.
    assert!((costs.loss - value).abs() < 1e-5 * value, "{} {value}", costs.loss);
    let (h, mut compared) = (1e-5, 0);
    for (at, gradient) in flat(&gradients).into_iter().enumerate() {
        let moved = |by: f64| {
            let mut all = all.clone();
            all[at] += by;
            loss(&all, &x, kind, price, dead, Some(&held)).0
        };
        let difference = (moved(h) - moved(-h)) / (2.0 * h);
        assert!(
            (gradient - difference).abs() < 2e-4 * (1.0 + difference.abs()),
            "{at}: {gradient} {difference}"
        );
        compared += usize::from(difference.abs() > 1e-3);
    }
    assert!(compared > all.len() / 2, "{compared} of {} gradients are not 0", all.len());
}

#[test]
fn gradients_of_a_standard_autoencoder_are_differences_of_its_loss() {
    let kind = Sparsity::Price { l1: 0.7, warmup: 9, resample_every: 0 };
    let learner = SaeLearner::of(numbers(1), kind, u64::MAX);
    gradients_are_differences(&learner, kind, 0.7, &[], 20);
    // While the price rises, it is its share of that.
    gradients_are_differences(&learner, kind, 0.7 * 3.0 / 10.0, &[], 2);
}

#[test]
fn gradients_of_a_topk_autoencoder_with_dead_features_are_differences_of_its_loss() {
    let kind = Sparsity::Largest { k: 3, aux: 0.4 };
    let learner = SaeLearner::of(numbers(5), kind, u64::MAX);
    gradients_are_differences(&learner, kind, 0.0, &[], 0);
    // Features that were not active on the last tokens are dead: those that one batch does not use.
    let mut learner = SaeLearner::of(numbers(5), kind, 1);
    let few = noise(2 * D_IN, 7);
    learner.update(0, &few, 1e-9).unwrap();
    let dead: Vec<usize> =
        learner.idle().iter().enumerate().filter(|(_, t)| **t >= 1).map(|(i, _)| i).collect();
    assert!(dead.len() > 3 && dead.len() == learner.dead(), "{dead:?}");
    gradients_are_differences(&learner, kind, 0.0, &dead, 1);
}

/// Activations made of known directions: `active` of them at a time, with strengths from a half to three halves, and a mean that
/// is not 0.
struct Planted {
    directions: Vec<f32>,
    d_in: usize,
    active: usize,
}

impl Planted {
    fn new(n: usize, d_in: usize, active: usize) -> Planted {
        let mut directions = noise(n * d_in, 42);
        for row in directions.chunks_exact_mut(d_in) {
            let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            row.iter_mut().for_each(|x| *x /= norm);
        }
        Planted { directions, d_in, active }
    }

    fn batch(&self, rows: usize, seed: u64) -> Vec<f32> {
        let n = self.directions.len() / self.d_in;
        let draws = noise(2 * rows * self.active, 1000 + seed);
        let scale = (self.d_in as f32 / self.active as f32).sqrt();
        let mut out = vec![];
        for row in draws.chunks_exact(2 * self.active) {
            let mut x = vec![0.3f32; self.d_in];
            for draw in row.chunks_exact(2) {
                let direction = (((draw[0] + 1.0) / 2.0 * n as f32) as usize).min(n - 1);
                let strength = scale * (1.0 + draw[1] / 2.0);
                for (x, d) in x.iter_mut().zip(&self.directions[direction * self.d_in..]) {
                    *x += strength * d;
                }
            }
            out.extend(x);
        }
        out
    }

    /// The mean over known directions of the highest cosine with a decoder row.
    fn mean_max_cosine(&self, learner: &SaeLearner) -> f64 {
        let highest = |known: &[f32]| {
            let rows = learner.numbers().decoder.chunks_exact(self.d_in);
            let cosines = rows.map(|row| row.iter().zip(known).map(|(a, b)| f64::from(a * b)).sum::<f64>());
            cosines.fold(0.0, f64::max)
        };
        let rows = self.directions.chunks_exact(self.d_in);
        rows.map(highest).sum::<f64>() / (self.directions.len() / self.d_in) as f64
    }

    fn train(&self, d_sae: usize, kind: Sparsity, steps: u64) -> SaeLearner {
        let first = self.batch(512, 0);
        let mean = |dim: usize| first.iter().skip(dim).step_by(self.d_in).sum::<f32>() / 512.0;
        let mut learner = SaeLearner::new(d_sae, (0..self.d_in).map(mean).collect(), kind, 20 * 256, 3);
        for step in 0..steps {
            let rate = 3e-3 * (1.0 - step as f64 / steps as f64).max(0.05);
            if let Sparsity::Price { resample_every, .. } = kind
                && step > 0
                && step.is_multiple_of(resample_every)
                && 3 * step < 2 * steps
            {
                learner.resample(&self.batch(1024, 1_000_000 + step), 3, step);
            }
            learner.update(step, &self.batch(256, 1 + step), rate).unwrap();
        }
        learner
    }
}

/// Decoder rows, all of norm 1.
fn assert_norms(learner: &SaeLearner, d_in: usize) {
    for row in learner.numbers().decoder.chunks_exact(d_in) {
        let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        assert!((norm - 1.0).abs() < 1e-6, "{norm}");
    }
}

#[test]
fn known_directions_are_found_by_both_architectures() {
    let planted = Planted::new(48, 24, 3);
    let untrained = planted.mean_max_cosine(&planted.train(96, Sparsity::Largest { k: 3, aux: 0.0 }, 0));
    let topk = planted.train(96, Sparsity::Largest { k: 3, aux: 1.0 / 32.0 }, 1500);
    let price = Sparsity::Price { l1: 1.0, warmup: 100, resample_every: 150 };
    let standard = planted.train(96, price, 3000);
    for (name, learner, least) in [("topk", &topk, 0.95), ("standard", &standard, 0.95)] {
        assert_norms(learner, 24);
        let cosine = planted.mean_max_cosine(learner);
        println!("{name}: mean max cosine {cosine:.4}, untrained {untrained:.4}");
        assert!(cosine > least, "{name}: {cosine}, untrained {untrained}");
    }
    assert!(untrained < 0.7, "{untrained}");
}

#[test]
fn resampling_and_the_auxiliary_loss_bring_dead_features_back() {
    let planted = Planted::new(24, 12, 2);
    let start = |kind| {
        let mut numbers = first_numbers(&planted, kind);
        // Half of the features can never be active.
        numbers.b_enc[..24].fill(-100.0);
        SaeLearner::of(numbers, kind, 2 * 64)
    };
    let train = |mut learner: SaeLearner, steps: std::ops::Range<u64>| {
        for step in steps {
            learner.update(step, &planted.batch(64, step), 3e-3).unwrap();
        }
        learner
    };
    let price = Sparsity::Price { l1: 0.3, warmup: 0, resample_every: 0 };
    let mut learner = train(start(price), 0..50);
    let dead = learner.dead();
    assert!(dead >= 24, "{dead}");
    assert_eq!(learner.resample(&planted.batch(256, 9), 1, 50), dead);
    assert_eq!(learner.dead(), 0);
    assert_norms(&learner, 12);
    let learner = train(learner, 50..150);
    assert!(learner.dead() < dead / 2, "{} of {dead} are dead again", learner.dead());

    // Features whose encoder rows are short are never among the largest; the auxiliary loss reaches them all the same.
    let low = |aux| {
        let kind = Sparsity::Largest { k: 2, aux };
        let mut numbers = first_numbers(&planted, kind);
        numbers.encoder[..24 * 12].iter_mut().for_each(|x| *x *= 0.02);
        let mut learner = SaeLearner::of(numbers, kind, 16 * 64);
        let mut used = [false; 24];
        for step in 0..400 {
            learner.update(step, &planted.batch(64, step), 3e-3).unwrap();
            for (used, &idle) in used.iter_mut().zip(learner.idle()) {
                *used |= idle == 0;
            }
        }
        used.iter().filter(|used| **used).count()
    };
    let (without, with) = (low(0.0), low(1.0 / 32.0));
    println!("of 24 features that begin dead {without} come back without the auxiliary loss, {with} with it");
    assert!(with > 5 && without < with / 2, "{without} without, {with} with");
}

/// The numbers a new learner of 48 features begins with.
fn first_numbers(planted: &Planted, kind: Sparsity) -> Numbers {
    SaeLearner::new(48, vec![0.3; planted.d_in], kind, 1, 3).numbers().clone()
}

#[test]
fn a_loss_that_is_not_finite_stops_before_anything_changes() {
    let kind = Sparsity::Largest { k: 2, aux: 0.0 };
    let mut learner = SaeLearner::of(numbers(1), kind, u64::MAX);
    let mut x = noise(ROWS * D_IN, 3);
    x[4] = f32::INFINITY;
    let error = learner.update(6, &x, 1e-3).unwrap_err().to_string();
    assert!(error.contains("the loss at step 7 is"), "{error}");
    assert_eq!(learner.numbers(), &numbers(1));
}
