//! Everything that can be asked, one file per resource.

mod ask;
mod attention;
mod circuit;
mod examples;
mod experiments;
mod features;
mod health;
mod models;
mod surgery;
mod tokens;

use std::time::Instant;

use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::{ApiError, ErrorBody};
use crate::{App, events, guard, meters, page};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "microtome",
        description = "Mechanistic interpretability of GPT-2-family transformers: ablate and patch heads, read \
            layers with lenses, cut heads while text is generated. Prompts are text, with a BOS token in front \
            unless asked otherwise, or token ids. Positions, layers and heads count from 0."
    ),
    components(schemas(
        ErrorBody,
        events::Queued<'_>,
        events::Named<'_>,
        events::Progress,
        events::PartialTables<'_>,
        events::TokenEvent<'_>
    )),
    tags(
        (name = "Experiments", description = "The one vocabulary: a question as data, and its record"),
        (name = "Models", description = "What is served, and how it reads text"),
        (name = "Circuit analysis", description = "Sweeps of heads and layers, edited at the last position"),
        (name = "Surgery", description = "Heads cut while text is generated"),
        (name = "Server", description = "Whether it is well, and how busy"),
    )
)]
struct Document;

fn documented() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(experiments::submit))
        .routes(routes!(experiments::state, experiments::cancel))
        .routes(routes!(experiments::events))
        .routes(routes!(experiments::record))
        .routes(routes!(experiments::tables))
        .routes(routes!(experiments::plot_svg))
        .routes(routes!(experiments::plot_png))
        .routes(routes!(experiments::scatter_svg))
        .routes(routes!(experiments::scatter_png))
        .routes(routes!(experiments::table_csv))
        .routes(routes!(attention::attention))
        .routes(routes!(attention::attention_html))
        .routes(routes!(models::list))
        .routes(routes!(models::describe))
        .routes(routes!(examples::examples))
        .routes(routes!(tokens::tokenize))
        .routes(routes!(tokens::target))
        .routes(routes!(circuit::sweep))
        .routes(routes!(circuit::multi_ablate))
        .routes(routes!(circuit::patch_sweep))
        .routes(routes!(circuit::multi_patch))
        .routes(routes!(circuit::residual_sweep))
        .routes(routes!(circuit::mlp_sweep))
        .routes(routes!(circuit::multi_residual_patch))
        .routes(routes!(circuit::multi_mlp_patch))
        .routes(routes!(features::sae_features))
        .routes(routes!(surgery::surgery))
        .routes(routes!(health::health))
        .routes(routes!(health::metrics))
}

/// The OpenAPI document of everything that can be asked.
pub fn openapi() -> utoipa::openapi::OpenApi {
    documented().split_for_parts().1
}

/// The whole server but its sockets.
pub fn router(app: App) -> Router {
    let (api, document) = documented().split_for_parts();
    let document = serde_json::to_value(document).expect("the document is plain data");
    // Events must not wait for a block to fill.
    let squeezed = SizeAbove::new(1024).and(NotForContentType::new("text/event-stream"));
    api.route("/openapi.json", axum::routing::get(|| async move { Json(document) }))
        .method_not_allowed_fallback(not_that_way)
        .fallback(page::page)
        .layer(DefaultBodyLimit::max(app.settings.body_limit))
        .layer(CompressionLayer::new().gzip(true).compress_when(squeezed))
        .layer(middleware::from_fn_with_state(app.clone(), guard::guard))
        // Outside the guard, so that pages allowed to ask can read why they were refused.
        .layer(app.settings.guard.cors())
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(app.clone(), observe))
        .with_state(app)
}

/// The answer to a method an address does not take.
pub(crate) async fn not_that_way() -> ApiError {
    let hint = "/docs says how each address is asked";
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this address is asked another way",
        hint,
    )
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    ApiError::internal("the request could not be answered").into_response()
}

/// Counts and logs every request.
async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route =
        request.extensions().get::<MatchedPath>().map_or("page", |matched| matched.as_str()).to_owned();
    let response = next.run(request).await;
    let (took, status) = (started.elapsed(), response.status().as_u16());
    tracing::info!(%method, path, status, ms = took.as_millis() as u64, "request");
    // A method nobody knows would make a series each.
    let method = match method.as_str() {
        known @ ("GET" | "POST" | "DELETE" | "OPTIONS" | "HEAD") => known,
        _ => "other",
    };
    app.meters.answered(meters::Request { method: method.to_owned(), route, status }, took);
    response
}
