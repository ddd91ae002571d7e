//! The pass that training uses, against plain runs and against itself in f64.

use microtome_model::{
    Activation, Config, DType, Device, Dropout, GradientSink, MlpConfig, Model, NormConfig, Processing,
    RunOptions, Tensor, Var, Weights, cross_entropy,
};

fn config(mlp: bool, norm: bool) -> Config {
    Config {
        n_layers: 3,
        n_heads: 2,
        d_model: 12,
        d_head: 6,
        d_vocab: 19,
        n_ctx: 9,
        mlp: mlp.then_some(MlpConfig { d_mlp: 20, activation: Activation::GeluNew }),
        norm: norm.then_some(NormConfig { eps: 1e-5 }),
    }
}

fn windows(n: usize, len: usize) -> Vec<Vec<u32>> {
    (0..n).map(|i| (0..len).map(|pos| ((i * 31 + pos * pos * 7 + pos) % 19) as u32).collect()).collect()
}

/// A model whose weights are variables, the unembedding tied to the embedding, and those variables.
fn learner(config: &Config, dtype: DType) -> (Model, Vec<(&'static str, Var)>) {
    let mut weights = Weights::random(config, 5, 1.0).unwrap().to_dtype(dtype).unwrap();
    let mut variables = Vec::new();
    let mut learn = |name, tensor: &mut Tensor| {
        let variable = Var::from_tensor(&tensor.contiguous().unwrap()).unwrap();
        *tensor = variable.as_tensor().clone();
        variables.push((name, variable));
    };
    learn("embed", &mut weights.embed);
    learn("pos_embed", &mut weights.pos_embed);
    for block in &mut weights.blocks {
        learn("qkv.w", &mut block.qkv.w);
        learn("qkv.b", &mut block.qkv.b);
        learn("out.w", &mut block.out.w);
        learn("out.b", &mut block.out.b);
        for norm in block.ln1.iter_mut().chain(&mut block.ln2) {
            learn("ln.w", &mut norm.w);
            learn("ln.b", &mut norm.b);
        }
        if let Some(mlp) = &mut block.mlp {
            learn("in.w", &mut mlp.input.w);
            learn("in.b", &mut mlp.input.b);
            learn("out.w", &mut mlp.output.w);
            learn("out.b", &mut mlp.output.b);
        }
    }
    if let Some(norm) = &mut weights.ln_final {
        learn("ln_final.w", &mut norm.w);
        learn("ln_final.b", &mut norm.b);
    }
    weights.unembed.w = weights.embed.t().unwrap();
    (Model::new(config.clone(), weights, Processing::Raw).unwrap(), variables)
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
    let wide = |x: &Tensor| x.to_dtype(DType::F64).unwrap();
    (wide(a) - wide(b)).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
}

#[test]
fn a_batch_gives_the_logits_of_plain_runs_window_after_window() {
    for (mlp, norm) in [(true, true), (false, true), (false, false)] {
        let config = config(mlp, norm);
        let (model, _) = learner(&config, DType::F32);
        let windows = windows(5, 9);
        let logits = model.batch_logits(&windows, None).unwrap();
        assert_eq!(logits.dims(), [5 * 9, 19]);
        for (i, window) in windows.iter().enumerate() {
            let run = model.run(window, &RunOptions::default()).unwrap();
            let of_window = logits.narrow(0, i * 9, 9).unwrap();
            // Logits of a few units; f32 rounds in another order.
            assert!(largest_difference(&of_window, run.logits().unwrap()) < 2e-5);
        }
    }
}

#[test]
fn derivatives_in_every_weight_are_those_of_the_composed_pass_in_f64() {
    for (mlp, norm) in [(true, true), (false, true), (false, false)] {
        let config = config(mlp, norm);
        let windows = windows(4, 9);
        let targets: Vec<u32> = windows.concat().iter().map(|id| (id * 5 + 3) % 19).collect();
        let of = |dtype| {
            let (model, variables) = learner(&config, dtype);
            let loss = cross_entropy(&model.batch_logits(&windows, None).unwrap(), &targets).unwrap();
            let gradients = loss.backward().unwrap();
            let gradients: Vec<_> = variables
                .iter()
                .map(|(name, variable)| (*name, gradients.get(variable.as_tensor()).unwrap().clone()))
                .collect();
            (loss, gradients)
        };
        let ((loss, single), (exact_loss, exact)) = (of(DType::F32), of(DType::F64));
        assert!(largest_difference(&loss, &exact_loss) < 1e-5);
        for ((name, single), (_, exact)) in single.iter().zip(&exact) {
            let zero = Tensor::zeros(exact.shape(), DType::F64, &Device::Cpu).unwrap();
            let size = largest_difference(exact, &zero);
            assert!(largest_difference(single, exact) < 1e-4 * size.max(1e-3), "{name}");
        }
    }
}

#[test]
fn derivatives_left_in_a_sink_are_bit_for_bit_those_of_the_tensor_library() {
    for (mlp, norm) in [(true, true), (false, true), (false, false)] {
        let config = config(mlp, norm);
        let windows = windows(4, 9);
        let targets: Vec<u32> = windows.concat().iter().map(|id| (id * 5 + 3) % 19).collect();
        let (model, variables) = learner(&config, DType::F32);
        let logits = model.batch_logits(&windows, None).unwrap();
        let expected = cross_entropy(&logits, &targets).unwrap().backward().unwrap();
        let sink = GradientSink::default();
        let learnt = model.batch_logits_to_learn(&windows, None, &sink).unwrap();
        assert_eq!(largest_difference(&learnt, &logits), 0.0);
        let found = cross_entropy(&learnt, &targets).unwrap().backward().unwrap();
        let mut left = 0;
        for (name, variable) in &variables {
            let gradient = match (found.get(variable.as_tensor()), sink.take(variable.as_tensor())) {
                (Some(gradient), None) => gradient.clone(),
                (None, Some(gradient)) => {
                    left += 1;
                    gradient
                }
                other => panic!("{name}: {other:?}"),
            };
            let expected = expected.get(variable.as_tensor()).unwrap();
            assert_eq!(largest_difference(&gradient, expected), 0.0, "{name}");
        }
        assert!(left >= 4 * config.n_layers, "the weights of every block: {left}");
        assert!(sink.take(variables[0].1.as_tensor()).is_none());
    }
}

#[test]
fn a_model_whose_activation_has_no_kernel_is_learnt_by_the_tensor_library() {
    let mut config = config(true, true);
    config.mlp = Some(MlpConfig { d_mlp: 20, activation: Activation::Relu });
    let (model, variables) = learner(&config, DType::F32);
    let (windows, sink) = (windows(4, 9), GradientSink::default());
    let targets: Vec<u32> = windows.concat().iter().map(|id| (id * 5 + 3) % 19).collect();
    let of = |logits: &Tensor| cross_entropy(logits, &targets).unwrap().backward().unwrap();
    let expected = of(&model.batch_logits(&windows, None).unwrap());
    let found = of(&model.batch_logits_to_learn(&windows, None, &sink).unwrap());
    for (name, variable) in &variables {
        let (found, expected) = (found.get(variable.as_tensor()), expected.get(variable.as_tensor()));
        assert_eq!(largest_difference(found.unwrap(), expected.unwrap()), 0.0, "{name}");
        assert!(sink.take(variable.as_tensor()).is_none(), "{name}");
    }
}

#[test]
fn derivatives_in_f64_are_central_differences_of_the_loss() {
    let config = config(true, true);
    let windows = windows(2, 9);
    let targets: Vec<u32> = windows.concat().iter().map(|id| (id + 1) % 19).collect();
    let (model, variables) = learner(&config, DType::F64);
    let loss = |model: &Model| cross_entropy(&model.batch_logits(&windows, None).unwrap(), &targets).unwrap();
    let gradients = loss(&model).backward().unwrap();
    for (name, variable) in &variables {
        let values: Vec<f64> = variable.flatten_all().unwrap().to_vec1().unwrap();
        let gradient: Vec<f64> =
            gradients.get(variable.as_tensor()).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let at = values.len() / 3;
        let moved = |by: f64| -> f64 {
            let mut values = values.clone();
            values[at] += by;
            variable.set(&Tensor::from_vec(values, variable.shape(), &Device::Cpu).unwrap()).unwrap();
            loss(&model).to_scalar().unwrap()
        };
        let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
        moved(0.0);
        assert!((gradient[at] - slope).abs() < 1e-8, "{name}: {} {slope}", gradient[at]);
    }
}

#[test]
fn dropout_repeats_with_its_seed_and_keeps_the_mean() {
    let (model, _) = learner(&config(true, true), DType::F32);
    let windows = windows(3, 9);
    let with = |rate, seed| model.batch_logits(&windows, Some(Dropout { rate, seed })).unwrap();
    let plain = model.batch_logits(&windows, None).unwrap();
    assert_eq!(largest_difference(&with(0.0, 1), &plain), 0.0);
    assert_eq!(largest_difference(&with(0.3, 1), &with(0.3, 1)), 0.0);
    assert!(largest_difference(&with(0.3, 1), &with(0.3, 2)) > 0.1);
    assert!(largest_difference(&with(0.3, 1), &plain) > 0.1);
}
