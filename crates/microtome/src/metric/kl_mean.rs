//! KL divergence from the unedited run, averaged over positions.

use super::{Better, Compares, Metric, Over, Row, kl};

pub(super) struct KlMean;

impl Metric for KlMean {
    fn name(&self) -> &'static str {
        "kl_mean"
    }
    fn title(&self) -> &'static str {
        "mean KL(original || edited)"
    }
    fn unit(&self) -> &'static str {
        "nats"
    }
    fn describe(&self) -> &'static str {
        "KL(original || edited) of the next-token distributions, mean over all positions"
    }
    fn over(&self) -> Over {
        Over::Every
    }
    fn compares(&self) -> Compares {
        Compares::Original
    }
    fn better(&self) -> Better {
        Better::Lower
    }
    fn row(&self, row: &Row) -> f64 {
        kl::divergence(row)
    }
    fn gradient(&self, row: &Row) -> Option<Vec<f64>> {
        Some(kl::divergence_gradient(row))
    }
}
