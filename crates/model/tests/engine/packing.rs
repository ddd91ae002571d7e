//! Packed weights: the bits of plain ones, whatever is read; a stream's bits; bf16 as it is stored.

use microtome_model::{
    BlockWeights, DType, Edit, Hook, Linear, MlpWeights, Model, Positions, Precision, Processing, RunOptions,
    Site, Stream, Tensor, Weights,
};

use crate::toy::{KINDS, config, distance, exact_and_packed, packed_model};

const TOKENS: [u32; 7] = [3, 1, 4, 1, 5, 9, 2];

/// Hooks whose value is not of the kernels: reading each head's own result or input multiplies it apart.
fn readable(hook: &Hook) -> bool {
    !matches!(hook.site, Site::Result)
}

fn logits(model: &Model, options: &RunOptions) -> Tensor {
    model.run(&TOKENS, options).unwrap().logits().unwrap().clone()
}

#[test]
fn packing_changes_no_bit_of_any_activation_and_reading_changes_none_of_the_logits() {
    for kind in KINDS {
        for processing in [Processing::Raw, Processing::Folded] {
            let config = config(kind);
            let weights = Weights::random(&config, 7, 1.3).unwrap();
            let plain = Model::new(config.clone(), weights, processing).unwrap();
            let packed = packed_model(kind, processing);
            let unread = logits(&packed, &RunOptions::default());
            assert_eq!(distance(&logits(&plain, &RunOptions::default()), &unread), 0.0, "{kind:?}");
            for hook in Hook::all(&config) {
                let options = RunOptions { reads: vec![hook], ..Default::default() };
                let of = |model: &Model| model.run(&TOKENS, &options).unwrap();
                let (a, b) = (of(&plain), of(&packed));
                assert_eq!(distance(b.logits().unwrap(), &unread), 0.0, "{kind:?} {hook}");
                let d = distance(a.cache.get(hook).unwrap(), b.cache.get(hook).unwrap());
                assert!(d == 0.0 || (!readable(&hook) && d < 1e-5), "{kind:?} {hook}: {d}");
            }
        }
    }
}

#[test]
fn every_activation_is_that_of_f64_to_f32_rounding() {
    for kind in KINDS {
        let reads = Hook::all(&config(kind));
        let options = RunOptions { reads: reads.clone(), ..Default::default() };
        let (exact, packed) = exact_and_packed(kind, Processing::Raw);
        let (exact, found) = (exact.run(&TOKENS, &options).unwrap(), packed.run(&TOKENS, &options).unwrap());
        for hook in reads {
            let exact = exact.cache.get(hook).unwrap();
            let size = exact.abs().unwrap().flatten_all().unwrap();
            let finite = |x: &f64| x.is_finite();
            let size = size.to_vec1::<f64>().unwrap().into_iter().filter(finite).fold(1.0, f64::max);
            let d = distance(exact, found.cache.get(hook).unwrap());
            assert!(d < 2e-5 * size, "{kind:?} {hook}: {d} of {size}"); // three layers of sums of 20 products
        }
    }
}

#[test]
fn derivatives_are_those_of_f64_to_f32_rounding() {
    let seed = |logits: &Tensor| -> Result<Tensor, microtome_model::Error> {
        let cell = |i: usize| ((i * i + 5 * i) % 11) as f64 / 11.0 - 0.4;
        let values: Vec<f64> = (0..logits.elem_count()).map(cell).collect();
        Ok(Tensor::from_vec(values, logits.dims(), logits.device())?.to_dtype(logits.dtype())?)
    };
    let split = |hook: &Hook| matches!(hook.site, Site::AttnIn | Site::QInput | Site::KInput | Site::VInput);
    for kind in KINDS {
        let (exact, packed) = exact_and_packed(kind, Processing::Raw);
        let all = Hook::all(&config(kind));
        let unsplit: Vec<Hook> = all.iter().copied().filter(|hook| !split(hook)).collect();
        let z: Vec<Hook> = all.iter().copied().filter(|hook| hook.site == Site::Z).collect();
        // At all hooks attention goes step by step, at z alone in one piece.
        for hooks in [unsplit, z] {
            for read in [Positions::All, Positions::Last] {
                let of = |model: &Model| model.gradients(&TOKENS, &[], &hooks, &read, seed).unwrap();
                let (exact, found) = (of(&exact), of(&packed));
                for &hook in &hooks {
                    let (exact, found) =
                        (exact.gradients.get(hook).unwrap(), found.gradients.get(hook).unwrap());
                    let size = crate::toy::values(exact).into_iter().fold(1.0, |a: f64, b| a.max(b.abs()));
                    let d = distance(exact, found);
                    assert!(d < 5e-5 * size, "{kind:?} {hook} {read:?}: {d} of {size}");
                }
            }
        }
    }
}

#[test]
fn a_stream_has_the_bits_of_the_whole_text() {
    for kind in KINDS {
        let model = packed_model(kind, Processing::Folded);
        let edits = vec![Edit::new(Site::Z.at(1), microtome_model::Change::Zero).units([0])];
        let whole = logits(&model, &RunOptions { edits: edits.clone(), ..Default::default() });
        let mut stream = Stream::new(&model, &edits, TOKENS.len()).unwrap();
        let mut fed = 0;
        for step in [3, 1, 2, 1] {
            let new = stream.feed(&TOKENS[fed..fed + step]).unwrap();
            assert_eq!(distance(&new, &whole.narrow(0, fed, step).unwrap()), 0.0, "{kind:?} after {fed}");
            fed += step;
        }
    }
}

/// The same maps with their weights rounded to bf16.
fn rounded(weights: Weights) -> Weights {
    let map = |map: Linear| {
        let w = map.w.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap();
        Linear { w, b: map.b }
    };
    let block = |block: BlockWeights| BlockWeights {
        qkv: map(block.qkv),
        out: map(block.out),
        mlp: block.mlp.map(|mlp| MlpWeights { input: map(mlp.input), output: map(mlp.output) }),
        ..block
    };
    let blocks = weights.blocks.into_iter().map(block).collect();
    Weights { blocks, unembed: map(weights.unembed), ..weights }
}

#[test]
fn a_model_packed_as_bf16_is_the_model_with_rounded_weights() {
    for kind in KINDS {
        let config = config(kind);
        let weights = Weights::random(&config, 7, 1.3).unwrap();
        let plain = Model::new(config.clone(), rounded(weights.clone()), Processing::Raw).unwrap();
        let packed = Model::new(config, weights, Processing::Raw).unwrap().packed(Precision::Bf16).unwrap();
        let options = RunOptions::default();
        assert_eq!(distance(&logits(&plain, &options), &logits(&packed, &options)), 0.0, "{kind:?}");
        assert!(
            distance(&logits(&packed_model(kind, Processing::Raw), &options), &logits(&packed, &options))
                > 1e-4
        );
    }
}
