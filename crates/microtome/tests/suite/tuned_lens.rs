//! Tuned lenses: their files, what they read against the formula in f64, and what is refused.

use microtome::method::logit_lens::{LENS_AXIS, LENSES, LogitLens, Norm, Rows};
use microtome::metric::MetricId;
use microtome::model::{Device, LoadOptions, Precision, Processing, RunOptions, Site, Tensor, TensorArchive};
use microtome::plot::Stroke;
use microtome::tuned_lens::{Translator, TunedLens};
use microtome::{Bos, Experiment, Method, Prompt, Quantity, Record, Results, Spread, Table, TextModel};

use crate::golden_data::{assert_close, values};
use crate::laws::{pair, toy, toy_raw};

/// A lens that does something: numbers that look random, rows of `W` summing to 0 if asked.
fn lens(model: &TextModel, centred: bool) -> TunedLens {
    let d = model.config().d_model;
    let noise = |n: usize, seed: usize| -> Vec<f32> {
        (0..n).map(|i| (((i + 1) * (7919 + 31 * seed)) as f64 * 0.618).fract() as f32 - 0.5).collect()
    };
    let translator = |layer: usize| Translator {
        weight: Tensor::from_vec(noise(d * d, layer), (d, d), &Device::Cpu).unwrap(),
        bias: Tensor::from_vec(noise(d, 100 + layer), d, &Device::Cpu).unwrap(),
    };
    let lens = TunedLens::for_model(model, (0..model.config().n_layers).map(translator).collect()).unwrap();
    if centred { lens.without_mean().unwrap() } else { lens }
}

fn prompt() -> Prompt {
    Prompt { corrupt: None, ..pair(0) }
}

fn ask(model: &TextModel, asked: LogitLens) -> microtome::Result<Record> {
    experiment(model, asked).run_quietly(model)
}

fn experiment(model: &TextModel, asked: LogitLens) -> Experiment {
    Experiment {
        model: "toy".to_owned(),
        weights: model.model().processing(),
        precision: Precision::F32,
        bos: Bos::Prepend,
        prompts: vec![prompt()],
        method: Method::LogitLens(asked),
        metrics: vec![MetricId::named("kl").unwrap(), MetricId::named("logit").unwrap()],
        read_at: None,
        seed: 3,
    }
}

fn tuned(name: &str) -> LogitLens {
    LogitLens { tuned: Some(name.to_owned()), ..LogitLens::default() }
}

#[test]
fn a_lens_that_translates_nothing_is_the_logit_lens() {
    for model in [toy(), toy_raw()] {
        let identity = TunedLens::identity(&model).unwrap();
        let model = model.with_tuned_lens("identity", identity).unwrap();
        let (plain, through) =
            (ask(&model, LogitLens::default()).unwrap(), ask(&model, tuned("identity")).unwrap());
        for lens in 0..2 {
            let tables: Vec<Table> =
                through.results.tables.iter().map(|table| of_lens(table, lens)).collect();
            let titled = |table: &Table| table.title.replace("logit lens and tuned lens", "logit lens");
            let titles: Vec<String> = tables.iter().map(titled).collect();
            let plain = &plain.results.tables;
            assert_eq!(plain.iter().map(|table| table.title.clone()).collect::<Vec<_>>(), titles);
            for (plain, table) in plain.iter().zip(tables) {
                assert_eq!(*plain, Table { title: plain.title.clone(), ..table }, "{}", plain.metric);
            }
        }
        let (plain, through) = (plain.results.lens.unwrap(), through.results.lens.unwrap());
        assert_eq!((&plain.top, &plain.top), (&through.top, &through.tuned_top));
        assert!(plain.tuned_top.is_empty());
    }
}

/// One lens's part of a table of both.
fn of_lens(table: &Table, lens: usize) -> Table {
    assert_eq!(
        (&table.axes[0].name[..], &table.axes[0].labels[..]),
        (LENS_AXIS, &LENSES.map(String::from)[..])
    );
    let n = table.values.len() / 2;
    assert_eq!(n, table.axes[1..].iter().map(|axis| axis.labels.len()).product::<usize>());
    let part = |spread: &[Option<Spread>]| spread.iter().skip(lens * n).take(n).copied().collect();
    Table {
        axes: table.axes[1..].to_vec(),
        values: table.values[lens * n..(lens + 1) * n].to_vec(),
        spread: part(&table.spread),
        ..table.clone()
    }
}

#[test]
fn the_logit_lens_beside_a_tuned_one_is_the_logit_lens() {
    let model = toy();
    let model = model.clone().with_tuned_lens("a", lens(&model, true)).unwrap();
    let several = |asked: LogitLens, prompts: Vec<Prompt>| {
        let mut experiment = experiment(&model, asked);
        experiment.prompts = prompts;
        experiment.run_quietly(&model).unwrap()
    };
    let single = |i: u32| Prompt { corrupt: None, ..pair(i) };
    for prompts in [vec![single(0)], vec![pair(1)], vec![single(0), single(1), single(2)]] {
        let plain = several(LogitLens::default(), prompts.clone());
        let both = several(tuned("a"), prompts.clone());
        let (a, b) = (&plain.results, &both.results);
        assert_eq!(a.tables.len(), b.tables.len());
        for (plain, both) in a.tables.iter().zip(&b.tables) {
            // By prompt the prompts come first.
            let at = both.axes.iter().position(|axis| axis.name == LENS_AXIS).unwrap();
            assert_eq!(at, usize::from(both.axes.len() == 3 && both.axes[0].name == "prompt"));
            let outer = if at == 1 { both.axes[0].labels.len() } else { 1 };
            let n = both.values.len() / outer / 2;
            let logit: Vec<_> = both.values.chunks(2 * n).flat_map(|of| of[..n].to_vec()).collect();
            assert_eq!(plain.values, logit, "{}", plain.metric);
        }
        assert_eq!(a.lens.as_ref().map(|lens| &lens.top), b.lens.as_ref().map(|lens| &lens.top));
        let corrupt = |results: &Results| results.corrupt_lens.clone().map(|lens| lens.top);
        assert_eq!(corrupt(a), corrupt(b));
        if let (Some(clean), Some(corrupt)) = (&b.lens, &b.corrupt_lens) {
            assert_ne!(clean.tuned_top, corrupt.tuned_top);
        }
        // A lens of noise says something else, but for the output.
        let kl = b.tables.iter().find(|table| table.metric == "kl").unwrap();
        let n = kl.values.len() / 2;
        assert_ne!(kl.values[..n], kl.values[n..]);
        assert_eq!((a.runs, a.runs_wanted), (b.runs, b.runs_wanted));
    }
    let notes = several(tuned("a"), vec![single(0)]).results.notes;
    assert!(notes[1].contains("through the translator of its layer, of the tuned lens a"), "{notes:?}");
}

#[test]
fn two_lenses_are_drawn_in_one_picture() {
    let model = toy();
    let model = model.clone().with_tuned_lens("a", lens(&model, true)).unwrap();
    let record = ask(&model, tuned("a")).unwrap();
    let kl = record.table("kl", Quantity::Value).unwrap();
    let curves = record.curves(kl).unwrap();
    let (n_rows, n) = (model.config().n_layers + 1, record.results.prompts[0].clean.ids.len());
    assert!(curves.title.ends_with("at the last position"), "{}", curves.title);
    let drawn: Vec<(&str, Stroke)> = curves.series.iter().map(|one| (&one.name[..], one.stroke)).collect();
    assert_eq!(drawn, [(LENSES[0], Stroke::Solid), (LENSES[1], Stroke::Dashed)]);
    for (lens, series) in curves.series.iter().enumerate() {
        let expected: Vec<(f64, f64)> = (0..n_rows)
            .map(|row| (row as f64, kl.values[(lens * n_rows + row) * n + n - 1].unwrap()))
            .collect();
        assert_eq!(series.points, expected);
    }
    let svg = curves.to_svg();
    assert!(LENSES.iter().all(|lens| svg.contains(&format!(">{lens}</text>"))), "no legend");
    let heatmap = kl.heatmap("");
    heatmap.check().unwrap();
    assert_eq!((heatmap.rows.labels.len(), heatmap.cols.labels.len()), (2 * n_rows, n));
    assert_eq!(heatmap.rows.labels[n_rows], "tuned lens embed");
    assert_eq!(heatmap.values, kl.values);
}

#[test]
fn rows_are_read_as_the_formula_says() {
    for (model, centred) in [(toy(), true), (toy_raw(), false)] {
        let lens = lens(&model, centred);
        let model = model.with_tuned_lens("a", lens.clone()).unwrap();
        let record = ask(&model, tuned("a")).unwrap();
        let table = of_lens(record.table("logit", Quantity::Value).unwrap(), 1);
        let (d, n_layers) = (model.config().d_model, model.config().n_layers);
        let tokens = &record.results.prompts[0].clean.ids;
        let answer = record.results.prompts[0].answers[0].id as usize;
        let weights = model.model().weights();
        let unembed = weights.unembed.unpacked().unwrap();
        let (u, u_b) = (values(&unembed.w), values(&unembed.b));
        let v = u_b.len();
        let affine = weights.ln_final.as_ref().map(|affine| (values(&affine.w), values(&affine.b)));
        let eps = model.config().norm.unwrap().eps;
        let reads = (0..n_layers).map(|layer| Site::ResidPre.at(layer)).collect();
        let run = model.model().run(tokens, &RunOptions { reads, ..Default::default() }).unwrap();
        for (layer, Translator { weight, bias }) in lens.translators().iter().enumerate() {
            let (w, b) = (values(weight), values(bias));
            let stream = values(run.cache.get(Site::ResidPre.at(layer)).unwrap());
            for (pos, x) in stream.chunks(d).enumerate() {
                let h: Vec<f64> =
                    (0..d).map(|i| x[i] + b[i] + (0..d).map(|j| w[i * d + j] * x[j]).sum::<f64>()).collect();
                let mean = h.iter().sum::<f64>() / d as f64;
                let scale = (h.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d as f64 + eps).sqrt();
                let n = |i: usize| {
                    let n = (h[i] - mean) / scale;
                    affine.as_ref().map_or(n, |(gain, bias)| n * gain[i] + bias[i])
                };
                let expected = u_b[answer] + (0..d).map(|i| n(i) * u[i * v + answer]).sum::<f64>();
                let found = table.values[layer * tokens.len() + pos].unwrap();
                assert_close("logit", &[found], &[expected], 1e-4);
            }
        }
        // The last row is the model's own output.
        let kl = of_lens(record.table("kl", Quantity::Value).unwrap(), 1);
        let last = &kl.values[n_layers * tokens.len()..];
        assert!(last.iter().all(|kl| kl.unwrap().abs() < 1e-6), "{last:?}");
        assert!(kl.values[..tokens.len()].iter().all(|kl| kl.unwrap() > 1e-3));
    }
}

#[test]
fn what_is_saved_is_read_back_the_same() {
    let model = toy_raw();
    let lens = lens(&model, false);
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("a new/folder");
    lens.save(&folder).unwrap();
    let again = TunedLens::load(&folder).unwrap();
    assert_eq!(again.config(), lens.config());
    for (a, b) in lens.translators().iter().zip(again.translators()) {
        assert_eq!((values(&a.weight), values(&a.bias)), (values(&b.weight), values(&b.bias)));
    }
    let archive = TensorArchive::open(&folder.join("params.pt")).unwrap();
    assert_eq!(archive.names().count(), 2 * model.config().n_layers);
    assert_eq!(archive.shape("1.weight").unwrap(), [model.config().d_model; 2]);
    // Keys this crate does not know are left alone, and missing ones are the package's defaults.
    let json = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&json).unwrap();
    let keys = config.as_object_mut().unwrap();
    keys.insert("something".to_owned(), 1.into());
    ["bias", "base_model_revision", "unembed_hash", "lens_type"]
        .into_iter()
        .for_each(|key| drop(keys.remove(key)));
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    assert_eq!(TunedLens::load(&folder).unwrap().config(), lens.config());

    let refused = |key: &str, value: serde_json::Value, words: &str| {
        let mut config = config.clone();
        config.as_object_mut().unwrap().insert(key.to_owned(), value);
        std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
        let message = TunedLens::load(&folder).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    };
    refused("lens_type", "mlp".into(), "`lens_type` is `mlp`; expected linear_tuned_lens");
    refused("num_hidden_layers", 9.into(), ".weight` is missing");
    refused("num_hidden_layers", 1.into(), "is not part of a tuned lens of so many layers");
    refused("bias", false.into(), "`0.bias` is not part");
    refused("d_model", 5.into(), "expected [5, 5]");
    std::fs::remove_file(folder.join("params.pt")).unwrap();
    let message = TunedLens::load(&folder).unwrap_err().to_string();
    assert!(message.contains("params.pt") && message.contains("a tuned lens is a folder"), "{message}");
}

#[test]
fn a_lens_that_does_not_fit_is_refused() {
    let (folded, raw) = (toy(), toy_raw());
    let message = |result: microtome::Result<TextModel>| result.unwrap_err().to_string();
    assert_eq!(
        (folded.model().processing(), raw.model().processing()),
        (Processing::Folded, Processing::Raw)
    );
    let reads_mean = lens(&raw, false);
    assert!(raw.clone().with_tuned_lens("a", reads_mean.clone()).is_ok());
    let found = message(folded.clone().with_tuned_lens("a", reads_mean));
    assert!(found.contains("load the model with raw weights"), "{found}");
    assert!(folded.clone().with_tuned_lens("a", lens(&raw, true)).is_ok());
    let found = ask(&folded, tuned("none")).unwrap_err().to_string();
    assert!(found.contains("tuned lens `none` is not open"), "{found}");
    let open = folded.clone().with_tuned_lens("a", lens(&folded, true)).unwrap();
    for wrong in [
        LogitLens { rows: Rows::Sublayers, ..tuned("a") },
        LogitLens { rows: Rows::Contributions, ..tuned("a") },
        LogitLens { norm: Some(Norm::None), ..tuned("a") },
    ] {
        let found = ask(&open, wrong).unwrap_err().to_string();
        assert!(found.contains("translators are learnt for the stream between layers"), "{found}");
    }
}

#[test]
fn a_lens_of_a_checkpoint_reads_no_other_weights() {
    // A model in memory has no fingerprint from before its weights were processed.
    assert_eq!(lens(&toy_raw(), true).config().weight_hash, None);
    let load = |processing| TextModel::load("demo", processing, &LoadOptions::default(), &mut ()).unwrap();
    let demo = TunedLens::open("demo").unwrap();
    for processing in [Processing::Folded, Processing::Raw] {
        let model = load(processing);
        assert_eq!(demo.config().weight_hash.as_deref(), model.about().checkpoint_hash());
        demo.check(&model).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    demo.save(dir.path()).unwrap();
    let path = dir.path().join("config.json");
    let json = std::fs::read_to_string(&path).unwrap();
    let hash = demo.config().weight_hash.clone().unwrap();
    std::fs::write(&path, json.replace(&hash, "of another run")).unwrap();
    let other = TunedLens::open(&dir.path().display().to_string()).unwrap();
    let found = other.check(&load(Processing::Folded)).unwrap_err().to_string();
    assert!(found.contains("are not those of `demo`") && found.contains("microtome train lens"), "{found}");
    let found = TunedLens::open("no such lens").unwrap_err().to_string();
    assert!(found.contains("config.json") && found.contains("or `demo`"), "{found}");
}
