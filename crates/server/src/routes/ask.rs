//! What the endpoints of existing front ends ask: one prompt, as text with BOS in front.

use std::sync::Arc;

use microtome::metric::MetricId;
use microtome::{Bos, Experiment, Method, Prompt, Record};

use crate::App;
use crate::error::ApiError;
use crate::models::Served;
use crate::request::check_limits;

/// Whom to ask, and with which seed.
pub(crate) struct Ask<'a> {
    pub app: &'a App,
    pub served: &'a Arc<Served>,
    pub seed: u64,
}

impl Ask<'_> {
    /// The record of one experiment on one prompt.
    pub async fn record(
        &self,
        prompt: Prompt,
        method: Method,
        metrics: &[&str],
    ) -> Result<Arc<Record>, ApiError> {
        let experiment = Experiment {
            model: self.served.id.clone(),
            weights: self.served.model.model().processing(),
            precision: self.served.model.model().precision(),
            bos: Bos::Prepend,
            prompts: vec![prompt],
            method,
            metrics: metrics.iter().map(|name| MetricId::named(name)).collect::<Result<_, _>>()?,
            read_at: None,
            seed: self.seed,
        };
        check_limits(&experiment, &self.served.model)?;
        self.app.jobs.record(self.served, experiment).await
    }
}
