//! Active features of a text as existing front ends ask for them: of the default model, through its first autoencoder.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use microtome::method::features::{FeatureReading, LossRuns, PromptFeatures};
use microtome::model::Positions;
use microtome::sae::Sae;
use microtome::{Method, Prompt, Text};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::App;
use crate::error::{ApiError, ErrorBody};
use crate::request::Body;
use crate::routes::ask::Ask;

/// Text whose features are asked for.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct FeaturesRequest {
    text: String,
    /// How many features are given of a token, and overall; 20 where left out.
    #[serde(default = "twenty")]
    top_k: usize,
}

fn twenty() -> usize {
    20
}

/// The active features of a text, those above 0.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FeaturesResponse {
    text: String,
    /// The hook point the autoencoder reads.
    hook_point: String,
    n_features: usize,
    tokens: Vec<TokenFeatures>,
    /// Every feature once, at its largest activation over the tokens, the strongest first.
    top_features_overall: Vec<FeatureStrength>,
}

/// The strongest features of a token.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenFeatures {
    token: String,
    position: usize,
    /// The strongest first.
    top_features: Vec<FeatureStrength>,
}

/// How active a feature is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FeatureStrength {
    feature_index: usize,
    activation: f64,
    /// Its page; null where it has none.
    neuronpedia_url: Option<String>,
}

/// Active features of a text, token by token and overall, a BOS in front counted.
#[utoipa::path(
    post, path = "/sae-features", tag = "Circuit analysis", request_body = FeaturesRequest,
    responses(
        (status = 200, body = FeaturesResponse),
        (status = 404, description = "No sparse autoencoder is open beside the default model", body = ErrorBody),
        (status = 422, description = "A text that cannot be read, or too many features", body = ErrorBody),
        (status = 503, description = "Too many wait", body = ErrorBody),
    )
)]
pub(crate) async fn sae_features(
    State(app): State<App>,
    Body(request): Body<FeaturesRequest>,
) -> Result<Json<FeaturesResponse>, ApiError> {
    let served = app.models.first();
    let Some(sae) = served.model.saes().next() else {
        let hint = "the operator adds one with `microtome serve --sae`";
        return Err(ApiError::new(StatusCode::NOT_FOUND, "no_sae", "no sparse autoencoder is loaded", hint));
    };
    let reading = FeatureReading {
        sae: sae.name().clone(),
        top: Some(request.top_k),
        at: Some(Positions::All),
        watch: vec![],
        losses: LossRuns::LeftOut,
    };
    let prompt = Prompt {
        clean: Text::Text(request.text.clone()),
        corrupt: None,
        answers: vec![],
        wrong_answers: vec![],
    };
    let record = Ask { app: &app, served, seed: 0 }.record(prompt, Method::Features(reading), &[]).await?;
    let results = &record.results;
    let (Some(report), [asked]) = (&results.features, &results.prompts[..]) else {
        return Err(ApiError::internal("no features of the text"));
    };
    let Some(PromptFeatures { positions, overall, .. }) = report.prompts.first() else {
        return Err(ApiError::internal("no features of the text"));
    };
    let labelled = asked.clean.labels.iter().zip(positions).enumerate();
    Ok(Json(FeaturesResponse {
        hook_point: report.sae.hook.clone(),
        n_features: report.sae.d_sae,
        tokens: labelled
            .map(|(position, (token, found))| TokenFeatures {
                token: token.clone(),
                position,
                top_features: found.top.iter().map(|f| strength(sae, f.feature, f.activation)).collect(),
            })
            .collect(),
        top_features_overall: overall.iter().map(|f| strength(sae, f.feature, f.activation)).collect(),
        text: request.text,
    }))
}

fn strength(sae: &Sae, feature_index: usize, activation: f64) -> FeatureStrength {
    FeatureStrength { feature_index, activation, neuronpedia_url: sae.page_of(feature_index) }
}
