//! Scans of a text against brute force: every window run by itself, every number computed from all values.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use microtome::corpus_scan::{
    CorpusScan, Features, Neurons, ScanSettings, ScanWatch, Word, neurons_named, scan,
};
use microtome::method::text_scan::TextScan;
use microtome::model::tokenizer::{END_OF_TEXT, character_tokenizer};
use microtome::model::{Hook, RunOptions, Site, Tensor, Tokenizer};
use microtome::{Component, Experiment, Method, Prompt, Result, Text, TextModel, Watch};
use tempfile::TempDir;

use crate::laws::toy;

const BOS: u32 = 22;

/// The toy model reading letters from `a` to `v`.
pub fn reader() -> TextModel {
    let json = character_tokenizer(('a'..='v').zip(0..), Some(BOS));
    let tokenizer = Tokenizer::parse_json(Path::new("tokenizer.json"), json.as_bytes()).unwrap();
    toy().with_tokenizer(tokenizer)
}

/// Documents of letters in no order, one of them shorter than a window and one empty.
pub fn documents() -> Vec<String> {
    let letter = |i: usize| char::from(b'a' + ((i * i * 7 + i * 13 + i / 9) % 22) as u8);
    let of = |from: usize, len: usize| (from..from + len).map(letter).collect::<String>();
    vec![of(0, 100), of(300, 3), String::new(), of(1000, 47), of(2000, 150)]
}

pub struct Corpus {
    _dir: TempDir,
    pub path: PathBuf,
}

pub fn corpus() -> Corpus {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("text.txt");
    std::fs::write(&path, documents().join(END_OF_TEXT)).unwrap();
    Corpus { _dir: dir, path }
}

pub fn settings() -> ScanSettings {
    ScanSettings { window: 9, batch: 3, top: 5, context: 3, ..Default::default() }
}

fn neurons(names: &[&str]) -> Neurons {
    let named: Vec<Component> = names.iter().map(|name| neurons_named(name).unwrap()).collect();
    Neurons::new(&named, toy().config()).unwrap()
}

pub fn run(
    features: &dyn Features,
    settings: &ScanSettings,
    begun: Option<CorpusScan>,
    limit: Option<u64>,
) -> Result<CorpusScan> {
    let never = AtomicBool::new(false);
    let mut watch = ScanWatch { cancel: &never, progress: &mut |_| {}, save: None, limit };
    let found = scan(&reader(), &corpus().path, features, settings, begun, &mut watch)?;
    // The file is another each time, with the same text.
    Ok(CorpusScan { text: String::new(), ..found })
}

/// A window of the text: its tokens without BOS, the byte it begins at, and a hook's values at each.
pub struct Read {
    pub ids: Vec<u32>,
    pub byte: usize,
    /// `[token][unit]`.
    pub values: Vec<Vec<f32>>,
}

pub fn by_hand(model: &TextModel, hook: Hook, len: usize) -> Vec<Read> {
    let mut found = vec![];
    let mut byte = 0;
    for document in documents() {
        for (i, part) in document.as_bytes().chunks(len).enumerate() {
            let ids: Vec<u32> = part.iter().map(|letter| u32::from(letter - b'a')).collect();
            let whole: Vec<u32> = [BOS].into_iter().chain(ids.clone()).collect();
            let options = RunOptions { reads: vec![hook], ..Default::default() };
            let run = model.model().run(&whole, &options).unwrap();
            let values = run.cache.get(hook).unwrap().to_vec2::<f32>().unwrap()[1..].to_vec();
            found.push(Read { ids, byte: byte + i * len, values });
        }
        byte += document.len() + END_OF_TEXT.len();
    }
    found
}

/// Rows that run together may round otherwise than when they run alone.
pub fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-5 * b.abs().max(1.0)
}

#[test]
fn passages_and_statistics_are_those_of_brute_force() {
    let model = reader();
    let found = run(&neurons(&["L1N3", "L2", "L1N30"]), &settings(), None, None).unwrap();
    assert!(found.complete);
    assert_eq!((found.tokens, found.windows), (300, 13 + 1 + 6 + 19));
    let names: Vec<&str> = found.features.iter().map(|summary| &summary.feature[..]).collect();
    assert_eq!(
        (names.len(), names[0], names[1], names[32], names[33]),
        (34, "L1N3", "L2N0", "L2N31", "L1N30")
    );
    for (summary, (layer, neuron)) in [&found.features[0], &found.features[1 + 17], &found.features[33]]
        .into_iter()
        .zip([(1, 3), (2, 17), (1, 30)])
    {
        let windows = by_hand(&model, Site::MlpPost.at(layer), 8);
        let of = |window: &Read| window.values.iter().map(|row| row[neuron]).collect::<Vec<f32>>();
        let all: Vec<f64> = windows.iter().flat_map(of).map(f64::from).collect();
        let n = all.len() as f64;
        let mean = all.iter().sum::<f64>() / n;
        let central = |power| all.iter().map(|x| (x - mean).powi(power)).sum::<f64>() / n;
        assert_eq!(summary.moments.count, 300);
        assert!(close(summary.moments.mean, mean) && close(summary.deviation, central(2).sqrt()));
        assert!(close(summary.skewness.unwrap(), central(3) / central(2).powf(1.5)));
        assert!(close(summary.max, all.iter().copied().fold(f64::MIN, f64::max)));
        assert!(close(summary.min, all.iter().copied().fold(f64::MAX, f64::min)));
        let active = all.iter().filter(|&&x| x > 0.0).count();
        assert_eq!((summary.active, summary.density), (active as u64, active as f64 / n));
        assert!(active > 0 && active < 300, "no test otherwise");
        let histogram = &summary.histogram;
        assert_eq!(histogram.counts.iter().sum::<u64>(), 300);
        assert!(histogram.first as f64 * histogram.width <= summary.min);
        let end = histogram.first + histogram.counts.len() as i64;
        assert!(summary.max < end as f64 * histogram.width);

        let mut best: Vec<(usize, usize, f32)> = vec![];
        for (number, window) in windows.iter().enumerate() {
            let values = of(window);
            let at = (0..values.len()).max_by(|&a, &b| values[a].total_cmp(&values[b])).unwrap();
            best.push((number, at, values[at]));
        }
        best.sort_by(|a, b| b.2.total_cmp(&a.2));
        assert_eq!(summary.passages.len(), 5);
        for (passage, &(number, at, value)) in summary.passages.iter().zip(&best) {
            let window = &windows[number];
            assert_eq!((passage.window, passage.position), (number as u64, at + 1));
            assert_eq!((passage.token.id, passage.offset), (window.ids[at], Some((window.byte + at) as u64)));
            assert!(close(passage.activation.into(), value.into()));
            let (from, to) = (at.saturating_sub(3), (at + 4).min(window.ids.len()));
            let tokens: Vec<Word> = window.ids[from..to].iter().map(|&id| model.label(id).into()).collect();
            assert_eq!((&passage.tokens, passage.at), (&tokens, at - from));
            for (found, expected) in passage.activations.iter().zip(&of(window)[from..to]) {
                assert!(close((*found).into(), (*expected).into()));
            }
        }
    }
}

#[test]
fn a_scan_that_was_stopped_anywhere_and_saved_ends_as_one_that_was_not() {
    let features = neurons(&["L0N2", "L1"]);
    let dir = tempfile::tempdir().unwrap();
    let saved = dir.path().join("scan.json");
    let text = corpus();
    let scan_with = |begun, batches: usize| {
        let cancel = AtomicBool::new(false);
        let seen = Cell::new(0);
        let mut progress = |_: &CorpusScan| {
            cancel.store(seen.get() >= batches, Ordering::Relaxed);
            seen.set(seen.get() + 1);
        };
        let mut save = |scan: &CorpusScan| scan.write(&saved);
        let mut watch =
            ScanWatch { cancel: &cancel, progress: &mut progress, save: Some(&mut save), limit: None };
        scan(&reader(), &text.path, &features, &settings(), begun, &mut watch).unwrap()
    };
    let whole = scan_with(None, usize::MAX);
    assert!(whole.complete);
    for batches in [1, 2, 5] {
        let mut found = scan_with(None, batches);
        assert_eq!((found.complete, found.windows), (false, 3 * batches as u64));
        let mut rounds = 0;
        while !found.complete {
            let begun = CorpusScan::read(&saved).unwrap();
            assert_eq!(begun, found, "a file says all there is");
            found = scan_with(Some(begun), batches);
            rounds += 1;
        }
        assert!(rounds > 1);
        assert_eq!(found, whole);
    }
    assert_eq!(scan_with(Some(whole.clone()), usize::MAX), whole, "nothing is left to do");
}

#[test]
fn a_limit_stops_after_the_batch_it_falls_into_and_a_higher_one_goes_on() {
    let features = neurons(&["L1N3"]);
    let whole = run(&features, &settings(), None, None).unwrap();
    let part = run(&features, &settings(), None, Some(50)).unwrap();
    assert_eq!((part.tokens, part.complete), (72, false));
    assert_eq!(run(&features, &settings(), Some(part.clone()), Some(60)).unwrap(), part);
    let more = run(&features, &settings(), Some(part), Some(100)).unwrap();
    assert_eq!(run(&features, &settings(), Some(more), None).unwrap(), whole);
}

#[test]
fn how_many_windows_run_at_a_time_changes_nothing() {
    let features = neurons(&["L1", "L2N3"]);
    let of = |batch| run(&features, &ScanSettings { batch, ..settings() }, None, None).unwrap();
    let expected = of(1);
    for batch in [2, 7, 100] {
        let found = of(batch);
        assert_eq!((found.tokens, found.windows, &found.place), (300, 39, &expected.place));
        for (a, b) in found.features.iter().zip(&expected.features) {
            assert!(close(a.moments.mean, b.moments.mean) && close(a.deviation, b.deviation));
            assert_eq!(a.active, b.active);
            let places = |summary: &microtome::corpus_scan::FeatureSummary| {
                summary.passages.iter().map(|passage| (passage.window, passage.position)).collect::<Vec<_>>()
            };
            assert_eq!(places(a), places(b));
        }
    }
}

/// The first dimensions of a layer's output, and how large it is.
struct Stream;

impl Features for Stream {
    fn hooks(&self) -> Vec<Hook> {
        vec![Site::ResidPost.at(0)]
    }
    fn names(&self) -> Vec<String> {
        ["first", "second", "norm"].map(str::to_owned).to_vec()
    }
    fn rows(&self, activations: &[&Tensor]) -> Result<Tensor> {
        let norm = activations[0].sqr()?.sum_keepdim(1)?.sqrt()?;
        Ok(Tensor::cat(&[&activations[0].narrow(1, 0, 2)?, &norm], 1)?)
    }
}

#[test]
fn whatever_is_computed_from_rows_of_activations_can_be_scanned() {
    let found = run(&Stream, &settings(), None, None).unwrap();
    let windows = by_hand(&reader(), Site::ResidPost.at(0), 8);
    let rows: Vec<&Vec<f32>> = windows.iter().flat_map(|window| &window.values).collect();
    let norm = |row: &Vec<f32>| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let mean = |of: &dyn Fn(&Vec<f32>) -> f64| rows.iter().map(|row| of(row)).sum::<f64>() / 300.0;
    let [_, second, size] = &found.features[..] else { panic!("three features") };
    assert!(close(second.moments.mean, mean(&|row| row[1].into())));
    assert!(close(size.moments.mean, mean(&norm)));
    assert_eq!(size.active, 300);
}

#[test]
fn only_what_is_above_the_threshold_is_active_and_a_passage() {
    let highest = run(&neurons(&["L1N3"]), &settings(), None, None).unwrap().features[0].max;
    let above = |threshold| {
        run(&neurons(&["L1N3"]), &ScanSettings { threshold, ..settings() }, None, None)
            .unwrap()
            .features
            .remove(0)
    };
    let (some, none) = (above(highest / 2.0), above(highest));
    assert!(
        some.active > 0 && some.passages.iter().all(|passage| f64::from(passage.activation) > highest / 2.0)
    );
    assert_eq!((none.active, none.passages.len(), none.max), (0, 0, highest));
}

#[test]
fn scans_of_something_else_and_settings_that_do_not_fit_are_refused() {
    let features = neurons(&["L1N3"]);
    let begun = || run(&features, &settings(), None, Some(50)).unwrap();
    let says = |result: Result<CorpusScan>, part: &str| {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    };
    says(run(&neurons(&["L1N4"]), &settings(), Some(begun()), None), "another features: L1N3, now L1N4");
    says(run(&features, &ScanSettings { top: 6, ..settings() }, Some(begun()), None), "settings");
    let other = |change: &dyn Fn(&mut CorpusScan)| {
        let mut begun = begun();
        change(&mut begun);
        run(&features, &settings(), Some(begun), None)
    };
    says(other(&|scan| scan.model.weight_hash = "other".to_owned()), "another model");
    says(other(&|scan| scan.text_bytes += 1), "another text");
    says(other(&|scan| scan.place.hash = "other".to_owned()), "fingerprint");
    says(run(&features, &ScanSettings { window: 1, ..settings() }, None, None), "window");
    says(run(&features, &ScanSettings { window: 21, ..settings() }, None, None), "window");
    says(run(&features, &ScanSettings { batch: 0, ..settings() }, None, None), "1 or more");
    says(run(&neurons(&[]), &settings(), None, None), "a feature");
    let never = AtomicBool::new(false);
    let mut watch = ScanWatch { cancel: &never, progress: &mut |_| {}, save: None, limit: None };
    says(scan(&toy(), &corpus().path, &features, &settings(), None, &mut watch), "no tokenizer");
    says(scan(&reader(), Path::new("nowhere.txt"), &features, &settings(), None, &mut watch), "nowhere.txt");
    says(CorpusScan::read(Path::new("nowhere.json")), "nowhere.json");
    let config = toy().config().clone();
    let named = |names: &[&str]| {
        let named: Vec<Component> = names.iter().map(|name| neurons_named(name).unwrap()).collect();
        Neurons::new(&named, &config).unwrap_err().to_string()
    };
    assert!(named(&["L1", "L1N3"]).contains("overlap"));
    assert!(named(&["L1N3", "L1N3"]).contains("twice"));
    assert!(named(&["L3"]).contains("layers 0 to 2"));
    for text in ["L1H3", "1.3", "a1", "L", ""] {
        assert!(neurons_named(text).unwrap_err().to_string().contains("no neuron"), "{text}");
    }
    assert_eq!(neurons_named("L1").unwrap(), neurons_named("m1").unwrap());
}

/// The logits of the letter `c`.
struct Logits;

impl Features for Logits {
    fn hooks(&self) -> Vec<Hook> {
        vec![Site::UnembedOut.at(0)]
    }
    fn names(&self) -> Vec<String> {
        vec!["c".to_owned()]
    }
    fn rows(&self, activations: &[&Tensor]) -> Result<Tensor> {
        Ok(activations[0].narrow(1, 2, 1)?)
    }
}

#[test]
fn hooks_above_the_blocks_are_read_at_every_token_too() {
    let found = run(&Logits, &settings(), None, None).unwrap();
    let windows = by_hand(&reader(), Site::UnembedOut.at(0), 8);
    let values: Vec<f64> =
        windows.iter().flat_map(|window| &window.values).map(|row| row[2].into()).collect();
    assert!(close(found.features[0].moments.mean, values.iter().sum::<f64>() / 300.0));
    assert_eq!(found.features[0].moments.count, 300);
}

/// A text scan as an experiment.
pub fn asks(scan: TextScan) -> Experiment {
    Experiment {
        model: "toy".to_owned(),
        weights: toy().model().processing(),
        precision: toy().model().precision(),
        bos: microtome::Bos::Prepend,
        prompts: vec![],
        method: Method::TextScan(scan),
        metrics: vec![],
        read_at: None,
        seed: 0,
    }
}

/// Of this text, as the tests scan it; it says neither neurons nor features yet.
pub fn text_scan(text: &str) -> TextScan {
    let ScanSettings { window, top, context, .. } = settings();
    TextScan {
        text: text.to_owned(),
        neurons: vec![],
        sae: None,
        features: vec![],
        top: Some(top),
        context: Some(context),
        window: Some(window),
        threshold: 0.0,
    }
}

/// The same question with the text in it.
fn asked(neurons: &[&str], text: &str) -> Experiment {
    let neurons = neurons.iter().map(|name| neurons_named(name).unwrap()).collect();
    asks(TextScan { neurons, ..text_scan(text) })
}

#[test]
fn a_text_in_the_question_is_scanned_as_the_file_of_it() {
    let names = ["L1N3", "L2"];
    // Batches, and with them the last bits, are those of the usual settings.
    let batch = ScanSettings::default().batch;
    let file = run(&neurons(&names), &ScanSettings { batch, ..settings() }, None, None).unwrap();
    let record = asked(&names, &documents().join(END_OF_TEXT)).run_quietly(&reader()).unwrap();
    let found = record.results.text_scan.as_ref().unwrap();
    assert_eq!((found.tokens, found.windows), (file.tokens, file.windows));
    assert_eq!(found.features, file.features);
    assert_eq!((record.results.runs, record.results.runs_wanted), (39, 39));
    let [largest, density] = &record.results.tables[..] else { panic!("two tables") };
    for (i, summary) in file.features.iter().enumerate() {
        assert_eq!(largest.axes[0].labels[i], summary.feature);
        assert_eq!((largest.values[i], density.values[i]), (Some(summary.max), Some(summary.density)));
    }
}

#[test]
fn a_stopped_scan_of_a_text_keeps_its_windows_and_says_how_many_are_missing() {
    let stop = AtomicBool::new(false);
    let told = Cell::new(0);
    let text = documents().join(END_OF_TEXT);
    let mut watch = Watch {
        cancel: &stop,
        progress: &mut |done, wanted| {
            told.set(told.get() + 1);
            assert_eq!(wanted, 39);
            stop.store(done >= 8, Ordering::Relaxed);
        },
        partial: None,
        memory_budget: 1 << 20,
    };
    let record = asked(&["L1N3"], &text).run(&reader(), &mut watch).unwrap();
    assert_eq!((record.results.runs, record.results.runs_wanted), (8, 39));
    assert!(!record.is_complete() && told.get() > 1);
}

#[test]
fn a_scan_of_a_text_refuses_what_it_has_no_use_for() {
    let says = |experiment: Experiment, words: &str| {
        let error = experiment.run_quietly(&reader()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    says(asked(&["L1N3"], ""), "a text");
    says(asked(&["L1N3"], END_OF_TEXT), "a text");
    says(asked(&[], "abc"), "a feature");
    says(asked(&["L1N3", "L1N3"], "abc"), "L1N3");
    let prompt = || Prompt {
        clean: Text::Text("abc".to_owned()),
        corrupt: None,
        answers: vec![],
        wrong_answers: vec![],
    };
    says(Experiment { prompts: vec![prompt()], ..asked(&["L1N3"], "abc") }, "prompts");
    says(Experiment { read_at: Some(0), ..asked(&["L1N3"], "abc") }, "position");
}
