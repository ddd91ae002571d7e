//! Probability of the answer.

use super::{Metric, Needs, Row};

pub(super) struct Prob;

impl Metric for Prob {
    fn name(&self) -> &'static str {
        "prob"
    }
    fn title(&self) -> &'static str {
        "probability"
    }
    fn unit(&self) -> &'static str {
        "probability"
    }
    fn describe(&self) -> &'static str {
        "probability of the answer at the position read; of several answers, their sum"
    }
    fn needs(&self) -> Needs {
        Needs::Answers
    }
    fn row(&self, row: &Row) -> f64 {
        row.total_prob(row.answers)
    }
    /// `p_i * ([i is an answer] - p_answers)`
    fn gradient(&self, row: &Row) -> Option<Vec<f64>> {
        let total = self.row(row);
        let mut gradient: Vec<f64> = row.probs().map(|p| -p * total).collect();
        row.answers.iter().for_each(|&id| gradient[id as usize] += row.prob(id));
        Some(gradient)
    }
}
