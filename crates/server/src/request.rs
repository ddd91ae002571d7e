//! Reading requests: what cannot be read is an error of ours, in our form.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use microtome::circuit::edge_attribution::GradientsAt;
use microtome::circuit::path_patch::{Receivers, Senders};
use microtome::circuit::search::FindBy;
use microtome::method::ablate::Targets;
use microtome::method::change::Replacement;
use microtome::method::detect::Target;
use microtome::method::edit::{ChangeSpec, EditSpec};
use microtome::method::feature_edit::FeatureEdits;
use microtome::method::feature_sweep::FeatureTargets;
use microtome::method::features::FeatureReading;
use microtome::method::patch::By;
use microtome::method::steering::SteeringDirection;
use microtome::metric::METRICS;
use microtome::model::{Config, Positions, Units};
use microtome::{Experiment, Method, Text, TextModel};
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// Longest a request's body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(15);

/// A JSON body.
pub(crate) struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Body<T>, ApiError> {
        match tokio::time::timeout(BODY_TIME, Json::<T>::from_request(request, state)).await {
            Ok(Ok(Json(value))) => Ok(Body(value)),
            Ok(Err(rejection)) => Err(unreadable(rejection)),
            Err(_) => {
                let detail = format!("the request did not arrive within {} s", BODY_TIME.as_secs());
                Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "too_slow", detail, "send it again"))
            }
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

/// The one part of an address that a route leaves open.
pub(crate) struct Named(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Named, ApiError> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Named(name)),
            Err(rejection) => {
                let hint = "write names and ids as UTF-8, percent-encoded";
                Err(ApiError::new(StatusCode::BAD_REQUEST, "bad_address", rejection.body_text(), hint))
            }
        }
    }
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
/// Longest text that is scanned, bytes.
const LONGEST_SCAN: usize = 512 << 10;
/// Most neurons or features scanned for at once.
const MOST_SCANNED: usize = 32_768;
/// Most prompts, reference prompts among them.
const MOST_PROMPTS: usize = 512;
/// Most heads, layers, edits or answers of one experiment.
const MOST_PARTS: usize = 4096;
/// Steps of integrated gradients.
const MOST_STEPS: usize = 100;
/// Ways to find circuits, asked for at once.
const MOST_WAYS: usize = 16;
/// Circuits judged, or searches that go on.
const MOST_CIRCUITS: usize = 64;
/// Most edits of one experiment; each may match a hook of every layer.
const MOST_EDITS: usize = 256;
/// Most edited runs: every cell of every prompt.
const MOST_RUNS: usize = 500_000;
/// Most features listed, of every position of every prompt.
const MOST_LISTED: usize = 8_000_000;
/// Most sequences of random tokens.
const MOST_SEQUENCES: usize = 1000;
/// Most detectors: every named target by every score, and some of one's own.
const MOST_DETECTORS: usize = 32;
/// Most pairs of a mask.
const MOST_PAIRS: usize = 65_536;
/// Most tokens whose rows are given of a head's circuits.
const MOST_TOKENS: usize = 64;

/// Checks an experiment against what one request may ask for.
///
/// # Errors
/// 422 naming the limit.
pub(crate) fn check_limits(experiment: &Experiment, model: &TextModel) -> Result<(), ApiError> {
    let config = model.config();
    let mut texts: Vec<&Text> = Vec::new();
    for prompt in &experiment.prompts {
        texts.push(&prompt.clean);
        texts.extend(&prompt.corrupt);
        at_most("answers", prompt.answers.len() + prompt.wrong_answers.len(), MOST_PARTS)?;
    }
    let replacements: Vec<&Replacement> = match &experiment.method {
        Method::Ablate(ablate) => {
            match &ablate.targets {
                Targets::Together(parts) => at_most("components", parts.len(), MOST_PARTS)?,
                Targets::Neurons(layers) => at_most("layers of neurons", layers.len(), config.n_layers)?,
                Targets::Heads | Targets::AttentionLayers | Targets::Mlps => {}
            }
            check_positions(&ablate.at, config)?;
            vec![&ablate.with]
        }
        Method::Pairs(pairs) => {
            at_most("components", pairs.among.len() + pairs.against.len(), MOST_PARTS)?;
            check_positions(&pairs.at, config)?;
            vec![&pairs.with]
        }
        Method::DirectAttribution(attribution) => {
            at_most("layers of neurons", attribution.neurons.len(), config.n_layers)?;
            vec![]
        }
        Method::Generate(generate) => {
            at_most("components", generate.cut.len() + generate.clamp.len(), MOST_PARTS)?;
            generate.features.iter().try_for_each(|edits| check_feature_edits(edits, config))?;
            vec![&generate.with]
        }
        Method::Neuron(profile) => {
            texts.extend(&profile.reference);
            vec![]
        }
        Method::StrongestNeurons(strongest) => {
            at_most("layers of neurons", strongest.layers.len(), config.n_layers)?;
            at_most("neurons", strongest.top.unwrap_or(0), MOST_PARTS)?;
            vec![]
        }
        Method::TextScan(scan) => {
            at_most("bytes of a text", scan.text.len(), LONGEST_SCAN)?;
            at_most("neurons or features named", scan.neurons.len() + scan.features.len(), MOST_SCANNED)?;
            let scanned = scan.n_scanned(model);
            at_most("neurons or features", scanned, MOST_SCANNED)?;
            let passages = scanned.saturating_mul(scan.top()).saturating_mul(scan.passage());
            at_most("tokens of passages", passages, MOST_RUNS)?;
            vec![]
        }
        Method::LogitLens(lens) => {
            at_most("components", lens.cut.len(), MOST_PARTS)?;
            vec![&lens.with]
        }
        Method::Edit(edit) => {
            at_most("edits", edit.edits.len(), MOST_EDITS)?;
            for spec in &edit.edits {
                check_positions(&spec.at, config)?;
                if let Units::At(units) = &spec.units {
                    at_most("units of an edit", units.len(), MOST_PARTS)?;
                }
                if let ChangeSpec::KnockOut(edges) = &spec.change {
                    at_most("edges of an edit", edges.len(), MOST_PARTS)?;
                }
            }
            edit.edits.iter().filter_map(replacement).collect()
        }
        Method::HeadScores(scoring) => {
            at_most("sequences", scoring.sequences.unwrap_or(0), MOST_SEQUENCES)?;
            vec![]
        }
        Method::Attention(attention) => {
            at_most("detectors", attention.detectors.len(), MOST_DETECTORS)?;
            for detector in &attention.detectors {
                match &detector.target {
                    Target::Pairs(pairs) => at_most("pairs of a mask", pairs.len(), MOST_PAIRS)?,
                    Target::Matrix(rows) => at_most("rows of a mask", rows.len(), config.n_ctx)?,
                    _ => {}
                }
            }
            vec![]
        }
        Method::HeadCircuit(circuit) => {
            at_most("tokens", circuit.tokens.len(), MOST_TOKENS)?;
            vec![]
        }
        Method::Composition(_) => vec![],
        Method::PromotedTokens(asked) => {
            at_most("components", asked.components.len(), MOST_PARTS)?;
            vec![]
        }
        Method::Steering(steering) => {
            at_most("strengths", steering.strengths.len(), MOST_CIRCUITS)?;
            match &steering.along {
                SteeringDirection::Difference { towards, away, .. } => {
                    at_most("texts of a direction", towards.len() + away.len(), MOST_PROMPTS)?;
                    towards.iter().chain(away).try_for_each(check_text)?;
                }
                SteeringDirection::Vector(numbers) => {
                    at_most("numbers of a direction", numbers.len(), config.d_model)?;
                }
                SteeringDirection::Neuron(_) | SteeringDirection::Feature { .. } => {}
            }
            vec![]
        }
        Method::Features(reading) => {
            check_features(reading, experiment, config)?;
            vec![]
        }
        Method::FeatureSweep(sweep) => {
            if let FeatureTargets::Each(list) | FeatureTargets::Together(list) = &sweep.features {
                at_most("features", list.len(), MOST_PARTS)?;
            }
            sweep.at.iter().try_for_each(|at| check_positions(at, config))?;
            vec![]
        }
        Method::FeatureEdit(asked) => {
            check_feature_edits(asked, config)?;
            vec![]
        }
        Method::FeatureAttribution(attribution) => {
            attribution.at.iter().try_for_each(|at| check_positions(at, config))?;
            vec![]
        }
        Method::FactualRecall(recall) => {
            at_most("prompts", recall.count.unwrap_or(0), MOST_PROMPTS)?;
            vec![]
        }
        Method::InductionCircuit(circuit) => {
            at_most("sequences", circuit.sequences.unwrap_or(0), MOST_SEQUENCES)?;
            vec![]
        }
        Method::Patch(patch) => {
            check_positions(&patch.at, config)?;
            match &patch.by {
                By::Heads(heads) => at_most("heads", heads.len(), MOST_PARTS)?,
                By::Layers(layers) => at_most("layers", layers.len(), MOST_PARTS)?,
                _ => {}
            }
            vec![]
        }
        Method::AttributionPatching(patching) => {
            check_positions(&patching.at, config)?;
            match &patching.by {
                By::Heads(heads) => at_most("heads", heads.len(), MOST_PARTS)?,
                By::Layers(layers) => at_most("layers", layers.len(), MOST_PARTS)?,
                _ => {}
            }
            at_most("steps", patching.steps.unwrap_or(0), MOST_STEPS)?;
            at_most("corrections", patching.corrections.len(), 2)?;
            vec![]
        }
        Method::PathPatch(patch) => {
            check_positions(&patch.at, config)?;
            if let Senders::Each(list) | Senders::Together(list) = &patch.from {
                at_most("senders", list.len(), MOST_PARTS)?;
            }
            if let Receivers::Each(list) | Receivers::Together(list) = &patch.to {
                at_most("receivers", list.len(), MOST_PARTS)?;
            }
            vec![]
        }
        Method::EdgeAttribution(attribution) => {
            check_steps(attribution.gradients)?;
            vec![]
        }
        Method::CircuitSearch(search) => {
            at_most("ways to find circuits", search.by.len(), MOST_WAYS)?;
            at_most("searches begun", search.begun.len(), MOST_CIRCUITS)?;
            for by in &search.by {
                if let FindBy::Edges { gradients, .. } | FindBy::Nodes { gradients, .. } = by {
                    check_steps(*gradients)?;
                }
            }
            vec![]
        }
        Method::CircuitCurve(curve) => {
            check_steps(curve.gradients)?;
            vec![]
        }
        Method::CircuitJudgement(judgement) => {
            at_most("circuits", judgement.circuits.len(), MOST_CIRCUITS)?;
            vec![]
        }
        Method::Measure | Method::Importance(_) | Method::FeatureProfile(_) => vec![],
    };
    for replacement in replacements {
        match replacement {
            Replacement::Mean { reference, .. } => texts.extend(reference),
            Replacement::Resample { from } => texts.extend(from),
            _ => {}
        }
    }
    at_most("metrics", experiment.metrics.len(), METRICS.len())?;
    at_most("prompts", texts.len(), MOST_PROMPTS)?;
    at_most(
        "edited runs",
        experiment.prompts.len().max(1) * experiment.method.runs_per_prompt(config, config.n_ctx),
        MOST_RUNS,
    )?;
    texts.into_iter().try_for_each(check_text)
}

fn check_feature_edits(asked: &FeatureEdits, config: &Config) -> Result<(), ApiError> {
    at_most("edits", asked.edits.len(), MOST_EDITS)?;
    let mut positions = asked.edits.iter().filter_map(|edit| edit.at.as_ref());
    positions.try_for_each(|at| check_positions(at, config))
}

fn check_features(
    reading: &FeatureReading,
    experiment: &Experiment,
    config: &Config,
) -> Result<(), ApiError> {
    at_most("features watched", reading.watch.len(), MOST_PARTS)?;
    reading.at.iter().try_for_each(|at| check_positions(at, config))?;
    let of_a_prompt =
        reading.watch.len().saturating_add(reading.top.unwrap_or(0)).saturating_mul(config.n_ctx);
    at_most("features listed", experiment.prompts.len().saturating_mul(of_a_prompt), MOST_LISTED)
}

fn check_steps(gradients: GradientsAt) -> Result<(), ApiError> {
    match gradients {
        GradientsAt::Inputs(steps) | GradientsAt::Activations(steps) => at_most("steps", steps, MOST_STEPS),
        GradientsAt::Base => Ok(()),
    }
}

fn replacement(spec: &EditSpec) -> Option<&Replacement> {
    match &spec.change {
        ChangeSpec::Replace(with) => Some(with),
        _ => None,
    }
}

fn check_positions(positions: &Positions, config: &Config) -> Result<(), ApiError> {
    match positions {
        Positions::At(list) => at_most("positions", list.len(), config.n_ctx),
        _ => Ok(()),
    }
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
