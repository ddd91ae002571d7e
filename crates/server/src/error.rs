//! Errors as clients see them: `{error, detail, hint}` with a fitting status.
//!
//! `error` is a word for programs, `detail` says what was wrong with expected and found, `hint` what to do.
//! Messages of the library already say both: after the last `; `, or on the last of several lines.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of every error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What kind: `prompt_too_long`, `not_found`.
    #[schema(example = "not_one_token")]
    pub error: String,
    /// What was wrong, with what was expected and found.
    pub detail: String,
    /// What to do.
    pub hint: String,
}

/// An error on its way to a client.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", body.detail)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// What the client reads.
    pub body: ErrorBody,
}

impl ApiError {
    /// An error of a kind.
    pub fn new(
        status: StatusCode,
        error: &str,
        detail: impl Into<String>,
        hint: impl Into<String>,
    ) -> ApiError {
        let body = ErrorBody { error: error.to_owned(), detail: detail.into(), hint: hint.into() };
        ApiError { status, body }
    }

    /// A field whose value cannot be: 422.
    pub(crate) fn invalid(error: &str, detail: impl Into<String>, hint: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, error, detail, hint)
    }

    /// Too many wait already.
    pub(crate) fn busy(waiting: usize) -> ApiError {
        let detail = format!("the line is full: {waiting} waiting or about to start, as many as may");
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail, "try again in a moment")
    }

    /// A fault of the server itself.
    pub(crate) fn internal(detail: impl Into<String>) -> ApiError {
        let hint = "this is a defect of the server; its log says more";
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail, hint)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<microtome::Error> for ApiError {
    fn from(error: microtome::Error) -> ApiError {
        let status = match kind(&error) {
            "stopped" => StatusCode::CONFLICT,
            "internal" => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let message = error.to_string();
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(message, "a fault of the program");
        }
        // A message of several lines shows tokens or lists in the middle and ends in what to do.
        let parted = parted(&message, "\n").or_else(|| parted(&message, "; "));
        let (detail, hint) = match parted {
            Some((detail, hint)) => (detail.to_owned(), hint.to_owned()),
            None => (message, "change the request; /docs says what it may hold".to_owned()),
        };
        ApiError::new(status, kind(&error), detail, hint)
    }
}

/// What stands before and after the last mark that is not inside quoted text.
fn parted<'a>(message: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    let outside = |at: &usize| message[..*at].matches('`').count().is_multiple_of(2);
    let at = message.rmatch_indices(mark).map(|(at, _)| at).find(outside)?;
    Some((&message[..at], &message[at + mark.len()..]))
}

/// The word for an error of the library.
fn kind(error: &microtome::Error) -> &'static str {
    use microtome::Error as E;
    match error {
        E::Model(inner) => kind_of_model(inner),
        E::InPrompt { source, .. } => kind(source),
        E::UnknownMetric { .. } => "unknown_metric",
        E::NoTokenizer { .. } => "no_tokenizer",
        E::MissingTokens { .. } | E::Missing { .. } => "missing",
        E::LengthsDiffer { .. } | E::PositionsDiffer { .. } => "lengths_differ",
        E::NotAHead { .. } | E::BadComponent { .. } | E::NoSuchComponent { .. } => "no_such_component",
        E::PromptTooLong { .. } => "prompt_too_long",
        E::Sae(microtome::sae::SaeError::NoSuchFeature { .. }) => "no_such_feature",
        E::NotFinite { .. } => "not_finite",
        E::WeightsDiffer { .. } | E::PrecisionDiffers { .. } => "weights_differ",
        E::StoppedEarly => "stopped",
        E::Plot(_) | E::Tensor(_) => "internal",
        _ => "invalid",
    }
}

fn kind_of_model(error: &microtome::model::Error) -> &'static str {
    use microtome::model::Error as E;
    match error {
        E::NotOneToken { .. } => "not_one_token",
        E::PromptTooLong { .. } => "prompt_too_long",
        E::EmptyPrompt => "empty_prompt",
        E::UnknownToken { .. } => "no_such_token",
        E::Tensor(_) | E::Io { .. } => "internal",
        _ => "invalid",
    }
}
