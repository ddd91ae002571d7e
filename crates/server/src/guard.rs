//! Who may ask.
//!
//! A page anywhere on the web can make its reader's browser send requests to this machine. Two headers
//! that a page cannot forge keep it out: `Host` must name this server (else a name the attacker owns was
//! pointed here, DNS rebinding), and `Origin`, where there is one, must be this server's own or one the operator
//! allowed. Away from loopback a token is needed as well: as `Authorization: Bearer`, or as the cookie that opening
//! the page with `?token=` leaves.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::App;
use crate::error::ApiError;

/// Who may ask.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    /// Names and addresses this server is asked by, beside those of loopback.
    pub hosts: Vec<String>,
    /// Whether it may be asked by any IP address.
    pub any_address: bool,
    /// Pages served elsewhere that may ask, as `http://host:port`.
    pub origins: Vec<String>,
    /// What every client must show.
    pub token: Option<String>,
}

const COOKIE: &str = "microtome_token";

/// Scripts and styles of this server alone; pictures may be made by the page itself.
const POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; style-src 'self'; object-src 'none'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

impl Guard {
    /// Loopback alone, without a token.
    pub fn loopback() -> Guard {
        Guard::default()
    }

    /// Whether a `Host` header names this server.
    fn knows_host(&self, host: &str) -> bool {
        let name = without_port(host);
        match name.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) if address.is_loopback() || self.any_address => true,
            _ => {
                let known =
                    |other: &String| other.eq_ignore_ascii_case(name) || other.eq_ignore_ascii_case(host);
                name.eq_ignore_ascii_case("localhost") || self.hosts.iter().any(known)
            }
        }
    }

    /// Whether a page of this origin may ask a server that is asked as `host`.
    fn knows_origin(&self, origin: &str, host: &str) -> bool {
        let own = origin.strip_prefix("http://").or(origin.strip_prefix("https://"));
        own.is_some_and(|own| own.eq_ignore_ascii_case(host))
            || self.origins.iter().any(|known| known == origin)
    }

    fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let host =
            uri.authority().map(|authority| authority.as_str()).or(text(header::HOST)).unwrap_or_default();
        if !self.knows_host(host) {
            let detail = format!("this server does not go by the name `{}`", shown(host));
            let hint = "open it by its address, or have the operator add the name with --allow-host";
            return Err(ApiError::new(StatusCode::FORBIDDEN, "host_not_allowed", detail, hint));
        }
        if let Some(origin) = text(header::ORIGIN)
            && !self.knows_origin(origin, host)
        {
            let detail = format!("pages of `{}` may not ask this server", shown(origin));
            let hint = "have the operator allow them with --allow-origin";
            return Err(ApiError::new(StatusCode::FORBIDDEN, "origin_not_allowed", detail, hint));
        }
        // A browser asks what it may ask without showing anything; health checks have nothing to show.
        let open = *method == Method::OPTIONS || uri.path() == "/health";
        match &self.token {
            Some(token) if !open && !shows(token, headers) => {
                let detail = "this server answers those alone who show its token";
                let hint = "send Authorization: Bearer TOKEN, or open the page once as /?token=TOKEN";
                Err(ApiError::new(StatusCode::UNAUTHORIZED, "no_token", detail, hint))
            }
            _ => Ok(()),
        }
    }

    /// What browsers are told of pages served elsewhere.
    pub(crate) fn cors(&self) -> CorsLayer {
        let origins = self.origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins))
            .allow_methods([Method::GET, Method::POST, Method::DELETE])
            .allow_headers([header::CONTENT_TYPE, header::AUTHORIZATION, header::ACCEPT])
    }
}

/// Refuses whoever may not ask; gives a page opened with the token its cookie; marks every answer.
pub(crate) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let guard = &app.settings.guard;
    let mut response = match opened_with_token(guard, &request) {
        Some(response) => response,
        None => match guard.check(request.method(), request.uri(), request.headers()) {
            Ok(()) => next.run(request).await,
            Err(error) => error.into_response(),
        },
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The page asked for with the right token in its address: sent to itself without, with a cookie instead.
fn opened_with_token(guard: &Guard, request: &Request) -> Option<Response> {
    let token = guard.token.as_ref().filter(|_| request.method() == Method::GET)?;
    let host = request.headers().get(header::HOST)?.to_str().ok()?;
    if !guard.knows_host(host) {
        return None;
    }
    let query = request.uri().query()?;
    let given = query.split('&').find_map(|pair| pair.strip_prefix("token="))?;
    if !same(token, given) {
        return None;
    }
    let rest: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("token=")).collect();
    let place = match rest.is_empty() {
        true => request.uri().path().to_owned(),
        false => format!("{}?{}", request.uri().path(), rest.join("&")),
    };
    // `//host` would lead elsewhere.
    let place = format!("/{}", place.trim_start_matches('/'));
    let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict");
    Some((StatusCode::SEE_OTHER, [(header::LOCATION, place), (header::SET_COOKIE, cookie)]).into_response())
}

/// Whether a request shows the token, in its header or its cookie.
fn shows(token: &str, headers: &HeaderMap) -> bool {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let cookie = cookies
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='));
    [bearer, cookie].into_iter().flatten().any(|given| same(token, given))
}

/// Compared by fingerprint and in constant time: neither length nor prefix can be told from how long it takes.
fn same(token: &str, given: &str) -> bool {
    let of = |text: &str| *blake3::hash(text.as_bytes()).as_bytes();
    of(token).ct_eq(&of(given)).into()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// The start of what a client sent, for an error.
fn shown(text: &str) -> String {
    text.chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_loopback_goes_by_the_names_of_loopback_alone() {
        let guard = Guard::loopback();
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:8642", "127.1.2.3", "[::1]:8642", "[::1]"] {
            assert!(guard.knows_host(host), "{host}");
        }
        for host in
            ["", "evil.example", "evil.example:8642", "192.168.1.7:8642", "localhost.evil.example", "[::2]:1"]
        {
            assert!(!guard.knows_host(host), "{host}");
        }
    }

    #[test]
    fn a_name_the_operator_allowed_is_known_and_others_stay_unknown() {
        let guard = Guard { hosts: vec!["lab.example".to_owned()], any_address: true, ..Guard::default() };
        assert!(guard.knows_host("lab.example:8642") && guard.knows_host("192.168.1.7:8642"));
        assert!(!guard.knows_host("rebound.example:8642"));
    }

    #[test]
    fn an_origin_is_this_server_or_one_allowed() {
        let guard = Guard { origins: vec!["http://localhost:5173".to_owned()], ..Guard::default() };
        assert!(guard.knows_origin("http://127.0.0.1:8642", "127.0.0.1:8642"));
        assert!(guard.knows_origin("http://localhost:5173", "127.0.0.1:8642"));
        for origin in ["null", "", "http://evil.example", "http://127.0.0.1:9999", "ftp://127.0.0.1:8642"] {
            assert!(!guard.knows_origin(origin, "127.0.0.1:8642"), "{origin}");
        }
    }

    #[test]
    fn a_token_is_shown_in_the_header_or_the_cookie_and_in_full() {
        let headers = |name: HeaderName, value: &str| {
            HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
        };
        assert!(shows("secret", &headers(header::AUTHORIZATION, "Bearer secret")));
        assert!(shows("secret", &headers(header::COOKIE, "a=b; microtome_token=secret")));
        for value in ["Bearer secre", "Bearer secret2", "Basic secret", "Bearer "] {
            assert!(!shows("secret", &headers(header::AUTHORIZATION, value)), "{value}");
        }
        assert!(!shows("secret", &HeaderMap::new()));
    }
}
