//! Tables of circuits: how faithful, how large, what they share.

use std::collections::BTreeSet;

use super::compare::jaccard;
use super::evaluate::Rest;
use super::faithfulness::Ends;
use super::graph::Edge;
use super::search::FoundCircuit;
use crate::metric::MetricId;
use crate::record::{Axis, Basis, Quantity, Table};
use crate::stats::mean;

/// Of every circuit found its faithfulness and size; of several, what they share.
pub(crate) fn tables(circuits: &[FoundCircuit], ends: &Ends, metric: MetricId) -> Vec<Table> {
    let names: Vec<String> = circuits.iter().map(|circuit| circuit.name.clone()).collect();
    let axis = |name: &str| Axis { name: name.to_owned(), labels: names.clone() };
    let several = circuits.iter().any(|circuit| circuit.spread.is_some());
    let table = |metric: &str, title: &str, unit: &str, baseline: String, values: Vec<Option<f64>>| Table {
        metric: metric.to_owned(),
        quantity: Quantity::Value,
        title: title.to_owned(),
        unit: unit.to_owned(),
        baseline,
        basis: Basis::Exact,
        axes: vec![axis("circuit")],
        values,
        spread: vec![],
    };
    let faithfulness = circuits.iter().map(|circuit| circuit.faithfulness).collect();
    let spread = circuits.iter().map(|circuit| circuit.spread).collect();
    let sizes = circuits.iter().map(|circuit| Some(circuit.edges.len() as f64)).collect();
    let mut tables = vec![
        Table {
            spread: if several { spread } else { vec![] },
            ..table(
                "faithfulness",
                &format!("Faithfulness of circuits, by {}", metric.title()),
                "",
                scale_of(ends, metric),
                faithfulness,
            )
        },
        table("edges", "Edges of circuits", "edges", "0 = no edge".to_owned(), sizes),
    ];
    if circuits.len() > 1 {
        tables.push(jaccard_table(&circuits.iter().map(|c| (&c.name[..], &c.edges)).collect::<Vec<_>>()));
    }
    tables
}

/// What faithfulness is, in words, and what edges outside a circuit carry where there is one kind of it.
pub(crate) fn faithfulness_note(metric: MetricId, rest: Option<Rest>) -> String {
    let name = metric.name();
    let carry = rest.map_or_else(String::new, |rest| format!("; edges outside carry {}", rest.describe()));
    format!(
        "faithfulness = ({name} of the circuit - {name} of no edge) / ({name} of the model - {name} of no edge){carry}"
    )
}

/// What 0 and 1 mean of faithfulness.
pub(crate) fn scale_of(ends: &Ends, metric: MetricId) -> String {
    let unit = metric.unit();
    let of = |values: &[f64]| format!("{:.4} {unit}", mean(values)).trim_end().to_owned();
    format!("0 = no edge, {}; 1 = the whole model, {}", of(&ends.empty), of(&ends.full))
}

/// What circuits share, every one with every other.
pub(crate) fn jaccard_table(circuits: &[(&str, &BTreeSet<Edge>)]) -> Table {
    let labels: Vec<String> = circuits.iter().map(|(name, _)| (*name).to_owned()).collect();
    let shared = |(_, one): &(&str, &BTreeSet<Edge>)| {
        circuits.iter().map(|(_, other)| Some(jaccard(one, other))).collect::<Vec<_>>()
    };
    Table {
        metric: "jaccard".to_owned(),
        quantity: Quantity::Value,
        title: "Edges two circuits share, of those either has (Jaccard)".to_owned(),
        unit: String::new(),
        baseline: "0 = none, 1 = the same circuit".to_owned(),
        basis: Basis::Exact,
        axes: vec![
            Axis { name: "circuit".to_owned(), labels: labels.clone() },
            Axis { name: "other".to_owned(), labels },
        ],
        values: circuits.iter().flat_map(shared).collect(),
        spread: vec![],
    }
}
