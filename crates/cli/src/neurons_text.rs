//! What neurons do, as text.

use std::fmt::Write as _;
use std::time::Duration;

use microtome::corpus_scan::{CorpusScan, FeatureSummary, Passage, Word};
use microtome::method::head_circuit::TokenValue;
use microtome::method::neuron::NeuronReport;
use microtome::method::promoted_tokens::Promotion;
use microtome::{Quantity, Record};

use crate::output::{count, duration, number, signed, visible};

/// The tokens it raises and lowers, and what is lost without it.
pub fn neuron_text(out: &mut String, report: &NeuronReport, record: &Record, list: usize) {
    let _ = writeln!(out, "\n{}: what it writes, logits per unit of activation", report.neuron);
    pairs_text(out, &report.promoted, &report.suppressed, list);
    let cosine =
        report.cosine.map_or(String::new(), |cosine| format!(", cosine of the two {}", signed(cosine)));
    let [input, output] = [report.input_norm, report.output_norm].map(number);
    let _ = writeln!(out, "it reads by a direction of norm {input} and writes one of norm {output}{cosine}");
    let mean = format!("set to mean {}", number(report.mean));
    let _ = writeln!(out, "\n{:14} {:>12}  {mean}", "without it", "set to 0");
    for table in &record.results.tables {
        let [Some(zero), Some(mean)] = table.values[..] else { continue };
        let is_ablation = table.axes.first().is_some_and(|axis| axis.name == "replacement");
        let has_change = |quantity| record.table(&table.metric, quantity).is_some();
        if !is_ablation || (table.quantity == Quantity::Value && has_change(Quantity::Change)) {
            continue;
        }
        let show = if table.quantity == Quantity::Change { signed } else { number };
        let _ = writeln!(out, "  {:12} {:>12}  {:>12}  {}", table.metric, show(zero), show(mean), table.unit);
    }
}

/// The tokens components raise and lower at a position of each prompt.
pub fn promotions_text(out: &mut String, promotions: &[Promotion], n_prompts: usize) {
    for Promotion { component, prompt, position, norm, promoted, suppressed } in promotions {
        let of = if n_prompts > 1 { format!(" of prompt {}", prompt + 1) } else { String::new() };
        let _ = writeln!(
            out,
            "\n{component} at position {position}{of}, output of norm {}; logits",
            number(*norm)
        );
        pairs_text(out, promoted, suppressed, usize::MAX);
    }
}

/// Tokens raised and lowered side by side.
pub fn pairs_text(out: &mut String, promoted: &[TokenValue], suppressed: &[TokenValue], list: usize) {
    let text = |value: &TokenValue| format!("[{}] {}", visible(&value.token.token), signed(value.value));
    for (high, low) in promoted.iter().zip(suppressed).take(list) {
        let _ = writeln!(out, "  {:32}{}", text(high), text(low));
    }
}

/// What a scan found: numbers of each neuron, and where the first few of them were most active.
pub fn scan_text(scan: &CorpusScan, list: usize, took: Duration) -> String {
    let mut out = String::new();
    let read = match scan.complete {
        true => format!("{} bytes", scan.text_bytes),
        false => format!("the first {} of {} bytes", scan.place.byte, scan.text_bytes),
    };
    let _ = writeln!(out, "{} · {read} of {}", scan.model.short_name(), scan.text);
    let _ = writeln!(
        out,
        "\n{:10} {:>9} {:>10} {:>10} {:>10} {:>10}",
        "", "density", "mean", "deviation", "skewness", "max"
    );
    for summary in scan.features.iter().take(list) {
        let skewness = summary.skewness.map_or_else(String::new, number);
        let [mean, deviation, max] = [summary.moments.mean, summary.deviation, summary.max].map(number);
        let density = format!("{:.2} %", 100.0 * summary.density);
        let name = &summary.feature;
        let _ = writeln!(out, "{name:10} {density:>9} {mean:>10} {deviation:>10} {skewness:>10} {max:>10}");
    }
    if scan.features.len() > list {
        let more = scan.features.len() - list;
        let _ = writeln!(out, ".. and {more} more; --list {} shows all", scan.features.len());
    }
    let threshold = scan.settings.threshold;
    for summary in scan.features.iter().take(list) {
        passages_text(&mut out, summary, threshold);
    }
    let _ = writeln!(
        out,
        "\ndensity: share of tokens above {threshold}, BOS left out; passages: the most active token in brackets"
    );
    let _ = writeln!(
        out,
        "{}, {}, {}",
        count(scan.tokens as usize, "token"),
        count(scan.windows as usize, "window"),
        duration(took.as_secs_f64())
    );
    out
}

/// Where one was most active.
pub fn passages_text(out: &mut String, summary: &FeatureSummary, threshold: f64) {
    let _ = writeln!(out, "\n{}", summary.feature);
    for passage in &summary.passages {
        let _ = writeln!(out, "  {:>9}  {}", number(f64::from(passage.activation)), passage_text(passage));
    }
    if summary.passages.is_empty() {
        let _ = writeln!(out, "  never above {threshold}");
    }
}

/// Its tokens in a row, the one it is about in brackets.
pub fn passage_text(passage: &Passage) -> String {
    let text = |(i, token): (usize, &Word)| {
        let token = visible(token);
        if i == passage.at { format!("[{token}]") } else { token }
    };
    passage.tokens.iter().enumerate().map(text).collect()
}
