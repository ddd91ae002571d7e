//! Perplexity of the prompt.

use super::{Better, Metric, Over, Row, loss};

pub(super) struct Perplexity;

impl Metric for Perplexity {
    fn name(&self) -> &'static str {
        "perplexity"
    }
    fn title(&self) -> &'static str {
        "perplexity"
    }
    fn unit(&self) -> &'static str {
        "tokens"
    }
    fn describe(&self) -> &'static str {
        "exp of the loss: exp(mean of -ln p(next token of the prompt))"
    }
    fn over(&self) -> Over {
        Over::Predicting
    }
    fn better(&self) -> Better {
        Better::Lower
    }
    fn row(&self, row: &Row) -> f64 {
        loss::surprise(row)
    }
    fn finish(&self, mean: f64) -> f64 {
        mean.exp()
    }
    fn slope(&self, mean: f64) -> f64 {
        mean.exp()
    }
    fn gradient(&self, row: &Row) -> Option<Vec<f64>> {
        Some(loss::surprise_gradient(row))
    }
}
