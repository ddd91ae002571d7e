//! Margin between the answer and the best other token.

use super::{Metric, Needs, Row};

pub(super) struct Margin;

impl Margin {
    /// The best answer and the best other token.
    fn rivals(row: &Row) -> (usize, usize) {
        let higher = |best: usize, id: usize| if row.logits[best] >= row.logits[id] { best } else { id };
        let mut answers: Vec<usize> = row.answers.iter().map(|&id| id as usize).collect();
        answers.sort_unstable();
        // The others lie between the answers.
        let ends = answers.iter().copied().chain([row.logits.len()]);
        let mut first = 0;
        let mut others: Option<usize> = None;
        for end in ends {
            let between = &row.logits[first..end.max(first)];
            let largest = microtome_kernels::largest(between);
            if let Some(at) = between.iter().position(|&x| x == largest) {
                others = Some(others.map_or(first + at, |best| higher(best, first + at)));
            }
            first = end + 1;
        }
        (answers.into_iter().reduce(higher).unwrap_or(0), others.unwrap_or(0))
    }
}

impl Metric for Margin {
    fn name(&self) -> &'static str {
        "margin"
    }
    fn title(&self) -> &'static str {
        "margin"
    }
    fn unit(&self) -> &'static str {
        "logits"
    }
    fn describe(&self) -> &'static str {
        "logit of the (best) answer minus the best other logit at the position read"
    }
    fn needs(&self) -> Needs {
        Needs::Answers
    }
    fn row(&self, row: &Row) -> f64 {
        let (answer, other) = Margin::rivals(row);
        f64::from(row.logits[answer]) - f64::from(row.logits[other])
    }
    fn gradient(&self, row: &Row) -> Option<Vec<f64>> {
        let (answer, other) = Margin::rivals(row);
        let mut gradient = vec![0.0; row.logits.len()];
        gradient[answer] = 1.0;
        gradient[other] = -1.0;
        Some(gradient)
    }
}
