//! Whatever is sent, the answer is an error that says what to do, never a fault.

use microtome_server::Settings;
use serde_json::{Value, json};

use crate::served::{DEMO, Server};

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let server = Server::demo();
    let sweep = |prompt: &str, target: &str| json!({"clean_prompt": prompt, "target_token": target});
    let (detail, hint) =
        server.post("/sweep", &sweep("The cat", " Franceland")).refused(422, "not_one_token");
    assert!(detail.contains("` Franceland`") && detail.contains("tokens (`"), "how it tokenizes: {detail}");
    assert!(hint.contains("one token"), "{hint}");
    server.post("/sweep", &sweep(&"the cat ".repeat(200), " mat")).refused(422, "prompt_too_long");
    server.post("/sweep", &json!({"clean_prompt": "The cat"})).refused(422, "bad_request");
    server.post("/sweep", &json!({"clean_prompt": 7, "target_token": " mat"})).refused(422, "bad_request");
    server.post_text("/sweep", "{", &[]).refused(400, "bad_json");
    server.post_text("/sweep", "{}", &[("content-type", "text/plain")]).refused(415, "bad_content_type");
    server.get("/sweep").refused(405, "method_not_allowed");
    server.get("/api/models/%ff").refused(400, "bad_address");
    server.post("/", &json!({})).refused(405, "method_not_allowed");
    let (detail, hint) =
        server.post("/sweep", &sweep("The cat", "a; b\nfoo; bar")).refused(422, "not_one_token");
    assert!(detail.contains("foo") && hint.starts_with("give one token"), "{detail} / {hint}");
    server.get("/nothing/here").refused(404, "not_found");
    server.get("/api/experiments/0123/record").refused(404, "unknown_experiment");
    server.get("/api/models/gpt17").refused(404, "unknown_model");
    let heads =
        json!({"clean_prompt": "The cat", "target_token": " mat", "heads": [{"layer": 99, "head": 0}]});
    let (detail, _) = server.post("/multi-ablate", &heads).refused(422, "no_such_component");
    assert!(detail.contains("layers 0 to 5"), "{detail}");
    let pair = json!({"clean_prompt": "The cat sat", "corrupt_prompt": "The cat", "target_token": " mat"});
    let (detail, _) = server.post("/patch-sweep", &pair).refused(422, "lengths_differ");
    assert!(detail.contains("[ sat]"), "both prompts are shown: {detail}");
}

fn experiment(method: Value) -> Value {
    json!({"model": "demo", "prompts": [{"clean": "The cat", "answers": [" mat"]}], "method": method})
}

fn failure(server: &Server, experiment: &Value) -> (String, String) {
    let events = server.events(experiment);
    let (name, data) = events.last().unwrap();
    assert_eq!(name, "failed", "{data}");
    (data["error"].as_str().unwrap().to_owned(), data["detail"].as_str().unwrap().to_owned())
}

#[test]
fn an_experiment_that_cannot_be_run_fails_with_the_librarys_words() {
    let server = Server::demo();
    let edit = json!({"edit": {"edits": [{"hook": "blocks.1.attn.z", "change": {"set": 0.0}}]}});
    let (kind, detail) = failure(&server, &experiment(edit));
    assert!(kind == "invalid" && detail.contains("blocks.1.attn.z"), "{kind} {detail}");
    let ablate = json!({"ablate": {"targets": {"together": ["L9H0"]}, "with": "zero"}});
    assert_eq!(failure(&server, &experiment(ablate)).0, "no_such_component");
    let raw =
        json!({"model": "demo", "weights": "raw", "prompts": [{"clean": "The cat"}], "method": "measure"});
    assert_eq!(failure(&server, &raw).0, "weights_differ");
    let bf16 =
        json!({"model": "demo", "precision": "bf16", "prompts": [{"clean": "The cat"}], "method": "measure"});
    assert_eq!(failure(&server, &bf16).0, "weights_differ");
    let loss = json!({"model": "demo", "prompts": [], "method": "measure"});
    assert_eq!(failure(&server, &loss).0, "missing");
    // What failed is asked anew, and fails anew.
    assert_eq!(failure(&server, &loss).0, "missing");
}

#[test]
fn no_request_names_a_model_the_operator_did_not_allow() {
    let server = Server::demo();
    for model in ["gpt2", "/etc/passwd", "../demo", "models/demo", ""] {
        let body = json!({"model": model, "prompts": [{"clean": "The cat"}], "method": "measure"});
        let (detail, _) = server.post("/api/experiments", &body).refused(404, "unknown_model");
        assert!(detail.contains("demo"), "{detail}");
        server.post("/api/tokenize", &json!({"model": model, "text": "a"})).refused(404, "unknown_model");
        server.post("/api/attention", &json!({"model": model, "prompt": "a"})).refused(404, "unknown_model");
    }
}

#[test]
fn requests_are_bounded() {
    let server = Server::with(DEMO.clone(), Settings { body_limit: 100_000, ..Settings::default() });
    let long = json!({"clean_prompt": "a".repeat(200_000), "target_token": " mat"});
    server.post("/sweep", &long).refused(413, "too_large");
    let heads: Vec<Value> = (0..5000).map(|_| json!({"layer": 0, "head": 0})).collect();
    let many = json!({"clean_prompt": "The cat", "target_token": " mat", "heads": heads});
    Server::demo().post("/multi-ablate", &many).refused(422, "too_many");
    let prompt = json!({"clean_prompt": "a".repeat(70_000), "target_token": " mat"});
    Server::demo().post("/sweep", &prompt).refused(422, "too_many");
    let scores = json!({"model": "demo", "prompts": [], "method": {"head_scores": {"period": 1u64 << 62}}});
    assert_eq!(failure(&Server::demo(), &scores).0, "prompt_too_long");
    let neurons = json!({"ablate": {"targets": {"neurons": vec![0; 6000]}, "with": "zero"}});
    Server::demo().post("/api/experiments", &experiment(neurons)).refused(422, "too_many");
    let positions = json!({"ablate": {"targets": "heads", "with": "zero", "at": {"at": vec![0; 2000]}}});
    Server::demo().post("/api/experiments", &experiment(positions)).refused(422, "too_many");
    let detectors = json!({"attention": {"detectors": vec![json!({"target": "induction_head"}); 40]}});
    let tokens = json!({"head_circuit": {"head": "L0H0", "tokens": vec![1; 100]}});
    for method in [detectors, tokens] {
        Server::demo().post("/api/experiments", &experiment(method)).refused(422, "too_many");
    }
    // 512 neurons at 10 passages of 201 tokens.
    let scan = json!({"text": "The cat", "neurons": ["m0"], "context": 100});
    let scan = json!({"model": "demo", "prompts": [], "method": {"text_scan": scan}});
    Server::demo().post("/api/experiments", &scan).refused(422, "too_many");
    let references = vec!["a"; 400];
    let edit =
        json!({"hook": "blocks.0.attn.hook_z", "change": {"replace": {"mean": {"reference": references}}}});
    let edits = json!({"edit": {"edits": [edit.clone(), edit]}});
    Server::demo().post("/api/experiments", &experiment(edits)).refused(422, "too_many");
    let endless = json!({"generate": {"max_new_tokens": u64::MAX}});
    let events = Server::demo().events(&experiment(endless));
    let control = events.last().unwrap().1["results"]["generation"]["control"].as_array().unwrap().len();
    assert_eq!(control, DEMO.config().n_ctx);
}

#[test]
fn values_at_the_edges_give_an_error_or_a_number() {
    let server = Server::demo();
    for value in [0.0, -1.0, 1e300, -1e300, 5e-324] {
        for change in ["set", "add", "scale"] {
            let mut spec = json!({"hook": "blocks.5.hook_resid_post"});
            spec["change"][change] = json!(value);
            let events = server.events(&experiment(json!({"edit": {"edits": [spec]}})));
            let (name, data) = events.last().unwrap();
            let refused = name == "failed" && data["error"] != "internal";
            assert!(name == "done" || refused, "{change} {value}: {data}");
        }
        let events =
            server.events(&experiment(json!({"generate": {"max_new_tokens": 2, "temperature": value}})));
        let (name, data) = events.last().unwrap();
        let expected = if value >= 0.0 { "done" } else { "failed" };
        assert_eq!(name, expected, "temperature {value}: {data}");
        assert_ne!(data["error"], "internal");
    }
}
