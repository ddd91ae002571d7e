//! Derivatives against central differences, at every hook of every kind of model.

use microtome_model::{Change, Edit, Error, Hook, Positions, Processing, RunOptions, Site, Tensor, Value};

use crate::toy::{KINDS, Kind, config, model, values};

const TOKENS: [u32; 5] = [3, 1, 4, 1, 5];

/// The weights of a metric that is linear in the logits, so that its derivative is constant.
fn seed(logits: &Tensor) -> Result<Tensor, Error> {
    let n = logits.elem_count();
    let cell = |i: usize| ((i * i + 5 * i) % 11) as f64 / 11.0 - 0.4;
    Ok(Tensor::from_vec((0..n).map(cell).collect::<Vec<_>>(), logits.dims(), logits.device())?)
}

fn metric(logits: &Tensor) -> f64 {
    values(logits).iter().zip(values(&seed(logits).unwrap())).map(|(a, b)| a * b).sum()
}

#[test]
fn gradients_equal_central_differences_at_every_hook() {
    for kind in KINDS {
        let config = config(kind);
        let model = model(kind, Processing::Raw);
        let all = Hook::all(&config);
        let split =
            |hook: &Hook| matches!(hook.site, Site::AttnIn | Site::QInput | Site::KInput | Site::VInput);
        let norm = |hook: &Hook| matches!(hook.site, Site::Ln1Scale | Site::Ln1Normalized);
        let those = |wanted: &dyn Fn(&Hook) -> bool| all.iter().copied().filter(wanted).collect::<Vec<_>>();
        let some = Positions::At(vec![1, 4]);
        for (hooks, read) in [
            (those(&|hook| !split(hook)), Positions::All),
            (those(&|hook| !norm(hook)), some.clone()),
            (those(&|hook| hook.site == Site::Z), some), // behind these only what is read goes on
        ] {
            let taken = model.gradients(&TOKENS, &[], &hooks, &read, seed).unwrap();
            for hook in hooks {
                let shape = hook.shape(&config, TOKENS.len());
                let gradient = values(taken.gradients.get(hook).unwrap());
                assert_eq!(taken.gradients.get(hook).unwrap().dims(), shape, "{hook}");
                for pick in [1, 7, 13] {
                    let index = gradient.len() * pick / 17;
                    // Scores of future keys are -inf and cannot be moved.
                    if !values(taken.activations.get(hook).unwrap())[index].is_finite() {
                        continue;
                    }
                    let moved = |step: f64| {
                        let mut delta = vec![0.0; gradient.len()];
                        delta[index] = step;
                        let delta =
                            Tensor::from_vec(delta, shape.clone(), &microtome_model::Device::Cpu).unwrap();
                        let edit = Edit::new(hook, Change::Add(Value::Tensor(delta)));
                        let options =
                            RunOptions { edits: vec![edit], logits: read.clone(), ..Default::default() };
                        metric(model.run(&TOKENS, &options).unwrap().logits().unwrap())
                    };
                    // An edit cannot reach a future key, a derivative can: compare where both can.
                    if hook.site.is_attention() {
                        let (query, key) = (index / TOKENS.len() % TOKENS.len(), index % TOKENS.len());
                        if key > query {
                            continue;
                        }
                    }
                    let step = 1e-5;
                    let difference = (moved(step) - moved(-step)) / (2.0 * step);
                    let error = (difference - gradient[index]).abs() / (1.0 + difference.abs());
                    assert!(
                        error < 1e-8,
                        "{kind:?} {hook} [{index}]: {difference} against {}",
                        gradient[index]
                    );
                }
            }
        }
    }
}

#[test]
fn a_derivative_does_not_flow_through_what_an_edit_replaced() {
    let model = model(Kind::Full, Processing::Raw);
    let zeroed: Vec<Edit> = [Site::AttnOut, Site::MlpOut]
        .into_iter()
        .flat_map(|site| (0..3).map(move |layer| Edit::new(site.at(layer), Change::Zero)))
        .collect();
    let hooks = [Site::Z.at(1), Site::ResidPre.at(0)];
    let taken = model.gradients(&TOKENS, &zeroed, &hooks, &Positions::All, seed).unwrap();
    assert!(values(taken.gradients.get(hooks[0]).unwrap()).iter().all(|&g| g == 0.0));
    assert!(values(taken.gradients.get(hooks[1]).unwrap()).iter().any(|&g| g != 0.0));
}
