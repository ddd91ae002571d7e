//! Features of sparse autoencoders over HTTP: every number against one computed here from the activation.

use microtome::model::{Hook, Positions, RunOptions, Tensor};
use microtome::sae::{Sae, SaeChoice, SaeConfig};
use microtome::{Bos, Text, TextModel};
use microtome_server::Settings;
use serde_json::{Value, json};

use crate::served::{DEMO, Server};

pub const D_SAE: usize = 40;
const HOOK: &str = "blocks.3.hook_resid_pre";
const OTHER: &str = "When Mary and John went to the store, Mary gave a drink to";
const TEXT: &str = "When Mary and John went to the store, John gave a drink to";

/// Numbers around 0 that differ everywhere.
fn wave(count: usize, seed: f64) -> Vec<f32> {
    (0..count).map(|i| ((i as f64 * 0.737 + seed).sin() * (i as f64 * 0.131 + seed).cos()) as f32).collect()
}

/// An autoencoder or a transcoder of the demo model, by its configuration.
fn made(name: &str, config: &Value) -> Sae {
    let d = DEMO.config().d_model;
    let config = SaeConfig::parse(&config.to_string(), "cfg.json").unwrap();
    let tensor = |seed, shape: &[usize]| {
        Tensor::from_vec(wave(shape.iter().product(), seed), shape, &microtome::model::Device::Cpu).unwrap()
    };
    let tensors = [
        ("W_enc", tensor(1.0, &[d, D_SAE])),
        ("b_enc", tensor(2.0, &[D_SAE])),
        ("W_dec", tensor(3.0, &[D_SAE, d])),
        ("b_dec", tensor(4.0, &[d])),
    ];
    let tensors = tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
    Sae::new(config, tensors, "test").unwrap().named(SaeChoice::from(name))
}

/// A ReLU autoencoder of the demo model that says it has pages.
pub fn autoencoder(name: &str) -> Sae {
    let config = json!({"architecture": "standard", "d_in": DEMO.config().d_model, "d_sae": D_SAE,
        "normalize_activations": "none", "apply_b_dec_to_input": true, "metadata": {"hook_name": HOOK,
        "model_name": "demo", "prepend_bos": true, "neuronpedia_id": "demo/3-res",
        "model_from_pretrained_kwargs": {"center_writing_weights": true}}});
    made(name, &config)
}

/// A transcoder of the demo model's third MLP.
fn transcoder(name: &str) -> Sae {
    let d = DEMO.config().d_model;
    let config = json!({"architecture": "transcoder", "d_in": d, "d_out": d, "d_sae": D_SAE, "metadata": {
        "hook_name": "blocks.2.hook_mlp_in", "hook_name_out": "blocks.2.hook_mlp_out", "model_name": "demo",
        "model_from_pretrained_kwargs": {"center_writing_weights": true}}});
    made(name, &config)
}

pub fn with_autoencoder() -> TextModel {
    DEMO.clone().with_sae(autoencoder("waves")).unwrap()
}

/// Feature activations of a text in f64, `relu((x - b_dec) W_enc + b_enc)`, with its labels.
fn expected(text: &str) -> (Vec<Vec<f64>>, Vec<String>) {
    let tokens = DEMO.tokens(&Text::Text(text.to_owned()), Bos::Prepend).unwrap();
    let hook = Hook::parse(HOOK).unwrap();
    let options = RunOptions { reads: vec![hook], logits: Positions::Last, ..Default::default() };
    let run = DEMO.model().run(&tokens.ids, &options).unwrap();
    let x: Vec<Vec<f32>> = run.cache.get(hook).unwrap().to_vec2().unwrap();
    let d = DEMO.config().d_model;
    let (w_enc, b_enc, b_dec) = (wave(d * D_SAE, 1.0), wave(D_SAE, 2.0), wave(d, 4.0));
    let feature = |x: &[f32], feature: usize| {
        let terms = (0..d).map(|i| f64::from(x[i] - b_dec[i]) * f64::from(w_enc[i * D_SAE + feature]));
        (terms.sum::<f64>() + f64::from(b_enc[feature])).max(0.0)
    };
    (x.iter().map(|x| (0..D_SAE).map(|i| feature(x, i)).collect()).collect(), tokens.labels)
}

fn check_list(found: &Value, row: &[f64], top: usize) {
    let mut ranked: Vec<(usize, f64)> = row.iter().copied().enumerate().filter(|(_, x)| *x > 0.0).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    let found = found.as_array().unwrap();
    assert_eq!(found.len(), ranked.len().min(top));
    for (found, (feature, activation)) in found.iter().zip(ranked) {
        assert_eq!(found["feature_index"], feature);
        // f32 sums of d_model terms against f64.
        let apart = (found["activation"].as_f64().unwrap() - activation).abs();
        assert!(apart < 1e-4 * activation.max(1.0), "{found} against {activation}");
        assert_eq!(found["neuronpedia_url"], format!("https://www.neuronpedia.org/demo/3-res/{feature}"));
    }
}

#[test]
fn sae_features_lists_what_is_active_token_by_token_and_overall() {
    let server = Server::with(with_autoencoder(), Settings::default());
    let (rows, labels) = expected(TEXT);
    for top in [3, 1000] {
        let found = server.ask("/sae-features", &json!({"text": TEXT, "top_k": top}));
        assert_eq!((&found["text"], &found["hook_point"]), (&json!(TEXT), &json!(HOOK)));
        assert_eq!(found["n_features"], D_SAE);
        let tokens = found["tokens"].as_array().unwrap();
        assert_eq!(tokens.len(), rows.len());
        for (position, (token, row)) in tokens.iter().zip(&rows).enumerate() {
            assert_eq!((&token["token"], &token["position"]), (&json!(labels[position]), &json!(position)));
            check_list(&token["top_features"], row, top);
        }
        let largest: Vec<f64> =
            (0..D_SAE).map(|i| rows.iter().fold(0.0, |most: f64, row| most.max(row[i]))).collect();
        check_list(&found["top_features_overall"], &largest, top);
    }
    let usual = server.ask("/sae-features", &json!({"text": TEXT}));
    assert_eq!(usual, server.ask("/sae-features", &json!({"text": TEXT, "top_k": 20})));
    // BOS alone is a text without a next token; its features can be told all the same.
    assert_eq!(server.ask("/sae-features", &json!({"text": ""}))["tokens"].as_array().unwrap().len(), 1);
}

#[test]
fn a_transcoder_is_listed_with_both_places_and_answered_as_the_library_does() {
    let model = DEMO.clone().with_sae(transcoder("third")).unwrap();
    let server = Server::with(model.clone(), Settings::default());
    let sae = server.get("/api/models/demo").json()["saes"][0].clone();
    assert_eq!(
        (&sae["architecture"], &sae["hook"], &sae["hook_out"], &sae["d_out"]),
        (
            &json!("transcoder"),
            &json!("blocks.2.hook_mlp_in"),
            &json!("blocks.2.hook_mlp_out"),
            &json!(DEMO.config().d_model)
        )
    );
    let prompts = json!([{"clean": TEXT, "answers": [" Mary"], "wrong_answers": [" John"]}]);
    for method in [
        json!({"features": {"sae": "third", "top": 5}}),
        json!({"feature_sweep": {"sae": "third", "most": 5, "error": "drop"}}),
        json!({"feature_attribution": {"sae": "third", "top": 5}}),
    ] {
        let experiment =
            json!({"model": "demo", "prompts": prompts, "method": method, "metrics": ["logit_diff"]});
        check_record(&server, &model, &experiment);
    }
    let edits = json!({"sae": "third", "edits": [{"feature": 7, "change": {"set": 3.0}}]});
    let text = json!({"model": "demo", "prompts": [{"clean": TEXT}],
        "method": {"generate": {"max_new_tokens": 3, "features": edits}}});
    check_record(&server, &model, &text);
    // The list of front ends names the place that is read.
    assert_eq!(server.ask("/sae-features", &json!({"text": TEXT}))["hook_point"], "blocks.2.hook_mlp_in");
}

#[test]
fn features_that_cannot_be_told_are_refused() {
    let none = Server::demo();
    none.post("/sae-features", &json!({"text": "The cat"})).refused(404, "no_sae");
    let ask = |sae: &str| json!({"model": "demo", "prompts": [{"clean": TEXT}], "method": {"features": {"sae": sae}}});
    none.post("/api/experiments", &ask("waves")).refused(404, "unknown_sae");

    let server = Server::with(with_autoencoder(), Settings::default());
    server.post("/sae-features", &json!({"text": TEXT, "top_k": 0})).refused(422, "invalid");
    server.post("/sae-features", &json!({"text": TEXT, "top_k": 1001})).refused(422, "invalid");
    server.post("/sae-features", &json!({"top_k": 3})).refused(422, "bad_request");
    let (detail, _) = server.post("/api/experiments", &ask("/etc")).refused(404, "unknown_sae");
    assert!(detail.contains("open: waves"), "{detail}");
    let mut far = ask("waves");
    far["method"]["features"]["watch"] = json!([D_SAE]);
    let (name, data) = server.events(&far).pop().unwrap();
    assert_eq!((&name[..], &data["error"]), ("failed", &json!("no_such_feature")));
}

#[test]
fn a_model_tells_its_autoencoders_and_experiments_with_them_are_the_librarys() {
    let model = with_autoencoder();
    let server = Server::with(model.clone(), Settings::default());
    let saes = server.get("/api/models/demo").json()["saes"].clone();
    assert_eq!(
        (&saes[0]["name"], &saes[0]["hook"], &saes[0]["d_sae"]),
        (&json!("waves"), &json!(HOOK), &json!(40))
    );
    let pair = json!([{"clean": TEXT, "corrupt": OTHER, "answers": [" Mary"], "wrong_answers": [" John"]}]);
    let methods = [
        json!({"features": {"sae": "waves", "top": 5, "watch": [7]}}),
        json!({"feature_sweep": {"sae": "waves", "most": 9}}),
        json!({"feature_sweep": {"sae": "waves", "features": {"together": [1, 7]}, "change": {"scale": 2.0},
            "error": "drop", "at": "last"}}),
        json!({"feature_sweep": {"sae": "waves", "change": {"patch": "denoise"}, "by": "feature_position", "most": 9}}),
        json!({"feature_edit": {"sae": "waves", "edits": [{"feature": 7, "change": {"set": 3.0}}]}}),
        json!({"feature_attribution": {"sae": "waves", "top": 12, "check": {"top": 3}}}),
        json!({"feature_attribution": {"sae": "waves", "estimate": "direct"}}),
        json!({"steering": {"along": {"feature": {"sae": "waves", "feature": 7}}, "layer": 3, "strengths": [2.0]}}),
    ];
    for method in methods {
        let experiment = json!({"model": "demo", "method": method, "prompts": pair});
        check_record(&server, &model, &experiment);
    }
    let profile = json!({"model": "demo", "prompts": [], "method": {"feature_profile": {"sae": "waves", "feature": 7}}});
    check_record(&server, &model, &profile);
    let edits = json!({"sae": "waves", "edits": [{"feature": 7, "change": {"set": 3.0}}]});
    let text = json!({"model": "demo", "prompts": [{"clean": TEXT}],
        "method": {"generate": {"max_new_tokens": 3, "features": edits}}});
    check_record(&server, &model, &text);
}

#[test]
fn a_text_is_scanned_for_features_as_the_library_scans_it_within_bounds() {
    let model = with_autoencoder();
    let server = Server::with(model.clone(), Settings::default());
    let scan = |what: Value| {
        let mut method = json!({"text": format!("{TEXT}<|endoftext|>{OTHER}")});
        method.as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
        json!({"model": "demo", "prompts": [], "method": {"text_scan": method}})
    };
    for what in [json!({"sae": "waves", "top": 2, "context": 3}), json!({"sae": "waves", "features": [7, 3]})]
    {
        let experiment = scan(what);
        check_record(&server, &model, &experiment);
        let (_, data) = server.events(&experiment).pop().unwrap();
        let found: microtome::Record = serde_json::from_value(data).unwrap();
        let expected = found.experiment.run_quietly(&model).unwrap();
        assert_eq!(found.results.text_scan, expected.results.text_scan);
        let summaries = found.results.text_scan.unwrap().features;
        assert!(summaries.iter().any(|summary| summary.passages.len() == 2), "one of each document");
    }
    // All 40 at 100 passages of 201 tokens; as many named as no autoencoder has; a text of 600 KiB.
    for what in [
        json!({"sae": "waves", "top": 100, "context": 100}),
        json!({"sae": "waves", "features": vec![1; 40_000], "top": 0}),
        json!({"sae": "waves", "features": [1], "text": "a".repeat(600 << 10)}),
    ] {
        server.post("/api/experiments", &scan(what)).refused(422, "too_many");
    }
    server.post("/api/experiments", &scan(json!({"sae": "other"}))).refused(404, "unknown_sae");
    for (what, words) in [
        (json!({"sae": "waves", "features": [D_SAE]}), "feature 40 does not exist"),
        (json!({"sae": "waves", "features": [3, 3]}), "named twice"),
        (json!({"sae": "waves", "neurons": ["L0N1"]}), "neurons beside an autoencoder"),
        (json!({"features": [3]}), "features without an autoencoder"),
        (json!({}), "a feature is missing"),
    ] {
        let (name, data) = server.events(&scan(what)).pop().unwrap();
        assert!(name == "failed" && data["detail"].as_str().unwrap().contains(words), "{words}: {data}");
    }
}

/// What the server gives is what the library gives.
fn check_record(server: &Server, model: &TextModel, experiment: &Value) {
    let (name, data) = server.events(experiment).pop().unwrap();
    assert_eq!(name, "done", "{experiment}: {data}");
    let found: microtome::Record = serde_json::from_value(data).unwrap();
    let expected = found.experiment.run_quietly(model).unwrap();
    assert_eq!(expected.differences(&found, 1e-6), Vec::<String>::new(), "{experiment}");
}
