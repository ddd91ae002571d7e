//! Factual recall: every cell the patch of its own, and where the demo model keeps its facts.

use microtome::circuit::factual_recall::FactualRecall;
use microtome::method::patch::{By, Direction, Patch};
use microtome::metric::MetricId;
use microtome::model::{LoadOptions, Positions, Precision, Processing, Site};
use microtome::{Answer, Bos, Error, Experiment, Method, Prompt, Quantity, Record, Text, TextModel};

use crate::laws::{pair, toy};

fn experiment(model: &TextModel, method: Method, prompts: Vec<Prompt>) -> Experiment {
    Experiment {
        model: "any".to_owned(),
        weights: model.model().processing(),
        precision: Precision::F32,
        bos: Bos::default(),
        prompts,
        method,
        metrics: vec![MetricId::named("logit_diff").unwrap()],
        read_at: None,
        seed: 0,
    }
}

fn numbers(record: &Record, metric: &str, quantity: Quantity) -> Vec<f64> {
    record.table(metric, quantity).unwrap().values.iter().map(|value| value.unwrap()).collect()
}

/// A pair that differs at positions 2 and 3 alone.
fn about_two() -> Prompt {
    let text = |a: u32, b: u32| Text::Ids(vec![4, 9, a, b, 7, 12, 1]);
    Prompt {
        clean: text(3, 5),
        corrupt: Some(text(11, 20)),
        answers: vec![Answer::Id(6)],
        wrong_answers: vec![Answer::Id(2)],
    }
}

#[test]
fn every_cell_is_the_patch_of_its_layer_and_place() {
    let model = toy();
    let recall = |window| {
        let method = Method::FactualRecall(FactualRecall { count: None, window });
        let asked = Experiment { bos: Bos::Omit, ..experiment(&model, method, vec![about_two()]) };
        asked.run_quietly(&model).unwrap()
    };
    let patch = |site: Site, by: By, direction, pos: usize| {
        let method = Method::Patch(Patch { site, by, direction, at: Positions::At(vec![pos]) });
        let asked = Experiment { bos: Bos::Omit, ..experiment(&model, method, vec![about_two()]) };
        numbers(&asked.run_quietly(&model).unwrap(), "logit_diff", Quantity::Recovery)
    };
    let record = recall(None);
    let found = numbers(&record, "logit_diff", Quantity::Recovery);
    let sites = [Site::ResidPre, Site::AttnOut, Site::MlpOut];
    for (place, pos) in [(0, 3), (1, 6)] {
        for (s, site) in sites.into_iter().enumerate() {
            let expected = patch(site, By::Layer, Direction::Denoise, pos);
            for layer in 0..3 {
                let cell = found[layer * 6 + place * 3 + s];
                assert!((cell - expected[layer]).abs() < 1e-5, "{site:?} {pos} {layer}: {cell}");
            }
        }
    }
    let lost = numbers(&record, "lost", Quantity::Value);
    let kept = patch(Site::Z, By::Head, Direction::Noise, 6);
    for (lost, kept) in lost.iter().zip(kept) {
        assert!((lost - (1.0 - kept)).abs() < 1e-5);
    }
    for extraction in &record.results.extractions {
        assert!(extraction.lost >= 0.02 && (0.0..=1.0).contains(&extraction.attention));
    }
    // Three layers around the middle one, and fewer at the ends.
    let wide = numbers(&recall(Some(3)), "logit_diff", Quantity::Recovery);
    for (layer, around) in [(0, vec![0, 1]), (1, vec![0, 1, 2]), (2, vec![1, 2])] {
        let expected = patch(Site::MlpOut, By::Layers(around), Direction::Denoise, 3)[0];
        assert!((wide[layer * 6 + 2] - expected).abs() < 1e-5, "window around {layer}");
        assert!((wide[layer * 6] - found[layer * 6]).abs() < 1e-5, "the stream has no window");
    }
}

#[test]
fn the_embedded_model_moves_the_country_from_the_capital_to_the_end() {
    let model = TextModel::load("demo", Processing::Folded, &LoadOptions::default(), &mut ()).unwrap();
    let method = Method::FactualRecall(FactualRecall { count: Some(12), window: None });
    let record = experiment(&model, method, vec![]).run_quietly(&model).unwrap();
    assert!(record.is_complete());
    assert_eq!(record.results.prompts.len(), 12);
    let table = record.table("logit_diff", Quantity::Recovery).unwrap();
    let found = numbers(&record, "logit_diff", Quantity::Recovery);
    let n_layers = model.config().n_layers;
    assert_eq!(table.axes[1].labels.len(), 6);
    let (subject, last) = (|layer: usize| found[layer * 6], |layer: usize| found[layer * 6 + 3]);
    // Nothing has come to the end at first, and nothing is left to fetch in the top layer.
    assert!(last(0).abs() < 1e-4 && last(n_layers - 1) > 0.9, "{found:?}");
    assert!(subject(n_layers - 1) < 0.1 && subject(0) > 0.3, "{found:?}");
    let first = record.results.extractions.first().unwrap();
    assert!(first.lost > 0.1 && first.attention > 0.2, "{first:?}");
}

#[test]
fn prompts_without_a_subject_and_windows_that_do_not_fit_are_errors() {
    let model = toy();
    let refused = |asked: FactualRecall, prompts: Vec<Prompt>| {
        let asked = experiment(&model, Method::FactualRecall(asked), prompts);
        Experiment { bos: Bos::Omit, ..asked }.run_quietly(&model).unwrap_err()
    };
    let same = Prompt { corrupt: Some(pair(1).clean), ..pair(1) };
    assert!(matches!(
        refused(FactualRecall::default(), vec![same]),
        Error::Missing { what: "a subject", .. }
    ));
    for window in [0, 4] {
        let asked = FactualRecall { window: Some(window), ..Default::default() };
        assert!(matches!(refused(asked, vec![pair(1)]), Error::OutOfRange { .. }));
    }
    let method = Method::FactualRecall(FactualRecall::default());
    let kl = Experiment {
        bos: Bos::Omit,
        metrics: vec![MetricId::named("kl").unwrap()],
        ..experiment(&model, method, vec![pair(1)])
    };
    let refusal = kl.run_quietly(&model).unwrap_err().to_string();
    assert!(refusal.contains("no recovery") && refusal.contains("logit_diff"), "{refusal}");
    let counted = FactualRecall { count: Some(3), window: None };
    assert!(matches!(refused(counted, vec![pair(1)]), Error::Unused { .. }));
    assert!(matches!(refused(counted, vec![]), Error::NoTokenizer { .. } | Error::TooFewWords { .. }));
}
