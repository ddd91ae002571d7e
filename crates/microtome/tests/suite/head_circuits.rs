//! Circuits of heads against brute force over whole matrices, and heads made to copy.

use microtome::method::circuit_weights::{Embedding, Size};
use microtome::method::composition::{Baseline, Composition};
use microtome::method::eigenvalues::{eigenvalues, positivity};
use microtome::method::head_circuit::{HeadCircuit, HeadReport, TokenPair};
use microtome::model::{
    Activation, Affine, Change, Config, DType, Device, Edit, MlpConfig, Model, NormConfig, Processing,
    RunOptions, Site, Tensor, Weights,
};
use microtome::{Answer, Bos, Component, Experiment, Method, Quantity, Record, TextModel};

use crate::golden_data::values;

type Matrix = Vec<Vec<f64>>;

fn config(norm: bool, mlp: bool) -> Config {
    Config {
        n_layers: 3,
        n_heads: 2,
        d_model: 12,
        d_head: 4,
        d_vocab: 19,
        n_ctx: 18,
        mlp: mlp.then_some(MlpConfig { d_mlp: 20, activation: Activation::GeluNew }),
        norm: norm.then_some(NormConfig { eps: 1e-5 }),
    }
}

/// Random weights without biases of queries, keys and values.
fn weights(config: &Config) -> Weights {
    let mut weights = Weights::random(config, 4, 1.0).unwrap();
    for block in &mut weights.blocks {
        block.qkv.b = block.qkv.b.zeros_like().unwrap();
        if let Some(norm) = &block.ln1 {
            // Gains that are not 1 and biases that are not 0, for they are easily forgotten.
            let numbers = |first: f32, step: f32| {
                let all: Vec<f32> =
                    (0..config.d_model).map(|i| first + step * ((i * 5) % 7) as f32).collect();
                Tensor::from_vec(all, config.d_model, norm.w.device()).unwrap()
            };
            block.ln1 = Some(Affine { w: numbers(0.5, 0.2), b: numbers(-0.3, 0.1) });
        }
    }
    weights
}

fn model(config: Config, weights: Weights, processing: Processing) -> TextModel {
    TextModel::from_model("toy", Model::new(config, weights, processing).unwrap()).unwrap()
}

fn run(model: &TextModel, method: Method) -> Record {
    asked(model, method).run_quietly(model).unwrap()
}

fn asked(model: &TextModel, method: Method) -> Experiment {
    Experiment {
        model: "toy".to_owned(),
        weights: model.model().processing(),
        precision: microtome::model::Precision::F32,
        bos: Bos::Prepend,
        prompts: vec![],
        method,
        metrics: vec![],
        read_at: None,
        seed: 0,
    }
}

fn circuit(layer: usize, head: usize) -> HeadCircuit {
    HeadCircuit {
        head: Component::Head { layer, head },
        embedding: Embedding::Embed,
        size: Size::AsIs,
        pairs: Some(6),
        tokens: vec![Answer::Id(7)],
    }
}

fn report(model: &TextModel, asked: HeadCircuit) -> HeadReport {
    run(model, Method::HeadCircuit(asked)).results.head_circuit.unwrap()
}

fn rows(x: &Tensor) -> Matrix {
    let columns = x.dim(1).unwrap();
    values(x).chunks(columns).map(<[f64]>::to_vec).collect()
}

fn times(a: &Matrix, b: &Matrix) -> Matrix {
    let n = b[0].len();
    a.iter().map(|row| (0..n).map(|j| row.iter().zip(b).map(|(x, b)| x * b[j]).sum()).collect()).collect()
}

fn turned(a: &Matrix) -> Matrix {
    (0..a[0].len()).map(|j| a.iter().map(|row| row[j]).collect()).collect()
}

fn norm(a: &Matrix) -> f64 {
    a.iter().flatten().map(|x| x * x).sum::<f64>().sqrt()
}

/// `W_Q`, `W_K`, `W_V`, `W_O` of a head, from the model's own tensors.
fn head_weights(model: &TextModel, layer: usize, head: usize) -> [Matrix; 4] {
    let c = model.config();
    let block = model.model().weights().unpacked().unwrap().blocks[layer].clone();
    let part = |i: usize| {
        let start = i * c.n_heads * c.d_head + head * c.d_head;
        rows(&block.qkv.w.narrow(1, start, c.d_head).unwrap())
    };
    [part(0), part(1), part(2), rows(&block.out.w.narrow(0, head * c.d_head, c.d_head).unwrap())]
}

fn embedding(model: &TextModel) -> Matrix {
    rows(&model.model().weights().embed)
}

fn unembedding(model: &TextModel) -> Matrix {
    rows(&model.model().weights().unpacked().unwrap().unembed.w)
}

fn assert_pairs(found: &[TokenPair], whole: &Matrix, highest: bool) {
    let mut entries: Vec<(usize, usize, f64)> = whole
        .iter()
        .enumerate()
        .flat_map(|(a, row)| row.iter().enumerate().map(move |(b, &value)| (a, b, value)))
        .collect();
    entries.sort_by(|a, b| if highest { b.2.total_cmp(&a.2) } else { a.2.total_cmp(&b.2) });
    for (pair, (from, to, value)) in found.iter().zip(entries) {
        assert_eq!((pair.from.id as usize, pair.to.id as usize), (from, to));
        assert!((pair.value - value).abs() < 1e-5 * value.abs().max(1.0), "{} {value}", pair.value);
    }
}

#[test]
fn both_circuits_are_the_whole_matrices_looked_through() {
    for (processing, has_norm) in
        [(Processing::Raw, true), (Processing::Folded, true), (Processing::Raw, false)]
    {
        let model = model(config(has_norm, true), weights(&config(has_norm, true)), processing);
        for (layer, head) in [(0, 1), (2, 0)] {
            let [q, k, v, o] = head_weights(&model, layer, head);
            let (e, u) = (embedding(&model), unembedding(&model));
            let mut qk = times(&times(&e, &q), &turned(&times(&e, &k)));
            qk.iter_mut().flatten().for_each(|x| *x /= 2.0); // the root of d_head
            let ov = times(&times(&e, &v), &times(&o, &u));
            let found = report(&model, circuit(layer, head));
            for (circuit, whole) in [(&found.qk, &qk), (&found.ov, &ov)] {
                assert_eq!((circuit.highest.len(), circuit.tokens), (6, 19));
                assert_pairs(&circuit.highest, whole, true);
                assert_pairs(&circuit.lowest, whole, false);
                let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-5 * b.abs().max(1.0), "{a} {b}");
                let n = (19 * 19) as f64;
                let mean = whole.iter().flatten().sum::<f64>() / n;
                close(circuit.mean, mean);
                let variance = whole.iter().flatten().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
                close(circuit.deviation, variance.sqrt());
                close(circuit.diagonal_mean, (0..19).map(|i| whole[i][i]).sum::<f64>() / 19.0);
                let largest = |i: usize| whole[i].iter().all(|&x| x <= whole[i][i]);
                close(circuit.diagonal_first, (0..19).filter(|&i| largest(i)).count() as f64 / 19.0);
            }
            // Eigenvalues of the small product and of the whole matrix: the same traces, the same score.
            for (values, score, whole) in
                [(&found.ov_eigenvalues, found.copying, &ov), (&found.qk_eigenvalues, found.matching, &qk)]
            {
                let sum: f64 = values.iter().map(|x| x.re).sum();
                let trace: f64 = (0..19).map(|i| whole[i][i]).sum();
                assert!((sum - trace).abs() < 1e-4 * norm(whole), "{sum} {trace}");
                let all = positivity(&eigenvalues(whole).unwrap()).unwrap();
                assert!((score.unwrap() - all).abs() < 1e-4, "{score:?} {all}");
            }
            let token = &found.tokens[0];
            let strongest = |values: Vec<f64>, sign: f64| {
                (0..19).max_by(|&a, &b| (sign * values[a]).total_cmp(&(sign * values[b]))).unwrap() as u32
            };
            assert_eq!(token.looks_at[0].token.id, strongest(qk[7].clone(), 1.0));
            assert_eq!(token.looked_at_by[0].token.id, strongest(turned(&qk)[7].clone(), 1.0));
            assert_eq!(token.raises[0].token.id, strongest(ov[7].clone(), 1.0));
            assert_eq!(token.lowers[0].token.id, strongest(ov[7].clone(), -1.0));
        }
    }
}

/// A model without layers between embedding and unembedding, both the identity, whose head moves the first tokens by
/// `to`, times `sign`.
fn planted(to: [usize; 4], sign: f32) -> TextModel {
    let config = Config { d_vocab: 12, n_layers: 1, n_heads: 1, ..config(false, false) };
    let mut weights = Weights::random(&config, 1, 1.0).unwrap();
    let one = |shape: (usize, usize), places: &[(usize, usize, f32)]| {
        let mut all = vec![0.0f32; shape.0 * shape.1];
        places.iter().for_each(|&(i, j, x)| all[i * shape.1 + j] = x);
        Tensor::from_vec(all, shape, &Device::Cpu).unwrap()
    };
    let identity: Vec<(usize, usize, f32)> = (0..12).map(|i| (i, i, 1.0)).collect();
    weights.embed = one((12, 12), &identity);
    weights.unembed.w = one((12, 12), &identity);
    let values: Vec<(usize, usize, f32)> = (0..4).map(|i| (i, 8 + i, 1.0)).collect();
    weights.blocks[0].qkv.w = one((12, 12), &values);
    let written: Vec<(usize, usize, f32)> = to.iter().enumerate().map(|(i, &j)| (i, j, sign)).collect();
    weights.blocks[0].out.w = one((4, 12), &written);
    model(config, weights, Processing::Raw)
}

#[test]
fn a_head_that_copies_scores_one_and_negated_minus_one() {
    for (to, sign, expected) in [
        ([0, 1, 2, 3], 1.0, 1.0),
        ([0, 1, 2, 3], -1.0, -1.0),
        // Two pairs swapped: eigenvalues 1, -1, 1, -1.
        ([1, 0, 3, 2], 1.0, 0.0),
        // A cycle of four: the roots of unity.
        ([1, 2, 3, 0], 1.0, 0.0),
        // Tokens 0 and 1 copied, 2 and 3 swapped.
        ([0, 1, 3, 2], 1.0, 0.5),
    ] {
        let model = planted(to, sign);
        let found = report(&model, HeadCircuit { tokens: vec![], ..circuit(0, 0) });
        assert!((found.copying.unwrap() - expected).abs() < 1e-12, "{to:?} {sign}: {:?}", found.copying);
        assert_eq!(found.ov_eigenvalues.len(), 4);
        let table = run(&model, Method::Composition(Composition::default()));
        let table = table.table("copying", Quantity::Value).unwrap();
        assert!((table.values[0].unwrap() - expected).abs() < 1e-12);
        // Nothing is matched: W_Q and W_K are 0.
        assert_eq!(found.matching, None);
    }
}

#[test]
fn copying_scores_of_all_heads_are_those_of_each() {
    for processing in [Processing::Raw, Processing::Folded] {
        let model = model(config(true, true), weights(&config(true, true)), processing);
        let record = run(&model, Method::Composition(Composition::default()));
        let table = record.table("copying", Quantity::Value).unwrap();
        for (cell, score) in table.values.iter().enumerate() {
            let found = report(&model, circuit(cell / 2, cell % 2));
            assert!((score.unwrap() - found.copying.unwrap()).abs() < 1e-5);
        }
    }
}

#[test]
fn composition_scores_are_norms_of_whole_products() {
    for processing in [Processing::Raw, Processing::Folded] {
        let model = model(config(true, true), weights(&config(true, true)), processing);
        let record = run(&model, Method::Composition(Composition::default()));
        for kind in ["q_composition", "k_composition", "v_composition"] {
            let table = record.table(kind, Quantity::Value).unwrap();
            for (cell, found) in table.values.iter().enumerate() {
                let (from, to) = (cell / 6, cell % 6);
                let [_, _, v1, o1] = head_weights(&model, from / 2, from % 2);
                let [q2, k2, v2, o2] = head_weights(&model, to / 2, to % 2);
                if from / 2 >= to / 2 {
                    assert_eq!(*found, None, "{from} does not come before {to}");
                    continue;
                }
                let written = times(&v1, &o1);
                let read = match kind {
                    "q_composition" => times(&q2, &turned(&k2)),
                    "k_composition" => times(&k2, &turned(&q2)),
                    _ => times(&v2, &o2),
                };
                let expected = norm(&times(&written, &read)) / (norm(&written) * norm(&read));
                assert!((found.unwrap() - expected).abs() < 1e-9, "{kind} {from} {to}: {found:?} {expected}");
            }
        }
    }
}

#[test]
fn a_head_that_writes_what_another_reads_composes_wholly_and_one_beside_it_not_at_all() {
    let config = Config { n_layers: 2, d_head: 1, ..config(false, false) };
    let mut weights = Weights::random(&config, 2, 1.0).unwrap();
    let place = |shape: (usize, usize), places: &[(usize, usize)]| {
        let mut all = vec![0.0f32; shape.0 * shape.1];
        places.iter().for_each(|&(i, j)| all[i * shape.1 + j] = 1.0);
        Tensor::from_vec(all, shape, &Device::Cpu).unwrap()
    };
    // Columns are Q0 Q1 K0 K1 V0 V1. In layer 0 head 0 writes dimension 5, head 1 dimension 6.
    weights.blocks[0].qkv.w = place((12, 6), &[(0, 4), (1, 5)]);
    weights.blocks[0].out.w = place((2, 12), &[(0, 5), (1, 6)]);
    // In layer 1 head 0 has queries from 5 and keys from 6, head 1 values from 5.
    weights.blocks[1].qkv.w = place((12, 6), &[(5, 0), (6, 2), (5, 5), (0, 1), (0, 3)]);
    weights.blocks[1].out.w = place((2, 12), &[(0, 0), (1, 1)]);
    let model = model(config, weights, Processing::Raw);
    let record = run(&model, Method::Composition(Composition::default()));
    let score = |kind: &str, from: usize, to: usize| {
        record.table(kind, Quantity::Value).unwrap().values[from * 4 + to]
    };
    assert_eq!([score("q_composition", 0, 2), score("q_composition", 1, 2)], [Some(1.0), Some(0.0)]);
    assert_eq!([score("k_composition", 0, 2), score("k_composition", 1, 2)], [Some(0.0), Some(1.0)]);
    assert_eq!([score("v_composition", 0, 3), score("v_composition", 1, 3)], [Some(1.0), Some(0.0)]);
    assert_eq!(score("v_composition", 0, 2), None, "that head has no values, so its score is not defined");
}

#[test]
fn the_baseline_is_the_root_mean_square_of_unrelated_matrices() {
    let (d, many) = (64, 40);
    let config = Config { d_model: d, d_head: 8, n_layers: 2, n_heads: many / 2, ..config(false, false) };
    let weights = Weights::random(&config, 9, 1.0).unwrap();
    let model = model(config, weights, Processing::Raw);
    let scores = |less: Baseline, quantity: Quantity| -> Vec<f64> {
        let record = run(&model, Method::Composition(Composition { less }));
        let table = record.table("q_composition", quantity).unwrap();
        table.values.iter().flatten().copied().collect()
    };
    let plain = scores(Baseline::None, Quantity::Value);
    let square = plain.iter().map(|x| x * x).sum::<f64>() / plain.len() as f64;
    // 400 pairs; single scores scatter by some percent.
    assert!((square * d as f64 - 1.0).abs() < 0.02, "{square}");
    let less = scores(Baseline::Random, Quantity::Change);
    for (a, b) in plain.iter().zip(less) {
        assert!((a - b - 1.0 / (d as f64).sqrt()).abs() < 1e-12);
    }
}

#[test]
fn with_layer_norm_an_entry_is_the_attention_score_of_tokens_without_position() {
    for processing in [Processing::Raw, Processing::Folded] {
        let mut weights = weights(&config(true, true));
        if processing == Processing::Folded {
            // Folding moves these into the biases of queries and keys, which circuits leave out.
            for block in &mut weights.blocks {
                let norm = block.ln1.as_mut().unwrap();
                norm.b = norm.b.zeros_like().unwrap();
            }
        }
        let model = model(config(true, true), weights, processing);
        let tokens = [7, 3, 11, 7, 18];
        let hook = Site::AttnScores.at(0);
        let options = RunOptions {
            edits: vec![Edit::new(Site::PosEmbed.at(0), Change::Zero)],
            reads: vec![hook],
            ..Default::default()
        };
        let run = model.model().run(&tokens, &options).unwrap();
        let scores = run.cache.get(hook).unwrap().to_dtype(DType::F64).unwrap();
        let scores: Vec<Matrix> = scores.to_vec3().unwrap();
        for (head, scores) in scores.iter().enumerate() {
            let asked = HeadCircuit { size: Size::LayerNorm, pairs: Some(361), ..circuit(0, head) };
            let pairs = report(&model, asked).qk.highest;
            for (q, row) in scores.iter().enumerate() {
                for (k, score) in row[..=q].iter().enumerate() {
                    let pair = pairs.iter().find(|p| p.from.id == tokens[q] && p.to.id == tokens[k]).unwrap();
                    assert!((pair.value - score).abs() < 1e-5, "{} {score}", pair.value);
                }
            }
        }
    }
}

#[test]
fn tokens_after_mlp_0_are_their_embedding_plus_what_the_mlp_makes_of_it() {
    for processing in [Processing::Raw, Processing::Folded] {
        let model = model(config(true, true), weights(&config(true, true)), processing);
        let weights = model.model().weights().unpacked().unwrap();
        let block = &weights.blocks[0];
        let mlp = block.mlp.as_ref().unwrap();
        let (w_in, w_out) = (rows(&mlp.input.w), rows(&mlp.output.w));
        let (b_in, b_out) = (values(&mlp.input.b), values(&mlp.output.b));
        let effective: Matrix = embedding(&model)
            .iter()
            .map(|row| {
                let mean = row.iter().sum::<f64>() / 12.0;
                let scale = (row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 12.0 + 1e-5).sqrt();
                let mut read: Vec<f64> = row.iter().map(|x| (x - mean) / scale).collect();
                if let Some(gain) = &block.ln2 {
                    let (w, b) = (values(&gain.w), values(&gain.b));
                    read = read.iter().zip(w).zip(b).map(|((x, w), b)| x * w + b).collect();
                }
                let hidden: Vec<f64> = times(&vec![read], &w_in)[0]
                    .iter()
                    .zip(&b_in)
                    .map(|(x, b)| {
                        let x = x + b;
                        0.5 * x
                            * (1.0 + (std::f64::consts::FRAC_2_PI.sqrt() * (x + 0.044715 * x.powi(3))).tanh())
                    })
                    .collect();
                let written = &times(&vec![hidden], &w_out)[0];
                row.iter().zip(written).zip(&b_out).map(|((x, w), b)| x + w + b).collect()
            })
            .collect();
        let [_, _, v, o] = head_weights(&model, 1, 0);
        let ov = times(&times(&effective, &v), &times(&o, &unembedding(&model)));
        let found = report(&model, HeadCircuit { embedding: Embedding::AfterMlp0, ..circuit(1, 0) });
        assert_pairs(&found.ov.highest, &ov, true);
        assert_pairs(&found.ov.lowest, &ov, false);
    }
}

#[test]
fn the_circuit_of_positions_peaks_where_a_head_is_made_to_look() {
    let base = Config { n_layers: 1, n_heads: 1, d_model: 18, d_head: 18, ..config(false, false) };
    let mut weights = Weights::random(&base, 3, 1.0).unwrap();
    let place = |rows: usize, columns: usize, places: &dyn Fn(usize) -> Option<(usize, f32)>| {
        let mut all = vec![0.0f32; rows * columns];
        (0..rows).for_each(|i| places(i).into_iter().for_each(|(j, x)| all[i * columns + j] = x));
        Tensor::from_vec(all, (rows, columns), &Device::Cpu).unwrap()
    };
    weights.pos_embed = place(18, 18, &|i| Some((i, 1.0)));
    // Queries as they are, keys moved by two.
    let queries = place(18, 18, &|i| Some((i, 1.0)));
    let keys = place(18, 18, &|i| (i + 2 < 18).then_some((i + 2, 5.0)));
    let nothing = place(18, 18, &|_| None);
    weights.blocks[0].qkv.w = Tensor::cat(&[&queries, &keys, &nothing], 1).unwrap();
    let model = model(base, weights, Processing::Raw);
    let record = run(&model, Method::HeadCircuit(circuit(0, 0)));
    let table = record.table("qk_position", Quantity::Value).unwrap();
    let (best, value) = (table.strongest(1)[0].0.clone(), table.strongest(1)[0].1);
    assert_eq!(best, "2");
    // 5 / sqrt(18) at the key two back, 0 elsewhere, less the mean over q + 1 keys; queries are 15 to 17.
    let score = 5.0 / 18f64.sqrt();
    let expected = (16..=18).map(|seen| score - score / f64::from(seen)).sum::<f64>() / 3.0;
    assert!((value - expected).abs() < 1e-6, "{value} {expected}");
}

#[test]
fn what_cannot_be_asked_is_refused_with_what_can() {
    let attention_only = model(config(false, false), weights(&config(false, false)), Processing::Raw);
    let whole = model(config(true, true), weights(&config(true, true)), Processing::Raw);
    let message = |model: &TextModel, circuit: HeadCircuit| {
        asked(model, Method::HeadCircuit(circuit)).run_quietly(model).unwrap_err().to_string()
    };
    let after = |layer| HeadCircuit { embedding: Embedding::AfterMlp0, ..circuit(layer, 0) };
    assert!(message(&attention_only, after(1)).contains("no MLPs"));
    assert!(message(&whole, after(0)).contains("come before it"));
    let sized = HeadCircuit { size: Size::LayerNorm, ..circuit(1, 0) };
    assert!(message(&attention_only, sized).contains("none"));
    assert!(message(&whole, HeadCircuit { pairs: Some(0), ..circuit(0, 0) }).contains("1 to 1000"));
    assert!(message(&whole, circuit(3, 0)).contains("layers 0 to 2"));
    let mlp = HeadCircuit { head: Component::Mlp { layer: 1 }, ..circuit(0, 0) };
    assert!(message(&whole, mlp).contains("no head"));
    let token = HeadCircuit { tokens: vec![Answer::Id(19)], ..circuit(0, 0) };
    assert!(message(&whole, token).contains("19"));
}

#[test]
fn positional_is_one_where_attention_knows_no_token_and_what_two_patterns_share_elsewhere() {
    use microtome::method::attention::patterns;
    use microtome::method::head_scores::HeadScoring;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{RngCore, SeedableRng};

    let base = config(true, true);
    let mut weights = weights(&base);
    // Without queries of its own a layer's attention is even; the second layer's stays as it is.
    let qkv = &weights.blocks[0].qkv.w;
    let width = base.n_heads * base.d_head;
    let queries = qkv.narrow(1, 0, width).unwrap().zeros_like().unwrap();
    let others = qkv.narrow(1, width, 2 * width).unwrap();
    weights.blocks[0].qkv.w = Tensor::cat(&[&queries, &others], 1).unwrap();
    let model = model(base, weights, Processing::Raw);
    let scoring = HeadScoring { period: Some(8), sequences: Some(1), least: None };
    let record = run(&model, Method::HeadScores(scoring));
    let found = &record.table("positional", Quantity::Value).unwrap().values;
    assert!(found[..2].iter().all(|score| (score.unwrap() - 1.0).abs() < 1e-6), "{found:?}");

    // The two sequences as documented: one from the seed's first stream, one from its second.
    let sequence = |stream: u64| -> Vec<u32> {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        rng.set_stream(stream);
        (0..8).map(|_| ((u64::from(rng.next_u32()) * 19) >> 32) as u32).collect()
    };
    let of = |tokens: &[u32]| values(&patterns(&model, tokens).unwrap());
    let (a, b) = (of(&sequence(0)), of(&sequence(1)));
    for (head, score) in found.iter().enumerate() {
        let shared = |q: usize| -> f64 {
            (0..=q).map(|k| a[(head * 8 + q) * 8 + k].min(b[(head * 8 + q) * 8 + k])).sum()
        };
        let expected = (1..8).map(shared).sum::<f64>() / 7.0;
        assert!((score.unwrap() - expected).abs() < 1e-6, "{head}: {score:?} {expected}");
    }
}
