//! Reading requests: what cannot be read is an error of ours, in our form.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use microtome::method::ablate::Targets;
use microtome::method::change::Replacement;
use microtome::{Experiment, Method, Text};
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// A JSON body.
pub(crate) struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Body<T>, ApiError> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(value)) => Ok(Body(value)),
            Err(rejection) => Err(unreadable(rejection)),
        }
    }
}

fn unreadable(rejection: JsonRejection) -> ApiError {
    let status = rejection.status();
    let (error, hint) = match &rejection {
        JsonRejection::JsonSyntaxError(_) => ("bad_json", "send one JSON value"),
        JsonRejection::MissingJsonContentType(_) => {
            ("bad_content_type", "send the header Content-Type: application/json")
        }
        _ if status == StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "send less at once"),
        _ => ("bad_request", "/docs and /openapi.json say which fields there are"),
    };
    ApiError::new(status, error, rejection.body_text(), hint)
}

/// A query string.
pub(crate) struct Asked<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Asked<T>, ApiError> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Asked(value)),
            Err(rejection) => {
                let rejection: QueryRejection = rejection;
                let hint = "/docs says which parameters there are";
                Err(ApiError::new(StatusCode::BAD_REQUEST, "bad_query", rejection.body_text(), hint))
            }
        }
    }
}

/// Longest text of a prompt, bytes. No model served reads as much.
const LONGEST_TEXT: usize = 64 << 10;
/// Most prompts, reference prompts among them.
const MOST_PROMPTS: usize = 512;
/// Most heads, layers, edits or metrics of one experiment.
const MOST_PARTS: usize = 4096;
/// Most sequences of random tokens.
const MOST_SEQUENCES: usize = 1000;

/// Checks an experiment against what one request may ask for.
///
/// # Errors
/// 422 naming the limit.
pub(crate) fn check_limits(experiment: &Experiment) -> Result<(), ApiError> {
    let mut texts: Vec<&Text> = Vec::new();
    for prompt in &experiment.prompts {
        texts.push(&prompt.clean);
        texts.extend(&prompt.corrupt);
        at_most("answers", prompt.answers.len() + prompt.wrong_answers.len(), MOST_PARTS)?;
    }
    let replacements: Vec<&Replacement> = match &experiment.method {
        Method::Ablate(ablate) => {
            if let Targets::Together(parts) = &ablate.targets {
                at_most("components", parts.len(), MOST_PARTS)?;
            }
            vec![&ablate.with]
        }
        Method::Generate(generate) => {
            at_most("components", generate.cut.len(), MOST_PARTS)?;
            vec![&generate.with]
        }
        Method::LogitLens(lens) => {
            at_most("components", lens.cut.len(), MOST_PARTS)?;
            vec![&lens.with]
        }
        Method::Edit(edit) => {
            at_most("edits", edit.edits.len(), MOST_PARTS)?;
            vec![]
        }
        Method::HeadScores(scoring) => {
            at_most("sequences", scoring.sequences.unwrap_or(0), MOST_SEQUENCES)?;
            vec![]
        }
        Method::Patch(patch) => {
            use microtome::method::patch::By;
            match &patch.by {
                By::Heads(heads) => at_most("heads", heads.len(), MOST_PARTS)?,
                By::Layers(layers) => at_most("layers", layers.len(), MOST_PARTS)?,
                _ => {}
            }
            vec![]
        }
        Method::Measure | Method::Importance(_) => vec![],
    };
    for replacement in replacements {
        match replacement {
            Replacement::Mean { reference, .. } => texts.extend(reference),
            Replacement::Resample { from } => texts.extend(from),
            _ => {}
        }
    }
    at_most("metrics", experiment.metrics.len(), MOST_PARTS)?;
    at_most("prompts", texts.len(), MOST_PROMPTS)?;
    texts.into_iter().try_for_each(check_text)
}

/// Checks a prompt's size before it is tokenized.
///
/// # Errors
/// 422 naming the limit.
pub(crate) fn check_text(text: &Text) -> Result<(), ApiError> {
    match text {
        Text::Text(text) => at_most("bytes of a prompt", text.len(), LONGEST_TEXT),
        Text::Ids(ids) => at_most("tokens of a prompt", ids.len(), LONGEST_TEXT),
    }
}

pub(crate) fn at_most(what: &str, found: usize, limit: usize) -> Result<(), ApiError> {
    match found <= limit {
        true => Ok(()),
        false => {
            let detail = format!("{found} {what}, more than the {limit} that one request may have");
            Err(ApiError::invalid("too_many", detail, "ask in several requests"))
        }
    }
}
