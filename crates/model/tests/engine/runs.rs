//! Plain runs: what is read, where a run stops, and what it refuses.

use microtome_model::{
    DType, Hook, Model, Positions, Precision, Processing, RunOptions, Site, Tensor, Weights,
};

use crate::toy::{KINDS, Kind, config, distance, model};

const TOKENS: [u32; 6] = [3, 1, 4, 1, 5, 9];

fn logits(options: &RunOptions, kind: Kind) -> Tensor {
    model(kind, Processing::Raw).run(&TOKENS, options).unwrap().logits.unwrap()
}

#[test]
fn reading_every_hook_leaves_the_logits_bit_identical() {
    for kind in KINDS {
        let plain = logits(&RunOptions::default(), kind);
        let reads = Hook::all(&config(kind));
        let read = logits(&RunOptions { reads, ..Default::default() }, kind);
        assert_eq!(crate::toy::values(&plain), crate::toy::values(&read));
    }
}

#[test]
fn every_activation_has_the_shape_its_hook_states() {
    for kind in KINDS {
        let config = config(kind);
        let options = RunOptions { reads: Hook::all(&config), ..Default::default() };
        let run = model(kind, Processing::Folded).run(&TOKENS, &options).unwrap();
        assert_eq!(run.cache.hooks(), Hook::all(&config), "kept, and listed in firing order");
        for hook in Hook::all(&config) {
            assert_eq!(run.cache.get(hook).unwrap().dims(), hook.shape(&config, TOKENS.len()), "{hook}");
        }
    }
}

#[test]
fn folded_and_raw_weights_give_the_same_next_token_probabilities() {
    for kind in KINDS {
        let of = |processing| {
            let run = model(kind, processing).run(&TOKENS, &RunOptions::default()).unwrap();
            let logits = run.logits.unwrap();
            logits.broadcast_sub(&logits.log_sum_exp(1).unwrap().unsqueeze(1).unwrap()).unwrap()
        };
        let d = distance(&of(Processing::Folded), &of(Processing::Raw));
        assert!(d < 1e-11, "{kind:?}: {d}");
    }
}

#[test]
fn kept_positions_are_those_rows_of_the_whole_activation() {
    let model = model(Kind::Full, Processing::Raw);
    let reads = vec![Site::Z.at(2), Site::Pattern.at(1), Site::ResidPost.at(2)];
    let run = |keep| {
        model.run(&TOKENS, &RunOptions { reads: reads.clone(), keep, ..Default::default() }).unwrap().cache
    };
    let (all, some) = (run(Positions::All), run(Positions::At(vec![1, 4])));
    for hook in reads {
        let axis = usize::from(hook.site.is_attention());
        let index = Tensor::new(&[1u32, 4], &microtome_model::Device::Cpu).unwrap();
        let expected = all.get(hook).unwrap().contiguous().unwrap().index_select(&index, axis).unwrap();
        assert_eq!(distance(some.get(hook).unwrap(), &expected), 0.0);
    }
}

#[test]
fn logits_at_some_positions_equal_those_of_all() {
    for reads in [vec![], vec![Site::Pattern.at(2)], vec![Site::UnembedOut.at(0)]] {
        let at = |logits| RunOptions { logits, reads: reads.clone(), ..Default::default() };
        let all = logits(&at(Positions::All), Kind::Full);
        let some = logits(&at(Positions::At(vec![2, 5])), Kind::Full);
        assert_eq!(some.dim(0).unwrap(), 2);
        for (row, pos) in [(0, 2), (1, 5)] {
            assert!(distance(&some.get(row).unwrap(), &all.get(pos).unwrap()) < 1e-12);
        }
    }
}

#[test]
fn a_run_stopped_at_a_layer_returns_the_residual_stream_entering_it() {
    let model = model(Kind::Full, Processing::Raw);
    let whole =
        model.run(&TOKENS, &RunOptions { reads: vec![Site::ResidPre.at(2)], ..Default::default() }).unwrap();
    let stopped = model.run(&TOKENS, &RunOptions { stop_at_layer: Some(2), ..Default::default() }).unwrap();
    assert!(stopped.logits().is_err());
    assert_eq!(distance(&stopped.resid.unwrap(), whole.cache.get(Site::ResidPre.at(2)).unwrap()), 0.0);
    let late = RunOptions { stop_at_layer: Some(2), reads: vec![Site::Z.at(2)], ..Default::default() };
    assert!(model.run(&TOKENS, &late).unwrap_err().to_string().contains("never fires"));
}

#[test]
fn prompts_of_different_lengths_in_one_batch_equal_separate_runs() {
    for kind in KINDS {
        let model = model(kind, Processing::Raw);
        let prompts: [&[u32]; 4] = [&TOKENS, &TOKENS[..3], &[7, 7, 2], &TOKENS[..1]];
        let options = RunOptions { reads: vec![Site::Z.at(1)], ..Default::default() };
        let batch = model.run_batch(&prompts, &options).unwrap();
        for (prompt, together) in prompts.iter().zip(&batch) {
            let alone = model.run(prompt, &options).unwrap();
            assert!(distance(together.logits().unwrap(), alone.logits().unwrap()) < 1e-11);
            let z = |run: &microtome_model::Run| run.cache.get(Site::Z.at(1)).unwrap().clone();
            assert!(distance(&z(together), &z(&alone)) < 1e-11);
        }
    }
}

#[test]
fn what_cannot_be_run_is_refused_with_the_limit() {
    let model = model(Kind::Full, Processing::Raw);
    let refuse = |tokens: &[u32]| model.run(tokens, &RunOptions::default()).unwrap_err().to_string();
    assert!(refuse(&[]).contains("at least one"));
    assert!(refuse(&[0; 13]).contains("at most 12"));
    assert!(refuse(&[17]).contains("ids 0 to 16"));
    let mut read = RunOptions { reads: vec![Site::Z.at(3)], ..Default::default() };
    assert!(model.run(&TOKENS, &read).unwrap_err().to_string().contains("layer 3"));
    read.reads = vec![];
    read.keep = Positions::At(vec![6]);
    read.reads = vec![Site::Z.at(0)];
    assert!(model.run(&TOKENS, &read).unwrap_err().to_string().contains("position 6"));
}

#[test]
fn bf16_is_the_processed_matrices_rounded_and_nothing_else() {
    let rounded = |x: &Tensor| x.to_dtype(DType::BF16).unwrap().to_dtype(x.dtype()).unwrap();
    for kind in KINDS {
        for dtype in [DType::F32, DType::F64] {
            let config = config(kind);
            let weights = Weights::random(&config, 7, 1.3).unwrap().to_dtype(dtype).unwrap();
            let model = Model::new(config.clone(), weights, Processing::Folded).unwrap();
            let mut by_hand = model.weights().unpacked().unwrap();
            by_hand.unembed.w = rounded(&by_hand.unembed.w);
            for block in &mut by_hand.blocks {
                block.qkv.w = rounded(&block.qkv.w);
                block.out.w = rounded(&block.out.w);
                if let Some(mlp) = &mut block.mlp {
                    mlp.input.w = rounded(&mlp.input.w);
                    mlp.output.w = rounded(&mlp.output.w);
                }
            }
            // Processed already: as they are.
            let expected = Model::new(config, by_hand, Processing::Raw).unwrap();
            let f32 = model.clone().packed(Precision::F32).unwrap();
            let logits = |model: &Model| model.run(&TOKENS, &RunOptions::default()).unwrap().logits.unwrap();
            for bf16 in [model.packed(Precision::Bf16).unwrap(), f32.clone().packed(Precision::Bf16).unwrap()]
            {
                assert_eq!(bf16.precision(), Precision::Bf16);
                assert_eq!(distance(&logits(&bf16), &logits(&expected)), 0.0, "{kind:?} {dtype:?}");
                assert!(distance(&logits(&bf16), &logits(&f32)) > 1e-4, "{kind:?}: rounding shows");
                // What is rounded stays so.
                let again = bf16.packed(Precision::F32).unwrap();
                assert_eq!(again.precision(), Precision::Bf16);
                assert_eq!(distance(&logits(&again), &logits(&expected)), 0.0);
            }
        }
    }
}
