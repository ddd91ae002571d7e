//! KL divergence from the unedited run, at one position.

use super::{Better, Compares, Metric, Row};

pub(super) struct Kl;

/// `sum p ln(p / q)` with `p` the unedited run's next-token distribution and `q` this one's, nats.
pub(super) fn divergence(row: &Row) -> f64 {
    let term = |(&x, &x0): (&f32, &f32)| {
        let log_p = f64::from(x0) - row.original_log_z;
        let p = log_p.exp();
        if p == 0.0 { 0.0 } else { p * (log_p - (f64::from(x) - row.log_z)) }
    };
    row.logits.iter().zip(row.original).map(term).sum()
}

/// `q_i - p_i`
pub(super) fn divergence_gradient(row: &Row) -> Vec<f64> {
    let original = row.original.iter().map(|&x| (f64::from(x) - row.original_log_z).exp());
    row.probs().zip(original).map(|(q, p)| q - p).collect()
}

impl Metric for Kl {
    fn name(&self) -> &'static str {
        "kl"
    }
    fn title(&self) -> &'static str {
        "KL(original || edited)"
    }
    fn unit(&self) -> &'static str {
        "nats"
    }
    fn describe(&self) -> &'static str {
        "KL(original || edited) of the next-token distributions at the position read"
    }
    fn compares(&self) -> Compares {
        Compares::Original
    }
    fn better(&self) -> Better {
        Better::Lower
    }
    fn row(&self, row: &Row) -> f64 {
        divergence(row)
    }
    fn gradient(&self, row: &Row) -> Option<Vec<f64>> {
        Some(divergence_gradient(row))
    }
}
