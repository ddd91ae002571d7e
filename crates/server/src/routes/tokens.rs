//! How a model reads text.

use axum::Json;
use axum::extract::State;
use microtome::{Answer, Bos, Text, TextModel, TokenLabel};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::App;
use crate::error::{ApiError, ErrorBody};
use crate::request::{Body, check_text};

/// Text to be tokenized.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenizeRequest {
    /// The model; the default where left out.
    model: Option<String>,
    text: String,
    /// Whether BOS stands in front.
    #[serde(default)]
    bos: Bos,
}

/// Text in tokens. It may be longer than the model reads.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Tokenized {
    ids: Vec<u32>,
    /// What each token is shown as.
    labels: Vec<String>,
    /// The bytes of each token, as hexadecimal digits.
    bytes: Vec<String>,
    /// Whether the first is a BOS that was put in front.
    bos_prepended: bool,
    /// How many tokens the model reads at most.
    n_ctx: usize,
}

/// Tokenize text.
#[utoipa::path(
    post, path = "/api/tokenize", tag = "Models",
    request_body = TokenizeRequest,
    responses(
        (status = 200, body = Tokenized),
        (status = 404, description = "A model that is not served", body = ErrorBody),
        (status = 422, description = "Text that the model's tokenizer cannot read", body = ErrorBody),
    )
)]
pub(crate) async fn tokenize(
    State(app): State<App>,
    Body(request): Body<TokenizeRequest>,
) -> Result<Json<Tokenized>, ApiError> {
    let text = Text::Text(request.text);
    check_text(&text)?;
    let model = &app.models.get(request.model.as_deref())?.model;
    let (ids, bos_prepended) = model.encode(&text, request.bos)?;
    let bytes = |&id: &u32| -> Result<String, ApiError> {
        let Some(tokenizer) = model.tokenizer() else { return Ok(String::new()) };
        let bytes = tokenizer.token_bytes(id).map_err(microtome::Error::from)?;
        Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    };
    Ok(Json(Tokenized {
        labels: ids.iter().map(|&id| model.label(id)).collect(),
        bytes: ids.iter().map(bytes).collect::<Result<_, _>>()?,
        ids,
        bos_prepended,
        n_ctx: model.config().n_ctx,
    }))
}

/// A target to be checked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TargetRequest {
    /// The model; the default where left out.
    model: Option<String>,
    /// The target, leading space included.
    text: String,
}

/// Whether a text is one token, and which are like it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TargetCheck {
    /// The one token it is, if it is.
    token: Option<TokenLabel>,
    /// The tokens it falls into.
    pieces: Vec<TokenLabel>,
    /// Tokens that begin like it, with and without a leading space.
    suggestions: Vec<TokenLabel>,
    /// Why it is no target.
    message: Option<String>,
}

/// Suggestions at most.
const SUGGESTIONS: usize = 8;
/// Longest target, bytes: no vocabulary has longer tokens.
const LONGEST_TARGET: usize = 1024;

/// Check that a target is one token.
#[utoipa::path(
    post, path = "/api/target", tag = "Models",
    request_body = TargetRequest,
    responses(
        (status = 200, body = TargetCheck),
        (status = 404, description = "A model that is not served", body = ErrorBody),
        (status = 422, description = "Text that cannot be read", body = ErrorBody),
    )
)]
pub(crate) async fn target(
    State(app): State<App>,
    Body(request): Body<TargetRequest>,
) -> Result<Json<TargetCheck>, ApiError> {
    crate::request::at_most("bytes of a target", request.text.len(), LONGEST_TARGET)?;
    let model = &app.models.get(request.model.as_deref())?.model;
    let label = |id: u32| TokenLabel { id, token: model.label(id) };
    let text = request.text;
    let mut suggested = alike(model, &text);
    if text.is_empty() {
        return Ok(Json(TargetCheck { token: None, pieces: vec![], suggestions: vec![], message: None }));
    }
    let (pieces, _) = model.encode(&Text::Text(text.clone()), Bos::Omit)?;
    let (token, message) = match model.answer(&Answer::Text(text), "target") {
        Ok(id) => (Some(label(id)), None),
        Err(error) => {
            // What the message proposes comes first.
            if let Some(id) = proposed(model, &error) {
                suggested.retain(|&other| other != id);
                suggested.insert(0, id);
                suggested.truncate(SUGGESTIONS);
            }
            (None, Some(error.to_string()))
        }
    };
    let suggestions = suggested.into_iter().map(label).collect();
    Ok(Json(TargetCheck { token, pieces: pieces.into_iter().map(label).collect(), suggestions, message }))
}

/// The token an error proposes instead.
fn proposed(model: &TextModel, error: &microtome::Error) -> Option<u32> {
    match error {
        microtome::Error::Model(microtome::model::Error::NotOneToken { suggestion: Some(text), .. }) => {
            model.answer(&Answer::Text(text.clone()), "target").ok()
        }
        _ => None,
    }
}

/// Tokens that begin like a text, the shortest first; those with a leading space before those without.
fn alike(model: &TextModel, text: &str) -> Vec<u32> {
    if text.trim().is_empty() {
        return vec![];
    }
    let spaced = format!(" {}", text.trim_start());
    let bare = text.trim_start();
    let rank = |id: u32| -> Option<(bool, usize, u32)> {
        let label = model.label(id);
        let begins = label.starts_with(&spaced) || label.starts_with(bare);
        begins.then(|| (!label.starts_with(' '), label.len(), id))
    };
    let mut found: Vec<_> = (0..model.config().d_vocab as u32).filter_map(rank).collect();
    found.sort_unstable();
    found.into_iter().take(SUGGESTIONS).map(|(_, _, id)| id).collect()
}
