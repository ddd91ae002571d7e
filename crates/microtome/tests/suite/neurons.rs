//! Neurons: held at a value while text is generated.

use microtome::method::change::Replacement;
use microtome::method::clamp::Clamp;
use microtome::method::generate::{Generate, Generation};
use microtome::model::{Precision, Processing, RunOptions, Site, as_f64};
use microtome::{Bos, Component, Experiment, Method, Prompt, Text, TextModel};

use crate::laws::toy;

fn ask(method: Method, prompts: &[&[u32]]) -> Experiment {
    let prompt = |ids: &&[u32]| Prompt {
        clean: Text::Ids(ids.to_vec()),
        corrupt: None,
        answers: vec![],
        wrong_answers: vec![],
    };
    Experiment {
        model: "toy".to_owned(),
        weights: Processing::Folded,
        precision: Precision::F32,
        bos: Bos::Prepend,
        prompts: prompts.iter().map(prompt).collect(),
        method,
        metrics: vec![],
        read_at: None,
        seed: 3,
    }
}

fn clamp(text: &str) -> Clamp {
    text.parse().unwrap()
}

fn generate(cut: &[&str], clamps: &[&str]) -> Experiment {
    let generate = Generate {
        max_new_tokens: 9,
        temperature: 0.0,
        cut: cut.iter().map(|part| part.parse().unwrap()).collect(),
        with: Replacement::Zero,
        clamp: clamps.iter().map(|text| clamp(text)).collect(),
    };
    ask(Method::Generate(generate), &[&[3, 14, 15, 9]])
}

fn generation(experiment: &Experiment) -> Generation {
    experiment.run_quietly(&toy()).unwrap().results.generation.unwrap()
}

/// Rows of a hook of a run, `[pos][unit]`.
fn rows(model: &TextModel, ids: &[u32], clamps: &[Clamp], site: Site, layer: usize) -> Vec<Vec<f64>> {
    let hook = site.at(layer);
    let edits = clamps.iter().map(|clamp| clamp.edit(model.config()).unwrap()).collect();
    let options = RunOptions { edits, reads: vec![hook], ..Default::default() };
    let run = model.model().run(ids, &options).unwrap();
    as_f64(run.cache.get(hook).unwrap()).unwrap().to_vec2().unwrap()
}

#[test]
fn a_clamped_neuron_holds_its_value_at_every_token_and_a_stream_equals_reruns() {
    let model = toy();
    let (first, second) = (clamp("L1N3=4"), clamp("L2N5=-2.5"));
    let found = generation(&generate(&[], &["L1N3=4", "L2N5=-2.5"]));
    assert_eq!(found.ablated.len(), 13);
    assert_ne!(found.control_text, found.ablated_text);
    let ids: Vec<u32> = found.ablated.iter().map(|token| token.id).collect();

    let clamps = [first, second];
    let plain = rows(&model, &ids, &[], Site::MlpPost, 1);
    for (row, plain) in rows(&model, &ids, &clamps, Site::MlpPost, 1).iter().zip(&plain) {
        assert_eq!(row[3], 4.0);
        // Nothing below has changed.
        assert_eq!((&row[..3], &row[4..]), (&plain[..3], &plain[4..]));
    }
    assert!(rows(&model, &ids, &clamps, Site::MlpPost, 2).iter().all(|row| row[5] == -2.5));
    // What the MLP writes changes by the neuron's output direction and nothing else.
    let weights = model.model().weights().blocks[1].mlp.as_ref().unwrap().output.unpacked().unwrap();
    let direction: Vec<f64> = as_f64(&weights.w).unwrap().to_vec2().unwrap()[3].clone();
    let written = rows(&model, &ids, &clamps, Site::MlpOut, 1);
    for ((row, before), post) in written.iter().zip(rows(&model, &ids, &[], Site::MlpOut, 1)).zip(&plain) {
        for ((x, before), d) in row.iter().zip(before).zip(&direction) {
            assert!((x - before - (4.0 - post[3]) * d).abs() < 1e-5, "{x} after {before}");
        }
    }
    // Every token was chosen as the whole text, run again with the same values held, chooses it.
    let edits = clamps.iter().map(|clamp| clamp.edit(model.config()).unwrap()).collect();
    let run = model.model().run(&ids, &RunOptions { edits, ..Default::default() }).unwrap();
    let logits: Vec<Vec<f64>> = as_f64(run.logits().unwrap()).unwrap().to_vec2().unwrap();
    for (token, logits) in found.ablated[1..].iter().zip(&logits) {
        let best = logits.iter().copied().fold(f64::MIN, f64::max);
        let sum: f64 = logits.iter().map(|x| (x - best).exp()).sum();
        let prob = (logits[token.id as usize] - best).exp() / sum;
        assert!((prob - token.prob).abs() < 1e-5, "{} against {prob}", token.prob);
        assert!(token.is_prompt || logits[token.id as usize] > best - 1e-4);
    }
}

#[test]
fn cutting_a_neuron_is_holding_it_at_0() {
    let (cut, held) = (generation(&generate(&["L1N3"], &[])), generation(&generate(&[], &["L1N3=0"])));
    assert_eq!(cut, held);
    assert!(cut.comparison.unwrap().kl_mean > 0.0, "the neuron does something");
}

#[test]
fn clamps_that_name_no_neuron_or_reach_nothing_are_refused() {
    let refused = |cut: &[&str], clamps: &[&str], says: &str| {
        let message = generate(cut, clamps).run_quietly(&toy()).unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
    };
    refused(&[], &["L1N32=1"], "neurons 0 to 31");
    refused(&[], &["L3N0=1"], "layers 0 to 2");
    refused(&[], &["L1N3=1", "L1N4=1", "L1N3=2"], "twice");
    refused(&["m1"], &["L1N3=1"], "`m1` is cut");
    refused(&["L1N3"], &["L1N3=1"], "`L1N3` is cut");
    refused(&[], &["L1N3=nan"], "NaN");
    for (text, says) in [("L1H3=1", "no neuron"), ("L1N3", "L2N17=5"), ("L1N3=x", "L2N17=5")] {
        let message = text.parse::<Clamp>().unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
    }
    let head = Clamp { neuron: Component::Head { layer: 0, head: 1 }, value: 1.0 };
    assert!(head.edit(toy().config()).unwrap_err().to_string().contains("no neuron"));
}
