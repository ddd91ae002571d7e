//! Surgery as existing front ends ask for it: text generated with and without heads, in one answer.
//!
//! Three experiments: the generation with its comparison, the importance of every head for the prompt, and the
//! logit lens of the cut run at the position that predicted its last token.

use axum::Json;
use axum::extract::State;
use microtome::method::change::Replacement;
use microtome::method::generate::{Generate, GeneratedToken};
use microtome::method::importance::{Importance, Measure, Parts};
use microtome::method::logit_lens::LogitLens;
use microtome::{Answer, Component, Method, Prompt, Quantity, Text};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::App;
use crate::error::{ApiError, ErrorBody};
use crate::models::Served;
use crate::request::Body;
use crate::routes::ask::Ask;

/// Heads cut while text is generated.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct SurgeryRequest {
    prompt: String,
    /// `[layer][head]`: true where a head is cut.
    ablation_mask: Vec<Vec<bool>>,
    method: PatternChange,
    importance_method: ImportanceMethod,
    /// 0 takes the most probable token; above, tokens are drawn from the 50 most probable.
    #[serde(default = "one")]
    temperature: f64,
    #[serde(default = "sixty")]
    max_new_tokens: usize,
    #[serde(default = "forty_two")]
    seed: u64,
}

fn one() -> f64 {
    1.0
}

fn sixty() -> usize {
    60
}

fn forty_two() -> u64 {
    42
}

/// What takes the place of a cut head's attention pattern.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PatternChange {
    /// No attention at all.
    Zero,
    /// Equal weight on every position seen.
    Mean,
    /// Softmax of seeded normal noise over the positions seen.
    Random,
    /// The pattern of the same head one layer earlier; in layer 0 the mean.
    Previous,
}

/// What a head's importance is measured by.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ImportanceMethod {
    /// Mean size of the loss's derivative in the head's pattern.
    Gradient,
    /// L2 norm of what the head writes, mean over positions.
    Rollback,
    /// KL(whole || head set to 0), nats, mean over positions.
    Ablation,
}

/// Both texts and what the cut did.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SurgeryResponse {
    metrics: SurgeryMetrics,
    generation: BothTexts,
    importance_scores: ImportanceScores,
    layer_impact: Vec<LayerImpact>,
}

/// The cut model against the whole one, both on the control text.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct SurgeryMetrics {
    /// KL(whole || cut), nats, mean over positions.
    kl_div: f64,
    /// Perplexity of the cut model minus that of the whole one.
    perplexity_delta: f64,
    /// Share of positions whose most probable token differs.
    top1_changed_ratio: f64,
    /// L2 norm of the difference of the last residual stream, mean over positions.
    l2_diff: f64,
}

/// Both texts, prompt included.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BothTexts {
    control_tokens: Vec<ShownToken>,
    ablated_tokens: Vec<ShownToken>,
}

/// A token of a text.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShownToken {
    id: u32,
    text: String,
    /// Its probability where it was predicted, before temperature; 1 for the first token.
    prob: f64,
    is_prompt: bool,
    /// The five most probable tokens where it was predicted.
    top_k: Vec<Choice>,
}

/// A token that could have come.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Choice {
    token: String,
    prob: f64,
}

/// Importance of every head.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ImportanceScores {
    /// `[layer][head]`, by the method that was asked for.
    gradient_matrix: Vec<Vec<f64>>,
}

/// What a layer says of the last generated token.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LayerImpact {
    /// `L0` and so on.
    layer_name: String,
    /// Logit lens of the cut run: the token's probability at the position that predicted it.
    impact_score: f64,
}

/// Generate text with and without heads.
#[utoipa::path(
    post, path = "/api/surgery", tag = "Surgery", request_body = SurgeryRequest,
    responses(
        (status = 200, body = SurgeryResponse),
        (status = 422, description = "A mask of another shape, or a prompt that cannot be read", body = ErrorBody),
        (status = 503, description = "Too many wait", body = ErrorBody),
    )
)]
pub(crate) async fn surgery(
    State(app): State<App>,
    Body(request): Body<SurgeryRequest>,
) -> Result<Json<SurgeryResponse>, ApiError> {
    let served = app.models.first();
    let cut = cut_heads(served, &request.ablation_mask)?;
    let with = match request.method {
        PatternChange::Zero => Replacement::ZeroPattern,
        PatternChange::Mean => Replacement::Uniform,
        PatternChange::Random => Replacement::Random,
        PatternChange::Previous => Replacement::Previous,
    };
    let ask = Ask { app: &app, served, seed: request.seed };
    let prompt = || text_prompt(Text::Text(request.prompt.clone()));
    let generate = Generate {
        max_new_tokens: request.max_new_tokens,
        temperature: request.temperature,
        cut: cut.clone(),
        with: with.clone(),
        clamp: vec![],
        features: None,
    };
    let record = ask.record(prompt(), Method::Generate(generate), &[]).await?;
    let no_text = || ApiError::internal("no text was generated");
    let generation = record.results.generation.as_ref().ok_or_else(no_text)?;
    // With nothing cut there is one text.
    let ablated = if cut.is_empty() { &generation.control } else { &generation.ablated };

    let by = match request.importance_method {
        ImportanceMethod::Gradient => Measure::Gradient,
        ImportanceMethod::Rollback => Measure::OutputNorm,
        ImportanceMethod::Ablation => Measure::AblationKl,
    };
    let importance =
        ask.record(prompt(), Method::Importance(Importance { by, of: Parts::Heads }), &[]).await?;
    let table = importance.table(by.metric(), Quantity::Value).ok_or_else(no_text)?;
    let scores: Vec<f64> = table.values.iter().map(|value| value.unwrap_or_default()).collect();
    let n_heads = served.model.config().n_heads;

    // With nothing cut the models are the same.
    let metrics = generation.comparison.map_or(SurgeryMetrics::default(), |comparison| SurgeryMetrics {
        kl_div: comparison.kl_mean,
        perplexity_delta: comparison.perplexity_change,
        top1_changed_ratio: comparison.top1_changed,
        l2_diff: comparison.l2_resid,
    });
    Ok(Json(SurgeryResponse {
        metrics,
        importance_scores: ImportanceScores {
            gradient_matrix: scores.chunks(n_heads).map(<[f64]>::to_vec).collect(),
        },
        layer_impact: layer_impact(&ask, ablated, LogitLens { cut, with, ..Default::default() }).await?,
        generation: BothTexts { control_tokens: shown(&generation.control), ablated_tokens: shown(ablated) },
    }))
}

/// The last token's probability by layer, where it was predicted.
async fn layer_impact(
    ask: &Ask<'_>,
    tokens: &[GeneratedToken],
    lens: LogitLens,
) -> Result<Vec<LayerImpact>, ApiError> {
    let [before @ .., last] = tokens else { return Ok(vec![]) };
    if before.is_empty() {
        return Ok(vec![]);
    }
    let ids = before.iter().map(|token| token.id).collect();
    let prompt = Prompt { answers: vec![Answer::Id(last.id)], ..text_prompt(Text::Ids(ids)) };
    let record = ask.record(prompt, Method::LogitLens(lens), &["prob"]).await?;
    let table = record.table("prob", Quantity::Value).ok_or_else(|| ApiError::internal("no lens"))?;
    let layers = table.axes[0].labels.iter().zip(table.values.chunks(before.len()));
    // The first row is the embedding.
    let impact = |(name, values): (&String, &[Option<f64>])| LayerImpact {
        layer_name: name.clone(),
        impact_score: values.last().copied().flatten().unwrap_or_default(),
    };
    Ok(layers.skip(1).map(impact).collect())
}

fn text_prompt(clean: Text) -> Prompt {
    Prompt { clean, corrupt: None, answers: vec![], wrong_answers: vec![] }
}

/// The heads a mask cuts.
fn cut_heads(served: &Served, mask: &[Vec<bool>]) -> Result<Vec<Component>, ApiError> {
    let config = served.model.config();
    if mask.len() != config.n_layers || mask.iter().any(|row| row.len() != config.n_heads) {
        let widths: Vec<String> = mask.iter().take(16).map(|row| row.len().to_string()).collect();
        let detail = format!(
            "ablation_mask has {} rows of {} heads; expected {} rows of {}",
            mask.len(),
            widths.join(", "),
            config.n_layers,
            config.n_heads
        );
        let hint = "send one row per layer, one true or false per head; /health says how many";
        return Err(ApiError::invalid("bad_mask", detail, hint));
    }
    let flags = mask.iter().flatten();
    Ok(Component::heads(config).zip(flags).filter(|(_, cut)| **cut).map(|(head, _)| head).collect())
}

fn shown(tokens: &[GeneratedToken]) -> Vec<ShownToken> {
    let choice = |top: &microtome::TokenProb| Choice { token: top.token.clone(), prob: top.prob };
    let token = |token: &GeneratedToken| ShownToken {
        id: token.id,
        text: token.token.clone(),
        prob: token.prob,
        is_prompt: token.is_prompt,
        top_k: token.top.iter().map(choice).collect(),
    };
    tokens.iter().map(token).collect()
}
