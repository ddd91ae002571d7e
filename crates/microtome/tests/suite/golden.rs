//! TransformerLens's numbers, for every number this crate has a definition for.

use microtome::method::ablate::{Ablate, Targets};
use microtome::method::change::{Per, Replacement};
use microtome::method::generate::Generate;
use microtome::method::gradient::{Of, metric_gradients};
use microtome::method::importance::{Importance, Measure, Parts};
use microtome::method::logit_lens::{LogitLens, Norm, Rows};
use microtome::method::patch::{By, Direction, Patch};
use microtome::metric::MetricId;
use microtome::model::{Hook, Positions, Processing, RunOptions, Site, Tensor};
use microtome::{Answer, Bos, Component, Experiment, Method, Prompt, Quantity, Record};

use crate::golden_data::{Golden, assert_close, load_model, values};

const BOTH: [Processing; 2] = [Processing::Raw, Processing::Folded];

/// f32 against f64 through three layers with logits of a few units.
const TOLERANCE: f64 = 1e-4;

fn experiment(golden: &Golden, method: Method, answer: u32, metrics: &[&str]) -> Experiment {
    Experiment {
        model: golden.dir.display().to_string(),
        weights: golden.model.model().processing(),
        precision: golden.model.model().precision(),
        bos: Bos::Prepend,
        prompts: vec![Prompt {
            clean: golden.prompt("clean"),
            corrupt: Some(golden.prompt("corrupt")),
            answers: vec![Answer::Id(answer)],
            wrong_answers: vec![Answer::Id(golden.id("foil"))],
        }],
        method,
        metrics: metrics.iter().map(|name| MetricId::named(name).unwrap()).collect(),
        read_at: None,
        seed: 0,
    }
}

fn cells(record: &Record, metric: &str, quantity: Quantity) -> Vec<f64> {
    let table = record.table(metric, quantity).unwrap_or_else(|| panic!("no table of {metric}"));
    table.values.iter().map(|v| v.unwrap_or(f64::NAN)).collect()
}

#[test]
fn golden_every_hook_activation() {
    for processing in BOTH {
        let Some(golden) = Golden::open(processing) else { return };
        let hooks: Vec<Hook> = golden.acts.keys().map(|name| Hook::parse(name).unwrap()).collect();
        assert!(hooks.len() >= 20 * golden.model.config().n_layers);
        let options = RunOptions { reads: hooks.clone(), ..Default::default() };
        let run = golden.model.model().run(&golden.ids("clean"), &options).unwrap();
        for hook in hooks {
            let found = run.cache.get(hook).unwrap();
            let expected = &golden.acts[&hook.to_string()];
            assert_eq!(found.dims(), expected.dims(), "{hook}");
            assert_close(&hook.to_string(), &values(found), &values(expected), TOLERANCE);
        }
    }
}

#[test]
fn golden_logits_loss_and_scalars() {
    for processing in BOTH {
        let Some(golden) = Golden::open(processing) else { return };
        let key = if processing == Processing::Raw { "scalars_f64" } else { "scalars_processed" };
        for prompt in ["clean", "corrupt"] {
            let run = golden.model.model().run(&golden.ids(prompt), &RunOptions::default()).unwrap();
            let name = format!("{prompt}/logits");
            golden.assert_close(&name, &values(run.logits().unwrap()));

            let metrics = ["prob", "rank", "entropy", "margin", "logit", "logit_diff", "loss", "perplexity"];
            let mut experiment = experiment(
                &golden,
                Method::Ablate(Ablate {
                    clamp: None,
                    targets: Targets::Together(vec![Component::Head { layer: 0, head: 0 }]),
                    with: Replacement::Zero,
                    at: Positions::All,
                }),
                golden.id("target"),
                &metrics,
            );
            experiment.prompts[0].clean = golden.prompt(prompt);
            let record = experiment.run_quietly(&golden.model).unwrap();
            for value in &record.results.prompts[0].runs[0].metrics {
                let mut expected = golden.json[key][prompt][&value.metric].as_f64().unwrap();
                if value.metric == "rank" {
                    expected += 1.0; // the golden rank counts from 0
                }
                assert_close(&format!("{prompt} {}", value.metric), &[value.value], &[expected], TOLERANCE);
            }
        }
    }
}

#[test]
fn golden_ablations_of_heads() {
    let kinds = [
        ("zero", Replacement::Zero),
        ("mean_z", Replacement::Mean { reference: vec![], per: Per::Overall }),
        ("uniform_pattern", Replacement::Uniform),
        ("zero_pattern", Replacement::ZeroPattern),
        ("prev_pattern", Replacement::Previous),
        ("identity_pattern", Replacement::Identity),
    ];
    for processing in BOTH {
        let Some(golden) = Golden::open(processing) else { return };
        for (kind, with) in &kinds {
            let ablate =
                Ablate { clamp: None, targets: Targets::Heads, with: with.clone(), at: Positions::All };
            compare_ablation(&golden, &format!("ablate/{kind}"), ablate);
        }
    }
}

#[test]
fn golden_ablations_of_layers() {
    for processing in BOTH {
        let Some(golden) = Golden::open(processing) else { return };
        for (name, targets) in
            [("ablate_mlp/zero", Targets::Mlps), ("ablate_attn/zero", Targets::AttentionLayers)]
        {
            compare_ablation(
                &golden,
                name,
                Ablate { clamp: None, targets, with: Replacement::Zero, at: Positions::All },
            );
        }
    }
}

fn compare_ablation(golden: &Golden, prefix: &str, ablate: Ablate) {
    let n_heads = golden.model.config().n_heads;
    let metrics =
        ["prob", "rank", "entropy", "margin", "logit", "kl", "kl_mean", "perplexity", "top1_changed"];
    for (answer, of_answer) in [("target", ""), ("target2", "target2_")] {
        let run = |ablate: Ablate| {
            let method = Method::Ablate(ablate);
            experiment(golden, method, golden.id(answer), &metrics).run_quietly(&golden.model).unwrap()
        };
        let record = run(ablate.clone());
        for metric in metrics {
            let (name, quantity) = match metric {
                "kl" => (format!("{prefix}/kl_last"), Quantity::Value),
                "kl_mean" | "top1_changed" => (format!("{prefix}/{metric}"), Quantity::Value),
                "perplexity" => (format!("{prefix}/delta_ppl"), Quantity::Change),
                _ => (format!("{prefix}/{of_answer}delta_{metric}"), Quantity::Change),
            };
            let mut found = cells(&record, metric, quantity);
            let expected = golden.values(&name);
            if ablate.with == Replacement::Previous {
                // Layer 0 has no layer below: the golden run leaves it alone, ours is uniform there.
                assert!(expected[..n_heads].iter().all(|&x| x == 0.0));
                let uniform =
                    cells(&run(Ablate { with: Replacement::Uniform, ..ablate.clone() }), metric, quantity);
                assert_eq!(found[..n_heads], uniform[..n_heads]);
                found[..n_heads].fill(0.0);
            }
            golden.assert_close_to(&name, &found, &expected);
        }
    }
}

#[test]
fn golden_patches_of_head_outputs_both_ways() {
    for processing in BOTH {
        let Some(golden) = Golden::open(processing) else { return };
        for (way, direction) in [("denoise", Direction::Denoise), ("noise", Direction::Noise)] {
            for (sites, at) in [("z_all", Positions::All), ("z_last", Positions::Last)] {
                let patch = Patch { site: Site::Z, by: By::Head, direction, at };
                let record = patched(&golden, patch);
                for metric in ["prob", "logit_diff"] {
                    let name = format!("patch/{way}/{sites}/{metric}");
                    golden.assert_close(&name, &cells(&record, metric, Quantity::Value));
                    let name = format!("{name}_recovery");
                    golden.assert_close(&name, &cells(&record, metric, Quantity::Recovery));
                }
            }
        }
    }
}

fn patched(golden: &Golden, patch: Patch) -> Record {
    let metrics = ["prob", "logit_diff"];
    experiment(golden, Method::Patch(patch), golden.id("target"), &metrics)
        .run_quietly(&golden.model)
        .unwrap()
}

#[test]
fn golden_patches_of_transformerlens_patching_module() {
    for processing in BOTH {
        let Some(golden) = Golden::open(processing) else { return };
        let compare = |name: &str, part: Option<usize>, site: Site, by: By| {
            let patch = Patch { site, by, direction: Direction::Denoise, at: Positions::All };
            let record = patched(&golden, patch);
            for (metric, quantity) in [("prob", Quantity::Value), ("logit_diff", Quantity::Recovery)] {
                let suffix = if quantity == Quantity::Recovery { "logit_diff_recovery" } else { "prob" };
                let name = format!("patch/tl/{name}/{suffix}");
                let expected = &golden.derived[&name];
                let expected = match part {
                    Some(part) => values(&expected.get(part).unwrap()),
                    None => values(expected),
                };
                golden.assert_close_to(&name, &cells(&record, metric, quantity), &expected);
            }
        };
        compare("z_by_pos", None, Site::Z, By::HeadPosition);
        compare("resid_mid", None, Site::ResidMid, By::LayerPosition);
        for (part, site) in [Site::Z, Site::Q, Site::K, Site::V, Site::Pattern].into_iter().enumerate() {
            compare("head_all_pos_every", Some(part), site, By::Head);
        }
        for (part, site) in [Site::ResidPre, Site::AttnOut, Site::MlpOut].into_iter().enumerate() {
            compare("block_every", Some(part), site, By::LayerPosition);
        }
    }
}

#[test]
fn golden_gradients_of_the_logit_difference() {
    for processing in BOTH {
        let Some(golden) = Golden::open(processing) else { return };
        let sites = [
            ("z", Site::Z),
            ("resid_pre", Site::ResidPre),
            ("resid_mid", Site::ResidMid),
            ("attn_out", Site::AttnOut),
            ("mlp_out", Site::MlpOut),
        ];
        for (way, base, source) in [("denoise", "corrupt", "clean"), ("noise", "clean", "corrupt")] {
            for (name, site) in sites {
                let hooks: Vec<Hook> = (0..golden.model.config().n_layers).map(|l| site.at(l)).collect();
                let of = Of {
                    metric: MetricId::named("logit_diff").unwrap(),
                    read_at: None,
                    answers: &[golden.id("target")],
                    wrong: &[golden.id("foil")],
                };
                let taken = metric_gradients(&golden.model, &golden.ids(base), &[], &hooks, of).unwrap();
                let options = RunOptions { reads: hooks.clone(), ..Default::default() };
                let source = golden.model.model().run(&golden.ids(source), &options).unwrap();
                let estimates: Vec<Tensor> = hooks
                    .iter()
                    .map(|&hook| {
                        let difference =
                            source.cache.get(hook).unwrap() - taken.at.activations.get(hook).unwrap();
                        (difference.unwrap() * taken.at.gradients.get(hook).unwrap()).unwrap()
                    })
                    .map(|product| product.sum(product.rank() - 1).unwrap())
                    .collect();
                let by_pos = Tensor::stack(&estimates, 0).unwrap();
                let key = format!("atp/{way}/{name}_by_pos");
                golden.assert_close(&key, &values(&by_pos));
                if name == "z" {
                    let key = format!("atp/{way}/z");
                    golden.assert_close(&key, &values(&by_pos.sum(1).unwrap()));
                }
            }
        }
    }
}

#[test]
fn golden_gradients_of_the_loss_at_attention_patterns() {
    for processing in BOTH {
        let Some(golden) = Golden::open(processing) else { return };
        let hooks: Vec<Hook> = (0..golden.model.config().n_layers).map(|l| Site::Pattern.at(l)).collect();
        for (name, metric, sign) in [("seq_ce", "loss", 1.0), ("last_nll", "log_prob", -1.0)] {
            let of = Of {
                metric: MetricId::named(metric).unwrap(),
                read_at: None,
                answers: &[golden.id("target")],
                wrong: &[],
            };
            let taken = metric_gradients(&golden.model, &golden.ids("clean"), &[], &hooks, of).unwrap();
            let all: Vec<&Tensor> = hooks.iter().map(|&h| taken.at.gradients.get(h).unwrap()).collect();
            let found: Vec<f64> =
                values(&Tensor::stack(&all, 0).unwrap()).into_iter().map(|g| sign * g).collect();
            let key = format!("patgrad/{name}/grad");
            golden.assert_close(&key, &found);
        }
    }
}

#[test]
fn golden_logit_lens() {
    for processing in BOTH {
        let Some(golden) = Golden::open(processing) else { return };
        for (norm, key) in [(Norm::Final, "ln"), (Norm::None, "raw"), (Norm::TlCachedScale, "cached_scale")] {
            let asked = |rows| LogitLens { rows, norm: Some(norm), ..Default::default() };
            let d_vocab = golden.model.config().d_vocab;
            // Every token in turn is the answer, so that all logits and probabilities are compared.
            for answer in 0..d_vocab {
                let method = Method::LogitLens(asked(Rows::Layers));
                let record = experiment(&golden, method, answer as u32, &["prob", "logit"]);
                let record = record.run_quietly(&golden.model).unwrap();
                for (metric, what) in [("prob", "probs"), ("logit", "logits")] {
                    let name = format!("lens/{key}/{what}");
                    // Probabilities of the last convention are not on record.
                    if key == "cached_scale" && what == "probs" {
                        continue;
                    }
                    let all = golden.values(&name);
                    let of_answer: Vec<f64> = all.chunks(d_vocab).map(|row| row[answer]).collect();
                    golden.assert_close_to(&name, &cells(&record, metric, Quantity::Value), &of_answer);
                }
                if answer > 0 || key == "cached_scale" {
                    continue;
                }
                let lens = record.results.lens.as_ref().unwrap();
                let listed = || lens.top.iter().flatten().flatten();
                let probs: Vec<f64> = listed().map(|top| top.prob).collect();
                golden.assert_close(&format!("lens/{key}/top5_probs"), &probs);
                let ids: Vec<f64> = listed().map(|top| f64::from(top.id)).collect();
                assert_eq!(ids, golden.values(&format!("lens/{key}/top5_ids")));
            }
        }
    }
}

#[test]
fn golden_importance_by_each_measure() {
    for processing in BOTH {
        let Some(golden) = Golden::open(processing) else { return };
        let asked = |by, metrics: &[&str]| {
            let method = Method::Importance(Importance { by, of: Parts::Heads });
            experiment(&golden, method, golden.id("target"), metrics)
        };
        let mut compared = 0;
        let mut compare = |key: String, asked: Experiment, by: Measure| {
            let record = asked.run_quietly(&golden.model).unwrap();
            golden.assert_close(&key, &cells(&record, by.metric(), Quantity::Value));
            compared += usize::from(key.starts_with("patgrad/") || key.starts_with("norm/"));
        };
        for (by, key) in [
            (Measure::OutputNorm, "norm/result_mean"),
            (Measure::ZNorm, "norm/z_mean"),
            (Measure::AblationKl, "ablate/zero/kl_mean"),
        ] {
            compare(key.to_owned(), asked(by, &[]), by);
        }
        for (by, key) in [
            (Measure::Gradient, "abs_g_causal"),
            (Measure::GradientFull, "abs_g_full"),
            (Measure::GradientTimesPattern, "abs_gp_causal"),
            (Measure::GradientTimesPatternFull, "abs_gp_full"),
        ] {
            compare(format!("patgrad/seq_ce/{key}"), asked(by, &[]), by);
            // The size of a derivative does not depend on its sign.
            compare(format!("patgrad/last_nll/{key}"), asked(by, &["log_prob"]), by);
        }
        let hooks: Vec<Hook> = (0..golden.model.config().n_layers).map(|l| Site::Result.at(l)).collect();
        let options = RunOptions { reads: hooks.clone(), ..Default::default() };
        let run = golden.model.model().run(&golden.ids("clean"), &options).unwrap();
        // [head, pos]
        let norms = |hook: &Hook| {
            let result = run.cache.get(*hook).unwrap();
            result.sqr().unwrap().sum(2).unwrap().sqrt().unwrap().t().unwrap()
        };
        golden.assert_close(
            "norm/result_by_pos",
            &hooks.iter().flat_map(|h| values(&norms(h))).collect::<Vec<_>>(),
        );
        let of_mlps = Method::Importance(Importance { by: Measure::ZNorm, of: Parts::Mlps });
        let refused = experiment(&golden, of_mlps, 0, &[]).run_quietly(&golden.model).unwrap_err();
        assert!(refused.to_string().contains("only heads have"), "{refused}");
        // With the positions above, and the two derivatives that `golden_gradients_of_the_loss` compares.
        let whole = |name: &&String| name.starts_with("patgrad/") || name.starts_with("norm/");
        assert_eq!(compared + 3, golden.derived.keys().filter(whole).count());
    }
}

#[test]
fn golden_greedy_generation_plain_and_ablated() {
    let Some(golden) = Golden::open(Processing::Raw) else { return };
    let scalars = &golden.json["scalars_f64"];
    let ids = |key: &str| serde_json::from_value::<Vec<u32>>(scalars[key].clone()).unwrap();
    let heads: Vec<(usize, usize)> =
        serde_json::from_value(scalars["generate_ablated_heads"].clone()).unwrap();
    let plain = ids("generate_plain");
    let generate = Generate {
        max_new_tokens: plain.len() - golden.ids("clean").len(),
        temperature: 0.0,
        cut: heads.into_iter().map(|(layer, head)| Component::Head { layer, head }).collect(),
        with: Replacement::Zero,
        clamp: vec![],
        features: None,
    };
    let mut experiment = experiment(&golden, Method::Generate(generate), 0, &[]);
    experiment.prompts[0].answers.clear();
    let record = experiment.run_quietly(&golden.model).unwrap();
    let generation = record.results.generation.unwrap();
    let of = |tokens: &[microtome::method::generate::GeneratedToken]| {
        tokens.iter().map(|t| t.id).collect::<Vec<_>>()
    };
    assert_eq!(of(&generation.control), plain);
    assert_eq!(of(&generation.ablated), ids("generate_ablated"));
}

#[test]
fn golden_every_container_of_the_same_weights_gives_the_same_logits() {
    let Some(golden) = Golden::open(Processing::Raw) else { return };
    let logits = |file: &str| {
        let model = load_model(&golden.dir.join(file), Processing::Raw);
        values(model.model().run(&golden.ids("clean"), &RunOptions::default()).unwrap().logits().unwrap())
    };
    for file in ["hf_hub_style", "tl_state_dict.pth"] {
        assert_close(file, &logits(file), &golden.values("clean/logits"), TOLERANCE);
    }
}

#[test]
fn golden_nanogpt_checkpoints() {
    let Some(golden) = Golden::open(Processing::Raw) else { return };
    let expected =
        microtome::model::load_safetensors(&golden.dir.join("nanogpt_expected.safetensors")).unwrap();
    for (file, key) in [("nanogpt.pt", "bias"), ("nanogpt_nobias_compiled.pt", "nobias")] {
        let expected = values(&expected[&format!("logits/{key}/gelu_erf")]);
        for processing in BOTH {
            let model = load_model(&golden.dir.join(file), processing);
            let run = model.model().run(&golden.ids("clean"), &RunOptions::default()).unwrap();
            let logits = run.logits().unwrap();
            let found = match processing {
                Processing::Raw => values(logits),
                // Folding centres the logits of every position: compare up to that constant.
                Processing::Folded => centred(logits),
            };
            let expected = match processing {
                Processing::Raw => expected.clone(),
                Processing::Folded => {
                    let n = logits.dim(1).unwrap();
                    expected.chunks(n).flat_map(centre).collect()
                }
            };
            assert_close(file, &found, &expected, TOLERANCE);
        }
    }
}

fn centred(logits: &Tensor) -> Vec<f64> {
    let n = logits.dim(1).unwrap();
    values(logits).chunks(n).flat_map(centre).collect()
}

fn centre(row: &[f64]) -> Vec<f64> {
    let mean = row.iter().sum::<f64>() / row.len() as f64;
    row.iter().map(|x| x - mean).collect()
}

#[test]
fn golden_direct_logit_attribution_sums_to_the_logit() {
    use microtome::method::attribution::direct_attribution;
    for processing in BOTH {
        let Some(golden) = Golden::open(processing) else { return };
        let (tokens, target, foil) = (golden.ids("clean"), golden.id("target"), golden.id("foil"));
        let len = tokens.len();
        let (n_layers, n_heads) = (golden.model.config().n_layers, golden.model.config().n_heads);
        let embed = golden.values("dla/embed");
        let heads = golden.values("dla/heads");
        let (b_o, mlp) = (golden.values("dla/b_O"), golden.values("dla/mlp"));
        let constant = golden.values("dla/const");
        let pos_embed = golden.values("dla/pos_embed");
        for pos in [0, len / 2, len - 1] {
            for (kind, wrong) in [(0, &[][..]), (1, &[foil][..])] {
                let found = direct_attribution(&golden.model, &tokens, pos, &[target], wrong, &[]).unwrap();
                let close = |what: &str, a: f64, b: f64| assert_close(what, &[a], &[b], TOLERANCE);
                close("embed", found.embed, embed[pos * 2 + kind]);
                close("pos_embed", found.pos_embed, pos_embed[pos * 2 + kind]);
                close("constant", found.constant, constant[kind]);
                for layer in 0..n_layers {
                    for head in 0..n_heads {
                        let expected = heads[((layer * n_heads + head) * len + pos) * 2 + kind];
                        close("head", found.heads[layer][head], expected);
                    }
                    close("b_O", found.attention_bias[layer], b_o[(layer * len + pos) * 2 + kind]);
                    close("mlp", found.mlps[layer], mlp[(layer * len + pos) * 2 + kind]);
                }
                let logits = golden.derived["clean/logits"].get(pos).unwrap();
                let logits = values(&logits);
                let whole = logits[target as usize] - if kind == 1 { logits[foil as usize] } else { 0.0 };
                close("total", found.total(), whole);
                let (_, last) = found.accumulated.last().unwrap();
                close("accumulated", last + found.constant, whole);
            }
        }
    }
}

#[test]
fn golden_activations_written_to_a_file_read_back_under_transformerlens_names() {
    let Some(golden) = Golden::open(Processing::Raw) else { return };
    let hooks: Vec<Hook> = golden.acts.keys().map(|name| Hook::parse(name).unwrap()).collect();
    let options = RunOptions { reads: hooks, keep: Positions::Last, ..Default::default() };
    let run = golden.model.model().run(&golden.ids("clean"), &options).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, microtome::model::to_safetensors(&run.cache.named("")).unwrap()).unwrap();
    let back = microtome::model::load_safetensors(file.path()).unwrap();
    assert_eq!(back.len(), golden.acts.len());
    for (name, expected) in &golden.acts {
        let axis = usize::from(name.contains("pattern") || name.contains("scores"));
        let last = expected.dim(axis).unwrap() - 1;
        let expected = expected.narrow(axis, last, 1).unwrap();
        assert_close(name, &values(&back[name]), &values(&expected), TOLERANCE);
    }
}
