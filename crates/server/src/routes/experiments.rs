//! Experiments: submit, follow, cancel, fetch.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use microtome::plot::svg_to_png;
use microtome::{Experiment, Record, Table};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::error::{ApiError, ErrorBody};
use crate::jobs::{Job, Log, Phase};
use crate::request::{Asked, Body, Named, check_limits};

/// Where an experiment is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobState {
    /// Its id: the fingerprint of the question and of the weights it is asked of.
    id: String,
    status: Phase,
    /// Runs finished.
    runs: usize,
    /// Runs there will be; 0 until it starts.
    runs_wanted: usize,
    /// Experiments before it in the line when it was submitted.
    ahead: usize,
    /// Whether there is a record to fetch: all of it, or what was finished when it was stopped.
    has_record: bool,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<ErrorBody>,
}

impl JobState {
    fn of(job: &Job) -> JobState {
        let Log { phase: status, ahead, runs, runs_wanted, record, error, .. } = job.log();
        let failure = error.map(|error| error.body);
        JobState {
            id: job.id.clone(),
            status,
            runs,
            runs_wanted,
            ahead,
            has_record: record.is_some(),
            failure,
        }
    }
}

/// Submit an experiment.
///
/// With `Accept: text/event-stream` the answer is the experiment's events, as from `/api/experiments/{id}/events`,
/// and closing it cancels the work unless someone else follows it. Otherwise the answer is its state, and it
/// runs to its end. The same experiment asked of the same weights is computed once.
#[utoipa::path(
    post, path = "/api/experiments", tag = "Experiments",
    request_body = Experiment,
    responses(
        (status = 200, description = "Computed already", body = JobState),
        (status = 202, description = "Accepted", body = JobState),
        (status = 404, description = "A model that is not served", body = ErrorBody),
        (status = 422, description = "Something in it does not exist or fit", body = ErrorBody),
        (status = 503, description = "Too many wait", body = ErrorBody),
    )
)]
pub(crate) async fn submit(
    State(app): State<App>,
    headers: HeaderMap,
    Body(experiment): Body<Experiment>,
) -> Result<Response, ApiError> {
    let served = app.models.of(&experiment)?;
    check_limits(&experiment, &served.model)?;
    let listener = app.jobs.submit(served, experiment)?;
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if accept.is_some_and(|accept| accept.contains("text/event-stream")) {
        return Ok(crate::events::events(listener).into_response());
    }
    listener.job.keep();
    let state = JobState::of(&listener.job);
    let status = if state.status == Phase::Done { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(state)).into_response())
}

/// Where an experiment is.
#[utoipa::path(
    get, path = "/api/experiments/{id}", tag = "Experiments",
    params(("id" = String, Path, description = "The experiment's id")),
    responses(
        (status = 200, body = JobState),
        (status = 404, description = "No experiment of this id, or no more", body = ErrorBody),
    )
)]
pub(crate) async fn state(State(app): State<App>, Named(id): Named) -> Result<Json<JobState>, ApiError> {
    Ok(Json(JobState::of(&*app.jobs.get(&id)?)))
}

/// Cancel an experiment. What it has finished can still be fetched.
#[utoipa::path(
    delete, path = "/api/experiments/{id}", tag = "Experiments",
    params(("id" = String, Path, description = "The experiment's id")),
    responses(
        (status = 200, description = "Its state; it may take a moment to stop", body = JobState),
        (status = 404, description = "No experiment of this id, or no more", body = ErrorBody),
    )
)]
pub(crate) async fn cancel(State(app): State<App>, Named(id): Named) -> Result<Json<JobState>, ApiError> {
    let job = app.jobs.get(&id)?;
    if !job.log().phase.is_over() {
        job.cancel();
    }
    Ok(Json(JobState::of(&job)))
}

/// Follow an experiment: server-sent events.
///
/// `queued` {id, ahead}, `started` {id}, `progress` {runs, runs_wanted}, `partial` {tables} (values are null where not
/// finished), `token` {stream, index, token}, and at the end `done` (the record), `failed` {error, detail, hint} or
/// `cancelled` {id}. Whoever comes late is told everything.
#[utoipa::path(
    get, path = "/api/experiments/{id}/events", tag = "Experiments",
    params(("id" = String, Path, description = "The experiment's id")),
    responses(
        (status = 200, description = "Events until the experiment has ended", content_type = "text/event-stream",
            body = String),
        (status = 404, description = "No experiment of this id, or no more", body = ErrorBody),
    )
)]
pub(crate) async fn events(State(app): State<App>, Named(id): Named) -> Result<Response, ApiError> {
    let job = app.jobs.get(&id)?;
    Ok(crate::events::events(app.jobs.listen(job)).into_response())
}

/// The record of an experiment: the question, the answer, the model and its hash.
#[utoipa::path(
    get, path = "/api/experiments/{id}/record", tag = "Experiments",
    params(("id" = String, Path, description = "The experiment's id")),
    responses(
        (status = 200, body = Record),
        (status = 404, description = "No experiment of this id, or no more", body = ErrorBody),
        (status = 409, description = "Nothing is finished yet", body = ErrorBody),
    )
)]
pub(crate) async fn record(State(app): State<App>, Named(id): Named) -> Result<Response, ApiError> {
    Ok(Json(&*record_of(&app, &id)?).into_response())
}

/// All tables as safetensors, f64: one tensor a table, named `index.metric.quantity`, NaN where there is no value.
#[utoipa::path(
    get, path = "/api/experiments/{id}/tables.safetensors", tag = "Experiments",
    params(("id" = String, Path, description = "The experiment's id")),
    responses(
        (status = 200, content_type = "application/octet-stream", body = Vec<u8>),
        (status = 404, description = "No experiment of this id, or no more", body = ErrorBody),
        (status = 409, description = "Nothing is finished yet", body = ErrorBody),
    )
)]
pub(crate) async fn tables(State(app): State<App>, Named(id): Named) -> Result<Response, ApiError> {
    let record = record_of(&app, &id)?;
    let bytes = aside(move || packed(&record)).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}

fn packed(record: &Record) -> Result<Vec<u8>, ApiError> {
    use microtome::model::{Device, Tensor, to_safetensors};
    let tensor = |(index, table): (usize, &Table)| -> Result<(String, Tensor), microtome::Error> {
        let shape: Vec<usize> = table.axes.iter().map(|axis| axis.labels.len()).collect();
        let values: Vec<f64> = table.values.iter().map(|value| value.unwrap_or(f64::NAN)).collect();
        let quantity = table.quantity.name();
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu)?;
        Ok((format!("{index}.{}.{quantity}", table.metric), tensor))
    };
    let tensors = record.results.tables.iter().enumerate().map(tensor).collect::<Result<Vec<_>, _>>()?;
    Ok(to_safetensors(&tensors).map_err(microtome::Error::from)?)
}

/// Which table of a record.
#[derive(Debug, Deserialize, IntoParams)]
pub(crate) struct Which {
    /// Its place in the record's list, counted from 0.
    #[serde(default)]
    table: usize,
}

/// A table drawn as SVG, as the command line draws it.
#[utoipa::path(
    get, path = "/api/experiments/{id}/plot.svg", tag = "Experiments",
    params(("id" = String, Path, description = "The experiment's id"), Which),
    responses(
        (status = 200, content_type = "image/svg+xml", body = String),
        (status = 404, description = "No such experiment or table", body = ErrorBody),
    )
)]
pub(crate) async fn plot_svg(
    State(app): State<App>,
    Named(id): Named,
    Asked(which): Asked<Which>,
) -> Result<Response, ApiError> {
    let record = record_of(&app, &id)?;
    let svg = aside(move || drawn(&record, which.table)).await?;
    Ok(([(header::CONTENT_TYPE, "image/svg+xml")], svg).into_response())
}

/// A table drawn as PNG, two pixels to the point.
#[utoipa::path(
    get, path = "/api/experiments/{id}/plot.png", tag = "Experiments",
    params(("id" = String, Path, description = "The experiment's id"), Which),
    responses(
        (status = 200, content_type = "image/png", body = Vec<u8>),
        (status = 404, description = "No such experiment or table", body = ErrorBody),
    )
)]
pub(crate) async fn plot_png(
    State(app): State<App>,
    Named(id): Named,
    Asked(which): Asked<Which>,
) -> Result<Response, ApiError> {
    let record = record_of(&app, &id)?;
    let png =
        aside(move || Ok(svg_to_png(&drawn(&record, which.table)?, 2.0).map_err(microtome::Error::from)?));
    let png = png.await?;
    Ok(([(header::CONTENT_TYPE, "image/png")], png).into_response())
}

/// What was measured against what was estimated, drawn as SVG.
#[utoipa::path(
    get, path = "/api/experiments/{id}/scatter.svg", tag = "Experiments",
    params(("id" = String, Path, description = "The experiment's id")),
    responses(
        (status = 200, content_type = "image/svg+xml", body = String),
        (status = 404, description = "No such experiment, or nothing was measured beside its estimates", body = ErrorBody),
    )
)]
pub(crate) async fn scatter_svg(State(app): State<App>, Named(id): Named) -> Result<Response, ApiError> {
    let record = record_of(&app, &id)?;
    let svg = aside(move || scattered(&record)).await?;
    Ok(([(header::CONTENT_TYPE, "image/svg+xml")], svg).into_response())
}

/// The same as PNG, two pixels to the point.
#[utoipa::path(
    get, path = "/api/experiments/{id}/scatter.png", tag = "Experiments",
    params(("id" = String, Path, description = "The experiment's id")),
    responses(
        (status = 200, content_type = "image/png", body = Vec<u8>),
        (status = 404, description = "No such experiment, or nothing was measured beside its estimates", body = ErrorBody),
    )
)]
pub(crate) async fn scatter_png(State(app): State<App>, Named(id): Named) -> Result<Response, ApiError> {
    let record = record_of(&app, &id)?;
    let png =
        aside(move || Ok(svg_to_png(&scattered(&record)?, 2.0).map_err(microtome::Error::from)?)).await?;
    Ok(([(header::CONTENT_TYPE, "image/png")], png).into_response())
}

/// A table as CSV, one line a cell.
#[utoipa::path(
    get, path = "/api/experiments/{id}/table.csv", tag = "Experiments",
    params(("id" = String, Path, description = "The experiment's id"), Which),
    responses(
        (status = 200, content_type = "text/csv", body = String),
        (status = 404, description = "No such experiment or table", body = ErrorBody),
    )
)]
pub(crate) async fn table_csv(
    State(app): State<App>,
    Named(id): Named,
    Asked(which): Asked<Which>,
) -> Result<Response, ApiError> {
    let record = record_of(&app, &id)?;
    let csv = aside(move || Ok(table(&record, which.table)?.csv())).await?;
    Ok(([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], csv).into_response())
}

/// Work that takes a while though it runs no model: away from the threads that answer.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| ApiError::internal("the table could not be written"))?
}

fn record_of(app: &App, id: &str) -> Result<Arc<Record>, ApiError> {
    app.jobs.get(id)?.log().record.ok_or_else(|| {
        let hint = "follow /api/experiments/{id}/events until it is done";
        ApiError::new(StatusCode::CONFLICT, "not_finished", "this experiment has no record yet", hint)
    })
}

fn table(record: &Record, index: usize) -> Result<&Table, ApiError> {
    record.results.tables.get(index).ok_or_else(|| {
        let detail =
            format!("the record has {} tables, so there is no table {index}", record.results.tables.len());
        ApiError::new(StatusCode::NOT_FOUND, "no_such_table", detail, "tables count from 0")
    })
}

fn scattered(record: &Record) -> Result<String, ApiError> {
    let plot = record.scatter().ok_or_else(|| {
        let hint = "ask attribution patching to `check` some cells";
        let detail = "no estimate of this record was measured";
        ApiError::new(StatusCode::NOT_FOUND, "no_such_table", detail.to_owned(), hint)
    })?;
    Ok(plot.to_svg())
}

fn drawn(record: &Record, index: usize) -> Result<String, ApiError> {
    let picture = table(record, index)?.heatmap(&record.subtitle());
    picture.check().map_err(microtome::Error::from)?;
    Ok(picture.to_svg())
}
