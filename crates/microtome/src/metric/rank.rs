//! Rank of the answer.

use super::{Better, Metric, Needs, Row};

pub(super) struct Rank;

impl Metric for Rank {
    fn name(&self) -> &'static str {
        "rank"
    }
    fn title(&self) -> &'static str {
        "rank"
    }
    fn unit(&self) -> &'static str {
        "places"
    }
    fn describe(&self) -> &'static str {
        "1 + number of tokens with a strictly higher logit than the answer; of several answers, the best"
    }
    fn needs(&self) -> Needs {
        Needs::Answers
    }
    fn better(&self) -> Better {
        Better::Lower
    }
    fn row(&self, row: &Row) -> f64 {
        let best = row.answers.iter().map(|&id| row.logits[id as usize]).fold(f32::NEG_INFINITY, f32::max);
        1.0 + row.logits.iter().filter(|&&x| x > best).count() as f64
    }
    fn gradient(&self, _: &Row) -> Option<Vec<f64>> {
        None
    }
}
