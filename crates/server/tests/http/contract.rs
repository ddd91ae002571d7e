//! The endpoints that existing front ends speak: every number against one computed here, run by run, from logits.

use microtome::model::{Change, Edit, Positions, RunOptions, Site, Tensor, Value as EditValue};
use microtome::{Answer, Bos, Text, TextModel};
use serde_json::{Value, json};

use crate::served::{DEMO, Server, assert_close, numbers};

const CLEAN: &str = "When Mary and John went to the store, John gave a drink to";
const CORRUPT: &str = "When Mary and John went to the store, Mary gave a drink to";
const TARGET: &str = " Mary";

/// Logits differ in their last bits between a sweep and run by run.
const NEAR: f64 = 2e-5;

pub struct Numbers {
    pub prob: f64,
    pub rank: f64,
    pub entropy: f64,
    pub margin: f64,
}

/// Softmax, and what is read off it, written out.
pub fn measured(logits: &[f64], target: usize) -> Numbers {
    let max = logits.iter().copied().fold(f64::MIN, f64::max);
    let z: f64 = logits.iter().map(|x| (x - max).exp()).sum();
    let p: Vec<f64> = logits.iter().map(|x| (x - max).exp() / z).collect();
    let best_other = (0..logits.len()).filter(|&i| i != target).map(|i| logits[i]).fold(f64::MIN, f64::max);
    Numbers {
        prob: p[target],
        rank: 1.0 + p.iter().filter(|&&q| q > p[target]).count() as f64,
        entropy: -p.iter().filter(|&&q| q > 0.0).map(|q| q * q.ln()).sum::<f64>(),
        margin: logits[target] - best_other,
    }
}

pub fn ids(model: &TextModel, prompt: &str) -> Vec<u32> {
    model.tokens(&Text::Text(prompt.to_owned()), Bos::Prepend).unwrap().ids
}

fn target(model: &TextModel) -> usize {
    model.answer(&Answer::Text(TARGET.to_owned()), "target").unwrap() as usize
}

/// The last position's logits of one whole run.
fn logits(prompt: &str, edits: Vec<Edit>) -> Vec<f64> {
    let options = RunOptions { edits, logits: Positions::Last, ..Default::default() };
    let run = DEMO.model().run(&ids(&DEMO, prompt), &options).unwrap();
    let row: Vec<f32> = run.logits().unwrap().flatten_all().unwrap().to_vec1().unwrap();
    row.into_iter().map(f64::from).collect()
}

/// An activation of the clean prompt.
fn clean_value(site: Site, layer: usize) -> Tensor {
    let reads = vec![site.at(layer)];
    let run = DEMO.model().run(&ids(&DEMO, CLEAN), &RunOptions { reads, ..Default::default() }).unwrap();
    run.cache.get(site.at(layer)).unwrap().clone()
}

fn cut(layer: usize, head: usize) -> Edit {
    Edit::new(Site::Z.at(layer), Change::Zero).units([head]).positions(Positions::Last)
}

fn patch(site: Site, layer: usize) -> Edit {
    let value = EditValue::Tensor(clean_value(site, layer));
    Edit::new(site.at(layer), Change::Set(value)).positions(Positions::Last)
}

fn heads() -> impl Iterator<Item = (usize, usize)> {
    let (n_layers, n_heads) = (DEMO.config().n_layers, DEMO.config().n_heads);
    (0..n_layers).flat_map(move |layer| (0..n_heads).map(move |head| (layer, head)))
}

fn check_top(found: &Value, logits: &[f64]) {
    let top = found.as_array().unwrap();
    assert_eq!(top.len(), 10);
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    for (entry, &id) in top.iter().zip(&order) {
        assert_eq!(entry["token"], DEMO.label(id as u32), "most probable first");
        assert_close("top", &[entry["prob"].as_f64().unwrap()], &[measured(logits, id).prob], NEAR);
    }
}

#[test]
fn sweep_is_every_head_cut_at_the_last_position() {
    let server = Server::demo();
    let found = server.ask("/sweep", &json!({"clean_prompt": CLEAN, "target_token": TARGET}));
    let target = target(&DEMO);
    let clean_logits = logits(CLEAN, vec![]);
    let clean = measured(&clean_logits, target);
    let cut: Vec<Numbers> = heads().map(|(l, h)| measured(&logits(CLEAN, vec![cut(l, h)]), target)).collect();
    let expected =
        |of: fn(&Numbers, &Numbers) -> f64| cut.iter().map(|cut| of(&clean, cut)).collect::<Vec<_>>();
    assert_close("prob", &numbers(&found["delta_probs"]), &expected(|a, b| a.prob - b.prob), NEAR);
    assert_close("rank", &numbers(&found["delta_ranks"]), &expected(|a, b| b.rank - a.rank), 0.0);
    assert_close(
        "entropy",
        &numbers(&found["delta_entropies"]),
        &expected(|a, b| b.entropy - a.entropy),
        NEAR,
    );
    assert_close("margin", &numbers(&found["delta_margins"]), &expected(|a, b| a.margin - b.margin), NEAR);
    assert_close("clean", &[found["clean_prob"].as_f64().unwrap()], &[clean.prob], NEAR);
    assert_eq!(found["clean_rank"], clean.rank as u64);
    assert_eq!(found["delta_probs"].as_array().unwrap().len(), DEMO.config().n_layers);
    check_top(&found["top_clean"], &clean_logits);
}

#[test]
fn a_clamped_token_keeps_its_clean_logit() {
    let server = Server::demo();
    let foil = DEMO.answer(&Answer::Text(" John".to_owned()), "clamp").unwrap() as usize;
    let body = json!({"clean_prompt": CLEAN, "target_token": TARGET, "clamp_token": " John"});
    let found = server.ask("/sweep", &body);
    let (target, clean) = (target(&DEMO), logits(CLEAN, vec![]));
    let clamped = |(layer, head)| {
        let mut cut = logits(CLEAN, vec![cut(layer, head)]);
        cut[foil] = clean[foil];
        measured(&cut, target)
    };
    let cut: Vec<Numbers> = heads().map(clamped).collect();
    let clean = measured(&clean, target);
    let expected =
        |of: fn(&Numbers, &Numbers) -> f64| cut.iter().map(|cut| of(&clean, cut)).collect::<Vec<_>>();
    assert_close("prob", &numbers(&found["delta_probs"]), &expected(|a, b| a.prob - b.prob), NEAR);
    assert_close("rank", &numbers(&found["delta_ranks"]), &expected(|a, b| b.rank - a.rank), 0.0);
    assert_close(
        "entropy",
        &numbers(&found["delta_entropies"]),
        &expected(|a, b| b.entropy - a.entropy),
        NEAR,
    );
    assert_close("margin", &numbers(&found["delta_margins"]), &expected(|a, b| a.margin - b.margin), NEAR);
    let free =
        server.ask("/sweep", &json!({"clean_prompt": CLEAN, "target_token": TARGET, "clamp_token": null}));
    assert_ne!(found["delta_probs"], free["delta_probs"], "the clamp does something");
}

#[test]
fn multi_ablate_cuts_heads_in_one_run() {
    let server = Server::demo();
    let chosen = json!([{"layer": 2, "head": 1}, {"layer": 3, "head": 2}]);
    let body = json!({"clean_prompt": CLEAN, "target_token": TARGET, "heads": chosen});
    let found = server.ask("/multi-ablate", &body);
    let target = target(&DEMO);
    let (clean_logits, cut_logits) = (logits(CLEAN, vec![]), logits(CLEAN, vec![cut(2, 1), cut(3, 2)]));
    let (clean, ablated) = (measured(&clean_logits, target), measured(&cut_logits, target));
    for (field, expected) in [
        ("clean_prob", clean.prob),
        ("ablated_prob", ablated.prob),
        ("clean_rank", clean.rank),
        ("ablated_rank", ablated.rank),
        ("delta_prob", clean.prob - ablated.prob),
        ("delta_rank", ablated.rank - clean.rank),
        ("delta_entropy", ablated.entropy - clean.entropy),
        ("delta_margin", clean.margin - ablated.margin),
    ] {
        assert_close(field, &[found[field].as_f64().unwrap()], &[expected], NEAR);
    }
    assert_eq!(found["heads"], chosen);
    assert_eq!((&found["clean_prompt"], &found["target_token"]), (&json!(CLEAN), &json!(TARGET)));
    check_top(&found["top_clean"], &clean_logits);
    check_top(&found["top_ablated"], &cut_logits);
}

fn pair() -> Value {
    json!({"clean_prompt": CLEAN, "corrupt_prompt": CORRUPT, "target_token": TARGET})
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

/// Clean, corrupt and patched probabilities; recovery in percent.
fn recovered(edits: Vec<Edit>) -> (f64, f64) {
    let target = target(&DEMO);
    let of = |logits: Vec<f64>| measured(&logits, target).prob;
    let (clean, corrupt) = (of(logits(CLEAN, vec![])), of(logits(CORRUPT, vec![])));
    let patched = of(logits(CORRUPT, edits));
    (100.0 * (patched - corrupt) / (clean - corrupt), patched)
}

fn check_ends(found: &Value) {
    let target = target(&DEMO);
    let (clean, corrupt) = (logits(CLEAN, vec![]), logits(CORRUPT, vec![]));
    for (name, logits) in [("clean", &clean), ("corrupt", &corrupt)] {
        let expected = measured(logits, target);
        assert_close(name, &[found[format!("{name}_prob")].as_f64().unwrap()], &[expected.prob], NEAR);
        assert_eq!(found[format!("{name}_rank")], expected.rank as u64);
        check_top(&found[format!("top_{name}")], logits);
    }
    assert_eq!(found["corrupt_prompt"], CORRUPT);
}

#[test]
fn patch_sweep_puts_each_clean_head_into_the_corrupt_run() {
    let found = Server::demo().ask("/patch-sweep", &pair());
    let (recovery, prob): (Vec<f64>, Vec<f64>) =
        heads().map(|(layer, head)| recovered(vec![patch(Site::Z, layer).units([head])])).unzip();
    assert_close("recovery", &numbers(&found["recovery_matrix"]), &recovery, 20.0 * NEAR);
    assert_close("prob", &numbers(&found["prob_matrix"]), &prob, NEAR);
    check_ends(&found);
}

#[test]
fn layer_sweeps_patch_the_residual_stream_and_the_mlps() {
    let server = Server::demo();
    for (path, site) in [("/residual-sweep", Site::ResidPost), ("/mlp-sweep", Site::MlpPost)] {
        let found = server.ask(path, &pair());
        let (recovery, prob): (Vec<f64>, Vec<f64>) =
            (0..DEMO.config().n_layers).map(|layer| recovered(vec![patch(site, layer)])).unzip();
        assert_close(path, &numbers(&found["recovery_by_layer"]), &recovery, 20.0 * NEAR);
        assert_close(path, &numbers(&found["prob_by_layer"]), &prob, NEAR);
        check_ends(&found);
    }
    let residual = numbers(&server.ask("/residual-sweep", &pair())["recovery_by_layer"]);
    assert_close("after the last layer all is clean", &residual[residual.len() - 1..], &[100.0], NEAR);
}

#[test]
fn multi_patches_patch_in_one_run() {
    let server = Server::demo();
    let heads = json!([{"layer": 1, "head": 0}, {"layer": 3, "head": 3}]);
    let of_heads = vec![patch(Site::Z, 1).units([0]), patch(Site::Z, 3).units([3])];
    let layers = json!([{"layer": 1}, {"layer": 4}]);
    let of_layers = |site| vec![patch(site, 1), patch(site, 4)];
    for (path, field, chosen, edits) in [
        ("/multi-patch", "heads", &heads, of_heads),
        ("/multi-residual-patch", "layers", &layers, of_layers(Site::ResidPost)),
        ("/multi-mlp-patch", "layers", &layers, of_layers(Site::MlpPost)),
    ] {
        let found = server.ask(path, &with(pair(), field, chosen.clone()));
        let patched_logits = logits(CORRUPT, edits.clone());
        let (recovery, prob) = recovered(edits);
        assert_close(path, &[found["recovery_pct"].as_f64().unwrap()], &[recovery], 20.0 * NEAR);
        assert_close(path, &[found["patched_prob"].as_f64().unwrap()], &[prob], NEAR);
        assert_eq!(found["patched_rank"], measured(&patched_logits, target(&DEMO)).rank as u64);
        assert_eq!(&found[field], chosen);
        check_top(&found["top_patched"], &patched_logits);
        check_ends(&found);
    }
}

#[test]
fn where_there_is_nothing_to_recover_recovery_is_zero() {
    let same = json!({"clean_prompt": CLEAN, "corrupt_prompt": CLEAN, "target_token": TARGET});
    let server = Server::demo();
    let found = server.ask("/patch-sweep", &same);
    assert!(numbers(&found["recovery_matrix"]).iter().all(|&x| x == 0.0), "{found}");
    let found = server.ask("/multi-patch", &with(same, "heads", json!([{"layer": 0, "head": 0}])));
    assert_eq!(found["recovery_pct"], 0.0);
}

#[test]
fn health_tells_the_sizes_and_where_it_computes() {
    let found = Server::demo().get("/health").json();
    assert_eq!((&found["status"], &found["device"]), (&json!("ok"), &json!("cpu")));
    let sizes = json!([found["n_layers"], found["n_heads"]]);
    assert_eq!(sizes, json!([DEMO.config().n_layers, DEMO.config().n_heads]));
}
