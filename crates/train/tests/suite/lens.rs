//! Tuned lenses: gradients against differences of an independent loss, what training lowers, runs stopped and resumed.

use std::path::Path;

use microtome::TextModel;
use microtome::tuned_lens::{Translator, TunedLens};
use microtome_model::{
    Config as Sizes, Device, Model, Processing, RunOptions, Site, Tensor, Tokenizer, Weights, as_f64,
};
use microtome_train::lens::{LensEvaluation, LensLearner, LensLine, LensObserver, LensTraining, train_lens};
use microtome_train::{Documents, Error, Start, Vocabulary};

use crate::toy::{sizes, text};

/// A model of random weights that reads the toy text.
fn model(processing: Processing) -> TextModel {
    let json = Vocabulary::characters([text(40)].into_iter(), Documents::Apart);
    let tokenizer = Tokenizer::parse_json(Path::new("tokenizer.json"), json.as_bytes()).unwrap();
    let config = Sizes { n_layers: 3, n_ctx: 16, d_vocab: tokenizer.vocab_size(), ..sizes() };
    let mut weights = Weights::random(&config, 1, 0.4).unwrap();
    // A final LayerNorm that does something.
    if let Some(affine) = &mut weights.ln_final {
        let gain: Vec<f32> = (0..config.d_model).map(|i| 0.5 + 0.1 * i as f32).collect();
        affine.w = Tensor::from_vec(gain, config.d_model, &Device::Cpu).unwrap();
        let bias: Vec<f32> = (0..config.d_model).map(|i| 0.05 * (i as f32 - 8.0)).collect();
        affine.b = Tensor::from_vec(bias, config.d_model, &Device::Cpu).unwrap();
    }
    TextModel::from_model("toy", Model::new(config, weights, processing).unwrap())
        .unwrap()
        .with_tokenizer(tokenizer)
}

fn values(tensor: &Tensor) -> Vec<f64> {
    as_f64(tensor).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Mean KL of a layer's translator over the positions of windows from `first` on, as its definition has it, in f64.
fn loss(model: &TextModel, windows: &[Vec<u32>], first: usize, layer: usize, w: &[f64], b: &[f64]) -> f64 {
    let (d, eps) = (model.config().d_model, 1e-5);
    let weights = model.model().weights();
    let unembed = weights.unembed.unpacked().unwrap();
    let (u, u_b) = (values(&unembed.w), values(&unembed.b));
    let affine = weights.ln_final.as_ref().map(|affine| (values(&affine.w), values(&affine.b)));
    let v = u_b.len();
    let log_softmax = |row: &[f64]| -> Vec<f64> {
        let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_z = most + row.iter().map(|x| (x - most).exp()).sum::<f64>().ln();
        row.iter().map(|x| x - log_z).collect()
    };
    let (mut sum, mut rows) = (0.0, 0);
    for window in windows {
        let options = RunOptions { reads: vec![Site::ResidPre.at(layer)], ..RunOptions::default() };
        let run = model.model().run(window, &options).unwrap();
        let (stream, output) =
            (values(run.cache.get(Site::ResidPre.at(layer)).unwrap()), values(run.logits().unwrap()));
        for (x, output) in stream.chunks(d).zip(output.chunks(v)).skip(first) {
            let h: Vec<f64> =
                (0..d).map(|i| x[i] + b[i] + (0..d).map(|j| w[i * d + j] * x[j]).sum::<f64>()).collect();
            let mean = h.iter().sum::<f64>() / d as f64;
            let scale = (h.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d as f64 + eps).sqrt();
            let mut n: Vec<f64> = h.iter().map(|x| (x - mean) / scale).collect();
            if let Some((gain, bias)) = &affine {
                n.iter_mut().zip(gain.iter().zip(bias)).for_each(|(n, (g, b))| *n = *n * g + b);
            }
            let logits: Vec<f64> =
                (0..v).map(|t| u_b[t] + (0..d).map(|i| n[i] * u[i * v + t]).sum::<f64>()).collect();
            let (q, p) = (log_softmax(&logits), log_softmax(output));
            sum += p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
            rows += 1;
        }
    }
    sum / rows as f64
}

fn windows() -> Vec<Vec<u32>> {
    vec![vec![0, 3, 7, 1, 9, 4], vec![2, 8, 8, 5]]
}

#[test]
fn gradients_are_differences_of_a_loss_written_again() {
    for processing in [Processing::Raw, Processing::Folded] {
        let model = model(processing);
        let mut learner = LensLearner::new(&model).unwrap();
        // Away from the identity.
        for step in 0..3 {
            learner.update(step, &windows(), 1, 0.02).unwrap();
        }
        let d = model.config().d_model;
        let (losses, gradients) = learner.gradients(&windows(), 1).unwrap();
        for (layer, (dw, db)) in gradients.iter().enumerate() {
            let (w, b) = &learner.translators()[layer];
            let w: Vec<f64> = w.iter().map(|&x| f64::from(x)).collect();
            let b: Vec<f64> = b.iter().map(|&x| f64::from(x)).collect();
            let value = loss(&model, &windows(), 1, layer, &w, &b);
            assert!(
                (losses[layer] - value).abs() < 1e-5 * (1.0 + value),
                "{layer}: {} {value}",
                losses[layer]
            );
            let h = 1e-4;
            for at in (0..d * d).step_by(23) {
                let moved = |by: f64| {
                    let mut w = w.clone();
                    w[at] += by;
                    loss(&model, &windows(), 1, layer, &w, &b)
                };
                let difference = (moved(h) - moved(-h)) / (2.0 * h);
                assert!(
                    (f64::from(dw[at]) - difference).abs() < 2e-5,
                    "{layer} {at}: {} {difference}",
                    dw[at]
                );
            }
            for (at, gradient) in db.iter().enumerate() {
                let moved = |by: f64| {
                    let mut b = b.clone();
                    b[at] += by;
                    loss(&model, &windows(), 1, layer, &w, &b)
                };
                let difference = (moved(h) - moved(-h)) / (2.0 * h);
                assert!(
                    (f64::from(*gradient) - difference).abs() < 2e-5,
                    "{layer} {at}: {gradient} {difference}"
                );
            }
            assert!(dw.iter().chain(db).any(|x| x.abs() > 1e-3), "layer {layer}");
        }
    }
}

/// A run of a few updates in `dir`.
fn config(dir: &Path) -> LensTraining {
    std::fs::write(dir.join("text.txt"), text(200)).unwrap();
    let mut config = LensTraining { out: dir.join("run"), ..LensTraining::default() };
    config.data.text = Some(dir.join("text.txt"));
    config.data.validation = 0.2;
    let training = &mut config.training;
    (training.steps, training.batch, training.warmup) = (120, 6, 5);
    training.learning_rate = 1e-2;
    (training.evaluate_every, training.evaluate_windows, training.checkpoint_every) = (50, 16, 40);
    config
}

/// Asks to stop after so many updates.
struct StopAfter(u64);

impl LensObserver for StopAfter {
    fn update(&mut self, _: &LensLine, _: u64, _: usize) {
        self.0 -= 1;
    }

    fn should_stop(&mut self) -> bool {
        self.0 == 0
    }
}

#[test]
fn training_lowers_kl_at_every_layer_on_held_out_text() {
    for processing in [Processing::Raw, Processing::Folded] {
        let model = model(processing);
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let summary = train_lens(&model, &config, Start::Continue, &mut ()).unwrap();
        let state = summary.record.state;
        let (before, after) = (state.logit_lens.unwrap(), state.evaluation.unwrap());
        println!("{processing:?}: {:?} -> {:?}", before.kl, after.kl);
        assert_eq!((before.step, after.step, before.kl.len()), (0, 120, 3));
        for (before, after) in before.kl.iter().zip(&after.kl) {
            assert!(after < &(0.8 * before), "{before} {after}");
        }
        // What is saved says the same, of this model and of the same weights raw.
        let saved = TunedLens::load(&config.out.join("last")).unwrap();
        saved.check(&model).unwrap();
        let raw = self::model(Processing::Raw);
        saved.check(&raw).unwrap();
        let text: Vec<u32> = windows().remove(0);
        for (layer, Translator { weight, bias }) in saved.translators().iter().enumerate() {
            let of = |model: &TextModel| {
                loss(model, std::slice::from_ref(&text), 1, layer, &values(weight), &values(bias))
            };
            let (w, b) = (values(&summary.lens.translators()[layer].weight), values(bias));
            let own = loss(&model, std::slice::from_ref(&text), 1, layer, &w, &b);
            // f32 roundings of the two processings.
            assert!((of(&model) - own).abs() < 1e-5 && (of(&raw) - own).abs() < 1e-4, "{layer}");
        }
    }
}

#[test]
fn a_run_stopped_anywhere_ends_as_one_that_was_not() {
    let model = model(Processing::Folded);
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    let whole = train_lens(&model, &config, Start::Continue, &mut ()).unwrap();
    let files = ["losses.jsonl", "last/params.pt", "last/config.json", "last/training.safetensors"];
    let expected = files.map(|name| std::fs::read(config.out.join(name)).unwrap());
    let lines = String::from_utf8(expected[0].clone()).unwrap();
    let evaluations =
        lines.lines().filter(|line| serde_json::from_str::<LensEvaluation>(line).is_ok()).count();
    assert_eq!((lines.lines().count(), evaluations), (120 + 4, 4));
    config.out = dir.path().join("parts");
    for steps in [1, 38, 40, 12] {
        assert!(train_lens(&model, &config, Start::Continue, &mut StopAfter(steps)).unwrap().stopped);
    }
    let end = train_lens(&model, &config, Start::Resume, &mut ()).unwrap();
    for (name, expected) in files.into_iter().zip(expected) {
        assert!(std::fs::read(config.out.join(name)).unwrap() == expected, "{name} differs");
    }
    assert_eq!(end.record.state.evaluation, whole.record.state.evaluation);
    assert_eq!(end.record.state.logit_lens, whole.record.state.logit_lens);
    let error = train_lens(
        &self::model(Processing::Folded),
        &LensTraining { seed: 9, ..config },
        Start::Continue,
        &mut (),
    );
    assert!(matches!(error.unwrap_err(), Error::OtherRun { .. }));
}
