//! Logit difference between the answer and the wrong answer.

use super::{Metric, Needs, Row};

pub(super) struct LogitDiff;

impl Metric for LogitDiff {
    fn name(&self) -> &'static str {
        "logit_diff"
    }
    fn title(&self) -> &'static str {
        "logit difference"
    }
    fn unit(&self) -> &'static str {
        "logits"
    }
    fn describe(&self) -> &'static str {
        "logit(answer) - logit(wrong answer) at the position read; of several, the means of each side"
    }
    fn needs(&self) -> Needs {
        Needs::Both
    }
    fn row(&self, row: &Row) -> f64 {
        row.mean_logit(row.answers) - row.mean_logit(row.wrong)
    }
    fn gradient(&self, row: &Row) -> Option<Vec<f64>> {
        let mut gradient = vec![0.0; row.logits.len()];
        row.answers.iter().for_each(|&id| gradient[id as usize] += 1.0 / row.answers.len() as f64);
        row.wrong.iter().for_each(|&id| gradient[id as usize] -= 1.0 / row.wrong.len() as f64);
        Some(gradient)
    }
}
