//! Entropy of the next-token distribution.

use super::{Better, Metric, Row};

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
    fn better(&self) -> Better {
        Better::Lower
    }
    fn row(&self, row: &Row) -> f64 {
        microtome_kernels::entropy(row.logits, row.log_z)
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
