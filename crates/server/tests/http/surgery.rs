//! Surgery: both texts and every number against whole runs of this test's own.

use microtome::model::{Change, Edit, RunOptions, Site};
use serde_json::{Value, json};

use crate::contract::ids;
use crate::served::{DEMO, Server, assert_close, numbers};

const PROMPT: &str = "The cat sat on the mat. The dog";
const NEAR: f64 = 2e-5;

fn mask(cut: &[(usize, usize)]) -> Value {
    let config = DEMO.config();
    let row = |layer| (0..config.n_heads).map(|head| cut.contains(&(layer, head))).collect::<Vec<_>>();
    json!((0..config.n_layers).map(row).collect::<Vec<_>>())
}

fn request(cut: &[(usize, usize)], method: &str, importance: &str) -> Value {
    json!({"prompt": PROMPT, "ablation_mask": mask(cut), "method": method, "importance_method": importance,
        "temperature": 0.0, "max_new_tokens": 12, "seed": 7})
}

/// Logits at every position of one whole run.
fn rows(tokens: &[u32], edits: &[Edit]) -> Vec<Vec<f64>> {
    let run = DEMO.model().run(tokens, &RunOptions { edits: edits.to_vec(), ..Default::default() }).unwrap();
    let rows: Vec<Vec<f32>> = run.logits().unwrap().to_vec2().unwrap();
    rows.into_iter().map(|row| row.into_iter().map(f64::from).collect()).collect()
}

fn probabilities(row: &[f64]) -> Vec<f64> {
    let max = row.iter().copied().fold(f64::MIN, f64::max);
    let z: f64 = row.iter().map(|x| (x - max).exp()).sum();
    row.iter().map(|x| (x - max).exp() / z).collect()
}

fn best(row: &[f64]) -> u32 {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]).then(b.cmp(&a))).unwrap() as u32
}

/// The most probable continuation, the whole text run again for every token.
fn greedy(edits: &[Edit], count: usize) -> Vec<u32> {
    let mut tokens = ids(&DEMO, PROMPT);
    for _ in 0..count {
        let last = rows(&tokens, edits).pop().unwrap();
        tokens.push(best(&last));
    }
    tokens
}

fn token_ids(tokens: &Value) -> Vec<u32> {
    tokens.as_array().unwrap().iter().map(|token| token["id"].as_u64().unwrap() as u32).collect()
}

fn zeroed(cut: &[(usize, usize)]) -> Vec<Edit> {
    cut.iter().map(|&(layer, head)| Edit::new(Site::Pattern.at(layer), Change::Zero).units([head])).collect()
}

#[test]
fn both_texts_are_what_whole_runs_say_and_the_metrics_compare_them_on_the_control_text() {
    let cut = [(0, 2), (1, 3), (2, 1), (3, 0)];
    let found = Server::demo().ask("/api/surgery", &request(&cut, "zero", "ablation"));
    let edits = zeroed(&cut);
    let control = greedy(&[], 12);
    let texts = &found["generation"];
    assert_eq!(token_ids(&texts["control_tokens"]), control);
    assert_eq!(token_ids(&texts["ablated_tokens"]), greedy(&edits, 12));

    let (whole, cut_rows) = (rows(&control, &[]), rows(&control, &edits));
    let n = control.len() as f64;
    let kl = |(a, b): (&Vec<f64>, &Vec<f64>)| {
        let (p, q) = (probabilities(a), probabilities(b));
        p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum::<f64>()
    };
    let expected_kl = whole.iter().zip(&cut_rows).map(kl).sum::<f64>() / n;
    let perplexity = |rows: &[Vec<f64>]| {
        let next = |(row, &id): (&Vec<f64>, &u32)| -probabilities(row)[id as usize].ln();
        (rows.iter().zip(&control[1..]).map(next).sum::<f64>() / (n - 1.0)).exp()
    };
    let changed = whole.iter().zip(&cut_rows).filter(|(a, b)| best(a) != best(b)).count() as f64 / n;
    let last = Site::ResidPost.at(DEMO.config().n_layers - 1);
    let resid = |edits: &[Edit]| {
        let options = RunOptions { edits: edits.to_vec(), reads: vec![last], ..Default::default() };
        let run = DEMO.model().run(&control, &options).unwrap();
        run.cache.get(last).unwrap().to_vec2::<f32>().unwrap()
    };
    let distance = |(a, b): (&Vec<f32>, &Vec<f32>)| {
        a.iter().zip(b).map(|(x, y)| f64::from(x - y).powi(2)).sum::<f64>().sqrt()
    };
    let l2 = resid(&[]).iter().zip(&resid(&edits)).map(distance).sum::<f64>() / n;
    for (field, expected) in [
        ("kl_div", expected_kl),
        ("perplexity_delta", perplexity(&cut_rows) - perplexity(&whole)),
        ("top1_changed_ratio", changed),
        ("l2_diff", l2),
    ] {
        assert_close(field, &[found["metrics"][field].as_f64().unwrap()], &[expected], 1e-4);
    }
    assert!(expected_kl > 0.01 && changed > 0.0, "the cut does something: {expected_kl} {changed}");
}

#[test]
fn a_token_carries_its_probability_and_the_five_most_probable() {
    let found = Server::demo().ask("/api/surgery", &request(&[], "mean", "rollback"));
    let tokens = found["generation"]["control_tokens"].as_array().unwrap();
    assert_eq!(
        found["generation"]["ablated_tokens"], found["generation"]["control_tokens"],
        "nothing was cut"
    );
    assert_eq!(numbers(&found["metrics"]["kl_div"]), [0.0]);
    let ids = token_ids(&found["generation"]["control_tokens"]);
    let rows = rows(&ids, &[]);
    let n_prompt = self::ids(&DEMO, PROMPT).len();
    for (pos, token) in tokens.iter().enumerate() {
        assert_eq!(token["isPrompt"], pos < n_prompt);
        assert_eq!(token["text"], DEMO.label(ids[pos]));
        let Some(row) = pos.checked_sub(1).map(|before| probabilities(&rows[before])) else { continue };
        assert_close("prob", &numbers(&token["prob"]), &[row[ids[pos] as usize]], NEAR);
        let listed = token["topK"].as_array().unwrap();
        assert_eq!(listed.len(), 5);
        let mut sorted = row.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let probs: Vec<f64> = listed.iter().map(|top| top["prob"].as_f64().unwrap()).collect();
        assert_close("top five", &probs, &sorted[..5], NEAR);
    }
}

#[test]
fn importance_is_what_the_method_says() {
    let server = Server::demo();
    let matrix = |importance: &str| {
        let found = server.ask("/api/surgery", &request(&[], "zero", importance));
        numbers(&found["importance_scores"]["gradient_matrix"])
    };
    let tokens = ids(&DEMO, PROMPT);
    let config = DEMO.config();
    let whole = rows(&tokens, &[]);
    let mut by_kl = Vec::new();
    let mut by_norm = Vec::new();
    for layer in 0..config.n_layers {
        let hook = Site::Result.at(layer);
        let run = DEMO.model().run(&tokens, &RunOptions { reads: vec![hook], ..Default::default() }).unwrap();
        let written: Vec<Vec<Vec<f32>>> = run.cache.get(hook).unwrap().to_vec3().unwrap();
        for head in 0..config.n_heads {
            let cut = rows(&tokens, &[Edit::new(Site::Z.at(layer), Change::Zero).units([head])]);
            let kl = |(a, b): (&Vec<f64>, &Vec<f64>)| {
                let (p, q) = (probabilities(a), probabilities(b));
                p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum::<f64>()
            };
            by_kl.push(whole.iter().zip(&cut).map(kl).sum::<f64>() / tokens.len() as f64);
            let norm =
                |pos: &Vec<Vec<f32>>| pos[head].iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            by_norm.push(written.iter().map(norm).sum::<f64>() / tokens.len() as f64);
        }
    }
    assert_close("ablation", &matrix("ablation"), &by_kl, 1e-4);
    assert_close("rollback", &matrix("rollback"), &by_norm, 1e-4);

    // The derivative of the mean loss in one entry of one pattern, by differences.
    let loss = |edits: &[Edit]| {
        let next = |(row, &id): (&Vec<f64>, &u32)| -probabilities(row)[id as usize].ln();
        rows(&tokens, edits).iter().zip(&tokens[1..]).map(next).sum::<f64>() / (tokens.len() - 1) as f64
    };
    let (layer, head, n) = (1, 3, tokens.len());
    let mut sum = 0.0;
    for query in 0..n {
        for key in 0..=query {
            let at = |step: f32| {
                let mut values = vec![0f32; config.n_heads * n * n];
                values[(head * n + query) * n + key] = step;
                let device = microtome::model::Device::Cpu;
                let value =
                    microtome::model::Tensor::from_vec(values, (config.n_heads, n, n), &device).unwrap();
                let add = Change::Add(microtome::model::Value::Tensor(value));
                loss(&[Edit::new(Site::Pattern.at(layer), add)])
            };
            sum += ((at(0.05) - at(-0.05)) / 0.1).abs();
        }
    }
    let expected = sum / (n * (n + 1) / 2) as f64;
    let found = matrix("gradient")[layer * config.n_heads + head];
    assert!((found - expected).abs() < 0.02 * expected, "{found} and by differences {expected}");
}

#[test]
fn layer_impact_is_the_lens_of_the_cut_run_where_the_last_token_was_predicted() {
    let cut = [(1, 3), (2, 1)];
    let found = Server::demo().ask("/api/surgery", &request(&cut, "zero", "rollback"));
    let tokens = token_ids(&found["generation"]["ablated_tokens"]);
    let (last, before) = tokens.split_last().unwrap();
    let impact = found["layer_impact"].as_array().unwrap();
    assert_eq!(impact.len(), DEMO.config().n_layers);
    for (layer, entry) in impact.iter().enumerate() {
        assert_eq!(entry["layer_name"], format!("L{layer}"));
        // The later layers made to write nothing leave the stream as this layer left it.
        let mut edits = zeroed(&cut);
        for later in layer + 1..DEMO.config().n_layers {
            edits.push(Edit::new(Site::AttnOut.at(later), Change::Zero));
            edits.push(Edit::new(Site::MlpOut.at(later), Change::Zero));
        }
        let row = rows(before, &edits).pop().unwrap();
        let expected = probabilities(&row)[*last as usize];
        assert_close("impact", &[entry["impact_score"].as_f64().unwrap()], &[expected], NEAR);
    }
}

#[test]
fn every_change_of_a_pattern_is_its_own_and_a_seed_gives_the_same_text_again() {
    let server = Server::demo();
    let cut = [(0, 2), (1, 0), (1, 3), (2, 1)];
    let ask = |method: &str| {
        server.ask("/api/surgery", &request(&cut, method, "rollback"))["metrics"]["kl_div"].clone()
    };
    let all: Vec<String> =
        ["zero", "mean", "random", "previous"].iter().map(|m| ask(m).to_string()).collect();
    let mut different = all.clone();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), 4, "{all:?}");

    let mut warm = request(&cut, "mean", "rollback");
    warm["temperature"] = json!(1.0);
    let again = Server::demo().ask("/api/surgery", &warm);
    let first = server.ask("/api/surgery", &warm);
    assert_eq!(first["generation"], again["generation"]);
    warm["seed"] = json!(8);
    assert_ne!(server.ask("/api/surgery", &warm)["generation"], first["generation"]);
}

#[test]
fn a_mask_of_another_shape_is_refused_with_the_shape_expected() {
    let mut body = request(&[], "zero", "gradient");
    body["ablation_mask"] = json!([[true, false]]);
    let (detail, _) = Server::demo().post("/api/surgery", &body).refused(422, "bad_mask");
    assert!(detail.contains("1 rows of 2") && detail.contains("6 rows of 4"), "{detail}");
}
