//! Entropy of the next-token distribution.

use super::{Metric, Row};

pub(super) struct Entropy;

impl Metric for Entropy {
    fn name(&self) -> &'static str {
        "entropy"
    }
    fn title(&self) -> &'static str {
        "entropy"
    }
    fn unit(&self) -> &'static str {
        "nats"
    }
    fn describe(&self) -> &'static str {
        "-sum p ln p of the next-token distribution at the position read"
    }
    fn row(&self, row: &Row) -> f64 {
        // -sum p ln p = sum p (log_z - x); a token of probability 0 adds 0 however low its logit.
        let term = |&x: &f32| {
            let below = row.log_z - f64::from(x);
            let p = (-below).exp();
            if p == 0.0 { 0.0 } else { p * below }
        };
        row.logits.iter().map(term).sum()
    }
    /// `-p_i (ln p_i + entropy)`
    fn gradient(&self, row: &Row) -> Option<Vec<f64>> {
        let entropy = self.row(row);
        let term = |(p, &x): (f64, &f32)| {
            if p == 0.0 { 0.0 } else { -p * (f64::from(x) - row.log_z + entropy) }
        };
        Some(row.probs().zip(row.logits).map(term).collect())
    }
}
