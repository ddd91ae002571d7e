//! Transcoders: features and reconstructions as their definition says in f64, what is put into the model against values set by
//! hand, and the law that a transcoder with an MLP's own weights is that MLP.

use microtome::corpus_scan::{Features as _, SaeFeatures};
use microtome::method::feature_attribution::{FeatureAttribution, FeatureEstimate};
use microtome::method::feature_edit::{FeatureEdit, FeatureEdits};
use microtome::method::feature_profile::FeatureProfile;
use microtome::method::feature_sweep::{FeatureCells, FeatureSweep, FeatureTargets};
use microtome::method::features::{FeatureReading, LossRuns};
use microtome::method::generate::Generate;
use microtome::method::patch::Direction;
use microtome::method::remeasure::Check;
use microtome::method::steering::{DirectionLength, Steering, SteeringDirection};
use microtome::model::{Change, Edit, Positions, Processing, RunOptions, Site};
use microtome::sae::{Activations, ErrorTerm, FeatureChange};
use microtome::{Method, Quantity, Record, Text};

use crate::golden_data::{assert_close, values};
use crate::made_transcoders::{ANSWER, Bench, D_MLP, D_MODEL, D_SAE, OTHER, TOKENS, made, mlp, model};

/// f32: sums of tens of terms, two layers.
const TOLERANCE: f64 = 1e-4;

fn changes(record: &Record, metric: &str) -> Vec<f64> {
    record.table(metric, Quantity::Change).unwrap().values.iter().flatten().copied().collect()
}

#[test]
fn features_and_reconstructions_are_what_the_definition_says() {
    for made in made() {
        let name = format!("{} {}", made.architecture, made.normalization);
        let bench = Bench::new(&made);
        let (features, reconstructions) = bench.by_definition(&TOKENS);
        let sae = bench.sae();
        let x = sae.read(&bench.model, &TOKENS).unwrap();
        assert_eq!(x.target.dims(), [TOKENS.len(), made.d_out]);
        let coded = sae.encode(&x.input).unwrap();
        assert_close(&name, &values(coded.features()), &features.concat(), TOLERANCE);
        let decoded = sae.decode(&coded, coded.features()).unwrap();
        assert_eq!(decoded.dims(), [TOKENS.len(), made.d_out]);
        assert_close(&name, &values(&decoded), &reconstructions.concat(), TOLERANCE);
        let share = features.concat().iter().filter(|f| **f > 0.0).count() as f64;
        assert!(share > 0.1 * features.concat().len() as f64, "{name}: enough of them are active");

        // What it misses is missed at the place it writes at.
        let target = bench.rows(&TOKENS, made.writes);
        let square = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        let missed: Vec<f64> = target.iter().zip(&reconstructions).map(|(x, y)| square(x, y)).collect();
        let n = TOKENS.len() as f64;
        let mean: Vec<f64> = (0..made.d_out).map(|k| target.iter().map(|x| x[k]).sum::<f64>() / n).collect();
        let variation: f64 = target.iter().map(|x| square(x, &mean)).sum();
        let found = sae.quality(&bench.model, &[TOKENS.to_vec()], &Positions::All).unwrap();
        let mse = missed.iter().sum::<f64>() / n;
        assert_close(&name, &[found.mse / mse], &[1.0], TOLERANCE);
        let explained = 1.0 - missed.iter().sum::<f64>() / variation;
        assert_close(&name, &[found.explained_variance.unwrap()], &[explained], TOLERANCE);
        let errors = sae.features(&x).unwrap().relative_error;
        let expected: Vec<f64> = target
            .iter()
            .zip(&missed)
            .map(|(x, missed)| (missed / square(x, &vec![0.0; x.len()])).sqrt())
            .collect();
        let errors: Vec<f64> = errors.into_iter().flatten().collect();
        assert_close(&name, &errors, &expected, TOLERANCE);

        // Losses are those of the value written set by hand.
        let loss = |edits: Vec<Edit>| {
            let logits = bench.logits(&TOKENS, edits);
            let surprise = |(row, &next): (&[f64], &u32)| {
                row.iter().map(|x| x.exp()).sum::<f64>().ln() - row[next as usize]
            };
            logits.chunks(23).zip(&TOKENS[1..]).map(surprise).sum::<f64>() / (n - 1.0)
        };
        let by_hand = [
            loss(vec![]),
            loss(vec![bench.put(&reconstructions)]),
            loss(vec![Edit::new(made.writes, Change::Zero)]),
            loss(vec![bench.put(&vec![mean; TOKENS.len()])]),
        ];
        let losses = found.losses;
        let found = [losses.clean, losses.spliced, losses.zero, losses.mean];
        assert_close(&name, &found, &by_hand, TOLERANCE);
        let apart = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let (clean, spliced) =
            (bench.logits(&TOKENS, vec![]), bench.logits(&TOKENS, vec![bench.put(&reconstructions)]));
        assert!(apart(&clean, &spliced) > 1e-2, "{name}: splicing does something");

        // A scan reads at the place where features are read.
        let scanned = SaeFeatures::new(sae, &[]).unwrap();
        assert_eq!(scanned.hooks(), [made.reads]);
        assert_eq!(values(&scanned.rows(&[&x.input]).unwrap()), values(coded.features()), "{name}");
    }
}

#[test]
fn with_the_error_kept_nothing_changes_and_dropped_it_is_the_reconstruction() {
    for made in made() {
        let bench = Bench::new(&made);
        let sae = bench.sae();
        let Activations { input, target } = sae.read(&bench.model, &TOKENS).unwrap();
        let coded = sae.encode(&input).unwrap();
        let spliced = |error| {
            let edit = sae.splice(&coded, coded.features(), &target, error).unwrap();
            assert_eq!(edit.hook, made.writes);
            bench.logits(&TOKENS, vec![edit])
        };
        let (clean, name) = (bench.logits(&TOKENS, vec![]), made.architecture);
        assert_close(name, &spliced(ErrorTerm::Keep), &clean, 1e-5);
        let (_, reconstructions) = bench.by_definition(&TOKENS);
        let by_hand = bench.logits(&TOKENS, vec![bench.put(&reconstructions)]);
        assert_close(name, &spliced(ErrorTerm::Drop), &by_hand, TOLERANCE);
    }
}

#[test]
fn a_transcoder_with_the_mlps_own_weights_is_the_mlp() {
    for processing in [Processing::Raw, Processing::Folded] {
        let bare = model(processing);
        for layer in 0..2 {
            let made = mlp(&bare, layer);
            let model = bare.clone().with_sae(made.sae(processing)).unwrap();
            let sae = model.sae(&"made".into()).unwrap();
            let x = sae.read(&model, &TOKENS).unwrap();
            let options = RunOptions { reads: vec![Site::MlpPost.at(layer)], ..Default::default() };
            let run = model.model().run(&TOKENS, &options).unwrap();
            let neurons = values(run.cache.get(Site::MlpPost.at(layer)).unwrap());
            assert_close("features", &values(sae.encode(&x.input).unwrap().features()), &neurons, 1e-5);
            let found = sae.quality(&model, &[TOKENS.to_vec(), OTHER.to_vec()], &Positions::All).unwrap();
            assert!(found.mse < 1e-9, "{processing:?} {}", found.mse);
            assert!((found.explained_variance.unwrap() - 1.0).abs() < 1e-9);
            assert_close("loss", &[found.losses.spliced], &[found.losses.clean], 1e-5);
            let zero = found.losses.zero - found.losses.clean;
            assert!(zero.abs() > 1e-2, "the MLP matters: {zero}");
            assert_close("recovered", &[found.losses.recovered_from_zero().unwrap()], &[1.0], 1e-3);
        }
    }
}

#[test]
fn changing_a_feature_adds_its_decoder_row_where_it_is_written() {
    for made in made() {
        let bench = Bench::new(&made);
        let name = format!("{} {}", made.architecture, made.writes);
        let (features, reconstructions) = bench.by_definition(&TOKENS);
        let target = bench.rows(&TOKENS, made.writes);
        let clean = bench.logit(&TOKENS, vec![]);
        let spliced = bench.logit(&TOKENS, vec![bench.put(&reconstructions)]);
        for (change, error) in [
            (FeatureChange::Ablate, ErrorTerm::Keep),
            (FeatureChange::Set(1.5), ErrorTerm::Keep),
            (FeatureChange::Scale(2.0), ErrorTerm::Drop),
        ] {
            let record = bench.run(Method::FeatureSweep(FeatureSweep { change, error, ..bench.sweep() }));
            let report = record.results.feature_sweep.as_ref().unwrap();
            assert_eq!(report.cells.len(), 6);
            let (rows, base) = match error {
                ErrorTerm::Keep => (&target, clean),
                ErrorTerm::Drop => (&reconstructions, spliced),
            };
            for (cell, found) in report.cells.iter().zip(changes(&record, "logit")) {
                let own: Vec<f64> = features.iter().map(|row| row[cell.feature]).collect();
                assert_close(&name, &[cell.activation], &[own.iter().fold(0.0, |a: f64, b| a.max(*b))], 1e-4);
                let added: Vec<f64> = own
                    .iter()
                    .map(|own| match change {
                        FeatureChange::Scale(by) => (by - 1.0) * own,
                        FeatureChange::Set(to) => to - own,
                        _ => -own,
                    })
                    .collect();
                let by_hand = bench.changed(rows, cell.feature, &added) - base;
                assert_close(&format!("{name} {change:?}"), &[found], &[by_hand], TOLERANCE);
            }
        }
        // One position, as an edit.
        let edits = vec![FeatureEdit {
            feature: 2,
            change: FeatureChange::Add(3.0),
            at: Some(Positions::At(vec![4])),
        }];
        let asked = FeatureEdits { sae: "made".into(), edits, error: ErrorTerm::Keep };
        let added: Vec<f64> = (0..TOKENS.len()).map(|pos| if pos == 4 { 3.0 } else { 0.0 }).collect();
        let by_hand = bench.changed(&target, 2, &added) - clean;
        let found = changes(&bench.run(Method::FeatureEdit(asked)), "logit");
        assert_close(&name, &found, &[by_hand], TOLERANCE);
    }
}

#[test]
fn every_feature_and_the_error_patched_is_the_reconstruction_of_the_other_run() {
    // Without a skip connection, whose part is not of features.
    for made in made().into_iter().filter(|made| !made.has_skip()) {
        let bench = Bench::new(&made);
        let sweep = FeatureSweep {
            features: FeatureTargets::Together((0..D_SAE).collect()),
            change: FeatureChange::Patch(Direction::Noise),
            error: ErrorTerm::Drop,
            ..bench.sweep()
        };
        let mut experiment = bench.ask(&TOKENS, Method::FeatureSweep(sweep));
        experiment.prompts[0].corrupt = Some(Text::Ids(OTHER.to_vec()));
        let record = experiment.run_quietly(&bench.model).unwrap();
        let (_, there) = bench.by_definition(&OTHER);
        let by_hand = bench.logit(&TOKENS, vec![bench.put(&there)]);
        let found = record.table("logit", Quantity::Value).unwrap().values[0].unwrap();
        assert_close(made.architecture, &[found], &[by_hand], TOLERANCE);
    }
}

#[test]
fn estimates_are_derivatives_at_the_place_written_and_direct_shares_sum() {
    for made in made() {
        let bench = Bench::new(&made);
        let name = format!("{} {}", made.architecture, made.writes);
        let asked = |estimate, change, check| FeatureAttribution {
            sae: "made".into(),
            estimate,
            change,
            by: FeatureCells::Feature,
            at: (estimate == FeatureEstimate::Gradient).then_some(Positions::All),
            error: ErrorTerm::Keep,
            top: Some(20),
            check,
        };
        let small = asked(FeatureEstimate::Gradient, FeatureChange::Scale(0.999), Some(Check::Top(3)));
        let record = bench.run(Method::FeatureAttribution(small));
        for cell in &record.results.remeasured.as_ref().unwrap().cells {
            let apart = (cell.estimate - cell.exact).abs();
            // f32 logits of some units carry 1e-6; of a thousandth of a feature the first order is nearly all.
            assert!(apart < 0.05 * cell.estimate.abs() + 5e-6, "{name} {cell:?}");
        }
        let method = Method::FeatureAttribution(asked(FeatureEstimate::Direct, FeatureChange::Ablate, None));
        let mut experiment = bench.ask(&TOKENS, method);
        experiment.metrics = vec![];
        let record = experiment.run_quietly(&bench.model).unwrap();
        let report = record.results.feature_attribution.as_ref().unwrap();
        let all = report.all_features + report.bias.unwrap() + report.unexplained.unwrap();
        let last = TOKENS.len() - 1;
        let direct = microtome::method::attribution::direct_attribution(
            &bench.model,
            &TOKENS,
            last,
            &[ANSWER],
            &[],
            &[],
        )
        .unwrap();
        let layer = made.writes.layer;
        let expected = match made.writes.site {
            // b_out is the MLP's, not the neurons'.
            Site::MlpPost => continue,
            Site::MlpOut => direct.mlps[layer],
            Site::AttnOut => direct.heads[layer].iter().sum::<f64>() + direct.attention_bias[layer],
            _ => direct.accumulated.iter().find(|(at, _)| *at == format!("{layer}_pre")).unwrap().1,
        };
        assert_close(&name, &[all], &[expected], TOLERANCE);
    }
}

#[test]
fn a_feature_changed_while_text_is_written_is_the_same_token_by_token() {
    for made in made() {
        let bench = Bench::new(&made);
        for error in [ErrorTerm::Keep, ErrorTerm::Drop] {
            let edit = |feature, change| FeatureEdit { feature, change, at: Some(Positions::All) };
            let edits = vec![edit(3, FeatureChange::Set(4.0)), edit(7, FeatureChange::Scale(-2.0))];
            let features = FeatureEdits { sae: "made".into(), edits, error };
            let generate = Generate {
                max_new_tokens: 6,
                temperature: 0.0,
                cut: vec![],
                with: Default::default(),
                clamp: vec![],
                features: Some(features.clone()),
            };
            let mut experiment = bench.ask(&TOKENS, Method::Generate(generate));
            experiment.metrics = vec![];
            experiment.prompts[0].answers = vec![];
            let record = experiment.run_quietly(&bench.model).unwrap();
            let generation = record.results.generation.unwrap();
            let ids: Vec<u32> = generation.ablated.iter().map(|token| token.id).collect();
            assert_eq!(ids.len(), TOKENS.len() + 6);
            for len in TOKENS.len()..ids.len() {
                // The whole text so far in one run. What is written changes nothing at the place read, which comes before it.
                let (own, reconstructions) = bench.by_definition(&ids[..len]);
                let target = bench.rows(&ids[..len], made.writes);
                let rows = if error == ErrorTerm::Keep { target } else { reconstructions };
                let (three, seven) = (bench.decoder_row(3), bench.decoder_row(7));
                let rows: Vec<Vec<f64>> = rows
                    .iter()
                    .zip(&own)
                    .map(|(x, f)| {
                        let added = |k: usize| (4.0 - f[3]) * three[k] - 3.0 * f[7] * seven[k];
                        (0..made.d_out).map(|k| x[k] + added(k)).collect()
                    })
                    .collect();
                let logits = bench.logits(&ids[..len], vec![bench.put(&rows)]);
                let last = &logits[logits.len() - 23..];
                let best = (0..23).max_by(|&a, &b| last[a].total_cmp(&last[b])).unwrap();
                assert_eq!(best as u32, ids[len], "{} {error:?} {len}", made.architecture);
            }
            assert!(generation.comparison.unwrap().kl_mean > 1e-3);
        }
    }
}

#[test]
fn a_profile_and_steering_are_of_what_is_written() {
    for made in made() {
        let bench = Bench::new(&made);
        let profile = FeatureProfile { sae: "made".into(), feature: 5, tokens: Some(23), nearest: Some(3) };
        let mut experiment = bench.ask(&TOKENS, Method::FeatureProfile(profile));
        (experiment.prompts, experiment.metrics) = (vec![], vec![]);
        let found = experiment.run_quietly(&bench.model).unwrap().results.feature.unwrap();
        assert_eq!(found.cosine.is_some(), made.reads == made.writes);
        assert_eq!(found.sae.hook_out.as_deref(), Some(&made.writes.to_string()[..]));
        let weights = bench.model.model().weights();
        // Into the stream through W_out where neurons are written.
        let row = bench.decoder_row(5);
        let stream: Vec<f64> = match made.writes.site {
            Site::MlpPost => {
                let block = &weights.blocks[made.writes.layer];
                let out = values(&block.mlp.as_ref().unwrap().output.unpacked().unwrap().w);
                (0..D_MODEL).map(|k| (0..D_MLP).map(|i| row[i] * out[i * D_MODEL + k]).sum()).collect()
            }
            _ => row.clone(),
        };
        let unembed = values(&weights.unembed.unpacked().unwrap().w);
        let logit = |token: usize| (0..D_MODEL).map(|k| stream[k] * unembed[k * 23 + token]).sum::<f64>();
        let mean = (0..23).map(logit).sum::<f64>() / 23.0;
        for promoted in &found.promoted {
            let expected = logit(promoted.token.id as usize) - mean;
            assert_close("promoted", &[promoted.value], &[expected], TOLERANCE);
        }
        let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        assert_close("norm", &[found.decoder_norm], &[norm], TOLERANCE);

        let after = match made.writes.site {
            Site::ResidPre => made.writes.layer,
            _ => made.writes.layer + 1,
        };
        assert_eq!(bench.sae().layer_after(), after);
        let layer = after.min(1);
        let steer = |along| {
            let (strengths, length) = (vec![2.0], DirectionLength::AsIs);
            let steering = Steering { along, layer, strengths, length, max_new_tokens: 0, temperature: 0.0 };
            changes(&bench.run(Method::Steering(steering)), "logit")
        };
        let by_feature = steer(SteeringDirection::Feature { sae: "made".into(), feature: 5 });
        assert_close("steer", &by_feature, &steer(SteeringDirection::Vector(stream)), 1e-5);
    }
}

#[test]
fn reports_and_notes_say_where_it_writes() {
    let bench = Bench::new(&made()[0]);
    let reading = FeatureReading {
        sae: "made".into(),
        top: Some(4),
        at: Some(Positions::All),
        watch: vec![],
        losses: LossRuns::Measured,
    };
    let record = bench.run(Method::Features(reading));
    let report = record.results.features.as_ref().unwrap();
    assert_eq!(report.sae.hook, "blocks.1.ln2.hook_normalized");
    assert_eq!(report.sae.hook_out.as_deref(), Some("blocks.1.hook_mlp_out"));
    assert_eq!((report.sae.d_out, &report.sae.architecture[..]), (Some(D_MODEL), "transcoder"));
    let note = &record.results.notes[0];
    assert!(note.contains("blocks.1.ln2.hook_normalized, written at blocks.1.hook_mlp_out"), "{note}");
    let table = record.table("loss", Quantity::Change).unwrap();
    assert!(table.title.contains("when blocks.1.hook_mlp_out is replaced"), "{}", table.title);
    let quality = bench.sae().quality(&bench.model, &[TOKENS.to_vec()], &Positions::All).unwrap();
    assert_eq!(report.quality.explained_variance, quality.explained_variance);
    let (_, reconstructions) = bench.by_definition(&TOKENS);
    let table = record.table("logit", Quantity::Value).unwrap();
    let by_hand = bench.logit(&TOKENS, vec![bench.put(&reconstructions)]);
    assert_close("spliced", &[table.values[0].unwrap()], &[by_hand], TOLERANCE);
}
