//! Scans of a text for features of an autoencoder: against brute force, and asked as an experiment.

use std::collections::HashMap;

use microtome::corpus_scan::{SaeFeatures, ScanSettings};
use microtome::method::text_scan::TextScan;
use microtome::model::tokenizer::END_OF_TEXT;
use microtome::model::{DType, Device, Tensor};
use microtome::sae::{Sae, SaeChoice, SaeConfig};
use microtome::{Experiment, TextModel};

use crate::corpus_scan::{asks, by_hand, close, documents, reader, run, settings, text_scan};

const D_SAE: usize = 24;

/// An autoencoder of the toy model's stream before layer 1.
fn sae() -> Sae {
    let json = format!(
        r#"{{"architecture": "standard", "d_in": 16, "d_sae": {D_SAE}, "hook_name": "blocks.1.hook_resid_pre",
            "metadata": {{"model_from_pretrained_kwargs": {{"center_writing_weights": true}}}}}}"#
    );
    let config = SaeConfig::parse(&json, "cfg.json").unwrap();
    let wave = |seed: f64, shape: &[usize]| {
        let n = shape.iter().product::<usize>();
        let values = (0..n).map(|i| ((i as f64 * 0.737 + seed).sin() * (i as f64 * 0.131).cos()) as f32);
        Tensor::from_vec(values.collect::<Vec<f32>>(), shape, &Device::Cpu).unwrap()
    };
    let tensors = [
        ("W_enc", wave(1.0, &[16, D_SAE])),
        ("b_enc", wave(2.0, &[D_SAE])),
        ("W_dec", wave(3.0, &[D_SAE, 16])),
        ("b_dec", wave(4.0, &[16])),
    ];
    let tensors: HashMap<String, Tensor> =
        tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
    Sae::new(config, tensors, "sae").unwrap()
}

fn beside() -> TextModel {
    reader().with_sae(sae()).unwrap()
}

/// The text of the tests, asked as an experiment.
fn asked(features: &[usize]) -> TextScan {
    let text = documents().join(END_OF_TEXT);
    TextScan { sae: Some(SaeChoice::from("sae")), features: features.to_vec(), ..text_scan(&text) }
}

#[test]
fn features_over_a_text_are_those_of_brute_force() {
    let sae = sae();
    let found = run(&SaeFeatures::new(&sae, &[]).unwrap(), &settings(), None, None).unwrap();
    assert_eq!(found.features.len(), D_SAE);
    let windows = by_hand(&reader(), sae.hook(), 8);
    let coded: Vec<Vec<Vec<f32>>> = windows
        .iter()
        .map(|window| {
            let rows = window.values.concat();
            let x = Tensor::from_vec(rows, (window.values.len(), 16), &Device::Cpu).unwrap();
            sae.encode(&x.to_dtype(DType::F32).unwrap()).unwrap().features().to_vec2().unwrap()
        })
        .collect();
    let mut with_passages = 0;
    for (feature, summary) in found.features.iter().enumerate() {
        assert_eq!(summary.feature, feature.to_string());
        let of = |window: &Vec<Vec<f32>>| window.iter().map(|row| row[feature]).collect::<Vec<f32>>();
        let all: Vec<f64> = coded.iter().flat_map(of).map(f64::from).collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        assert!(close(summary.moments.mean, mean), "feature {feature}");
        assert!(close(summary.max, all.iter().copied().fold(0.0, f64::max)), "feature {feature}");
        let active = all.iter().filter(|&&x| x > 0.0).count();
        assert_eq!((summary.active, summary.density), (active as u64, active as f64 / 300.0));
        let mut best: Vec<f32> = coded
            .iter()
            .map(|window| of(window).into_iter().fold(0.0, f32::max))
            .filter(|&x| x > 0.0)
            .collect();
        best.sort_by(|a, b| b.total_cmp(a));
        assert_eq!(summary.passages.len(), best.len().min(5), "feature {feature}");
        for (passage, &value) in summary.passages.iter().zip(&best) {
            assert!(close(passage.activation.into(), value.into()), "feature {feature}");
            let window = &windows[passage.window as usize];
            assert_eq!(passage.token.id, window.ids[passage.position - 1]);
            let there = coded[passage.window as usize][passage.position - 1][feature];
            assert!(close(there.into(), passage.activation.into()), "feature {feature}");
        }
        with_passages += usize::from(!summary.passages.is_empty());
    }
    assert!(with_passages > D_SAE / 2, "no test otherwise");
}

#[test]
fn a_text_in_the_question_is_scanned_for_features_as_the_file_of_it() {
    let sae = sae();
    // Batches, and with them the last bits, are those of the usual settings.
    let settings = ScanSettings { batch: ScanSettings::default().batch, ..settings() };
    for named in [&[][..], &[17, 3]] {
        let file = run(&SaeFeatures::new(&sae, named).unwrap(), &settings, None, None).unwrap();
        let record = asks(asked(named)).run_quietly(&beside()).unwrap();
        let found = record.results.text_scan.as_ref().unwrap();
        assert_eq!(
            (found.tokens, found.windows, &found.features),
            (file.tokens, file.windows, &file.features)
        );
        assert_eq!(found.sae, file.sae);
        let experiment = &record.experiment;
        assert_eq!(experiment.tables_of().unwrap(), ["feature_activation", "feature_density"]);
        let [largest, density] = &record.results.tables[..] else { panic!("two tables") };
        assert_eq!([&largest.metric, &density.metric], ["feature_activation", "feature_density"]);
        for (i, summary) in file.features.iter().enumerate() {
            assert_eq!(
                (&largest.axes[0].name[..], &largest.axes[0].labels[i]),
                ("feature", &summary.feature)
            );
            assert_eq!((largest.values[i], density.values[i]), (Some(summary.max), Some(summary.density)));
        }
        // What was asked comes back from JSON as it was.
        let json = serde_json::to_string(experiment).unwrap();
        assert!(!json.contains("neurons"), "{json}");
        assert_eq!(&serde_json::from_str::<Experiment>(&json).unwrap(), experiment);
    }
}

#[test]
fn one_kind_is_asked_for_and_only_features_that_exist() {
    let model = beside();
    let says = |scan: TextScan, words: &str| {
        let error = asks(scan).run_quietly(&model).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    let neurons = || vec!["L1N3".parse().unwrap()];
    says(TextScan { neurons: neurons(), ..asked(&[]) }, "neurons beside an autoencoder");
    says(TextScan { neurons: neurons(), sae: None, ..asked(&[3]) }, "features without an autoencoder");
    says(TextScan { sae: None, ..asked(&[3]) }, "features without an autoencoder");
    says(TextScan { sae: None, ..asked(&[]) }, "a feature is missing");
    says(asked(&[3, 24]), "24");
    says(asked(&[3, 3]), "twice");
    says(TextScan { sae: Some(SaeChoice::from("other")), ..asked(&[]) }, "other");
    assert_eq!([asked(&[]).n_scanned(&model), asked(&[3, 5]).n_scanned(&model)], [D_SAE, 2]);
    let layer = vec![microtome::Component::Mlp { layer: 1 }];
    assert_eq!(TextScan { neurons: layer, sae: None, ..asked(&[]) }.n_scanned(&model), 32);
}
