//! The general API: an experiment's record over HTTP is the library's own.

use microtome::method::attention::{Weighting, weighted_patterns};
use microtome::model::{LoadOptions, Precision, Preparation, RunOptions, Site};
use microtome::{Experiment, Record, TextModel};
use microtome_server::Settings;
use serde_json::{Value, json};

use crate::served::{DEMO, Server, assert_close, numbers};

const NAMES: &str = "When Mary and John went to the store, John gave a drink to";
const OTHER: &str = "When Mary and John went to the store, Mary gave a drink to";

fn question(method: Value) -> Value {
    json!({"model": "demo", "prompts": [{"clean": NAMES, "corrupt": OTHER, "answers": [" Mary"],
        "wrong_answers": [" John"]}], "method": method})
}

fn plain(method: Value) -> Value {
    json!({"model": "demo", "prompts": [{"clean": NAMES}], "method": method})
}

fn by_the_library(experiment: &Value) -> Record {
    let experiment: Experiment = serde_json::from_value(experiment.clone()).unwrap();
    experiment.run_quietly(&DEMO).unwrap()
}

/// Waits for a submitted experiment.
fn record_of(server: &Server, id: &str) -> Value {
    let events = server.get(&format!("/api/experiments/{id}/events"));
    assert_eq!(events.status, 200);
    server.get(&format!("/api/experiments/{id}/record")).json()
}

#[test]
fn every_method_gives_over_http_what_the_library_gives() {
    let server = Server::demo();
    let questions = [
        question(json!("measure")),
        question(json!({"ablate": {"targets": "heads", "with": "zero"}})),
        question(
            json!({"ablate": {"targets": {"together": ["L1H3", "m2"]}, "with": {"mean": {}}, "at": "last"}}),
        ),
        question(json!({"ablate": {"targets": "mlps", "with": {"resample": {}}, "clamp": " John"}})),
        question(json!({"patch": {"site": "resid_pre", "by": "layer_position"}})),
        question(json!({"patch": {"site": "z", "by": {"heads": ["2.1", "3.0"]}, "direction": "noise"}})),
        question(json!({"attribution_patching": {"site": "z", "by": "head", "check": {"top": 3}}})),
        question(
            json!({"attribution_patching": {"site": "q", "by": "layer_position", "direction": "noise", "steps": 2,
            "corrections": ["qk_fix", "grad_drop"], "check": "all"}}),
        ),
        question(json!({"path_patch": {}})),
        question(json!({"edge_attribution": {}})),
        question(json!({"edge_attribution": {"direction": "denoise", "gradients": {"inputs": 2}}})),
        question(
            json!({"path_patch": {"from": {"each": ["input", "a0.h1", "m1"]}, "to": {"each": ["a2.h1<q>", "L3H0.v",
            "m2", "logits"]}, "mlps": "recomputed", "direction": "denoise", "at": {"from": 3}}}),
        ),
        question(
            json!({"path_patch": {"from": {"together": ["a0.h1", "m0"]}, "to": {"together": ["a2.h1<k>", "m3"]}}}),
        ),
        question(json!({"circuit_search": {"by": [{"edges": {"gradients": {"inputs": 2}, "pick": "grow",
            "size": {"count": [20, 60]}}}, {"nodes": {"size": {"faithful": 0.5}}}], "rest": "zero"}})),
        question(json!({"circuit_search": {"by": [{"acdc": [0.5]}]}})),
        question(json!({"circuit_curve": {"shares": [0.05, 0.5, 1.0], "random": 2, "pick": "helpful"}})),
        question(
            json!({"circuit_judgement": {"circuits": [{"name": "two steps", "edges": ["input->a2.h1<v>",
            "a2.h1->m3", "m3->logits"]}], "rests": ["zero", "resample"], "random": 2, "subsets": 1}}),
        ),
        question(json!({"edit": {"edits": [{"hook": "blocks.2.attn.hook_z", "change": {"scale": 0.5}}]}})),
        question(json!({"logit_lens": {"cut": ["L2H1"], "with": "uniform"}})),
        plain(
            json!({"generate": {"max_new_tokens": 8, "temperature": 0.7, "cut": ["L1H3"], "with": "previous"}}),
        ),
        plain(json!({"generate": {"max_new_tokens": 4, "clamp": [{"neuron": "L2N17", "value": 5.0}]}})),
        question(json!({"neuron": {"neuron": "L2N17", "tokens": 5, "reference": [OTHER]}})),
        question(json!({"strongest_neurons": {"layers": [2, 3], "by": "direct_attribution", "top": 5}})),
        plain(json!({"strongest_neurons": {"by": "activation"}})),
        json!({"model": "demo", "prompts": [], "method": {"text_scan": {"text": NAMES, "neurons": ["L2N17", "m0"],
            "top": 2, "context": 3}}}),
        question(
            json!({"steering": {"along": {"difference": {"towards": [OTHER], "away": [NAMES]}}, "layer": 3,
            "strengths": [-1.0, 0.5, 1.0], "max_new_tokens": 4}}),
        ),
        plain(
            json!({"steering": {"along": {"neuron": "L1N7"}, "layer": 2, "strengths": [3.0], "length": "one"}}),
        ),
        plain(json!({"promoted_tokens": {"components": ["L2H1", "m3", "a1", "L2N17"], "tokens": 4}})),
        plain(json!({"importance": {"by": "gradient"}})),
        plain(json!({"importance": {"by": "output_norm"}})),
        plain(json!({"importance": {"by": "ablation_kl"}})),
        plain(json!({"importance": {"by": "gradient_times_pattern_full"}})),
        plain(json!({"importance": {"by": "gradient", "of": "mlps"}})),
        question(json!({"direct_attribution": {"neurons": [0], "heads": "by_source"}})),
        question(json!({"pairs": {"among": ["L1H3", "L0H1", "m2"], "with": "zero", "at": "last"}})),
        question(json!({"pairs": {"among": ["L1H3"], "against": ["L2H1", "L2H3"], "with": "uniform"}})),
        json!({"model": "demo", "prompts": [], "method": {"head_scores": {"sequences": 2}}}),
        plain(json!({"attention": {"weighting": "output", "head": "L1H2", "detectors": [
            {"target": "induction_head", "score": "tl_mul"}, {"target": {"back": {"offset": 2, "from": 4}}},
            {"target": {"pairs": [[3, 1]]}, "score": "tl_abs"}]}})),
        json!({"model": "demo", "prompts": [], "method": {"head_circuit": {"head": "L2H1", "tokens": [" Mary"],
            "embedding": "after_mlp0", "size": "layer_norm", "pairs": 5}}}),
        json!({"model": "demo", "prompts": [], "method": {"composition": {"less": "random"}}}),
        json!({"model": "demo", "prompts": [], "method": {"induction_circuit": {"heads": 1, "sequences": 2}}}),
        json!({"model": "demo", "prompts": [], "method": {"factual_recall": {"count": 3, "window": 2}}}),
    ];
    for experiment in questions {
        let events = server.events(&experiment);
        let (last, record) = events.last().unwrap();
        assert_eq!(last, "done", "{experiment}: {record}");
        let found: Record = serde_json::from_value(record.clone()).unwrap();
        // Rows that run together may round otherwise than when they ran before.
        assert_eq!(
            by_the_library(&experiment).differences(&found, 1e-6),
            Vec::<String>::new(),
            "{experiment}"
        );
        assert_eq!(found.experiment, serde_json::from_value(experiment).unwrap());
    }
}

#[test]
fn a_submitted_experiment_runs_to_its_end_and_is_computed_once() {
    let server = Server::demo();
    let experiment = question(json!({"ablate": {"targets": "heads", "with": "zero"}}));
    let first = server.post("/api/experiments", &experiment);
    assert_eq!(first.status, 202, "{}", first.text());
    let id = first.json()["id"].as_str().unwrap().to_owned();
    let record = record_of(&server, &id);
    let state = server.get(&format!("/api/experiments/{id}")).json();
    assert_eq!(
        (&state["status"], &state["runs"], &state["has_record"]),
        (&json!("done"), &json!(24), &json!(true))
    );
    let again = server.post("/api/experiments", &experiment);
    assert_eq!((again.status, again.json()["id"].as_str().unwrap()), (200, id.as_str()));
    // Not computed again: the very record, with the seconds it took.
    assert_eq!(record_of(&server, &id), record);
    assert!(server.get("/metrics").text().contains("microtome_cache_hits_total 1"));
    let other = server.post("/api/experiments", &question(json!("measure"))).json();
    assert_ne!(other["id"], id.as_str());
}

#[test]
fn events_of_a_generation_are_its_tokens_in_order_turn_by_turn() {
    let server = Server::demo();
    let generate = json!({"generate": {"max_new_tokens": 6, "cut": ["L2H1"]}});
    let events = server.events(&plain(generate));
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((names[0], *names.last().unwrap()), ("queued", "done"));
    let of = |stream: &str| -> Vec<Value> {
        let tokens = events.iter().filter(|(name, data)| name == "token" && data["stream"] == stream);
        tokens.map(|(_, data)| data["token"].clone()).collect()
    };
    let generation = &events.last().unwrap().1["results"]["generation"];
    assert_eq!(json!(of("control")), generation["control"]);
    assert_eq!(json!(of("ablated")), generation["ablated"]);
    let new = events.iter().filter(|(name, data)| name == "token" && data["token"]["is_prompt"] == false);
    let turns: Vec<&Value> = new.map(|(_, data)| &data["stream"]).collect();
    assert_eq!(turns[..4], [&json!("control"), &json!("ablated"), &json!("control"), &json!("ablated")]);
}

#[test]
fn tables_come_as_pictures_csv_and_tensors() {
    let server = Server::demo();
    let experiment = question(json!({"patch": {"site": "resid_pre", "by": "layer_position"}}));
    let id = server.ask("/api/experiments", &experiment)["id"].as_str().unwrap().to_owned();
    let record: Record = serde_json::from_value(record_of(&server, &id)).unwrap();
    let at = |what: &str| server.get(&format!("/api/experiments/{id}/{what}"));
    let table = &record.results.tables[0];
    assert_eq!(at("plot.svg").text(), table.heatmap(&record.subtitle()).to_svg());
    assert!(at("plot.png?table=1").bytes.starts_with(b"\x89PNG"));
    assert_eq!(at("table.csv").text(), table.csv());
    assert_eq!(at("table.csv").text().lines().count(), 1 + table.values.len());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tables.safetensors");
    std::fs::write(&file, at("tables.safetensors").bytes).unwrap();
    let tensors = microtome::model::load_safetensors(&file).unwrap();
    assert_eq!(tensors.len(), record.results.tables.len());
    let tensor = &tensors["0.logit_diff.recovery"];
    assert_eq!(tensor.dims(), table.axes.iter().map(|axis| axis.labels.len()).collect::<Vec<_>>());
    let values: Vec<f64> = tensor.flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(values, table.values.iter().map(|value| value.unwrap()).collect::<Vec<_>>());
    at("plot.svg?table=99").refused(404, "no_such_table");
}

#[test]
fn attention_patterns_travel_as_one_tensor() {
    let server = Server::demo();
    let answer = server.post("/api/attention", &json!({"prompt": NAMES}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pattern.safetensors");
    std::fs::write(&file, &answer.bytes).unwrap();
    let pattern = &microtome::model::load_safetensors(&file).unwrap()["pattern"];
    let tokens = crate::contract::ids(&DEMO, NAMES);
    let (config, n) = (DEMO.config(), tokens.len());
    assert_eq!(pattern.dims(), [config.n_layers, config.n_heads, n, n]);
    for layer in 0..config.n_layers {
        let hook = Site::Pattern.at(layer);
        let run = DEMO.model().run(&tokens, &RunOptions { reads: vec![hook], ..Default::default() }).unwrap();
        let flat = |x: &microtome::model::Tensor| -> Vec<f32> { x.flatten_all().unwrap().to_vec1().unwrap() };
        assert_eq!(flat(&pattern.get(layer).unwrap()), flat(run.cache.get(hook).unwrap()));
    }
    let header = String::from_utf8_lossy(&answer.bytes[8..600]).into_owned();
    assert!(header.contains("__metadata__") && header.contains("Mary"), "{header}");
    let weighted = server.post("/api/attention", &json!({"prompt": NAMES, "weighting": "output"}));
    std::fs::write(&file, &weighted.bytes).unwrap();
    let found = &microtome::model::load_safetensors(&file).unwrap()["pattern"];
    let expected = weighted_patterns(&DEMO, &tokens, Weighting::Output).unwrap();
    let flat = |x: &microtome::model::Tensor| -> Vec<f32> { x.flatten_all().unwrap().to_vec1().unwrap() };
    assert_eq!(flat(found), flat(&expected));
    assert_ne!(flat(found), flat(pattern));
}

#[test]
fn attention_travels_as_a_file_that_stands_alone() {
    let server = Server::demo();
    let asked = json!({"prompt": "<script>alert(1)</script> a", "weighting": "value", "head": "L2H1"});
    let answer = server.post("/api/attention.html", &asked);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(answer.headers["content-disposition"].to_str().unwrap().starts_with("attachment"));
    let html = answer.text();
    assert_eq!(html.matches("<script").count(), 2, "the prompt's own is data");
    for address in ["http:", "https:", "src=", "href="] {
        assert!(!html.contains(address), "{address}");
    }
    let missing = json!({"prompt": "a", "head": "L99H0"});
    server.post("/api/attention.html", &missing).refused(422, "no_such_component");
    let layer = json!({"prompt": "a", "head": "m1"});
    server.post("/api/attention.html", &layer).refused(422, "invalid");
}

#[test]
fn models_and_tokens_are_told_as_the_library_has_them() {
    let server = Server::demo();
    let list = server.get("/api/models").json();
    assert_eq!((&list["default"], &list["models"][0]["id"]), (&json!("demo"), &json!("demo")));
    let info = server.get("/api/models/demo").json();
    assert_eq!(info["config"], serde_json::to_value(DEMO.config()).unwrap());
    assert_eq!(info["about"]["weight_hash"], DEMO.about().weight_hash.as_str());
    assert_eq!(info["metrics"].as_array().unwrap().len(), microtome::metric::METRICS.len());

    let tokens = server.ask("/api/tokenize", &json!({"text": " Mary  naïve"}));
    let bytes: String =
        tokens["bytes"].as_array().unwrap()[1..].iter().map(|b| b.as_str().unwrap()).collect();
    let expected: String = " Mary  naïve".bytes().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(bytes, expected, "the bytes of the tokens are the text");
    assert_eq!(tokens["bos_prepended"], true);
    let long = server.ask("/api/tokenize", &json!({"text": "the ".repeat(400), "bos": "omit"}));
    assert!(long["ids"].as_array().unwrap().len() > long["n_ctx"].as_u64().unwrap() as usize);

    let one = server.ask("/api/target", &json!({"text": " Mary"}));
    assert_eq!(one["token"]["token"], " Mary");
    let two = server.ask("/api/target", &json!({"text": " Marypolis"}));
    assert!(two["token"].is_null() && two["pieces"].as_array().unwrap().len() > 1);
    assert!(two["message"].as_str().unwrap().contains("Marypolis"), "{two}");
    let near = server.ask("/api/target", &json!({"text": " Frances"}));
    let first = near["suggestions"][0]["token"].as_str().unwrap();
    assert!(near["message"].as_str().unwrap().contains(first), "the message's own comes first: {near}");
    let begun = server.ask("/api/target", &json!({"text": "Mar"}));
    let names: Vec<&str> =
        begun["suggestions"].as_array().unwrap().iter().map(|s| s["token"].as_str().unwrap()).collect();
    assert!(names.contains(&" Mary"), "{names:?}");
}

#[test]
fn the_examples_work_on_the_model_they_come_with() {
    let server = Server::demo();
    let examples = server.get("/api/examples").json();
    for example in examples["examples"].as_array().unwrap() {
        let mut pairs = vec![(&example["prompt"], &example["target"])];
        if !example["corrupt"].is_null() {
            pairs.push((&example["corrupt"], &example["foil"]));
        }
        for (prompt, answer) in pairs {
            let experiment = json!({"model": "demo", "prompts": [{"clean": prompt, "answers": [answer]}],
                "method": "measure", "metrics": ["rank"]});
            let events = server.events(&experiment);
            let run = &events.last().unwrap().1["results"]["prompts"][0]["runs"][0];
            assert_eq!(run["metrics"][0]["value"], 1.0, "{prompt} {answer}: {}", run["top"]);
        }
    }
}

#[test]
fn the_lens_ends_in_the_models_own_output() {
    let server = Server::demo();
    let record = server.events(&question(json!({"logit_lens": {}}))).pop().unwrap().1;
    let tables = record["results"]["tables"].as_array().unwrap();
    let of = |metric: &str| {
        let table = tables.iter().find(|table| table["metric"] == metric && table["quantity"] == "value");
        numbers(&table.unwrap()["values"])
    };
    let measured = server.events(&question(json!("measure"))).pop().unwrap().1;
    let run = &measured["results"]["prompts"][0]["runs"][0];
    for metric in run["metrics"].as_array().unwrap() {
        let name = metric["metric"].as_str().unwrap();
        let last = *of(name).last().unwrap();
        assert_close(name, &[last], &[metric["value"].as_f64().unwrap()], 2e-5);
    }
    let n = crate::contract::ids(&DEMO, NAMES).len();
    let kl = of("kl");
    assert!(kl[kl.len() - n..].iter().all(|x| x.abs() < 1e-6), "the last row is the output itself");
    assert!(kl[..n].iter().all(|&x| x > 0.0));
}

#[test]
fn a_model_kept_as_bf16_says_so_and_answers_those_who_ask_for_it() {
    let prepared = Preparation { precision: Precision::Bf16, ..Preparation::default() };
    let model = TextModel::load("demo", prepared, &LoadOptions::default(), &mut ()).unwrap();
    let server = Server::with(model.clone(), Settings::default());
    assert_eq!(server.get("/api/models/demo").json()["precision"], "bf16");
    let mut experiment = question(json!("measure"));
    experiment["precision"] = json!("bf16");
    let expected: Experiment = serde_json::from_value(experiment.clone()).unwrap();
    let expected = expected.run_quietly(&model).unwrap();
    let state = server.ask("/api/experiments", &experiment);
    let found: Record = serde_json::from_value(record_of(&server, state["id"].as_str().unwrap())).unwrap();
    assert_eq!(expected.differences(&found, 0.0), Vec::<String>::new());
    // The endpoints of existing front ends ask for what is served.
    server.ask("/sweep", &json!({"clean_prompt": NAMES, "target_token": " Mary"}));
}
