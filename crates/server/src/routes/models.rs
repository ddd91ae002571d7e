//! The models served.

use axum::Json;
use axum::extract::State;
use microtome::metric::METRICS;
use microtome::model::{Config, Precision, Processing, device_name};
use microtome::sae::{Sae, SaeReport};
use microtome::{About, TokenLabel};
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::error::{ApiError, ErrorBody};
use crate::models::Served;
use crate::request::Named;

/// What is served.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelList {
    models: Vec<ModelName>,
    /// The model asked where a request names none.
    default: String,
}

/// A model's name and size.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelName {
    /// The name requests use.
    id: String,
    n_layers: usize,
    n_heads: usize,
}

/// A model and what can be measured of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelInfo {
    /// The name requests use.
    id: String,
    about: About,
    config: Config,
    /// How its weights were processed; experiments must ask for the same.
    weights: Processing,
    /// How the numbers of its matrices are kept; experiments must ask for the same.
    precision: Precision,
    n_parameters: usize,
    /// The token in front of text, where there is one.
    bos: Option<TokenLabel>,
    /// Where it computes: `cpu`, `cuda:0`, `metal`.
    device: String,
    threads: usize,
    /// Version of microtome.
    version: String,
    /// Whether it is small enough for experiments to be run again while a prompt is typed.
    quick: bool,
    metrics: Vec<MetricInfo>,
    /// Sparse autoencoders open beside it, which experiments may name.
    saes: Vec<SaeReport>,
    /// Tuned lenses open beside it, which the logit lens may name.
    tuned_lenses: Vec<TunedLensInfo>,
}

/// A tuned lens.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TunedLensInfo {
    /// The name experiments use.
    name: String,
    /// The model it was trained for, as its files say.
    trained_for: String,
}

/// A metric.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MetricInfo {
    name: &'static str,
    title: &'static str,
    unit: &'static str,
    /// The formula, and what it is taken over.
    describe: &'static str,
}

/// Parameters up to which a sweep of all heads takes a fraction of a second on two cores.
const QUICK: usize = 20_000_000;

/// The models served.
#[utoipa::path(get, path = "/api/models", tag = "Models", responses((status = 200, body = ModelList)))]
pub(crate) async fn list(State(app): State<App>) -> Json<ModelList> {
    let name = |served: &Served| {
        let config = served.model.config();
        ModelName { id: served.id.clone(), n_layers: config.n_layers, n_heads: config.n_heads }
    };
    let models = app.models.all().map(|served| name(served)).collect();
    Json(ModelList { models, default: app.models.first().id.clone() })
}

/// A model: its sizes, where it came from, what can be measured.
#[utoipa::path(
    get, path = "/api/models/{id}", tag = "Models",
    params(("id" = String, Path, description = "The model's name; a slash in it is written %2F")),
    responses(
        (status = 200, body = ModelInfo),
        (status = 404, description = "A model that is not served", body = ErrorBody),
    )
)]
pub(crate) async fn describe(State(app): State<App>, Named(id): Named) -> Result<Json<ModelInfo>, ApiError> {
    let served = app.models.get(Some(&id))?;
    let model = &served.model;
    let n_parameters = model.n_parameters();
    Ok(Json(ModelInfo {
        id: served.id.clone(),
        about: model.about().clone(),
        config: model.config().clone(),
        weights: model.model().processing(),
        precision: model.model().precision(),
        n_parameters,
        bos: model.bos().map(|id| TokenLabel { id, token: model.label(id) }),
        device: device_name(model.model().device()),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        quick: n_parameters <= QUICK,
        metrics: METRICS
            .iter()
            .map(|metric| MetricInfo {
                name: metric.name(),
                title: metric.title(),
                unit: metric.unit(),
                describe: metric.describe(),
            })
            .collect(),
        saes: model.saes().map(Sae::report).collect(),
        tuned_lenses: model
            .tuned_lenses()
            .map(|(name, lens)| TunedLensInfo {
                name: name.to_owned(),
                trained_for: lens.config().base_model_name_or_path.clone(),
            })
            .collect(),
    }))
}
