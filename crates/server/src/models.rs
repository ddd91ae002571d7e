//! The models that may be asked: those the operator named when the server was started.

use std::sync::Arc;

use axum::http::StatusCode;
use microtome::{Experiment, TextModel};

use crate::error::ApiError;

/// A model under the name clients ask for it by.
#[derive(Debug)]
pub struct Served {
    /// The name: what the operator wrote.
    pub id: String,
    /// The model.
    pub model: TextModel,
}

/// All models served, the default first.
#[derive(Debug)]
pub struct Models {
    first: Arc<Served>,
    others: Vec<Arc<Served>>,
}

impl Models {
    /// One model, the default.
    pub fn new(first: Served) -> Models {
        Models { first: Arc::new(first), others: vec![] }
    }

    /// One more, unless it is served already.
    #[must_use]
    pub fn and(mut self, served: Served) -> Models {
        if self.all().all(|known| known.id != served.id) {
            self.others.push(Arc::new(served));
        }
        self
    }

    /// The model asked where none is named.
    pub fn first(&self) -> &Arc<Served> {
        &self.first
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Served>> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// The model of a name; the default where there is none.
    ///
    /// # Errors
    /// 404 for a name that is not served, with those that are.
    pub fn get(&self, name: Option<&str>) -> Result<&Arc<Served>, ApiError> {
        let Some(name) = name else { return Ok(&self.first) };
        self.all().find(|served| served.id == name).ok_or_else(|| {
            let shown: String = name.chars().take(80).collect();
            let known: Vec<&str> = self.all().map(|served| served.id.as_str()).collect();
            ApiError::new(
                StatusCode::NOT_FOUND,
                "unknown_model",
                format!("model `{shown}` is not served here; there are: {}", known.join(", ")),
                "name one of them; the operator adds models with `microtome serve --model`",
            )
        })
    }

    /// The model an experiment names; the autoencoder or tuned lens it names must be open beside it.
    ///
    /// # Errors
    /// As [`Models::get`], and 404 for an autoencoder or a tuned lens that is not served.
    pub fn of(&self, experiment: &Experiment) -> Result<&Arc<Served>, ApiError> {
        let served = self.get(Some(&experiment.model))?;
        if let Some(choice) = experiment.method.sae()
            && let Err(error) = served.model.sae(choice)
        {
            let hint = "name one that is; the operator adds autoencoders with `microtome serve --sae`";
            return Err(ApiError::new(StatusCode::NOT_FOUND, "unknown_sae", error.to_string(), hint));
        }
        if let Some(name) = experiment.method.tuned_lens()
            && let Err(error) = served.model.tuned_lens(name)
        {
            let hint = "name one that is; the operator adds tuned lenses with `microtome serve --tuned-lens`";
            return Err(ApiError::new(StatusCode::NOT_FOUND, "unknown_tuned_lens", error.to_string(), hint));
        }
        Ok(served)
    }
}
