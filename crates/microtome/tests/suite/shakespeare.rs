//! A checkpoint trained by nanoGPT itself: its logits, its validation loss, a head sweep, its text.

use microtome::method::ablate::{Ablate, Targets};
use microtome::method::change::Replacement;
use microtome::method::generate::Generate;
use microtome::metric::{MetricId, Row, log_sum_exp};
use microtome::model::{Positions, Precision, Processing, RunOptions, with_rows};
use microtome::{Answer, Bos, Experiment, Method, Prompt, Quantity, Text, TextModel};

use crate::golden_data::{assert_close, load_model, shared, values};

fn open(processing: Processing) -> Option<(TextModel, serde_json::Value, std::path::PathBuf)> {
    let dir = shared("MICROTOME_SHAKESPEARE", "models/nanogpt-shakespeare")?;
    let json = std::fs::read_to_string(dir.join("expected.json")).unwrap();
    Some((load_model(&dir.join("ckpt.pt"), processing), serde_json::from_str(&json).unwrap(), dir))
}

fn experiment(expected: &serde_json::Value, processing: Processing, method: Method) -> Experiment {
    Experiment {
        model: "nanogpt-shakespeare".to_owned(),
        weights: processing,
        precision: Precision::F32,
        bos: Bos::Prepend,
        prompts: vec![Prompt {
            clean: Text::Text(expected["text"].as_str().unwrap().to_owned()),
            corrupt: None,
            answers: vec![Answer::Text(expected["target"].as_str().unwrap().to_owned())],
            wrong_answers: vec![],
        }],
        method,
        metrics: vec![MetricId::named("prob").unwrap()],
        read_at: None,
        seed: 0,
    }
}

#[test]
fn shakespeare_logits_and_tokens_equal_nanogpt() {
    let Some((model, expected, dir)) = open(Processing::Raw) else { return };
    let tensors = microtome::model::load_safetensors(&dir.join("expected.safetensors")).unwrap();
    let text = Text::Text(expected["text"].as_str().unwrap().to_owned());
    let tokens = model.tokens(&text, Bos::Prepend).unwrap();
    assert!(!tokens.bos_prepended, "a character vocabulary has no BOS");
    let ids: Vec<f64> = tokens.ids.iter().map(|&id| f64::from(id)).collect();
    for (name, tensor) in &tensors {
        if name.contains("ids") {
            assert_eq!(values(tensor), ids);
        }
    }
    let logits = tensors.iter().find(|(name, _)| name.contains("logits")).expect("logits").1;
    let run = model.model().run(&tokens.ids, &RunOptions::default()).unwrap();
    assert_close("logits", &values(run.logits().unwrap()), &values(logits), 1e-4);
}

#[test]
fn shakespeare_head_sweep_at_the_last_position_equals_torch_hooks() {
    let Some((model, expected, _)) = open(Processing::Raw) else { return };
    let ablate =
        Ablate { clamp: None, targets: Targets::Heads, with: Replacement::Zero, at: Positions::Last };
    let record = experiment(&expected, Processing::Raw, Method::Ablate(ablate)).run_quietly(&model).unwrap();
    let clean = record.results.prompts[0].runs[0].metrics[0].value;
    assert!((clean - expected["clean_prob"].as_f64().unwrap()).abs() < 1e-5);
    let reference: Vec<Vec<f64>> =
        serde_json::from_value(expected["delta_probs_last_pos_zero"].clone()).unwrap();
    let table = record.table("prob", Quantity::Change).unwrap();
    // The reference is clean - ablated, our change is edited - original.
    let found: Vec<f64> = table.values.iter().map(|v| -v.unwrap()).collect();
    assert_close("change in probability", &found, &reference.concat(), 1e-5);
}

#[test]
fn shakespeare_greedy_text_equals_nanogpt() {
    for processing in [Processing::Raw, Processing::Folded] {
        let Some((model, expected, _)) = open(processing) else { return };
        let (text, continued) = (expected["text"].as_str().unwrap(), expected["greedy40"].as_str().unwrap());
        let added = continued.strip_prefix(text).unwrap();
        // nanoGPT slides its window where the text outgrows the context; ours ends there.
        let n_ctx = model.config().n_ctx;
        let fits = added.chars().count().min(n_ctx - text.chars().count());
        let generate = Generate {
            max_new_tokens: fits,
            temperature: 0.0,
            cut: vec![],
            with: Replacement::Zero,
            clamp: vec![],
            features: None,
        };
        let mut experiment = experiment(&expected, processing, Method::Generate(generate));
        experiment.metrics.clear();
        let record = experiment.run_quietly(&model).unwrap();
        let generated = record.results.generation.unwrap().control_text;
        assert_eq!(generated, added.chars().take(fits).collect::<String>());
    }
}

#[test]
fn shakespeare_validation_loss_is_what_training_reported() {
    let Some((model, expected, _)) = open(Processing::Folded) else { return };
    let Some(text) = shared("MICROTOME_SHAKESPEARE_TEXT", "data/tinyshakespeare.txt") else { return };
    let text = std::fs::read_to_string(text).unwrap();
    let validation: String = text.chars().skip(text.chars().count() * 9 / 10).collect();
    let ids = model.tokenizer().unwrap().encode(&validation).unwrap();
    let n_ctx = model.config().n_ctx;
    // Training sampled windows at random; every sixth window is about as many tokens.
    let windows: Vec<&[u32]> = ids.windows(n_ctx + 1).step_by(n_ctx * 6).collect();
    let loss = MetricId::named("loss").unwrap();
    let (mut sum, mut count) = (0.0, 0);
    for batch in windows.chunks(16) {
        let inputs: Vec<&[u32]> = batch.iter().map(|window| &window[..n_ctx]).collect();
        let runs = model.model().run_batch(&inputs, &RunOptions::default()).unwrap();
        for (run, window) in runs.iter().zip(batch) {
            with_rows(run.logits().unwrap(), |rows| {
                for (logits, &next) in rows.chunks(model.config().d_vocab).zip(&window[1..]) {
                    let log_z = log_sum_exp(logits);
                    let (original, original_log_z) = (logits, log_z);
                    let next = Some(next);
                    let row = Row { logits, log_z, original, original_log_z, answers: &[], wrong: &[], next };
                    sum += loss.row(&row);
                    count += 1;
                }
            })
            .unwrap();
        }
    }
    let (found, reported) = (sum / f64::from(count), expected["best_val_loss"].as_f64().unwrap());
    // Two samples of about 20,000 characters each: they differ by a few hundredths.
    assert!((found - reported).abs() < 0.04, "{found} against {reported}");
}
