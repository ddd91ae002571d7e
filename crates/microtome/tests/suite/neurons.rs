//! Neurons: on prompts, by their weights, without them; held at a value while text is generated.

use microtome::method::attribution::Attribution;
use microtome::method::change::Replacement;
use microtome::method::clamp::Clamp;
use microtome::method::generate::{Generate, Generation};
use microtome::method::neuron::{NeuronProfile, NeuronReport};
use microtome::method::strongest_neurons::{RankedBy, StrongestNeurons};
use microtome::model::{Change, Edit, Precision, Processing, RunOptions, Site, Value, as_f64};
use microtome::{Answer, Bos, Component, Experiment, Method, Prompt, Quantity, Record, Text, TextModel};

use crate::laws::{toy, toy_raw};

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
        features: None,
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

const FIRST: [u32; 6] = [3, 14, 15, 9, 2, 6];
const SECOND: [u32; 4] = [5, 3, 5, 8];

fn profile(neuron: &str, prompts: &[&[u32]], processing: Processing) -> Experiment {
    let neuron = neuron.parse().unwrap();
    let profile = NeuronProfile { neuron, tokens: Some(4), reference: vec![] };
    Experiment { weights: processing, ..ask(Method::Neuron(profile), prompts) }
}

fn report(record: &Record) -> &NeuronReport {
    record.results.neuron.as_ref().unwrap()
}

/// Logits of the last position with the neuron of layer 1 at a value.
fn logits(model: &TextModel, ids: &[u32], neuron: usize, value: Option<f64>) -> Vec<f64> {
    let edit = |x| Edit::new(Site::MlpPost.at(1), Change::Set(Value::Scalar(x))).units([neuron]);
    let edits = value.map(edit).into_iter().collect();
    let run = model.model().run(ids, &RunOptions { edits, ..Default::default() }).unwrap();
    as_f64(run.logits().unwrap()).unwrap().to_vec2().unwrap().pop().unwrap()
}

fn entropy(logits: &[f64]) -> f64 {
    let best = logits.iter().copied().fold(f64::MIN, f64::max);
    let sum: f64 = logits.iter().map(|x| (x - best).exp()).sum();
    -logits.iter().map(|x| (x - best).exp() / sum * (x - best - sum.ln())).sum::<f64>()
}

#[test]
fn a_profile_has_the_activation_at_every_position_and_what_is_lost_with_it_at_0_and_at_its_mean() {
    let model = toy();
    let record = profile("L1N7", &[&FIRST], Processing::Folded).run_quietly(&model).unwrap();
    let expected: Vec<f64> = rows(&model, &FIRST, &[], Site::MlpPost, 1).iter().map(|row| row[7]).collect();
    assert_eq!(report(&record).activations, std::slice::from_ref(&expected));
    let table = record.table("neuron_activation", Quantity::Value).unwrap();
    assert_eq!(table.values, expected.iter().copied().map(Some).collect::<Vec<_>>());
    let mean = expected.iter().sum::<f64>() / 6.0;
    assert!((report(&record).mean - mean).abs() < 1e-6);
    let table = record.table("entropy", Quantity::Value).unwrap();
    let plain = entropy(&logits(&model, &FIRST, 7, None));
    for (found, value) in table.values.iter().zip([0.0, mean]) {
        let expected = entropy(&logits(&model, &FIRST, 7, Some(value)));
        assert!((found.unwrap() - expected).abs() < 1e-5);
        assert!((expected - plain).abs() > 1e-4, "the neuron does something");
    }
    assert_eq!(record.experiment.tables_of().unwrap()[..2], ["neuron_activation", "entropy"]);
}

#[test]
fn a_profile_over_prompts_takes_the_mean_over_all_their_positions() {
    let model = toy();
    let record = profile("L1N7", &[&FIRST, &SECOND], Processing::Folded).run_quietly(&model).unwrap();
    let activations = &report(&record).activations;
    assert_eq!((activations[0].len(), activations[1].len()), (6, 4));
    let mean = activations.concat().iter().sum::<f64>() / 10.0;
    assert!((report(&record).mean - mean).abs() < 1e-6);
    let table = record.table("entropy", Quantity::Change).unwrap();
    let change =
        |ids: &[u32]| entropy(&logits(&model, ids, 7, Some(mean))) - entropy(&logits(&model, ids, 7, None));
    let expected = (change(&FIRST) + change(&SECOND)) / 2.0;
    assert!((table.values[1].unwrap() - expected).abs() < 1e-5);
    assert!(record.table("neuron_activation", Quantity::Value).is_none(), "positions differ");
    let reference = vec![Text::Ids(SECOND.to_vec())];
    let neuron = "L1N7".parse().unwrap();
    let method = Method::Neuron(NeuronProfile { neuron, tokens: None, reference });
    let record = ask(method, &[&FIRST]).run_quietly(&model).unwrap();
    assert!((report(&record).mean - activations[1].iter().sum::<f64>() / 4.0).abs() < 1e-6);
}

#[test]
fn what_a_neuron_writes_is_what_a_unit_of_it_adds_to_logits_with_the_scale_frozen() {
    for (model, processing) in [(toy(), Processing::Folded), (toy_raw(), Processing::Raw)] {
        let record = profile("L2N5", &[&FIRST], processing).run_quietly(&model).unwrap();
        let report = report(&record);
        // The last layer writes to the logits alone: its direct share is all there is, times the scale.
        let scale = rows(&model, &FIRST, &[], Site::LnFinalScale, 0)[5][0];
        let share = |token: u32, from: u32| {
            let attribution = Attribution { neurons: vec![2], ..Default::default() };
            let mut asked = ask(Method::DirectAttribution(attribution), &[&FIRST]);
            asked.weights = processing;
            asked.prompts[0].answers = vec![Answer::Id(token)];
            asked.prompts[0].wrong_answers = vec![Answer::Id(from)];
            let record = asked.run_quietly(&model).unwrap();
            record.table("direct_neurons", Quantity::Change).unwrap().values[5].unwrap()
        };
        let active = report.activations[0][5];
        let (high, low) = (&report.promoted, &report.suppressed);
        assert_eq!((high.len(), low.len()), (4, 4));
        assert!(high[0].value > 0.0 && low[0].value < 0.0);
        let best = &high[0];
        for other in high[1..].iter().chain(low) {
            let expected = share(best.token.id, other.token.id) * scale / active;
            assert!((best.value - other.value - expected).abs() < 1e-4, "{processing:?}");
        }
        // Nothing lies beyond the ends, and all of them together have mean 0.
        let all = NeuronProfile { neuron: "L2N5".parse().unwrap(), tokens: Some(1000), reference: vec![] };
        let all = Experiment { weights: processing, ..ask(Method::Neuron(all), &[&FIRST]) };
        let all = all.run_quietly(&model).unwrap().results.neuron.unwrap();
        assert_eq!((all.promoted.len(), &all.promoted[..4]), (23, &high[..]));
        assert!(all.promoted.iter().map(|token| token.value).sum::<f64>().abs() < 1e-4);
        assert!(all.promoted.is_sorted_by(|a, b| a.value >= b.value));
    }
}

#[test]
fn the_strongest_neurons_are_the_largest_of_all_by_either_number() {
    let model = toy();
    let strongest = |by| {
        let method = StrongestNeurons { layers: vec![2, 0], by, top: Some(6) };
        let mut asked = ask(Method::StrongestNeurons(method), &[&FIRST, &SECOND]);
        for prompt in &mut asked.prompts {
            prompt.answers = vec![Answer::Id(4)];
        }
        asked
    };
    let mean_at_end = |layer| -> Vec<f64> {
        let last = |ids: &[u32]| rows(&model, ids, &[], Site::MlpPost, layer).pop().unwrap();
        last(&FIRST).iter().zip(last(&SECOND)).map(|(a, b)| (a + b) / 2.0).collect()
    };
    let mut all: Vec<(String, f64)> = vec![];
    for layer in [2, 0] {
        all.extend(mean_at_end(layer).into_iter().enumerate().map(|(n, x)| (format!("L{layer}N{n}"), x)));
    }
    all.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
    let record = strongest(RankedBy::Activation).run_quietly(&model).unwrap();
    let [active, share] = &record.results.tables[..] else { panic!("two tables") };
    for (i, (name, value)) in all[..6].iter().enumerate() {
        assert_eq!((&active.axes[0].labels[i], &active.label(i)), (name, name));
        assert!((active.values[i].unwrap() - value).abs() < 1e-6);
    }
    assert_eq!((active.spread.len(), share.axes.clone()), (6, active.axes.clone()));

    let mut asked = strongest(RankedBy::DirectAttribution);
    let record = asked.run_quietly(&model).unwrap();
    assert_eq!(asked.tables_of().unwrap(), ["direct_neurons", "neuron_activation"]);
    asked.method = Method::DirectAttribution(Attribution { neurons: vec![2, 0], ..Default::default() });
    let whole = asked.run_quietly(&model).unwrap();
    let whole = whole.table("direct_neurons", Quantity::Change).unwrap();
    let shares = &record.results.tables[0];
    for (i, (name, value, spread)) in
        whole.strongest(66).into_iter().filter(|(name, ..)| !name.contains("bias")).take(6).enumerate()
    {
        assert_eq!((&shares.label(i), shares.values[i], shares.spread[i]), (&name, Some(value), spread));
    }
}

#[test]
fn profiles_of_what_is_no_neuron_are_refused() {
    let refused = |method, says: &str| {
        let message = ask(method, &[&FIRST]).run_quietly(&toy()).unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
    };
    let of = |name: &str, tokens| {
        Method::Neuron(NeuronProfile { neuron: name.parse().unwrap(), tokens, reference: vec![] })
    };
    refused(of("L1H2", None), "no neuron");
    refused(of("m1", None), "no neuron");
    refused(of("L1N40", None), "neurons 0 to 31");
    refused(of("L1N4", Some(0)), "1 to 1000");
    let strongest = |layers: &[usize], by, top| {
        Method::StrongestNeurons(StrongestNeurons { layers: layers.to_vec(), by, top })
    };
    refused(strongest(&[4], RankedBy::Activation, None), "layers 0 to 2");
    refused(strongest(&[1, 1], RankedBy::Activation, None), "twice");
    refused(strongest(&[1], RankedBy::Activation, Some(0)), "1 or more");
    refused(strongest(&[1], RankedBy::DirectAttribution, None), "right answer");
}
