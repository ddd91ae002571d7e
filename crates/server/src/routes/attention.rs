//! Attention patterns of all heads, as a tensor.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use microtome::method::attention::{bytes_of_patterns, patterns};
use microtome::model::{DType, to_safetensors_with};
use microtome::{Bos, Text, TextModel};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::App;
use crate::error::{ApiError, ErrorBody};
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
}

/// Attention patterns of every head: safetensors with one tensor `pattern`, f32 `[layer, head, query, key]`, the
/// prompt's tokens as JSON in its metadata under `tokens`.
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
    check_text(&request.prompt)?;
    let served = app.models.get(request.model.as_deref())?.clone();
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
        let bytes = packed(&served.model, &request.prompt, request.bos);
        drop(worker);
        bytes
    });
    let bytes = reading.await.map_err(|_| ApiError::internal("the patterns could not be read"))??;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}

fn packed(model: &TextModel, prompt: &Text, bos: Bos) -> Result<Vec<u8>, microtome::Error> {
    let tokens = model.tokens(prompt, bos)?;
    let pattern = patterns(model, &tokens.ids)?.to_dtype(DType::F32)?;
    let json = serde_json::to_string(&tokens).expect("tokens are plain data");
    Ok(to_safetensors_with(&[("pattern".to_owned(), pattern)], &[("tokens", &json)])?)
}
