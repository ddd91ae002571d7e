//! Whether the server is well, and how busy.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use microtome::model::device_name;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;

/// A server that is well.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`.
    status: &'static str,
    /// Where the default model computes: `cpu`, `cuda:0`, `metal`.
    device: String,
    /// The default model.
    model: String,
    n_layers: usize,
    n_heads: usize,
    d_model: usize,
    /// Tokens the model reads at most.
    n_ctx: usize,
    version: &'static str,
}

/// Whether the server is well, and the sizes of its default model.
#[utoipa::path(get, path = "/health", tag = "Server", responses((status = 200, body = Health)))]
pub(crate) async fn health(State(app): State<App>) -> Json<Health> {
    let served = app.models.first();
    let config = served.model.config();
    Json(Health {
        status: "ok",
        device: device_name(served.model.model().device()),
        model: served.id.clone(),
        n_layers: config.n_layers,
        n_heads: config.n_heads,
        d_model: config.d_model,
        n_ctx: config.n_ctx,
        version: env!("CARGO_PKG_VERSION"),
    })
}

/// Counts and times for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "Server",
    responses((status = 200, content_type = "text/plain", body = String))
)]
pub(crate) async fn metrics(State(app): State<App>) -> impl IntoResponse {
    let desk = app.jobs.desk();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], app.meters.text(desk.waiting(), desk.working()))
}
