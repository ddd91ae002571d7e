//! The golden model behind the server: what front ends are told is what TransformerLens computed.

use std::path::Path;

use microtome_server::Settings;
use serde_json::{Value, json};

use crate::served::{Server, assert_close, model, numbers};

/// The golden folder, or `None` after saying why not; in CI its absence is a failure.
fn golden() -> Option<std::path::PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden/tiny");
    let path = std::env::var_os("MICROTOME_GOLDEN").map_or(default, Into::into);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "reference data is missing: {}", path.display());
    println!("skipped: no reference data at {}", path.display());
    None
}

#[test]
fn sweeps_and_lens_of_the_golden_model_are_transformerlenss() {
    let Some(dir) = golden() else { return };
    let about: Value =
        serde_json::from_str(&std::fs::read_to_string(dir.join("golden.json")).unwrap()).unwrap();
    let file = dir.join("golden_processed_f32.safetensors");
    let tensors = microtome::model::load_safetensors(&file).unwrap();
    let values = |name: &str| -> Vec<f64> {
        let tensor = tensors[name].to_dtype(microtome::model::DType::F64).unwrap();
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    };
    let golden = model(&dir.join("hf").display().to_string());
    let server = Server::with(golden, Settings::default());
    let id = server.get("/api/models").json()["default"].clone();
    let ask = |method: Value, metrics: Value| {
        let experiment = json!({"model": id, "method": method, "metrics": metrics, "prompts": [{
            "clean": about["clean"], "corrupt": about["corrupt"], "answers": [about["target"]],
            "wrong_answers": [about["foil"]]}]});
        let (name, data) = server.events(&experiment).pop().unwrap();
        assert_eq!(name, "done", "{data}");
        data["results"].clone()
    };
    let table = |results: &Value, metric: &str, quantity: &str| {
        let tables = results["tables"].as_array().unwrap();
        let found = tables.iter().find(|t| t["metric"] == metric && t["quantity"] == quantity);
        numbers(&found.unwrap()["values"])
    };
    let results = ask(json!({"importance": {"by": "output_norm"}}), json!([]));
    assert_close(
        "norm",
        &table(&results, "importance_output_norm", "value"),
        &values("norm/result_mean"),
        1e-4,
    );

    let results =
        ask(json!({"ablate": {"targets": "heads", "with": "zero"}}), json!(["prob", "rank", "kl_mean"]));
    assert_close("prob", &table(&results, "prob", "change"), &values("ablate/zero/delta_prob"), 1e-4);
    assert_close("rank", &table(&results, "rank", "change"), &values("ablate/zero/delta_rank"), 0.0);
    assert_close("kl", &table(&results, "kl_mean", "value"), &values("ablate/zero/kl_mean"), 1e-4);

    let results = ask(json!({"logit_lens": {}}), json!(["entropy"]));
    let top = results["lens"]["top"].as_array().unwrap();
    let probs: Vec<f64> = top
        .iter()
        .flat_map(|row| row.as_array().unwrap())
        .flat_map(|cell| {
            cell.as_array().unwrap().iter().map(|top| top["prob"].as_f64().unwrap()).collect::<Vec<_>>()
        })
        .collect();
    assert_close("lens", &probs, &values("lens/ln/top5_probs"), 1e-4);
}
