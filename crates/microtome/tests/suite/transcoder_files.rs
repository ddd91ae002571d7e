//! What the files of transcoders say, in every spelling; what is refused; what is written.

use std::collections::HashMap;

use microtome::model::{DType, Hook, Processing, Site, Tensor, load_safetensors};
use microtome::sae::{Architecture, Sae, SaeConfig, Transcoder};

use crate::golden_data::values;
use crate::made_transcoders::{Made, made, model};

fn config(json: &str) -> Result<SaeConfig, String> {
    SaeConfig::parse(json, "cfg.json").map_err(|error| error.to_string())
}

fn hook(name: &str) -> Hook {
    Hook::parse(name).unwrap()
}

#[test]
fn every_architecture_and_spelling_says_where_it_reads_and_writes() {
    let kinds = [
        ("transcoder", Architecture::Standard, false),
        ("skip_transcoder", Architecture::Standard, true),
        ("jumprelu_transcoder", Architecture::JumpRelu, false),
        ("jumprelu_skip_transcoder", Architecture::JumpRelu, true),
    ];
    for (name, architecture, skip) in kinds {
        let new = config(&format!(
            r#"{{"architecture": "{name}", "d_in": 16, "d_out": 40, "d_sae": 96, "apply_b_dec_to_input": false,
            "normalize_activations": "none", "metadata": {{"hook_name": "blocks.1.hook_mlp_in",
            "hook_name_out": "blocks.1.mlp.hook_post", "hook_head_index_out": null, "model_name": "gpt2"}}}}"#
        ))
        .unwrap();
        let written = Transcoder { hook: hook("blocks.1.mlp.hook_post"), d_out: 40, skip };
        assert_eq!((new.architecture, new.transcoder), (architecture, Some(written)));
        assert_eq!((new.hook, new.writes_at()), (hook("blocks.1.hook_mlp_in"), written.hook));
        assert_eq!((new.d_in, new.d_out(), new.d_sae), (16, 40, 96));
        assert_eq!((new.architecture_name(), new.subtract_b_dec), (name, false));
        // Before version 6 at top level, and in the code that transcoders of GPT-2 were first trained with.
        for (reads, writes) in [("hook_name", "hook_name_out"), ("hook_point", "out_hook_point")] {
            let old = config(&format!(
                r#"{{"architecture": "{name}", "d_in": 16, "d_out": 40, "d_sae": 96, "{reads}": "blocks.1.hook_mlp_in",
                "{writes}": "blocks.1.mlp.hook_post", "activation_fn_str": "relu", "model_name": "gpt2",
                "is_transcoder": true, "hook_head_index": null}}"#
            ));
            assert_eq!(old.unwrap(), new, "{reads}");
        }
    }
}

#[test]
fn transcoders_that_would_give_wrong_numbers_are_refused() {
    let with = |change: &[(&str, &str)]| {
        let mut keys: HashMap<&str, &str> = HashMap::from([
            ("architecture", r#""transcoder""#),
            ("d_in", "16"),
            ("d_out", "16"),
            ("d_sae", "96"),
            ("hook_name", r#""blocks.1.hook_mlp_in""#),
            ("hook_name_out", r#""blocks.1.hook_mlp_out""#),
        ]);
        keys.extend(change.iter().copied());
        let keys: Vec<String> = keys.iter().map(|(key, value)| format!(r#""{key}": {value}"#)).collect();
        config(&format!("{{{}}}", keys.join(", ")))
    };
    assert!(with(&[]).is_ok());
    assert!(with(&[("hook_name_out", r#""blocks.1.hook_mlp_in""#)]).is_ok(), "the same place");
    let refused = [
        (&[("hook_name_out", "null")][..], "`hook_name_out` is missing"),
        (&[("hook_name_out", r#""blocks.1.hook_mlp""#)], "blocks.8.hook_mlp_out"),
        (&[("hook_name_out", r#""blocks.0.hook_mlp_out""#)], "fires later"),
        (&[("hook_name_out", r#""blocks.1.hook_resid_mid""#)], "fires later"),
        (&[("d_out", "null")], "`d_out` is missing"),
        (&[("d_out", "0")], "1 to 16777216"),
        (&[("apply_b_dec_to_input", "true")], "`apply_b_dec_to_input` is true"),
        (&[("hook_name", r#""blocks.1.attn.hook_z""#)], "without heads"),
        (&[("hook_name_out", r#""blocks.2.attn.hook_z""#)], "without heads"),
        (&[("hook_name_out", r#""blocks.2.attn.hook_pattern""#)], "without heads"),
        (&[("hook_head_index_out", "3")], "one head"),
        (&[("activation_fn_str", r#""topk""#), ("k", "4")], "relu, since it is a transcoder"),
        (&[("architecture", r#""topk_transcoder""#)], "jumprelu_skip_transcoder"),
        // What writes elsewhere must not be run as an autoencoder.
        (&[("architecture", r#""standard""#)], "`architecture` is \"standard\"; expected transcoder"),
        (&[("architecture", "null"), ("hook_name_out", "null"), ("is_transcoder", "true")], "transcoder"),
        (&[("normalize_activations", r#""covariance_whitening""#)], "layer_norm"),
    ];
    for (change, words) in refused {
        let message = with(change).unwrap_err();
        assert!(message.contains(words), "{change:?}: {message}");
    }
    let same = [("architecture", r#""standard""#), ("hook_name_out", r#""blocks.1.hook_mlp_in""#)];
    assert_eq!(with(&same).unwrap().transcoder, None);
}

#[test]
fn normalised_activations_are_those_before_gain_and_bias() {
    let of = |hook: &str, out: &str, more: &str| {
        config(&format!(
            r#"{{"architecture": "transcoder", "d_in": 16, "d_out": 16, "d_sae": 96, "metadata": {{"hook_name": "{hook}",
            "hook_name_out": "{out}"{more}}}}}"#
        ))
    };
    let kwargs = |inner: &str| format!(r#", "model_from_pretrained_kwargs": {{{inner}}}"#);
    let (norm, out) = ("blocks.1.ln2.hook_normalized", "blocks.1.hook_mlp_out");
    for more in ["", &kwargs(r#""fold_ln": false"#), &kwargs(r#""center_writing_weights": true"#)] {
        let message = of(norm, out, more).unwrap_err();
        assert!(message.contains("fold_ln") && message.contains("before gain and bias"), "{message}");
    }
    assert!(of("blocks.0.hook_mlp_out", "blocks.1.ln1.hook_normalized", "").is_err(), "written there too");
    assert!(of("blocks.1.hook_mlp_in", out, "").is_ok());
    let folded = of(norm, out, &kwargs(r#""fold_ln": true, "center_writing_weights": true"#)).unwrap();
    let written = |config: SaeConfig| config.processing();
    assert_eq!(written(folded), Some((hook(out), Processing::Folded)));
    let raw = of(norm, out, &kwargs(r#""fold_ln": true"#)).unwrap();
    assert_eq!(written(raw), Some((hook(out), Processing::Raw)));
    // Neurons are the same with both weights, and so is what LayerNorm gives.
    let both = of(norm, "blocks.1.mlp.hook_post", &kwargs(r#""fold_ln": true"#)).unwrap();
    assert_eq!(written(both), None);
    // What was trained here says so.
    assert!(of(norm, out, r#", "microtome_version": "0.1.0""#).is_ok());
    let sae =
        config(r#"{"d_in": 16, "d_sae": 96, "hook_name": "blocks.1.ln1.hook_normalized"}"#).unwrap_err();
    assert!(sae.contains("fold_ln"), "{sae}");
}

#[test]
fn a_model_must_have_both_places_at_their_widths_with_the_right_weights() {
    let (raw, folded) = (model(Processing::Raw), model(Processing::Folded));
    let skip = made().into_iter().find(|made| made.architecture == "skip_transcoder").unwrap();
    let refused = |made: Made, of: Processing, model: &microtome::TextModel| {
        made.sae(of).check(model).unwrap_err().to_string()
    };
    assert!(skip.sae(Processing::Raw).check(&raw).is_ok());
    let other = refused(skip.clone(), Processing::Raw, &folded);
    assert!(other.contains("load the model with raw weights") && other.contains("hook_mlp_in"), "{other}");
    let written = made().into_iter().find(|made| made.reads == Site::Ln2Normalized.at(1)).unwrap();
    let other = refused(written, Processing::Folded, &raw);
    assert!(other.contains("folded weights") && other.contains("hook_mlp_out"), "{other}");
    let wide = Made { writes: Site::MlpPost.at(0), ..skip.clone() };
    let message = refused(wide, Processing::Raw, &raw);
    assert!(message.contains("writes 16 numbers") && message.contains("40"), "{message}");
    let wide = Made { reads: Site::MlpPost.at(0), ..skip.clone() };
    assert!(refused(wide, Processing::Raw, &raw).contains("reads 16 numbers"));
    let far = Made { writes: Site::MlpOut.at(5), ..skip };
    assert!(refused(far, Processing::Raw, &raw).contains("layer 5"));
}

#[test]
fn what_is_saved_is_read_back_the_same_with_the_tensors_saelens_has() {
    for made in made() {
        let sae = made.sae(Processing::Folded);
        let dir = tempfile::tempdir().unwrap();
        sae.save(dir.path(), DType::F32).unwrap();
        let again = Sae::load(dir.path()).unwrap();
        assert_eq!((again.config(), again.hash()), (sae.config(), sae.hash()));
        let json: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(dir.path().join("cfg.json")).unwrap()).unwrap();
        assert_eq!(json["architecture"], made.architecture);
        assert_eq!(json["d_out"], made.d_out);
        assert_eq!(json["apply_b_dec_to_input"], false);
        assert_eq!(json["metadata"]["hook_name"], made.reads.to_string());
        assert_eq!(json["metadata"]["hook_name_out"], made.writes.to_string());
        assert_eq!(json["metadata"]["model_from_pretrained_kwargs"]["fold_ln"], true);
        let tensors: HashMap<String, Tensor> =
            load_safetensors(&dir.path().join("sae_weights.safetensors")).unwrap();
        let numbers = |name: &str| values(&tensors[name]).into_iter().map(|x| x as f32).collect::<Vec<_>>();
        assert_eq!(numbers("W_dec"), made.w_dec);
        assert_eq!(tensors["W_dec"].dims(), [made.d_sae, made.d_out]);
        let skip = made.architecture.contains("skip");
        assert_eq!(tensors.contains_key("W_skip"), skip);
        if skip {
            assert_eq!(tensors["W_skip"].dims(), [made.d_out, made.d_in]);
            assert_eq!(numbers("W_skip"), made.w_skip);
            // As a transcoder without one it is refused: a part of it would be left out.
            let without = made.architecture.replace("skip_", "");
            let text = json.to_string().replace(made.architecture, &without);
            std::fs::write(dir.path().join("cfg.json"), text).unwrap();
            let message = Sae::load(dir.path()).unwrap_err().to_string();
            assert!(message.contains("`W_skip` is not part of") && message.contains(&without), "{message}");
        }
    }
}
