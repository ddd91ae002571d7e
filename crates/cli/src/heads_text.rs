//! Roles and circuits of heads as text.

use std::fmt::Write as _;

use microtome::Spread;
use microtome::method::head_circuit::{CircuitReport, HeadReport, TokenPair, TokenValue};
use microtome::method::head_roles::{HeadRole, RoleTable};

use crate::output::{number, signed, visible};

/// Every head that has a role, and how many have none.
pub fn roles_text(out: &mut String, table: &RoleTable) {
    let thresholds: Vec<String> =
        table.roles.iter().map(|role| format!("{} {}", role.role, number(role.least))).collect();
    let _ = writeln!(out, "\nroles, from these scores on: {}", thresholds.join(", "));
    for head in table.heads.iter().filter(|head| !head.has.is_empty()) {
        let lines = head.has.iter().map(role_line).collect::<Vec<_>>();
        let _ = writeln!(out, "  {:8}{}", head.head.to_string(), lines.join("\n          "));
    }
    let none: Vec<&_> = table.heads.iter().filter(|head| head.has.is_empty()).collect();
    if let Some(nearest) = none.first() {
        let more = if none.len() == 1 { "head has" } else { "heads have" };
        let of = format!("{} is nearest to one: {}", nearest.head, role_line(&nearest.nearest).trim_end());
        let _ = writeln!(out, "  {} {more} none; {of}", none.len());
    }
}

fn role_line(role: &HeadRole) -> String {
    let spread = match role.spread {
        Some(Spread { stderr, low, high }) => {
            format!("  ± {}  95% {} to {}", number(stderr), number(low), number(high))
        }
        None => String::new(),
    };
    format!("{:16}{}{spread}", role.role, number(role.score))
}

/// A head's circuits: scores, the strongest pairs, single tokens.
pub fn circuit_text(out: &mut String, report: &HeadReport, list: usize) {
    let score = |score: Option<f64>| score.map_or("not defined: it moves nothing".to_owned(), signed);
    let _ = writeln!(
        out,
        "\ncopying score   {:>10}  1 = raises the tokens it looks at, -1 = lowers them",
        score(report.copying)
    );
    let _ = writeln!(out, "matching score  {:>10}  1 = tokens look for themselves", score(report.matching));
    circuit_part(out, "QK, query looks at key", "attention score", &report.qk, list);
    circuit_part(out, "OV, looking at a token raises another", "logits", &report.ov, list);
    for token in &report.tokens {
        let _ = writeln!(out, "\n[{}]", visible(&token.token.token));
        for (what, values) in [
            ("looks at", &token.looks_at),
            ("is looked at by", &token.looked_at_by),
            ("raises", &token.raises),
            ("lowers", &token.lowers),
        ] {
            let _ = writeln!(
                out,
                "  {what:16}{}",
                values.iter().take(5).map(value_text).collect::<Vec<_>>().join("  ")
            );
        }
    }
}

fn circuit_part(out: &mut String, title: &str, unit: &str, circuit: &CircuitReport, list: usize) {
    let _ = writeln!(out, "\n{title} ({unit})");
    let _ = writeln!(
        out,
        "all pairs of {} tokens: mean {}, deviation {}; a token with itself: mean {}, the largest of its row for {:.1} %",
        circuit.tokens,
        signed(circuit.mean),
        number(circuit.deviation),
        signed(circuit.diagonal_mean),
        100.0 * circuit.diagonal_first
    );
    let rows = circuit.highest.iter().zip(&circuit.lowest).take(list);
    for (high, low) in rows {
        let _ = writeln!(out, "  {:44}{}", pair_text(high), pair_text(low));
    }
}

fn pair_text(pair: &TokenPair) -> String {
    let names = format!("[{}] [{}]", visible(&pair.from.token), visible(&pair.to.token));
    format!("{names:30}{:>10}", signed(pair.value))
}

fn value_text(value: &TokenValue) -> String {
    format!("[{}] {}", visible(&value.token.token), signed(value.value))
}
