//! Probability difference between the answers and the wrong answers.

use super::{Metric, Needs, Row};

pub(super) struct ProbDiff;

impl Metric for ProbDiff {
    fn name(&self) -> &'static str {
        "prob_diff"
    }
    fn title(&self) -> &'static str {
        "probability difference"
    }
    fn unit(&self) -> &'static str {
        "probability"
    }
    fn describe(&self) -> &'static str {
        "probability of all answers minus that of all wrong answers at the position read (greater-than years)"
    }
    fn needs(&self) -> Needs {
        Needs::Both
    }
    fn row(&self, row: &Row) -> f64 {
        row.total_prob(row.answers) - row.total_prob(row.wrong)
    }
    fn gradient(&self, row: &Row) -> Option<Vec<f64>> {
        let difference = self.row(row);
        let mut gradient: Vec<f64> = row.probs().map(|p| -p * difference).collect();
        row.answers.iter().for_each(|&id| gradient[id as usize] += row.prob(id));
        row.wrong.iter().for_each(|&id| gradient[id as usize] -= row.prob(id));
        Some(gradient)
    }
}
