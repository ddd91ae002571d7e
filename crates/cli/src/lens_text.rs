//! A lens in words: what each layer would say at the last position, where that converges, and two lenses side by side.

use std::fmt::Write as _;

use microtome::method::logit_lens::{ANSWER_REACHES, LENS_AXIS, LENSES, LensReadings, Rows, TOP1_SETTLES};
use microtome::{Method, Quantity, Record, Table, TokenProb};

use crate::output::{number, top_line};

/// What each row says at the last position of the prompt, and of the corrupt one; where it converges.
pub fn lens_text(out: &mut String, record: &Record) {
    let Some(lens) = &record.results.lens else { return };
    let what = match &record.experiment.method {
        Method::LogitLens(asked) if asked.rows == Rows::Contributions => "what each part raises by itself",
        _ => "next token as each layer has it",
    };
    readings_text(out, &format!("{what}, at the last position"), lens);
    if let Some(corrupt) = &record.results.corrupt_lens {
        readings_text(out, &format!("{what}, at the last position of the corrupt prompt"), corrupt);
    }
    convergence_text(out, record);
}

fn readings_text(out: &mut String, heading: &str, lens: &LensReadings) {
    let width = lens.layers.iter().map(String::len).max().unwrap_or(0).max(8);
    let mut list = |heading: &str, top: &[Vec<Vec<TokenProb>>]| {
        let _ = writeln!(out, "\n{heading}");
        for (layer, positions) in lens.layers.iter().zip(top) {
            let top = positions.last().map_or(String::new(), |top| top_line(top));
            let _ = writeln!(out, "{layer:width$} {top}");
        }
    };
    if lens.tuned_top.is_empty() {
        return list(heading, &lens.top);
    }
    for (lens, top) in LENSES.iter().zip([&lens.top, &lens.tuned_top]) {
        list(&format!("{heading}, {lens}"), top);
    }
}

/// Where the last position converges.
fn convergence_text(out: &mut String, record: &Record) {
    for metric in [TOP1_SETTLES, ANSWER_REACHES] {
        let Some(table) = record.table(metric, Quantity::Value) else { continue };
        let n = table.axes.last().map_or(1, |axis| axis.labels.len());
        let layers = |row: &[Option<f64>]| row.last().copied().flatten().map_or("never".to_owned(), number);
        let of_lenses: Vec<String> = table.values.chunks(n).map(layers).collect();
        let told = match &of_lenses[..] {
            [only] => only.clone(),
            all => all
                .iter()
                .zip(LENSES)
                .map(|(layers, lens)| format!("{layers} ({lens})"))
                .collect::<Vec<_>>()
                .join(", "),
        };
        let _ = writeln!(out, "{}, at the last position: {told}", table.title);
    }
}

/// A table of two lenses layer by layer, as its curves have it: at the last position, or the mean over prompts.
pub fn lenses_text(out: &mut String, record: &Record, table: &Table) {
    let Some(layers) = table.axes.iter().find(|axis| axis.name == "layer") else { return };
    if table.axes[0].name != LENS_AXIS {
        return;
    }
    let Ok(curves) = record.curves(table) else { return };
    let width = layers.labels.iter().chain([&curves.y]).map(String::len).max().unwrap_or(0).max(8);
    let cells = |cells: Vec<String>| cells.iter().map(|cell| format!(" {cell:>12}")).collect::<String>();
    let _ = writeln!(out, "\n{}", curves.title);
    let names = cells(curves.series.iter().map(|curve| curve.name.clone()).collect());
    let _ = writeln!(out, "{:width$}{names}", curves.y);
    for (step, layer) in layers.labels.iter().enumerate() {
        let value = |x: f64| if x.is_nan() { String::new() } else { number(x) };
        let values = curves.series.iter().map(|curve| value(curve.points[step].1));
        let _ = writeln!(out, "{layer:width$}{}", cells(values.collect()));
    }
}
