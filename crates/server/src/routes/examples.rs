//! Examples to begin with.

use axum::Json;
use microtome::examples::{EXAMPLES, Example};
use serde::Serialize;
use utoipa::ToSchema;

/// Examples to begin with.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Examples {
    examples: &'static [Example],
}

/// Prompts that teach something.
#[utoipa::path(get, path = "/api/examples", tag = "Models", responses((status = 200, body = Examples)))]
pub(crate) async fn examples() -> Json<Examples> {
    Json(Examples { examples: EXAMPLES })
}
