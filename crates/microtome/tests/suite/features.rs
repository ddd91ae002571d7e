//! Features of prompts against SAELens's numbers, and what an autoencoder may be asked.

use microtome::method::features::{FeatureReading, LossRuns};
use microtome::model::{Positions, Processing, Tensor, load_safetensors};
use microtome::sae::{Sae, SaeChoice};
use microtome::{Bos, Experiment, Method, Prompt, Quantity, Text, TextModel};

use crate::golden_data::{Golden, assert_close, values};

/// As in the tests of encoding: products of 32 and 96 terms, then two layers.
const TOLERANCE: f64 = 1e-4;

/// The golden model with one of the golden autoencoders beside it.
pub fn beside(golden: &Golden, name: &str) -> (TextModel, SaeChoice) {
    let sae = Sae::load(&golden.dir.join("sae").join(name)).unwrap();
    let choice = sae.name().clone();
    (golden.model.clone().with_sae(sae).unwrap(), choice)
}

/// A question about prompts of the golden model in raw weights.
pub fn asked(golden: &Golden, prompts: &[Vec<u32>], method: Method) -> Experiment {
    let prompt = |ids: &Vec<u32>| Prompt {
        clean: Text::Ids(ids.clone()),
        corrupt: None,
        answers: vec![],
        wrong_answers: vec![],
    };
    Experiment {
        model: golden.model.about().model.clone(),
        weights: Processing::Raw,
        precision: golden.model.model().precision(),
        bos: Bos::Omit,
        prompts: prompts.iter().map(prompt).collect(),
        method,
        metrics: vec![],
        read_at: None,
        seed: 0,
    }
}

fn reading(sae: SaeChoice) -> FeatureReading {
    FeatureReading { sae, top: Some(4), at: Some(Positions::All), watch: vec![], losses: LossRuns::Measured }
}

/// SAELens's feature activations, by position.
fn expected_rows(golden: &Golden, name: &str) -> Vec<Vec<f64>> {
    let expected = load_safetensors(&golden.dir.join("sae/expected.safetensors")).unwrap();
    let tensor: &Tensor = &expected[&format!("{name}/feature_acts")];
    values(tensor).chunks(96).map(<[f64]>::to_vec).collect()
}

/// Features by activation, the strongest first; of equal ones the first.
fn ranked(row: &[f64]) -> Vec<(usize, f64)> {
    let mut all: Vec<(usize, f64)> = row.iter().copied().enumerate().filter(|(_, x)| *x > 0.0).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all
}

#[test]
fn features_of_a_prompt_are_saelenss_for_every_architecture() {
    let Some(golden) = Golden::open(Processing::Raw) else { return };
    let tokens = golden.ids("clean");
    for name in
        ["standard", "standard_hook_z", "standard_layer_norm", "topk", "topk_rescale", "jumprelu", "gated"]
    {
        let (model, sae) = beside(&golden, name);
        let rows = expected_rows(&golden, name);
        let largest: Vec<f64> =
            (0..96).map(|feature| rows.iter().fold(0.0, |most: f64, row| most.max(row[feature]))).collect();
        let watch = vec![95, 0];
        let method = Method::Features(FeatureReading { watch: watch.clone(), ..reading(sae.clone()) });
        let record = asked(&golden, std::slice::from_ref(&tokens), method).run_quietly(&model).unwrap();
        let report = record.results.features.as_ref().unwrap();
        assert_eq!((report.sae.d_sae, &report.sae.name), (96, &sae));
        let [found] = &report.prompts[..] else { panic!("one prompt") };
        assert_eq!(found.positions.len(), tokens.len());
        for (row, position) in rows.iter().zip(&found.positions) {
            let best = ranked(row);
            assert_eq!(position.n_active, best.len(), "{name}");
            let (which, much): (Vec<usize>, Vec<f64>) =
                position.top.iter().map(|active| (active.feature, active.activation)).unzip();
            let (expected, values): (Vec<usize>, Vec<f64>) = best.into_iter().take(4).unzip();
            assert_eq!(which, expected, "{name}");
            assert_close(name, &much, &values, TOLERANCE);
        }
        let expected: Vec<(usize, f64)> = ranked(&largest).into_iter().take(4).collect();
        for (trace, (feature, activation)) in found.overall.iter().zip(&expected) {
            assert_eq!(trace.feature, *feature, "{name}");
            assert_close(name, &[trace.activation], &[*activation], TOLERANCE);
            assert_eq!(trace.activations[trace.position], trace.activation);
        }
        for (trace, feature) in found.watched.iter().zip(watch) {
            let column: Vec<f64> = rows.iter().map(|row| row[feature]).collect();
            assert_close(name, &trace.activations, &column, TOLERANCE);
        }
        for (total, (feature, activation)) in report.overall.iter().zip(&expected) {
            let column: Vec<f64> = rows.iter().map(|row| row[*feature]).collect();
            let mean = column.iter().sum::<f64>() / column.len() as f64;
            assert_eq!(total.feature, *feature);
            assert_close(name, &[total.activation, total.mean], &[*activation, mean], TOLERANCE);
            assert_eq!(total.n_active, column.iter().filter(|&&x| x > 0.0).count());
        }
        let quality = Sae::load(&golden.dir.join("sae").join(name)).unwrap();
        let quality = quality.quality(&model, std::slice::from_ref(&tokens), &Positions::All).unwrap();
        let losses = report.quality.losses.as_ref().unwrap();
        assert_eq!(report.quality.l0, quality.l0);
        assert_eq!(report.quality.explained_variance, quality.explained_variance);
        assert_eq!((losses.spliced, losses.mean), (quality.losses.spliced, quality.losses.mean));
        assert_eq!(losses.recovered_from_zero, quality.losses.recovered_from_zero());
        // The table of the loss says the same, as changes.
        let table = record.table("loss", Quantity::Change).unwrap();
        let changes = [losses.spliced, losses.zero, losses.mean].map(|loss| loss - losses.clean);
        let found: Vec<f64> = table.values.iter().flatten().copied().collect();
        assert_close(name, &found, &changes, 1e-12);
        assert_eq!(table.axes[0].labels, ["reconstruction", "zero", "mean"]);
    }
}

#[test]
fn positions_that_do_not_count_are_listed_and_left_out_of_everything_else() {
    let Some(golden) = Golden::open(Processing::Raw) else { return };
    let (model, sae) = beside(&golden, "standard");
    let (one, two) = (golden.ids("clean"), golden.ids("corrupt"));
    let method = Method::Features(FeatureReading { at: Some(Positions::From(3)), ..reading(sae.clone()) });
    let record = asked(&golden, &[one.clone(), two.clone()], method).run_quietly(&model).unwrap();
    let report = record.results.features.as_ref().unwrap();
    assert_eq!(report.quality.n_positions, one.len() + two.len() - 6);
    for found in &report.prompts {
        let counts: Vec<bool> = found.positions.iter().map(|position| position.counts).collect();
        assert_eq!(counts, (0..counts.len()).map(|pos| pos >= 3).collect::<Vec<_>>());
        assert!(found.positions[0].n_active > 0 && found.overall.iter().all(|trace| trace.position >= 3));
    }
    let best = &report.overall[0];
    let of_prompt = |prompt: usize| report.prompts[prompt].overall[0].activation;
    assert_eq!(best.activation, of_prompt(0).max(of_prompt(1)));
    assert_eq!(best.activation, of_prompt(best.prompt));

    // The first pass alone tells the same features, and nothing of losses.
    let lean = FeatureReading { losses: LossRuns::LeftOut, at: Some(Positions::From(3)), ..reading(sae) };
    let experiment = asked(&golden, &[one, two], Method::Features(lean));
    assert_eq!(experiment.tables_of().unwrap(), Vec::<String>::new());
    let lean = experiment.run_quietly(&model).unwrap();
    let bare = lean.results.features.as_ref().unwrap();
    assert_eq!((&bare.prompts, &bare.overall), (&report.prompts, &report.overall));
    assert!(bare.quality.losses.is_none() && lean.results.tables.is_empty() && lean.is_complete());
}

#[test]
fn what_cannot_be_asked_of_an_autoencoder_is_refused() {
    let Some(golden) = Golden::open(Processing::Raw) else { return };
    let (model, sae) = beside(&golden, "topk");
    let tokens = golden.ids("clean");
    let refused = |model: &TextModel, reading: FeatureReading| {
        let experiment = asked(&golden, std::slice::from_ref(&tokens), Method::Features(reading));
        experiment.run_quietly(model).unwrap_err().to_string()
    };
    let closed = refused(&golden.model, reading(sae.clone()));
    assert!(closed.contains("is not open beside this model; open: none"), "{closed}");
    let other = refused(&model, reading("another".into()));
    assert!(other.contains(&sae.0), "{other}");
    let far = refused(&model, FeatureReading { watch: vec![96], ..reading(sae.clone()) });
    assert!(far.contains("feature 96 does not exist") && far.contains("0 to 95"), "{far}");
    let none = refused(&model, FeatureReading { top: Some(0), ..reading(sae.clone()) });
    assert!(none.contains("1 to 1000"), "{none}");
    let past = refused(&model, FeatureReading { at: Some(Positions::At(vec![99])), ..reading(sae) });
    assert!(past.contains("position 99"), "{past}");

    let folded = Golden::open(Processing::Folded).unwrap();
    let sae = Sae::load(&golden.dir.join("sae/topk")).unwrap();
    let message = folded.model.with_sae(sae).unwrap_err().to_string();
    assert!(message.contains("load the model with raw weights"), "{message}");
}

#[test]
fn an_autoencoder_opened_from_bytes_is_the_one_in_the_folder() {
    let Some(golden) = Golden::open(Processing::Raw) else { return };
    let folder = golden.dir.join("sae/gated");
    let (config, weights) = (folder.join("cfg.json"), folder.join("sae_weights.safetensors"));
    let name = SaeChoice::from("inside");
    let found =
        Sae::from_bytes(&name, &std::fs::read_to_string(config).unwrap(), &std::fs::read(weights).unwrap());
    let (found, folder) = (found.unwrap(), Sae::load(&folder).unwrap());
    assert_eq!((found.name(), found.hash(), found.config()), (&name, folder.hash(), folder.config()));
    assert!(Sae::from_bytes(&name, "{}", &[]).unwrap_err().to_string().contains("inside/cfg.json"));
}
