//! Sparse autoencoders against SAELens, and what is refused.

use std::path::Path;

use microtome::model::{
    Change, DType, Edit, Hook, Positions, Processing, RunOptions, Tensor, load_safetensors,
};
use microtome::sae::{Architecture, ErrorTerm, Sae, SaeConfig};

use crate::golden_data::{Golden, assert_close, values};

/// f32 against f32: products of 32 and 96 terms, then two layers.
const TOLERANCE: f64 = 1e-4;

const GOLDEN: [&str; 8] = [
    "standard",
    "standard_hook_z",
    "standard_layer_norm",
    "standard_no_bdec_in",
    "topk",
    "topk_rescale",
    "jumprelu",
    "gated",
];

fn activation(golden: &Golden, hook: Hook) -> Tensor {
    let options = RunOptions { reads: vec![hook], ..Default::default() };
    let run = golden.model.model().run(&golden.ids("clean"), &options).unwrap();
    run.cache.get(hook).unwrap().clone()
}

#[test]
fn golden_sparse_autoencoders_of_every_architecture() {
    let Some(golden) = Golden::open(Processing::Raw) else { return };
    let expected = load_safetensors(&golden.dir.join("sae/expected.safetensors")).unwrap();
    assert_eq!(expected.len(), 3 * GOLDEN.len(), "every golden quantity is compared");
    for name in GOLDEN {
        let sae = Sae::load(&golden.dir.join("sae").join(name)).unwrap();
        sae.check(&golden.model).unwrap();
        let x = activation(&golden, sae.hook());
        let coded = sae.encode(&x).unwrap();
        let recon = sae.decode(&coded, coded.features()).unwrap();
        assert_eq!(recon.dims(), expected[&format!("{name}/recon")].dims(), "{name}");
        let splice = |error| {
            let edits = vec![sae.splice(&coded, coded.features(), &x, error).unwrap()];
            let options = RunOptions { edits, ..Default::default() };
            let run = golden.model.model().run(&golden.ids("clean"), &options).unwrap();
            run.logits().unwrap().clone()
        };
        let found = [
            ("feature_acts", coded.features().clone()),
            ("recon", recon),
            ("spliced_logits", splice(ErrorTerm::Drop)),
        ];
        for (quantity, found) in found {
            let key = format!("{name}/{quantity}");
            assert_close(&key, &values(&found), &values(&expected[&key]), TOLERANCE);
        }
        // With the error term, features left as they are change nothing.
        let kept = values(&splice(ErrorTerm::Keep));
        assert_close(name, &kept, &golden.values("clean/logits"), TOLERANCE);
    }
}

#[test]
fn what_is_saved_is_read_back_the_same_of_every_architecture() {
    let Some(golden) = Golden::open(Processing::Raw) else { return };
    for name in GOLDEN {
        let folder = golden.dir.join("sae").join(name);
        let sae = Sae::load(&folder).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("a new/folder");
        sae.save(&copy, DType::F32).unwrap();
        let again = Sae::load(&copy).unwrap();
        assert_eq!(again.config(), sae.config(), "{name}");
        let tensors = |folder: &Path| load_safetensors(&folder.join("sae_weights.safetensors")).unwrap();
        let (before, after) = (tensors(&folder), tensors(&copy));
        assert_eq!(before.len(), after.len(), "{name}");
        for (tensor, values_before) in &before {
            assert_eq!(values(&after[tensor]), values(values_before), "{name} {tensor}");
        }
        // Every key of the settings is as SAELens wrote it.
        let json = |folder: &Path| -> serde_json::Value {
            serde_json::from_str(&std::fs::read_to_string(folder.join("cfg.json")).unwrap()).unwrap()
        };
        let (before, mut after) = (json(&folder), json(&copy));
        for (key, value) in before.as_object().unwrap() {
            let found = after.as_object_mut().unwrap().remove(key);
            match key.as_str() {
                "metadata" => {
                    let found = found.unwrap();
                    assert_eq!(found["hook_name"], value["hook_name"]);
                    assert_eq!(found["model_name"], value["model_name"]);
                }
                _ => assert_eq!(found.as_ref(), Some(value), "{name} {key}"),
            }
        }
        assert_eq!(after, serde_json::json!({}), "{name}");

        // Half precision rounds each number to eleven bits.
        sae.save(&copy, DType::F16).unwrap();
        let x = activation(&golden, sae.hook());
        let features = |sae: &Sae| values(sae.encode(&x).unwrap().features());
        let (exact, rounded) = (features(&sae), features(&Sae::load(&copy).unwrap()));
        let far = exact.iter().zip(&rounded).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(far > 0.0 && exact != rounded, "{name}");
        assert_eq!(json(&copy)["dtype"], "float16");
        let left: Vec<_> = std::fs::read_dir(&copy).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }
}

#[test]
fn settings_of_every_kind_are_read_back_the_same() {
    for extra in [
        r#""architecture": "topk", "k": 7, "rescale_acts_by_decoder_norm": true"#,
        r#""architecture": "gated", "normalize_activations": "constant_norm_rescale""#,
        r#""architecture": "jumprelu", "normalize_activations": "expected_average_only_in""#,
        r#""apply_b_dec_to_input": false, "normalize_activations": "layer_norm""#,
        r#""prepend_bos": false, "context_size": 128, "neuronpedia_id": "gpt2-small/1-res-jb""#,
        r#""model_from_pretrained_kwargs": {"center_writing_weights": true, "fold_value_biases": true}"#,
        r#""model_name": "gpt2-small""#,
    ] {
        let json = format!(r#"{{"hook_name": "blocks.1.hook_resid_pre", "d_in": 32, "d_sae": 96, {extra}}}"#);
        let read = config(&json).unwrap();
        assert_eq!(config(&read.to_json("float32").to_string()).unwrap(), read, "{extra}");
    }
}

#[test]
fn an_autoencoder_that_cannot_be_written_says_so_and_leaves_nothing() {
    let Some(golden) = Golden::open(Processing::Raw) else { return };
    let sae = Sae::load(&golden.dir.join("sae/standard")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let message = sae.save(&dir.path().join("file"), DType::F32).unwrap_err().to_string();
    assert!(message.contains("cannot write") && message.contains("file"), "{message}");
    let folder = dir.path().join("folder");
    let message = sae.save(&folder, DType::U8).unwrap_err().to_string();
    assert!(message.contains("expected F32, F16, BF16 or F64"), "{message}");
    assert!(!folder.exists());
}

fn config(json: &str) -> Result<SaeConfig, String> {
    SaeConfig::parse(json, "cfg.json").map_err(|error| error.to_string())
}

#[test]
fn keys_of_before_version_6_mean_the_same() {
    let old = config(
        r#"{"hook_point": "blocks.1.attn.hook_z", "hook_point_head_index": null, "model_name": "gpt2-small",
            "d_in": 32, "d_sae": 96, "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 8},
            "normalize_activations": false, "prepend_bos": false, "context_size": 128}"#,
    );
    let new = config(
        r#"{"architecture": "topk", "k": 8, "d_in": 32, "d_sae": 96, "normalize_activations": "none",
            "reshape_activations": "hook_z", "apply_b_dec_to_input": true, "metadata": {"hook_name":
            "blocks.1.attn.hook_z", "model_name": "gpt2-small", "prepend_bos": false, "context_size": 128}}"#,
    );
    assert_eq!(old, new);
    assert_eq!(old.unwrap().architecture, Architecture::TopK { k: 8, by_decoder_norm: false });
}

#[test]
fn configurations_that_would_give_wrong_numbers_are_refused() {
    let refused = [
        (r#""activation_fn_str": "topk""#, "`k` is missing"),
        (r#""activation_fn_str": "tanh-relu""#, "`activation_fn_str`"),
        (r#""architecture": "transcoder""#, "`hook_name_out` is missing"),
        (r#""architecture": "crosscoder""#, "jumprelu_skip_transcoder"),
        (r#""normalize_activations": "batch""#, "layer_norm"),
        (r#""reshape_activations": "hook_z""#, "has no heads"),
        (r#""hook_head_index": 3"#, "one head"),
        (r#""finetuning_scaling_factor": true"#, "false"),
    ];
    let with = |extra: &str| {
        config(&format!(r#"{{"hook_name": "blocks.1.hook_resid_pre", "d_in": 32, "d_sae": 96, {extra}}}"#))
    };
    assert!(with(r#""dtype": "float32""#).is_ok());
    for (extra, words) in refused {
        let message = with(extra).unwrap_err();
        assert!(message.contains(words), "{extra}: {message}");
    }
}

#[test]
fn weights_of_another_architecture_or_a_model_prepared_otherwise_are_refused() {
    let (Some(raw), Some(folded)) = (Golden::open(Processing::Raw), Golden::open(Processing::Folded)) else {
        return;
    };
    let copy = tempfile::tempdir().unwrap();
    let put = |from: &Path| {
        std::fs::copy(from.join("sae_weights.safetensors"), copy.path().join("sae_weights.safetensors"))
            .unwrap();
    };
    let text = std::fs::read_to_string(raw.dir.join("sae/standard/cfg.json")).unwrap();
    let load = |json: &str| {
        std::fs::write(copy.path().join("cfg.json"), json).unwrap();
        Sae::load(copy.path())
    };
    put(&raw.dir.join("sae/jumprelu"));
    let message = load(&text).unwrap_err().to_string();
    assert!(message.contains("`threshold` is not part of"), "{message}");

    put(&raw.dir.join("sae/standard"));
    let message = load(&text.replace("\"d_sae\": 96", "\"d_sae\": 95")).unwrap_err().to_string();
    assert!(message.contains("[32, 96]; expected [32, 95]"), "{message}");

    let message = load(&text).unwrap().check(&folded.model).unwrap_err().to_string();
    assert!(message.contains("raw weights, and the model has folded"), "{message}");
    let centred =
        text.replace("\"metadata\": {", "\"metadata\": {\"neuronpedia_id\": \"gpt2-small/1-res-jb\", ");
    let centred = load(&centred).unwrap();
    assert!(centred.check(&folded.model).is_ok());
    let message = centred.check(&raw.model).unwrap_err().to_string();
    assert!(message.contains("load the model with folded weights"), "{message}");

    let far = load(&text.replace("blocks.1.", "blocks.7.")).unwrap().check(&raw.model).unwrap_err();
    assert!(far.to_string().contains("layer 7"), "{far}");
    let wide = load(&text.replace("hook_resid_pre", "mlp.hook_post")).unwrap().check(&raw.model).unwrap_err();
    assert!(wide.to_string().contains("reads 32 numbers") && wide.to_string().contains("128"), "{wide}");
}

/// Mean cross-entropy of a prompt's next tokens, from logits row by row.
fn loss(logits: &[f64], tokens: &[u32]) -> f64 {
    let d_vocab = logits.len() / tokens.len();
    let surprise =
        |(row, &next): (&[f64], &u32)| row.iter().map(|x| x.exp()).sum::<f64>().ln() - row[next as usize];
    let predicted = tokens.len() - 1;
    logits.chunks(d_vocab).zip(&tokens[1..]).map(surprise).sum::<f64>() / predicted as f64
}

#[test]
fn quality_is_what_its_definitions_say_of_saelens_numbers() {
    let Some(golden) = Golden::open(Processing::Raw) else { return };
    let expected = load_safetensors(&golden.dir.join("sae/expected.safetensors")).unwrap();
    let tokens = golden.ids("clean");
    for name in GOLDEN {
        let sae = Sae::load(&golden.dir.join("sae").join(name)).unwrap();
        let of = |quantity: &str| values(&expected[&format!("{name}/{quantity}")]);
        let x = values(&golden.acts[&sae.hook().to_string()]);
        let width = x.len() / tokens.len();
        let mean = |dim: usize| x.iter().skip(dim).step_by(width).sum::<f64>() / tokens.len() as f64;
        let variation: f64 = x.iter().enumerate().map(|(i, x)| (x - mean(i % width)).powi(2)).sum();
        let unexplained: f64 = x.iter().zip(of("recon")).map(|(x, y)| (x - y).powi(2)).sum();
        let active = of("feature_acts").iter().filter(|&&f| f > 0.0).count();

        let found = sae.quality(&golden.model, &[tokens.clone(), tokens.clone()], &Positions::All).unwrap();
        assert_eq!(found.n_positions, 2 * tokens.len());
        assert_close(name, &[found.l0], &[active as f64 / tokens.len() as f64], 1e-12);
        let features = of("feature_acts");
        let l1 = features.iter().sum::<f64>() / tokens.len() as f64;
        let mse = unexplained / tokens.len() as f64;
        assert_close(name, &[found.l1 / l1, found.mse / mse], &[1.0, 1.0], TOLERANCE);
        let d_sae = features.len() / tokens.len();
        let never = (0..d_sae).filter(|i| features.iter().skip(*i).step_by(d_sae).all(|&f| f == 0.0)).count();
        assert_eq!(found.never_active, never);
        let explained = 1.0 - unexplained / variation;
        assert_close(name, &[found.explained_variance.unwrap()], &[explained], TOLERANCE);

        let edits = vec![Edit::new(sae.hook(), Change::Zero)];
        let run = golden.model.model().run(&tokens, &RunOptions { edits, ..Default::default() }).unwrap();
        let [clean, spliced, zero] =
            [golden.values("clean/logits"), of("spliced_logits"), values(run.logits().unwrap())]
                .map(|logits| loss(&logits, &tokens));
        let losses = found.losses;
        assert_close(name, &[losses.clean, losses.spliced, losses.zero], &[clean, spliced, zero], TOLERANCE);
        let recovered = (losses.zero - losses.spliced) / (losses.zero - losses.clean);
        assert_eq!(losses.recovered_from_zero(), Some(recovered));
    }
}

#[test]
fn quality_leaves_positions_that_are_not_asked_about_as_they_are() {
    let Some(golden) = Golden::open(Processing::Raw) else { return };
    let sae = Sae::load(&golden.dir.join("sae/standard")).unwrap();
    let tokens = golden.ids("clean");
    let last = tokens.len() - 1;
    // Nothing is predicted at the last position, so replacing it alone costs nothing.
    let found = sae.quality(&golden.model, std::slice::from_ref(&tokens), &Positions::Last).unwrap();
    let losses = found.losses;
    assert_eq!((found.n_positions, found.explained_variance), (1, None));
    assert_eq!([losses.spliced, losses.zero, losses.mean], [losses.clean; 3]);
    assert_eq!(losses.recovered_from_zero(), None);
    // The mean over one position is that position.
    let one = sae.quality(&golden.model, &[tokens], &Positions::At(vec![last - 1])).unwrap();
    assert_close("mean", &[one.losses.mean], &[one.losses.clean], TOLERANCE);
    assert!((one.losses.zero - one.losses.clean).abs() > 1e-3);

    let alone = sae.quality(&golden.model, &[vec![1]], &Positions::All).unwrap_err().to_string();
    assert!(alone.contains("next token"), "{alone}");
    assert!(sae.quality(&golden.model, &[], &Positions::All).is_err());
}
