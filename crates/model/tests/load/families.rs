use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Tensor};
use microtome_model::Activation;
use microtome_model::Error;
use microtome_model::load::{LoadOptions, Loaded, load};
use microtome_model::weight_hash::canonical_tensors;
use safetensors::tensor::Dtype;

use crate::fixtures::*;

fn canonical(loaded: &Loaded) -> BTreeMap<String, Raw> {
    let list = canonical_tensors(&loaded.config, &loaded.weights).unwrap();
    let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    list.into_iter().map(|(name, t)| (name, (t.dims().to_vec(), values(&t)))).collect()
}

fn assert_same(a: &Loaded, b: &Loaded) {
    let (left, right) = (canonical(a), canonical(b));
    assert!(left.keys().eq(right.keys()));
    for (name, tensor) in &left {
        assert!(tensor == &right[name], "{name} differs between {:?} and {:?}", a.source, b.source);
    }
    assert_eq!(a.weight_hash, b.weight_hash);
}

#[test]
fn golden_weights_are_the_same_from_every_family_and_container() {
    let Some(golden) = golden() else { return };
    let sizes = golden_sizes(&golden);
    let hf = load_path(&golden.join("hf")).unwrap();
    let config = &hf.config;
    assert_eq!(
        (config.n_layers, config.n_heads, config.d_model, config.n_ctx, config.d_vocab),
        (sizes["L"], sizes["H"], sizes["d"], sizes["n_ctx"], sizes["vocab"])
    );
    assert_eq!(config.mlp.unwrap().activation, Activation::GeluNew);
    assert!(hf.assumptions.is_empty(), "{:?}", hf.assumptions);
    assert_eq!((hf.source.family, hf.source.dtype.as_str()), ("gpt2", "F32"));
    assert!(hf.tokenizer.is_none() && hf.bos.is_none());

    let hub_style = load_path(&golden.join("hf_hub_style")).unwrap();
    let tl = load_path(&golden.join("tl_state_dict.pth")).unwrap();
    let nano = load_path(&golden.join("nanogpt.pt")).unwrap();
    for other in [&hub_style, &tl, &nano] {
        assert_same(&hf, other);
    }
    assert_eq!(hub_style.config, hf.config);
    // gelu_new and the LayerNorm epsilon are said nowhere in a state dict.
    assert_eq!(tl.config, hf.config);
    assert_eq!(tl.assumptions.len(), 2, "{:?}", tl.assumptions);
    assert_eq!(nano.config.mlp.unwrap().activation, Activation::Gelu);
    assert!(nano.assumptions[0].contains("gelu"));
}

#[test]
fn golden_state_dict_has_the_values_its_own_reader_sees() {
    let Some(golden) = golden() else { return };
    let loaded = load_path(&golden.join("hf")).unwrap();
    let ours = canonical(&loaded);
    let theirs = read_safetensors(&golden.join("hf/model.safetensors"));
    let (d, heads) = (loaded.config.d_model, loaded.config.n_heads);
    let d_head = d / heads;
    for layer in 0..loaded.config.n_layers {
        let fused = &theirs[&format!("transformer.h.{layer}.attn.c_attn.weight")].1;
        for (third, letter) in ["Q", "K", "V"].into_iter().enumerate() {
            let (shape, x) = &ours[&format!("blocks.{layer}.attn.W_{letter}")];
            assert_eq!(shape, &[heads, d, d_head]);
            let expected = (0..heads).flat_map(|h| {
                (0..d).flat_map(move |row| {
                    (0..d_head).map(move |i| fused[row * 3 * d + third * d + h * d_head + i])
                })
            });
            assert!(x.iter().copied().eq(expected));
        }
    }
}

#[test]
fn golden_compiled_nanogpt_without_biases_gets_zeros() {
    let Some(golden) = golden() else { return };
    let loaded = load_path(&golden.join("nanogpt_nobias_compiled.pt")).unwrap();
    assert_eq!(loaded.source.family, "nanogpt");
    for (name, (_, x)) in canonical(&loaded) {
        let is_bias = name.contains(".b_") || name.ends_with(".b");
        assert_eq!(is_bias, x.iter().all(|&v| v == 0.0), "{name}");
    }
}

#[test]
fn golden_shakespeare_comes_with_its_characters() {
    let Some(dir) = shakespeare() else { return };
    let from_dir = load_path(&dir).unwrap();
    let from_file = load_path(&dir.join("ckpt.pt")).unwrap();
    assert_same(&from_dir, &from_file);
    let tokenizer = from_dir.tokenizer.unwrap();
    assert_eq!(tokenizer.vocab_size(), from_dir.config.d_vocab);
    assert_eq!(from_dir.bos, None);
}

#[test]
fn golden_activation_can_be_asked_for_where_the_checkpoint_is_silent() {
    let Some(golden) = golden() else { return };
    let options = LoadOptions { activation: Some(Activation::GeluNew), ..options() };
    let path = golden.join("nanogpt.pt");
    let loaded = load(path.to_str().unwrap(), &options, &mut ()).unwrap();
    assert_eq!(loaded.config.mlp.unwrap().activation, Activation::GeluNew);
    assert!(loaded.assumptions.is_empty());
}

#[test]
fn golden_weights_in_double_are_the_single_ones_widened() {
    let Some(golden) = golden() else { return };
    let single = load_path(&golden.join("hf")).unwrap();
    let options = LoadOptions { dtype: DType::F64, ..options() };
    let double = load(golden.join("hf").to_str().unwrap(), &options, &mut ()).unwrap();
    assert_eq!(double.weights.blocks[0].qkv.w.dtype(), DType::F64);
    assert_eq!(double.weights.unembed.b.dtype(), DType::F64);
    assert_eq!(single.weight_hash, double.weight_hash);
}

#[test]
fn golden_processed_weights_need_their_normalisation_said() {
    let Some(golden) = golden() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("processed.safetensors");
    copy(&golden.join("tl_processed_weights.safetensors"), &path);
    let text = message(load_path(&path));
    assert!(text.contains("normalization_type") && text.contains("config.json"), "{text}");

    let config = dir.path().join("config.json");
    std::fs::write(&config, r#"{"normalization_type": "LNPre", "act_fn": "gelu_new", "eps": 1e-5}"#).unwrap();
    let loaded = load_path(&path).unwrap();
    assert_eq!(loaded.config.norm.unwrap().eps, 1e-5);
    assert!(loaded.weights.ln_final.is_none() && loaded.weights.blocks[0].ln1.is_none());
    assert!(loaded.assumptions.is_empty());
    assert_same(&loaded, &load_path(dir.path()).unwrap());
    let theirs = read_safetensors(&path);
    assert_eq!(canonical(&loaded), theirs);

    std::fs::write(&config, r#"{"normalization_type": null, "act_fn": "relu"}"#).unwrap();
    let without = load_path(&path).unwrap();
    assert!(without.config.norm.is_none());
    assert_eq!(without.config.mlp.unwrap().activation, Activation::Relu);

    for (json, key) in [
        (r#"{"normalization_type": "LN", "act_fn": "relu"}"#, "normalization_type"),
        (r#"{"normalization_type": "RMS", "act_fn": "relu"}"#, "normalization_type"),
        (r#"{"normalization_type": "LNPre", "act_fn": "solu_ln"}"#, "act_fn"),
        (r#"{"normalization_type": "LNPre", "n_heads": 3}"#, "n_heads"),
        (r#"{"normalization_type": "LNPre", "parallel_attn_mlp": true}"#, "parallel_attn_mlp"),
        (
            r#"{"normalization_type": "LNPre", "positional_embedding_type": "rotary"}"#,
            "positional_embedding_type",
        ),
        (r#"{"normalization_type": "LNPre", "attn_only": true}"#, "attn_only"),
    ] {
        std::fs::write(&config, json).unwrap();
        let text = message(load_path(&path));
        assert!(text.contains(&format!("`{key}`")) && text.contains("config.json"), "{text}");
    }
}

/// A TransformerLens state dict of a two-layer toy.
fn toy(with_mlp: bool, with_norm: bool) -> BTreeMap<String, Raw> {
    let (vocab, ctx, d, heads, d_head, mlp) = (11, 7, 6, 2, 4, 10);
    let mut shapes: Vec<(String, Vec<usize>)> = vec![
        ("embed.W_E".into(), vec![vocab, d]),
        ("pos_embed.W_pos".into(), vec![ctx, d]),
        ("unembed.W_U".into(), vec![d, vocab]),
        ("unembed.b_U".into(), vec![vocab]),
    ];
    for layer in 0..2 {
        let mut push =
            |name: &str, shape: &[usize]| shapes.push((format!("blocks.{layer}.{name}"), shape.to_vec()));
        for letter in ["Q", "K", "V"] {
            push(&format!("attn.W_{letter}"), &[heads, d, d_head]);
            push(&format!("attn.b_{letter}"), &[heads, d_head]);
        }
        push("attn.W_O", &[heads, d_head, d]);
        push("attn.b_O", &[d]);
        push("attn.mask", &[ctx, ctx]);
        push("attn.IGNORE", &[]);
        if with_mlp {
            push("mlp.W_in", &[d, mlp]);
            push("mlp.b_in", &[mlp]);
            push("mlp.W_out", &[mlp, d]);
            push("mlp.b_out", &[d]);
        }
        if with_norm {
            push("ln1.w", &[d]);
            push("ln1.b", &[d]);
            if with_mlp {
                push("ln2.w", &[d]);
                push("ln2.b", &[d]);
            }
        }
    }
    if with_norm {
        shapes.extend([("ln_final.w".to_owned(), vec![d]), ("ln_final.b".to_owned(), vec![d])]);
    }
    shapes.into_iter().enumerate().map(|(i, (name, shape))| (name, raw(&shape, i as u64 + 1))).collect()
}

#[test]
fn toys_without_mlp_or_norm_load_with_those_parts_absent() {
    for (with_mlp, with_norm) in [(false, false), (false, true), (true, false), (true, true)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("toy.safetensors");
        let tensors = toy(with_mlp, with_norm);
        write_safetensors(&path, &tensors);
        let norm = if with_norm { r#""LN""# } else { "null" };
        let config = format!(r#"{{"d_model": 6, "attn_only": {}, "normalization_type": {norm}}}"#, !with_mlp);
        std::fs::write(dir.path().join("cfg.json"), config).unwrap();
        let loaded = load_path(&path).unwrap();
        assert_eq!((loaded.config.mlp.is_some(), loaded.config.norm.is_some()), (with_mlp, with_norm));
        assert_eq!((loaded.config.d_head, loaded.config.d_attn()), (4, 8));
        let is_weight = |name: &String| !name.ends_with("mask") && !name.ends_with("IGNORE");
        let expected: BTreeMap<_, _> = tensors.into_iter().filter(|(name, _)| is_weight(name)).collect();
        assert_eq!(canonical(&loaded), expected);
    }
}

/// A Hugging Face directory of a small model.
fn write_hf(dir: &Path, change: impl Fn(&mut BTreeMap<String, Raw>, &mut serde_json::Value)) {
    let (vocab, ctx, d) = (13, 9, 8);
    let mut tensors = BTreeMap::new();
    let mut push = |name: String, shape: &[usize]| {
        let seed = tensors.len() as u64 + 1;
        tensors.insert(name, raw(shape, seed));
    };
    push("wte.weight".into(), &[vocab, d]);
    push("wpe.weight".into(), &[ctx, d]);
    for layer in 0..2 {
        for (name, shape) in [
            ("ln_1", vec![d]),
            ("attn.c_attn", vec![d, 3 * d]),
            ("attn.c_proj", vec![d, d]),
            ("ln_2", vec![d]),
            ("mlp.c_fc", vec![d, 4 * d]),
            ("mlp.c_proj", vec![4 * d, d]),
        ] {
            push(format!("h.{layer}.{name}.weight"), &shape);
            push(format!("h.{layer}.{name}.bias"), &shape[shape.len() - 1..]);
        }
    }
    push("ln_f.weight".into(), &[d]);
    push("ln_f.bias".into(), &[d]);
    let mut config = serde_json::json!({
        "model_type": "gpt2", "n_layer": 2, "n_head": 2, "n_embd": d, "n_positions": ctx, "vocab_size": vocab,
        "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
    });
    change(&mut tensors, &mut config);
    write_safetensors(&dir.join("model.safetensors"), &tensors);
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
}

#[test]
fn unsupported_settings_are_errors_that_name_the_key() {
    for (key, value) in [
        ("model_type", serde_json::json!("llama")),
        ("scale_attn_weights", serde_json::json!(false)),
        ("scale_attn_by_inverse_layer_idx", serde_json::json!(true)),
        ("activation_function", serde_json::json!("tanhexp")),
        ("add_cross_attention", serde_json::json!(true)),
        ("n_head", serde_json::json!(3)),
        ("n_layer", serde_json::json!(-1)),
        ("n_embd", serde_json::json!("wide")),
        ("vocab_size", serde_json::json!(1u64 << 60)),
        ("n_embd", serde_json::Value::Null),
    ] {
        let dir = tempfile::tempdir().unwrap();
        write_hf(dir.path(), |_, config| config[key] = value.clone());
        let text = message(load_path(dir.path()));
        assert!(text.contains(&format!("`{key}`")) && text.contains("config.json"), "{text}");
    }
}

#[test]
fn wrong_missing_and_leftover_tensors_are_named() {
    let dir = tempfile::tempdir().unwrap();
    write_hf(dir.path(), |tensors, _| drop(tensors.insert("h.1.mlp.c_fc.weight".into(), raw(&[32, 8], 1))));
    let error = load_path(dir.path()).unwrap_err();
    let Error::TensorShape { tensor, expected, found, .. } = &error else { panic!("{error}") };
    assert_eq!(
        (tensor.as_str(), &expected[..], &found[..]),
        ("h.1.mlp.c_fc.weight", &[8, 32][..], &[32, 8][..])
    );

    write_hf(dir.path(), |tensors, _| drop(tensors.remove("h.1.ln_2.weight")));
    assert!(message(load_path(dir.path())).contains("`h.1.ln_2.weight`"));

    write_hf(dir.path(), |tensors, _| drop(tensors.insert("h.0.attn.rotary".into(), raw(&[2], 1))));
    let text = message(load_path(dir.path()));
    assert!(text.contains("`h.0.attn.rotary`") && text.contains("model.safetensors"), "{text}");

    // A file with more layers than its configuration is not quietly cut short.
    write_hf(dir.path(), |_, config| config["n_layer"] = 1.into());
    assert!(matches!(load_path(dir.path()), Err(Error::LeftoverTensors { .. })));

    write_hf(dir.path(), |tensors, _| tensors.get_mut("ln_f.bias").unwrap().1[3] = f32::INFINITY);
    assert!(message(load_path(dir.path())).contains("`ln_f.bias`"));
}

#[test]
fn an_untied_head_is_used_and_a_missing_one_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let head = raw(&[13, 8], 99);
    write_hf(dir.path(), |tensors, config| {
        tensors.insert("lm_head.weight".into(), head.clone());
        config["tie_word_embeddings"] = false.into();
    });
    let loaded = load_path(dir.path()).unwrap();
    let w_u = loaded.weights.unembed.w.t().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(w_u, head.1);
    assert!(loaded.assumptions.is_empty());
    write_hf(dir.path(), |_, config| config["tie_word_embeddings"] = false.into());
    assert!(message(load_path(dir.path())).contains("`lm_head.weight`"));
}

#[test]
fn one_model_hashes_the_same_sharded_and_as_pytorch_bin() {
    let whole = tempfile::tempdir().unwrap();
    write_hf(whole.path(), |_, _| {});
    let tensors = read_safetensors(&whole.path().join("model.safetensors"));
    let sharded = tempfile::tempdir().unwrap();
    copy(&whole.path().join("config.json"), &sharded.path().join("config.json"));
    let mut map = serde_json::Map::new();
    for (i, half) in [true, false].into_iter().enumerate() {
        let file = format!("model-0000{}-of-00002.safetensors", i + 1);
        let part: BTreeMap<_, _> = tensors
            .iter()
            .filter(|(n, _)| n.starts_with("h.") == half)
            .map(|(n, t)| (n.clone(), t.clone()))
            .collect();
        write_safetensors(&sharded.path().join(&file), &part);
        map.extend(part.keys().map(|n| (n.clone(), file.clone().into())));
    }
    let index = serde_json::json!({"metadata": {}, "weight_map": map});
    std::fs::write(sharded.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    assert_same(&load_path(whole.path()).unwrap(), &load_path(sharded.path()).unwrap());

    let bin = tempfile::tempdir().unwrap();
    copy(&whole.path().join("config.json"), &bin.path().join("config.json"));
    let bytes: Vec<(String, Vec<u8>)> = tensors.iter().map(|(n, t)| (n.clone(), le_bytes(&t.1))).collect();
    let strides = |shape: &[usize]| -> Vec<usize> {
        (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect()
    };
    let items: Vec<(String, Vec<u8>)> = tensors
        .iter()
        .map(|(n, (shape, _))| (n.clone(), p_tensor("FloatStorage", n, 0, shape, &strides(shape))))
        .collect();
    let items: Vec<(&str, Vec<u8>)> = items.iter().map(|(n, p)| (n.as_str(), p.clone())).collect();
    let storages: Vec<(&str, &[u8])> = bytes.iter().map(|(n, b)| (n.as_str(), b.as_slice())).collect();
    write_torch_zip(&bin.path().join("pytorch_model.bin"), &p_dict(&items), &storages);
    assert_same(&load_path(whole.path()).unwrap(), &load_path(bin.path()).unwrap());
}

#[test]
fn half_precision_checkpoints_load_as_single() {
    let dir = tempfile::tempdir().unwrap();
    write_hf(dir.path(), |_, _| {});
    let path = dir.path().join("model.safetensors");
    let halves: Vec<(String, Vec<usize>, Vec<u8>)> = read_safetensors(&path)
        .into_iter()
        .map(|(n, (shape, x))| {
            (n, shape, x.iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect())
        })
        .collect();
    write_safetensors_as(&path, Dtype::BF16, &halves);
    let loaded = load_path(dir.path()).unwrap();
    assert_eq!(loaded.source.dtype, "BF16");
    assert_eq!(loaded.weights.embed.dtype(), DType::F32);
}

#[test]
fn other_weights_have_another_hash() {
    let dir = tempfile::tempdir().unwrap();
    write_hf(dir.path(), |_, _| {});
    let before = load_path(dir.path()).unwrap().weight_hash;
    write_hf(dir.path(), |tensors, _| tensors.get_mut("h.0.ln_1.bias").unwrap().1[0] += 0.5);
    let after = load_path(dir.path()).unwrap().weight_hash;
    assert_eq!(before.len(), 64);
    assert_ne!(before, after);
}

#[test]
fn gpt2_sized_vocabularies_get_gpt2s_tokenizer_and_say_so() {
    let dir = tempfile::tempdir().unwrap();
    write_hf(dir.path(), |tensors, config| {
        tensors.insert("wte.weight".into(), raw(&[50257, 8], 5));
        config["vocab_size"] = 50257.into();
    });
    let loaded = load_path(dir.path()).unwrap();
    assert_eq!(loaded.bos, Some(50256));
    assert!(loaded.assumptions[0].contains("tokenizer is GPT-2's"), "{:?}", loaded.assumptions);
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let Some(shakespeare) = shakespeare() else { return };
    let dir = tempfile::tempdir().unwrap();
    write_hf(dir.path(), |_, _| {});
    copy(&shakespeare.join("meta.pkl"), &dir.path().join("meta.pkl"));
    assert!(message(load_path(dir.path())).contains("the model's vocabulary only 13"));
}

#[test]
fn old_nanogpt_checkpoints_without_the_bias_key_load() {
    let dir = tempfile::tempdir().unwrap();
    let d = 4;
    let shapes = [
        ("transformer.wte.weight", vec![5, d]),
        ("transformer.wpe.weight", vec![6, d]),
        ("transformer.h.0.ln_1.weight", vec![d]),
        ("transformer.h.0.attn.c_attn.weight", vec![3 * d, d]),
        ("transformer.h.0.attn.c_proj.weight", vec![d, d]),
        ("transformer.h.0.ln_2.weight", vec![d]),
        ("transformer.h.0.mlp.c_fc.weight", vec![4 * d, d]),
        ("transformer.h.0.mlp.c_proj.weight", vec![d, 4 * d]),
        ("transformer.ln_f.weight", vec![d]),
        ("lm_head.weight", vec![5, d]),
    ];
    let storages: Vec<(String, Vec<u8>)> = shapes
        .iter()
        .enumerate()
        .map(|(i, (_, shape))| (i.to_string(), le_bytes(&values(shape.iter().product(), i as u64 + 1))))
        .collect();
    let tensor = |i: usize, shape: &[usize]| {
        let strides = if shape.len() == 2 { vec![shape[1], 1] } else { vec![1] };
        p_tensor("FloatStorage", &i.to_string(), 0, shape, &strides)
    };
    let state: Vec<u8> =
        shapes.iter().enumerate().flat_map(|(i, (n, s))| [p_str(n), tensor(i, s)].concat()).collect();
    let write = |args: &[(&str, usize)]| {
        let args: Vec<u8> = args.iter().flat_map(|(k, v)| [p_str(k), p_int(*v)].concat()).collect();
        let pickle = p_dict(&[
            ("model", [b"}(".to_vec(), state.clone(), b"u".to_vec()].concat()),
            ("model_args", [b"}(".to_vec(), args, b"u".to_vec()].concat()),
        ]);
        let storages: Vec<(&str, &[u8])> = storages.iter().map(|(k, b)| (k.as_str(), b.as_slice())).collect();
        write_torch_zip(&dir.path().join("ckpt.pt"), &pickle, &storages);
    };
    let args = [("n_layer", 1), ("n_head", 2), ("n_embd", d), ("block_size", 6), ("vocab_size", 5)];
    write(&args);
    let loaded = load_path(dir.path()).unwrap();
    assert!(loaded.assumptions.iter().any(|a| a.contains("lm_head.weight differs")));
    let w = loaded.weights.blocks[0].mlp.as_ref().unwrap().input.w.clone();
    assert_eq!(w.dims(), [d, 4 * d]);
    let stored = values(4 * d * d, 7);
    let turned: Vec<f32> = w.t().unwrap().flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(turned, stored);
    write(&args[1..]);
    assert!(message(load_path(dir.path())).contains("model_args.n_layer"));
    write(&[&args[..1], &[("n_head", 3)], &args[2..]].concat());
    assert!(message(load_path(dir.path())).contains("model_args.n_head"));
    write(&[&args[..], &[("rotary", 1)]].concat());
    assert!(load_path(dir.path()).unwrap().assumptions.iter().any(|a| a.contains("`rotary`")));
}

#[test]
fn specs_that_name_nothing_say_what_was_tried() {
    let dir = tempfile::tempdir().unwrap();
    let text = message(load_path(&dir.path().join("missing/ckpt.pt")));
    assert!(text.contains("missing/ckpt.pt") && text.contains("tried"), "{text}");
    assert!(message(load_path(dir.path())).contains("no weight file"));
    for name in ["a.pth", "b.safetensors"] {
        std::fs::write(dir.path().join(name), "").unwrap();
    }
    assert!(message(load_path(dir.path())).contains("a.pth, b.safetensors"));
    assert!(matches!(load("no such model", &options(), &mut ()), Err(Error::Hub(_))));
    let bare = tempfile::tempdir().unwrap();
    write_hf(bare.path(), |_, _| {});
    std::fs::remove_file(bare.path().join("config.json")).unwrap();
    assert!(message(load_path(bare.path())).contains("without a config.json"));
}
