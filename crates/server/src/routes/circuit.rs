//! Circuit analysis as existing front ends ask for it: edits at the last position alone, recoveries in percent.
//!
//! Each request is one experiment; its record is read into the shape these front ends know. A number here and in
//! the record differs in sign or scale at most: `delta_prob` is clean minus ablated, recoveries are 0 where
//! there is nothing to recover.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use microtome::method::ablate::{Ablate, Targets};
use microtome::method::change::Replacement;
use microtome::method::patch::{By, Direction, Patch};
use microtome::model::{Config, Positions, Site};
use microtome::{Answer, Component, Method, Prompt, Quantity, Record, RunReport, Table, Text};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::App;
use crate::error::{ApiError, ErrorBody};
use crate::models::Served;
use crate::request::Body;
use crate::routes::ask::Ask;

/// A token and its probability.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenChance {
    token: String,
    prob: f64,
}

/// A head by its indices.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
pub(crate) struct HeadSpec {
    layer: usize,
    head: usize,
}

/// A layer by its index.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
pub(crate) struct LayerSpec {
    layer: usize,
}

/// Numbers of every head, `[layer][head]`.
type Matrix = Vec<Vec<f64>>;

/// Every head set to 0 by itself.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct SweepRequest {
    clean_prompt: String,
    /// Exactly one token, leading space included.
    target_token: String,
    /// A token whose logit is set back to its clean value before anything is measured.
    clamp_token: Option<String>,
}

/// What each head was worth.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SweepResponse {
    /// Clean minus ablated probability of the target.
    delta_probs: Matrix,
    /// Ablated minus clean rank of the target, counted from 1.
    delta_ranks: Matrix,
    /// Ablated minus clean entropy, nats.
    delta_entropies: Matrix,
    /// Clean minus ablated margin: the target's logit minus the best other.
    delta_margins: Matrix,
    clean_prob: f64,
    clean_rank: u64,
    top_clean: Vec<TokenChance>,
}

/// Several heads set to 0 together.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct MultiAblateRequest {
    clean_prompt: String,
    target_token: String,
    heads: Vec<HeadSpec>,
}

/// What several heads were worth together.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MultiAblateResponse {
    clean_prompt: String,
    target_token: String,
    heads: Vec<HeadSpec>,
    clean_prob: f64,
    ablated_prob: f64,
    clean_rank: u64,
    ablated_rank: u64,
    /// Clean minus ablated.
    delta_prob: f64,
    /// Ablated minus clean.
    delta_rank: i64,
    /// Ablated minus clean, nats.
    delta_entropy: f64,
    /// Clean minus ablated.
    delta_margin: f64,
    top_clean: Vec<TokenChance>,
    top_ablated: Vec<TokenChance>,
}

/// Clean activations put into the corrupt run.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct PatchRequest {
    clean_prompt: String,
    /// As many tokens as the clean prompt.
    corrupt_prompt: String,
    target_token: String,
}

/// Several heads patched together.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct MultiPatchRequest {
    clean_prompt: String,
    corrupt_prompt: String,
    target_token: String,
    heads: Vec<HeadSpec>,
}

/// Several layers patched together.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct MultiLayerRequest {
    clean_prompt: String,
    corrupt_prompt: String,
    target_token: String,
    layers: Vec<LayerSpec>,
}

/// The two runs of a patch.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ends {
    clean_prompt: String,
    corrupt_prompt: String,
    target_token: String,
    clean_prob: f64,
    corrupt_prob: f64,
    clean_rank: u64,
    corrupt_rank: u64,
    top_clean: Vec<TokenChance>,
    top_corrupt: Vec<TokenChance>,
}

/// What each head's patch restores.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PatchSweepResponse {
    #[serde(flatten)]
    ends: Ends,
    /// Percent of the way from the corrupt to the clean probability.
    recovery_matrix: Matrix,
    /// Probability of the target in the patched run.
    prob_matrix: Matrix,
}

/// What each layer's patch restores.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LayerSweepResponse {
    #[serde(flatten)]
    ends: Ends,
    /// Percent of the way from the corrupt to the clean probability.
    recovery_by_layer: Vec<f64>,
    /// Probability of the target in the patched run.
    prob_by_layer: Vec<f64>,
}

/// What one patched run restores.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Patched {
    patched_prob: f64,
    patched_rank: u64,
    /// Percent of the way from the corrupt to the clean probability.
    recovery_pct: f64,
    top_patched: Vec<TokenChance>,
}

/// Heads patched together.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MultiPatchResponse {
    #[serde(flatten)]
    ends: Ends,
    heads: Vec<HeadSpec>,
    #[serde(flatten)]
    patched: Patched,
}

/// Layers patched together.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MultiLayerResponse {
    #[serde(flatten)]
    ends: Ends,
    layers: Vec<LayerSpec>,
    #[serde(flatten)]
    patched: Patched,
}

/// Set every head to 0 by itself, at the last position.
#[utoipa::path(
    post, path = "/sweep", tag = "Circuit analysis", request_body = SweepRequest,
    responses(
        (status = 200, body = SweepResponse),
        (status = 422, description = "A target that is not one token, or a prompt that cannot be read", body = ErrorBody),
        (status = 503, description = "Too many wait", body = ErrorBody),
    )
)]
pub(crate) async fn sweep(
    State(app): State<App>,
    Body(request): Body<SweepRequest>,
) -> Result<Json<SweepResponse>, ApiError> {
    let served = app.models.first();
    let clamp = request.clamp_token.map(Answer::Text);
    let method = ablate(Targets::Heads, clamp);
    let record =
        ask(&app, served, prompt(&request.clean_prompt, None, &request.target_token), method).await?;
    let matrix = |metric, sign| matrix(&record, metric, Quantity::Change, sign, served.model.config());
    let clean = run(&record, "clean")?;
    Ok(Json(SweepResponse {
        delta_probs: matrix("prob", -1.0)?,
        delta_ranks: matrix("rank", 1.0)?,
        delta_entropies: matrix("entropy", 1.0)?,
        delta_margins: matrix("margin", -1.0)?,
        clean_prob: value(clean, "prob")?,
        clean_rank: rank(clean)?,
        top_clean: top(clean),
    }))
}

/// Set several heads to 0 together, at the last position.
#[utoipa::path(
    post, path = "/multi-ablate", tag = "Circuit analysis", request_body = MultiAblateRequest,
    responses(
        (status = 200, body = MultiAblateResponse),
        (status = 422, description = "A head that does not exist, or a target that is not one token", body = ErrorBody),
        (status = 503, description = "Too many wait", body = ErrorBody),
    )
)]
pub(crate) async fn multi_ablate(
    State(app): State<App>,
    Body(request): Body<MultiAblateRequest>,
) -> Result<Json<MultiAblateResponse>, ApiError> {
    let method = ablate(Targets::Together(components(&request.heads)), None);
    let served = app.models.first();
    let record =
        ask(&app, served, prompt(&request.clean_prompt, None, &request.target_token), method).await?;
    let (clean, ablated) = (run(&record, "clean")?, run(&record, "ablated")?);
    let change = |metric| Ok::<f64, ApiError>(value(ablated, metric)? - value(clean, metric)?);
    Ok(Json(MultiAblateResponse {
        clean_prob: value(clean, "prob")?,
        ablated_prob: value(ablated, "prob")?,
        clean_rank: rank(clean)?,
        ablated_rank: rank(ablated)?,
        delta_prob: -change("prob")?,
        delta_rank: change("rank")? as i64,
        delta_entropy: change("entropy")?,
        delta_margin: -change("margin")?,
        top_clean: top(clean),
        top_ablated: top(ablated),
        clean_prompt: request.clean_prompt,
        target_token: request.target_token,
        heads: request.heads,
    }))
}

/// Patch every head by itself, at the last position: clean `z` into the corrupt run.
#[utoipa::path(
    post, path = "/patch-sweep", tag = "Circuit analysis", request_body = PatchRequest,
    responses(
        (status = 200, body = PatchSweepResponse),
        (status = 422, description = "Prompts of different lengths, or a target that is not one token", body = ErrorBody),
        (status = 503, description = "Too many wait", body = ErrorBody),
    )
)]
pub(crate) async fn patch_sweep(
    State(app): State<App>,
    Body(request): Body<PatchRequest>,
) -> Result<Json<PatchSweepResponse>, ApiError> {
    let (served, record) = patched(&app, &request, Site::Z, By::Head).await?;
    let matrix = |quantity, scale| matrix(&record, "prob", quantity, scale, served.model.config());
    Ok(Json(PatchSweepResponse {
        recovery_matrix: matrix(Quantity::Recovery, 100.0)?,
        prob_matrix: matrix(Quantity::Value, 1.0)?,
        ends: ends(&record, request)?,
    }))
}

/// Patch several heads together, at the last position.
#[utoipa::path(
    post, path = "/multi-patch", tag = "Circuit analysis", request_body = MultiPatchRequest,
    responses(
        (status = 200, body = MultiPatchResponse),
        (status = 422, description = "A head that does not exist, or prompts of different lengths", body = ErrorBody),
        (status = 503, description = "Too many wait", body = ErrorBody),
    )
)]
pub(crate) async fn multi_patch(
    State(app): State<App>,
    Body(request): Body<MultiPatchRequest>,
) -> Result<Json<MultiPatchResponse>, ApiError> {
    let MultiPatchRequest { clean_prompt, corrupt_prompt, target_token, heads } = request;
    let request = PatchRequest { clean_prompt, corrupt_prompt, target_token };
    let (_, record) = patched(&app, &request, Site::Z, By::Heads(components(&heads))).await?;
    Ok(Json(MultiPatchResponse { patched: outcome(&record)?, ends: ends(&record, request)?, heads }))
}

/// Patch the residual stream after each layer by itself, at the last position (`resid_post`).
#[utoipa::path(
    post, path = "/residual-sweep", tag = "Circuit analysis", request_body = PatchRequest,
    responses(
        (status = 200, body = LayerSweepResponse),
        (status = 422, description = "Prompts of different lengths, or a target that is not one token", body = ErrorBody),
        (status = 503, description = "Too many wait", body = ErrorBody),
    )
)]
pub(crate) async fn residual_sweep(
    State(app): State<App>,
    Body(request): Body<PatchRequest>,
) -> Result<Json<LayerSweepResponse>, ApiError> {
    layer_sweep(&app, request, Site::ResidPost).await
}

/// Patch each layer's MLP activations by themselves, at the last position (`mlp.hook_post`).
#[utoipa::path(
    post, path = "/mlp-sweep", tag = "Circuit analysis", request_body = PatchRequest,
    responses(
        (status = 200, body = LayerSweepResponse),
        (status = 422, description = "Prompts of different lengths, or a target that is not one token", body = ErrorBody),
        (status = 503, description = "Too many wait", body = ErrorBody),
    )
)]
pub(crate) async fn mlp_sweep(
    State(app): State<App>,
    Body(request): Body<PatchRequest>,
) -> Result<Json<LayerSweepResponse>, ApiError> {
    layer_sweep(&app, request, Site::MlpPost).await
}

/// Patch the residual stream after several layers together, at the last position.
#[utoipa::path(
    post, path = "/multi-residual-patch", tag = "Circuit analysis", request_body = MultiLayerRequest,
    responses(
        (status = 200, body = MultiLayerResponse),
        (status = 422, description = "A layer that does not exist, or prompts of different lengths", body = ErrorBody),
        (status = 503, description = "Too many wait", body = ErrorBody),
    )
)]
pub(crate) async fn multi_residual_patch(
    State(app): State<App>,
    Body(request): Body<MultiLayerRequest>,
) -> Result<Json<MultiLayerResponse>, ApiError> {
    multi_layer(&app, request, Site::ResidPost).await
}

/// Patch several layers' MLP activations together, at the last position.
#[utoipa::path(
    post, path = "/multi-mlp-patch", tag = "Circuit analysis", request_body = MultiLayerRequest,
    responses(
        (status = 200, body = MultiLayerResponse),
        (status = 422, description = "A layer that does not exist, or prompts of different lengths", body = ErrorBody),
        (status = 503, description = "Too many wait", body = ErrorBody),
    )
)]
pub(crate) async fn multi_mlp_patch(
    State(app): State<App>,
    Body(request): Body<MultiLayerRequest>,
) -> Result<Json<MultiLayerResponse>, ApiError> {
    multi_layer(&app, request, Site::MlpPost).await
}

async fn layer_sweep(
    app: &App,
    request: PatchRequest,
    site: Site,
) -> Result<Json<LayerSweepResponse>, ApiError> {
    let (_, record) = patched(app, &request, site, By::Layer).await?;
    let by_layer = |quantity, scale| scaled(table(&record, "prob", quantity)?, scale);
    Ok(Json(LayerSweepResponse {
        recovery_by_layer: by_layer(Quantity::Recovery, 100.0)?,
        prob_by_layer: by_layer(Quantity::Value, 1.0)?,
        ends: ends(&record, request)?,
    }))
}

async fn multi_layer(
    app: &App,
    request: MultiLayerRequest,
    site: Site,
) -> Result<Json<MultiLayerResponse>, ApiError> {
    let MultiLayerRequest { clean_prompt, corrupt_prompt, target_token, layers } = request;
    let request = PatchRequest { clean_prompt, corrupt_prompt, target_token };
    let by = By::Layers(layers.iter().map(|spec| spec.layer).collect());
    let (_, record) = patched(app, &request, site, by).await?;
    Ok(Json(MultiLayerResponse { patched: outcome(&record)?, ends: ends(&record, request)?, layers }))
}

fn ablate(targets: Targets, clamp: Option<Answer>) -> Method {
    Method::Ablate(Ablate { targets, with: Replacement::Zero, at: Positions::Last, clamp })
}

async fn patched<'a>(
    app: &'a App,
    request: &PatchRequest,
    site: Site,
    by: By,
) -> Result<(&'a Arc<Served>, Arc<Record>), ApiError> {
    let served = app.models.first();
    let method = Method::Patch(Patch { site, by, direction: Direction::Denoise, at: Positions::Last });
    let pair = prompt(&request.clean_prompt, Some(&request.corrupt_prompt), &request.target_token);
    Ok((served, ask(app, served, pair, method).await?))
}

fn prompt(clean: &str, corrupt: Option<&str>, target: &str) -> Prompt {
    Prompt {
        clean: Text::Text(clean.to_owned()),
        corrupt: corrupt.map(|text| Text::Text(text.to_owned())),
        answers: vec![Answer::Text(target.to_owned())],
        wrong_answers: vec![],
    }
}

async fn ask(
    app: &App,
    served: &Arc<Served>,
    prompt: Prompt,
    method: Method,
) -> Result<Arc<Record>, ApiError> {
    let metrics = ["prob", "rank", "entropy", "margin"];
    Ask { app, served, seed: 0 }.record(prompt, method, &metrics).await
}

fn components(heads: &[HeadSpec]) -> Vec<Component> {
    heads.iter().map(|&HeadSpec { layer, head }| Component::Head { layer, head }).collect()
}

fn table<'a>(record: &'a Record, metric: &str, quantity: Quantity) -> Result<&'a Table, ApiError> {
    record.table(metric, quantity).ok_or_else(|| ApiError::internal(format!("no table of {metric}")))
}

/// A table's values in this scale; 0 where there is nothing to recover.
fn scaled(table: &Table, scale: f64) -> Result<Vec<f64>, ApiError> {
    // `-0` would be written as such.
    Ok(table.values.iter().map(|value| value.map_or(0.0, |value| scale * value + 0.0)).collect())
}

fn matrix(
    record: &Record,
    metric: &str,
    quantity: Quantity,
    scale: f64,
    config: &Config,
) -> Result<Matrix, ApiError> {
    let values = scaled(table(record, metric, quantity)?, scale)?;
    Ok(values.chunks(config.n_heads).map(<[f64]>::to_vec).collect())
}

fn run<'a>(record: &'a Record, name: &str) -> Result<&'a RunReport, ApiError> {
    let runs = record.results.prompts.first().map_or(&[][..], |prompt| &prompt.runs);
    runs.iter().find(|run| run.name == name).ok_or_else(|| ApiError::internal(format!("no run `{name}`")))
}

fn value(run: &RunReport, metric: &str) -> Result<f64, ApiError> {
    let found = run.metrics.iter().find(|value| value.metric == metric);
    found.map(|value| value.value).ok_or_else(|| ApiError::internal(format!("no value of {metric}")))
}

fn rank(run: &RunReport) -> Result<u64, ApiError> {
    Ok(value(run, "rank")? as u64)
}

fn top(run: &RunReport) -> Vec<TokenChance> {
    run.top.iter().map(|top| TokenChance { token: top.token.clone(), prob: top.prob }).collect()
}

fn ends(record: &Record, request: PatchRequest) -> Result<Ends, ApiError> {
    let (clean, corrupt) = (run(record, "clean")?, run(record, "corrupt")?);
    Ok(Ends {
        clean_prob: value(clean, "prob")?,
        corrupt_prob: value(corrupt, "prob")?,
        clean_rank: rank(clean)?,
        corrupt_rank: rank(corrupt)?,
        top_clean: top(clean),
        top_corrupt: top(corrupt),
        clean_prompt: request.clean_prompt,
        corrupt_prompt: request.corrupt_prompt,
        target_token: request.target_token,
    })
}

fn outcome(record: &Record) -> Result<Patched, ApiError> {
    let patched = run(record, "patched")?;
    let recovery = scaled(table(record, "prob", Quantity::Recovery)?, 100.0)?;
    Ok(Patched {
        patched_prob: value(patched, "prob")?,
        patched_rank: rank(patched)?,
        recovery_pct: recovery.first().copied().unwrap_or_default(),
        top_patched: top(patched),
    })
}
