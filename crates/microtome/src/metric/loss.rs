//! Cross-entropy of the prompt's own next tokens.

use super::{Better, Metric, Over, Row};

pub(super) struct Loss;

/// `-ln p(next token)`; 0 where nothing follows, a position no metric averages over.
pub(super) fn surprise(row: &Row) -> f64 {
    row.next.map_or(0.0, |next| -row.log_prob(next))
}

/// `p_i - [i is the next token]`
pub(super) fn surprise_gradient(row: &Row) -> Vec<f64> {
    let mut gradient: Vec<f64> = row.probs().collect();
    match row.next {
        Some(next) => gradient[next as usize] -= 1.0,
        None => gradient.fill(0.0),
    }
    gradient
}

impl Metric for Loss {
    fn name(&self) -> &'static str {
        "loss"
    }
    fn title(&self) -> &'static str {
        "loss"
    }
    fn unit(&self) -> &'static str {
        "nats"
    }
    fn describe(&self) -> &'static str {
        "-ln p(next token of the prompt), mean over all positions that have one"
    }
    fn over(&self) -> Over {
        Over::Predicting
    }
    fn better(&self) -> Better {
        Better::Lower
    }
    fn row(&self, row: &Row) -> f64 {
        surprise(row)
    }
    fn gradient(&self, row: &Row) -> Option<Vec<f64>> {
        Some(surprise_gradient(row))
    }
}
