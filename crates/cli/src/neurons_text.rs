//! What a neuron does, as text.

use std::fmt::Write as _;

use microtome::method::head_circuit::TokenValue;
use microtome::method::neuron::NeuronReport;
use microtome::{Quantity, Record};

use crate::output::{number, signed, visible};

/// The tokens it raises and lowers, and what is lost without it.
pub fn neuron_text(out: &mut String, report: &NeuronReport, record: &Record, list: usize) {
    let _ = writeln!(out, "\n{}: what it writes, logits per unit of activation", report.neuron);
    let text = |value: &TokenValue| format!("[{}] {}", visible(&value.token.token), signed(value.value));
    for (high, low) in report.promoted.iter().zip(&report.suppressed).take(list) {
        let _ = writeln!(out, "  {:32}{}", text(high), text(low));
    }
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
