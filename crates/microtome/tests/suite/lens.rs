//! Laws of the logit lens, whatever the model.

use microtome::method::logit_lens::{ANSWER_REACHES, LogitLens, Norm, Rows, TOP1_SETTLES};
use microtome::metric::MetricId;
use microtome::model::{Precision, Processing};
use microtome::{Bos, Experiment, Method, Prompt, Quantity, Record, Table, TextModel};

use crate::golden_data::assert_close;
use crate::laws::{pair, toy, toy_raw};

fn ask(model: &TextModel, lens: LogitLens, prompts: Vec<Prompt>, metrics: &[&str]) -> Experiment {
    Experiment {
        model: "toy".to_owned(),
        weights: model.model().processing(),
        precision: Precision::F32,
        bos: Bos::Prepend,
        prompts,
        method: Method::LogitLens(lens),
        metrics: metrics.iter().map(|name| MetricId::named(name).unwrap()).collect(),
        read_at: None,
        seed: 3,
    }
}

fn single(shift: u32) -> Prompt {
    Prompt { corrupt: None, ..pair(shift) }
}

fn table<'a>(record: &'a Record, metric: &str, quantity: Quantity) -> &'a Table {
    record.table(metric, quantity).unwrap_or_else(|| panic!("no table of {metric}"))
}

fn numbers(table: &Table) -> Vec<f64> {
    table.values.iter().map(|value| value.unwrap()).collect()
}

#[test]
fn contributions_sum_to_the_models_own_logits_under_every_linear_norm() {
    for model in [toy(), toy_raw()] {
        let read = |rows, norm| {
            let lens = LogitLens { rows, norm, ..Default::default() };
            let record =
                ask(&model, lens, vec![single(1)], &["logit", "logit_diff"]).run_quietly(&model).unwrap();
            ["logit", "logit_diff"].map(|metric| {
                let quantity = if rows == Rows::Contributions { Quantity::Change } else { Quantity::Value };
                let table = table(&record, metric, quantity);
                let n = table.axes[1].labels.len();
                numbers(table).chunks(n).map(<[f64]>::to_vec).collect::<Vec<_>>()
            })
        };
        for norm in [None, Some(Norm::Frozen), Some(Norm::None), Some(Norm::TlCachedScale)] {
            // Left out, the norm of contributions is the frozen one.
            let whole = read(Rows::Layers, norm.or(Some(Norm::Frozen)));
            let parts = read(Rows::Contributions, norm);
            for (parts, whole) in parts.iter().zip(whole) {
                let n = parts[0].len();
                let sums: Vec<f64> = (0..n).map(|pos| parts.iter().map(|row| row[pos]).sum()).collect();
                assert_close("sum", &sums, whole.last().unwrap(), 2e-4);
            }
        }
    }
}

#[test]
fn a_frozen_scale_changes_every_row_but_the_last() {
    let model = toy_raw();
    let read = |norm| {
        let lens = LogitLens { norm: Some(norm), ..Default::default() };
        let record = ask(&model, lens, vec![single(1)], &["logit"]).run_quietly(&model).unwrap();
        numbers(table(&record, "logit", Quantity::Value))
    };
    let (own, frozen, bare) = (read(Norm::Final), read(Norm::Frozen), read(Norm::TlCachedScale));
    let last = own.len() - 7;
    assert_close("last row", &frozen[last..], &own[last..], 1e-4);
    let far = |a: &[f64], b: &[f64]| a.iter().zip(b).any(|(a, b)| (a - b).abs() > 1e-2);
    assert!(far(&frozen[..last], &own[..last]));
    assert!(far(&bare[last..], &own[last..]), "this model's final LayerNorm has a gain");
}

#[test]
fn sublayers_have_the_layers_among_them() {
    let model = toy();
    let read = |rows| {
        let lens = LogitLens { rows, ..Default::default() };
        let record = ask(&model, lens, vec![single(2)], &["prob"]).run_quietly(&model).unwrap();
        let table = table(&record, "prob", Quantity::Value).clone();
        (table.axes[0].labels.clone(), numbers(&table))
    };
    let (labels, all) = read(Rows::Sublayers);
    let (_, layers) = read(Rows::Layers);
    assert_eq!(labels, ["0_pre", "0_mid", "1_pre", "1_mid", "2_pre", "2_mid", "final_post"]);
    let even: Vec<f64> = all.chunks(7).step_by(2).flatten().copied().collect();
    assert_eq!(even, layers);
}

#[test]
fn of_a_pair_the_difference_is_clean_minus_corrupt() {
    let model = toy();
    let run =
        |prompt| ask(&model, LogitLens::default(), vec![prompt], &["prob"]).run_quietly(&model).unwrap();
    let both = run(pair(1));
    let clean = run(single(1));
    let corrupt = run(Prompt { clean: pair(1).corrupt.unwrap(), ..single(1) });
    let values = |record: &Record| numbers(table(record, "prob", Quantity::Value));
    let apart: Vec<f64> = values(&clean).iter().zip(values(&corrupt)).map(|(a, b)| a - b).collect();
    assert_eq!(numbers(table(&both, "prob", Quantity::Change)), apart);
    assert_eq!(both.results.lens, clean.results.lens);
    assert_eq!(both.results.corrupt_lens, corrupt.results.lens);
    assert_ne!(both.results.corrupt_lens, both.results.lens);
}

#[test]
fn several_prompts_give_each_ones_curve_and_their_mean_with_an_interval() {
    let model = toy();
    let prompts: Vec<Prompt> = (0..4).map(single).collect();
    let record = ask(&model, LogitLens::default(), prompts.clone(), &["prob"]).run_quietly(&model).unwrap();
    let one_by_one: Vec<Vec<f64>> = prompts
        .into_iter()
        .map(|prompt| {
            let record =
                ask(&model, LogitLens::default(), vec![prompt], &["prob"]).run_quietly(&model).unwrap();
            numbers(table(&record, "prob", Quantity::Value)).chunks(7).map(|row| row[6]).collect()
        })
        .collect();
    let of_prob: Vec<&Table> = record.results.tables.iter().filter(|table| table.metric == "prob").collect();
    let [mean, each] = of_prob[..] else { panic!("a mean and each prompt") };
    assert_close("each", &numbers(each), &one_by_one.concat(), 1e-6);
    for (row, value) in numbers(mean).into_iter().enumerate() {
        let values: Vec<f64> = one_by_one.iter().map(|curve| curve[row]).collect();
        assert!((value - values.iter().sum::<f64>() / 4.0).abs() < 1e-6);
        let spread = mean.spread[row].unwrap();
        assert!(spread.low <= value && value <= spread.high);
    }
    let plot = record.curves(mean).unwrap();
    assert_eq!(plot.series.len(), 5);
    assert!(plot.series[0].band.is_some());
}

#[test]
fn convergence_is_where_the_rows_say_it_is() {
    let model = toy();
    let run = |threshold| {
        let lens = LogitLens { threshold, ..Default::default() };
        ask(&model, lens, vec![single(1)], &["prob"]).run_quietly(&model).unwrap()
    };
    // A threshold that some positions pass and others do not.
    let prob = numbers(table(&run(None), "prob", Quantity::Value));
    let mut highest: Vec<f64> =
        (0..7).map(|pos| prob.iter().skip(pos).step_by(7).fold(0.0, |most: f64, p| most.max(*p))).collect();
    highest.sort_by(f64::total_cmp);
    let threshold = highest[3];
    let record = run(Some(threshold));
    let readings = record.results.lens.as_ref().unwrap();
    let rows = readings.top.len();
    let top = |row: usize, pos: usize| readings.top[row][pos][0].id;
    let (settles, reaches) =
        (table(&record, TOP1_SETTLES, Quantity::Value), table(&record, ANSWER_REACHES, Quantity::Value));
    for pos in 0..7 {
        let row = settles.values[pos].unwrap() as usize;
        assert!((row..rows).all(|later| top(later, pos) == top(rows - 1, pos)));
        assert!(row == 0 || top(row - 1, pos) != top(rows - 1, pos));
        let first = (0..rows).find(|row| prob[row * 7 + pos] >= threshold);
        assert_eq!(reaches.values[pos].map(|row| row as usize), first);
    }
    assert!(reaches.values.iter().any(Option::is_some) && reaches.values.iter().any(Option::is_none));
    assert!(settles.values.iter().any(|row| *row != Some((rows - 1) as f64)));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let model = toy();
    let run = |lens, prompts, metrics: &[&str]| {
        ask(&model, lens, prompts, metrics).run_quietly(&model).unwrap_err().to_string()
    };
    let parts = || LogitLens { rows: Rows::Contributions, ..Default::default() };
    let of_final = LogitLens { norm: Some(Norm::Final), ..parts() };
    assert!(run(of_final, vec![single(1)], &[]).contains("frozen"));
    assert!(run(parts(), vec![single(1)], &["prob"]).contains("linear in the logits"));
    assert!(run(LogitLens::default(), vec![pair(1), pair(2)], &[]).contains("one pair at a time"));
    let lens = LogitLens { threshold: Some(50.0), ..Default::default() };
    assert!(run(lens, vec![single(1)], &[]).contains("threshold"));
    let mut at = ask(&model, LogitLens::default(), vec![single(1)], &[]);
    at.read_at = Some(2);
    assert!(at.run_quietly(&model).unwrap_err().to_string().contains("it reads all"));
    assert_eq!(model.model().processing(), Processing::Folded);
}
