//! Log-probability of the answer.

use super::{Metric, Needs, Row};

pub(super) struct LogProb;

impl Metric for LogProb {
    fn name(&self) -> &'static str {
        "log_prob"
    }
    fn title(&self) -> &'static str {
        "log-probability"
    }
    fn unit(&self) -> &'static str {
        "nats"
    }
    fn describe(&self) -> &'static str {
        "natural log of the answer's probability at the position read; of several answers, of their sum"
    }
    fn needs(&self) -> Needs {
        Needs::Answers
    }
    fn row(&self, row: &Row) -> f64 {
        // By way of the largest, which is exact where probabilities underflow.
        let logs = || row.answers.iter().map(|&id| row.log_prob(id));
        let max = logs().fold(f64::NEG_INFINITY, f64::max);
        max + logs().map(|log| (log - max).exp()).sum::<f64>().ln()
    }
    /// `[i is an answer] * p_i / p_answers - p_i`
    fn gradient(&self, row: &Row) -> Option<Vec<f64>> {
        let log_total = self.row(row);
        let mut gradient: Vec<f64> = row.probs().map(|p| -p).collect();
        row.answers.iter().for_each(|&id| gradient[id as usize] += (row.log_prob(id) - log_total).exp());
        Some(gradient)
    }
}
