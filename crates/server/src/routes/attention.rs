//! Attention patterns of all heads, as a tensor or as an HTML file that opens offline.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use microtome::method::attention::{Weighting, bytes_of_patterns, weighted_patterns};
use microtome::model::{DType, to_safetensors_with};
use microtome::plot::AttentionPage;
use microtome::{Bos, Component, Text, TextModel};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::App;
use crate::error::{ApiError, ErrorBody};
use crate::models::Served;
use crate::request::{Body, check_text};

/// A prompt whose attention is looked at.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttentionRequest {
    /// The model; the default where left out.
    model: Option<String>,
    /// The prompt: text, or token ids.
    prompt: Text,
    /// Whether BOS stands in front of text.
    #[serde(default)]
    bos: Bos,
    /// What every entry is multiplied by.
    #[serde(default)]
    weighting: Weighting,
    /// The head an HTML file shows large at first; a tensor holds all heads alike.
    #[serde(default)]
    head: Option<Component>,
}

/// Attention patterns of every head: safetensors with one tensor `pattern`, f32 `[layer, head, query, key]`, the
/// prompt's tokens as JSON in its metadata under `tokens`, and what entries are multiplied by under `weighting`.
#[utoipa::path(
    post, path = "/api/attention", tag = "Experiments",
    request_body = AttentionRequest,
    responses(
        (status = 200, content_type = "application/octet-stream", body = Vec<u8>),
        (status = 404, description = "A model that is not served", body = ErrorBody),
        (status = 413, description = "Patterns of more memory than one request may have", body = ErrorBody),
        (status = 422, description = "A prompt that cannot be read", body = ErrorBody),
        (status = 503, description = "Too many wait", body = ErrorBody),
    )
)]
pub(crate) async fn attention(
    State(app): State<App>,
    Body(request): Body<AttentionRequest>,
) -> Result<Response, ApiError> {
    let bytes = read(&app, request, packed).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}

/// The same as one HTML file with every head's pattern, which needs no network and no server to be looked at.
#[utoipa::path(
    post, path = "/api/attention.html", tag = "Experiments",
    request_body = AttentionRequest,
    responses(
        (status = 200, content_type = "text/html", body = String),
        (status = 404, description = "A model that is not served", body = ErrorBody),
        (status = 413, description = "Patterns of more memory than one request may have", body = ErrorBody),
        (status = 422, description = "A prompt that cannot be read, or one too long for a file", body = ErrorBody),
        (status = 503, description = "Too many wait", body = ErrorBody),
    )
)]
pub(crate) async fn attention_html(
    State(app): State<App>,
    Body(request): Body<AttentionRequest>,
) -> Result<Response, ApiError> {
    let html = read(&app, request, page).await?;
    // It is a file to keep, not a page of this server: scripts in it may not ask here.
    let kept = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"attention.html\""),
    ];
    Ok((kept, html).into_response())
}

/// What is made of the patterns, by a worker.
async fn read<T: Send + 'static>(
    app: &App,
    request: AttentionRequest,
    make: fn(&TextModel, &AttentionRequest) -> Result<T, microtome::Error>,
) -> Result<T, ApiError> {
    check_text(&request.prompt)?;
    let served: Arc<Served> = app.models.get(request.model.as_deref())?.clone();
    let n = served.model.encode(&request.prompt, request.bos)?.0.len();
    let (bytes, budget) = (bytes_of_patterns(&served.model, n), app.settings.memory_budget);
    if n <= served.model.config().n_ctx && bytes > budget {
        let detail =
            format!("the patterns of {n} tokens take {} MiB, more than {}", bytes >> 20, budget >> 20);
        let hint = "ask for a shorter prompt, or have the operator raise --memory";
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail, hint));
    }
    let worker = app.jobs.desk().line_up()?.worker().await;
    let reading = tokio::task::spawn_blocking(move || {
        let made = make(&served.model, &request);
        drop(worker);
        made
    });
    Ok(reading.await.map_err(|_| ApiError::internal("the patterns could not be read"))??)
}

fn packed(model: &TextModel, request: &AttentionRequest) -> Result<Vec<u8>, microtome::Error> {
    let tokens = model.tokens(&request.prompt, request.bos)?;
    let pattern = weighted_patterns(model, &tokens.ids, request.weighting)?.to_dtype(DType::F32)?;
    let json = serde_json::to_string(&tokens).expect("tokens are plain data");
    let notes = [("tokens", &json[..]), ("weighting", request.weighting.name())];
    Ok(to_safetensors_with(&[("pattern".to_owned(), pattern)], &notes)?)
}

fn page(model: &TextModel, request: &AttentionRequest) -> Result<String, microtome::Error> {
    let tokens = model.tokens(&request.prompt, request.bos)?;
    let patterns = weighted_patterns(model, &tokens.ids, request.weighting)?;
    let head = request.head.unwrap_or(Component::Head { layer: 0, head: 0 });
    AttentionPage { model, tokens: &tokens, patterns: &patterns, weighting: request.weighting, head }
        .to_html()
}
