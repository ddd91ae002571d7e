//! Share of positions whose most probable token differs from the unedited run's.

use super::{Better, Compares, Metric, Over, Row, most_probable};

pub(super) struct Top1Changed;

impl Metric for Top1Changed {
    fn name(&self) -> &'static str {
        "top1_changed"
    }
    fn title(&self) -> &'static str {
        "top-1 changed"
    }
    fn unit(&self) -> &'static str {
        "share"
    }
    fn describe(&self) -> &'static str {
        "share of positions whose most probable token differs from the original run's"
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
        f64::from(most_probable(row.logits, 1) != most_probable(row.original, 1))
    }
    fn gradient(&self, _: &Row) -> Option<Vec<f64>> {
        None
    }
}
