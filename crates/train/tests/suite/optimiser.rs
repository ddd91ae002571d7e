//! AdamW against its formulas in f64.

use microtome_model::{Device, Tensor, Var};
use microtome_train::{AdamW, AdamWSettings, Parameter, gradient_norm};

const SETTINGS: AdamWSettings = AdamWSettings { beta1: 0.9, beta2: 0.99, decay: 0.1 };

/// Numbers from -1 to 1 that look random.
fn noise(n: usize, seed: u64) -> Vec<f32> {
    let value = |i: usize| ((i as f64 + 1.0) * 12.9898 + seed as f64 * 78.233).sin() * 43758.5453;
    (0..n).map(|i| (2.0 * value(i).fract().abs() - 1.0) as f32).collect()
}

fn parameter(name: &str, shape: &[usize]) -> Parameter {
    let values = noise(shape.iter().product(), name.len() as u64);
    let var = Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap()).unwrap();
    Parameter { name: name.to_owned(), var }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn several_updates_equal_the_formulas_in_f64() {
    // More values than one piece, and not a multiple of it.
    let parameters = [parameter("matrix", &[130, 257]), parameter("bias", &[77])];
    let mut expected: Vec<Vec<f64>> =
        parameters.iter().map(|p| values(&p.var).into_iter().map(f64::from).collect()).collect();
    let mut moments: Vec<Vec<(f64, f64)>> = expected.iter().map(|p| vec![(0.0, 0.0); p.len()]).collect();
    let mut optimiser = AdamW::new(&parameters, SETTINGS);
    let scale = 0.5;
    for t in 1..=6u64 {
        let rate = 1e-2 / t as f64;
        let gradients: Vec<Tensor> = parameters
            .iter()
            .map(|p| {
                Tensor::from_vec(noise(p.var.elem_count(), 10 * t), p.var.shape(), &Device::Cpu).unwrap()
            })
            .collect();
        optimiser.update(&parameters, &gradients, scale, rate).unwrap();
        for (i, gradient) in gradients.iter().enumerate() {
            let decay = if i == 0 { 0.1 } else { 0.0 };
            for (j, g) in values(gradient).into_iter().enumerate() {
                let (p, (m, v)) = (&mut expected[i][j], &mut moments[i][j]);
                let g = scale * f64::from(g);
                *p -= rate * decay * *p;
                *m = 0.9 * *m + 0.1 * g;
                *v = 0.99 * *v + 0.01 * g * g;
                let (m, v) = (*m / (1.0 - 0.9f64.powi(t as i32)), *v / (1.0 - 0.99f64.powi(t as i32)));
                *p -= rate * m / (v.sqrt() + 1e-8);
            }
        }
    }
    for (parameter, expected) in parameters.iter().zip(&expected) {
        for (value, expected) in values(&parameter.var).into_iter().zip(expected) {
            // A handful of f32 roundings, of numbers up to 1.
            assert!((f64::from(value) - expected).abs() < 2e-6, "{}: {value} {expected}", parameter.name);
        }
    }
}

#[test]
fn only_matrices_decay() {
    let parameters = [parameter("matrix", &[3, 4]), parameter("gain", &[5])];
    let before: Vec<Vec<f32>> = parameters.iter().map(|p| values(&p.var)).collect();
    let zeros: Vec<Tensor> = parameters.iter().map(|p| p.var.zeros_like().unwrap()).collect();
    AdamW::new(&parameters, SETTINGS).update(&parameters, &zeros, 1.0, 0.5).unwrap();
    let shrunk: Vec<f32> = before[0].iter().map(|x| x * 0.95).collect();
    assert_eq!(values(&parameters[0].var), shrunk);
    assert_eq!(values(&parameters[1].var), before[1]);
}

#[test]
fn the_norm_is_that_of_all_gradients_together() {
    let tensors: Vec<Tensor> =
        [40_001, 3, 16].map(|n| Tensor::from_vec(noise(n, n as u64), n, &Device::Cpu).unwrap()).into();
    let squares = tensors.iter().flat_map(values).map(|x| f64::from(x).powi(2));
    let expected = squares.sum::<f64>().sqrt();
    // Sums of 40 000 f64 in another order.
    assert!((gradient_norm(&tensors).unwrap() / expected - 1.0).abs() < 1e-12);
}

#[test]
fn a_gradient_of_another_shape_is_refused() {
    let parameters = [parameter("matrix", &[3, 4])];
    let gradient = Tensor::from_vec(vec![0f32; 6], 6, &Device::Cpu).unwrap();
    let error = AdamW::new(&parameters, SETTINGS).update(&parameters, &[gradient], 1.0, 0.1).unwrap_err();
    assert!(error.to_string().contains("6 values, its parameter 12"), "{error}");
}
