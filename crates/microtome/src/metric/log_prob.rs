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
        match row.answers {
            [one] => row.log_prob(*one), // exact where the probability underflows
            several => row.total_prob(several).ln(),
        }
    }
    /// `[i is an answer] * p_i / p_answers - p_i`
    fn gradient(&self, row: &Row) -> Option<Vec<f64>> {
        let log_total = self.row(row);
        let mut gradient: Vec<f64> = row.probs().map(|p| -p).collect();
        row.answers.iter().for_each(|&id| gradient[id as usize] += (row.log_prob(id) - log_total).exp());
        Some(gradient)
    }
}
