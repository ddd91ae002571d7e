//! The tuned lens over HTTP: which are open, what they read beside the logit lens, what is refused.

use microtome::tuned_lens::TunedLens;
use microtome_server::Settings;
use serde_json::{Value, json};

use crate::served::{DEMO, Server};

fn ask(tuned: Option<&str>) -> Value {
    let lens = tuned.map_or(json!({}), |tuned| json!({"tuned": tuned}));
    json!({"model": "demo", "prompts": [{"clean": "Paris is the capital of", "answers": [" France"]}],
        "method": {"logit_lens": lens}, "metrics": ["kl", "prob"]})
}

#[test]
fn a_tuned_lens_open_beside_a_model_reads_beside_the_logit_lens() {
    let model = DEMO.clone().with_tuned_lens("demo", TunedLens::demo().unwrap()).unwrap();
    let server = Server::with(model.clone(), Settings::default());
    let open = server.get("/api/models/demo").json()["tuned_lenses"].clone();
    assert_eq!(open, json!([{"name": "demo", "trained_for": "demo"}]));
    let run = |tuned| {
        let (name, data) = server.events(&ask(tuned)).pop().unwrap();
        assert_eq!(name, "done", "{data}");
        data["results"].clone()
    };
    let (plain, both) = (run(None), run(Some("demo")));
    let experiment: microtome::Experiment = serde_json::from_value(ask(Some("demo"))).unwrap();
    let expected = experiment.run_quietly(&model).unwrap();
    assert_eq!(both["tables"], serde_json::to_value(&expected.results.tables).unwrap());
    assert_eq!(both["lens"], serde_json::to_value(&expected.results.lens).unwrap());
    assert_eq!(both["lens"]["top"], plain["lens"]["top"]);
    assert_ne!(both["lens"]["tuned_top"], plain["lens"]["top"]);
    assert!(plain["lens"].get("tuned_top").is_none());
    for (plain, both) in plain["tables"].as_array().unwrap().iter().zip(both["tables"].as_array().unwrap()) {
        assert_eq!(both["axes"][0], json!({"name": "lens", "labels": ["logit lens", "tuned lens"]}));
        let n = plain["values"].as_array().unwrap().len();
        assert_eq!(both["values"].as_array().unwrap()[..n], plain["values"].as_array().unwrap()[..]);
        assert_eq!(both["values"].as_array().unwrap().len(), 2 * n);
    }
}

#[test]
fn a_tuned_lens_that_is_not_open_is_refused() {
    let server = Server::demo();
    assert_eq!(server.get("/api/models/demo").json()["tuned_lenses"], json!([]));
    let (detail, hint) =
        server.post("/api/experiments", &ask(Some("/etc"))).refused(404, "unknown_tuned_lens");
    assert!(detail.contains("`/etc` is not open") && detail.contains("open: none"), "{detail}");
    assert!(hint.contains("--tuned-lens"), "{hint}");
}
