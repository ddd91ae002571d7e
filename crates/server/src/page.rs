//! The web page, built from `web/` and put inside this program by the build script.

use axum::body::Body;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use crate::error::ApiError;

#[derive(RustEmbed)]
#[folder = "$OUT_DIR/page"]
struct Page;

/// A file of the page; `/` and `/docs` are its two documents.
pub(crate) async fn page(method: Method, uri: Uri) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return crate::routes::not_that_way().await.into_response();
    }
    let path = match uri.path() {
        "/" => "index.html",
        "/docs" | "/docs/" => "docs.html",
        path => path.trim_start_matches('/'),
    };
    let Some(file) = Page::get(path) else {
        let shown: String = uri.path().chars().take(120).collect();
        let hint = "the page is at /, what the server answers at /docs";
        return ApiError::new(StatusCode::NOT_FOUND, "not_found", format!("nothing is at `{shown}`"), hint)
            .into_response();
    };
    let kind = HeaderValue::from_str(file.metadata.mimetype())
        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
    // Vite puts a fingerprint into the names of everything under assets/.
    let keep = match path.starts_with("assets/") {
        true => "public, max-age=31536000, immutable",
        false => "no-cache",
    };
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, HeaderValue::from_static(keep))];
    (headers, Body::from(file.data)).into_response()
}
