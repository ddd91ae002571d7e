//! Who may ask, and what browsers are told.

use microtome_server::{Guard, Settings};
use serde_json::json;

use crate::served::{DEMO, Server};

fn guarded(guard: Guard) -> Server {
    Server::with(DEMO.clone(), Settings { guard, ..Settings::default() })
}

const SWEEP: &str = r#"{"clean_prompt":"Paris is the capital of","target_token":" France"}"#;

#[test]
fn a_name_pointed_at_this_machine_from_outside_is_refused() {
    let server = Server::demo();
    server.get_with("/health", &[("host", "rebound.example")]).refused(403, "host_not_allowed");
    server.get_with("/", &[("host", "rebound.example:8642")]).refused(403, "host_not_allowed");
    assert_eq!(server.get_with("/health", &[("host", "localhost:1234")]).status, 200);
}

#[test]
fn a_page_of_another_site_cannot_post() {
    let server = Server::demo();
    for origin in ["http://evil.example", "null", "http://localhost:9"] {
        server.post_text("/sweep", SWEEP, &[("origin", origin)]).refused(403, "origin_not_allowed");
    }
    let own = server.url("");
    assert_eq!(server.post_text("/sweep", SWEEP, &[("origin", own.as_str())]).status, 200);
}

#[test]
fn a_front_end_the_operator_allowed_may_ask_and_is_told_so() {
    let origin = "http://localhost:5173";
    let server = guarded(Guard { origins: vec![origin.to_owned()], ..Guard::default() });
    let answer = server.post_text("/sweep", SWEEP, &[("origin", origin)]);
    assert_eq!(
        (answer.status, &answer.headers["access-control-allow-origin"]),
        (200, &origin.parse().unwrap())
    );
    server
        .post_text("/sweep", SWEEP, &[("origin", "http://evil.example")])
        .refused(403, "origin_not_allowed");
    let asked = [("origin", origin), ("access-control-request-method", "POST")];
    let mut request = crate::served::agent().options(server.url("/sweep"));
    for (name, value) in asked {
        request = request.header(name, value);
    }
    let answer = request.call().unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.headers()["access-control-allow-methods"].to_str().unwrap().contains("POST"));
}

#[test]
fn with_a_token_nothing_is_told_without_it() {
    let server = guarded(Guard { token: Some("0123456789".to_owned()), ..Guard::default() });
    for path in ["/", "/api/models", "/metrics", "/openapi.json", "/?token=012345678", "/?token="] {
        let answer = server.get(path);
        answer.refused(401, "no_token");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
    server.post("/sweep", &json!({})).refused(401, "no_token");
    assert_eq!(server.get("/health").status, 200, "a health check has no token");
    assert_eq!(server.get_with("/api/models", &[("authorization", "Bearer 0123456789")]).status, 200);
    let opened = server.get("/?token=0123456789&view=patching");
    assert_eq!((opened.status, &opened.headers["location"]), (303, &"/?view=patching".parse().unwrap()));
    let cookie = opened.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(server.get_with("/api/models", &[("cookie", cookie)]).status, 200);
}

#[test]
fn answers_forbid_what_the_page_does_not_need() {
    let server = Server::demo();
    for path in ["/", "/health", "/nothing"] {
        let answer = server.get(path);
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'self'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["x-frame-options"], "DENY");
    }
    assert!(server.get("/").headers["content-type"].to_str().unwrap().starts_with("text/html"));
}
