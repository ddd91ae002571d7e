//! The passes as a GPU computes them: composed of the tensor library's operations, in f32 and with matrices of bf16.
//!
//! Everywhere they run on the CPU; where this build can use a GPU and one is there, on it too. All laws are the same,
//! the tolerances those of the number type.

use microtome_model::{
    Change, Device, DeviceChoice, Edit, Error, Hook, Lane, Model, Positions, Precision, Processing,
    RunOptions, Site, Stream, Tensor, Value, device_name,
};

use crate::lanes::{assert_lanes_equal_the_loop, lanes_of_every_edit, prompt};
use crate::toy::{KINDS, Kind, config, distance, exact_and_plain, values};

const TOKENS: [u32; 7] = [3, 1, 4, 1, 5, 9, 2];

/// A device and a number type.
struct Way {
    device: Device,
    precision: Precision,
    /// How far a number may be from f64's, in units of the largest of its tensor: three layers of sums of 20
    /// products of f32; the same where what enters and leaves a product has eight significant bits.
    tolerance: f64,
}

impl Way {
    fn name(&self) -> String {
        format!("{} {:?}", device_name(&self.device), self.precision)
    }

    fn of(&self, model: Model) -> Model {
        match self.device.is_cpu() {
            true => model.composed(self.precision).unwrap(),
            false => model.on(&self.device, self.precision).unwrap(),
        }
    }
}

fn ways() -> Vec<Way> {
    let mut devices = vec![Device::Cpu];
    let open = DeviceChoice::Auto.open().unwrap();
    match open.device.is_cpu() {
        true => {
            println!("not on a GPU: {}", open.fallback.unwrap_or("this build can use none".to_owned()));
        }
        false => devices.push(open.device),
    }
    let precisions = [(Precision::F32, 5e-5), (Precision::Bf16, 0.1)];
    let of = |device: Device| {
        precisions.map(|(precision, tolerance)| Way { device: device.clone(), precision, tolerance })
    };
    devices.into_iter().flat_map(of).collect()
}

/// The largest finite number, 1 at least.
fn size(x: &Tensor) -> f64 {
    values(x).into_iter().map(f64::abs).filter(|x| x.is_finite()).fold(1.0, f64::max)
}

#[test]
fn every_activation_is_that_of_f64_to_rounding() {
    for way in ways() {
        for kind in KINDS {
            for processing in [Processing::Raw, Processing::Folded] {
                let (exact, plain) = exact_and_plain(kind, processing);
                let reads = Hook::all(&config(kind));
                let options = RunOptions { reads: reads.clone(), ..Default::default() };
                let exact = exact.run(&TOKENS, &options).unwrap();
                let found = way.of(plain).run(&TOKENS, &options).unwrap();
                for hook in reads {
                    let exact = exact.cache.get(hook).unwrap();
                    let d = distance(exact, found.cache.get(hook).unwrap());
                    let within = way.tolerance * size(exact);
                    assert!(d < within, "{} {kind:?} {hook}: {d}, allowed {within}", way.name());
                }
            }
        }
    }
}

/// What says that the two number types are two.
#[test]
fn bf16_rounds_and_f32_does_not() {
    for way in ways() {
        let (exact, plain) = exact_and_plain(Kind::Full, Processing::Raw);
        let options = RunOptions::default();
        let exact = exact.run(&TOKENS, &options).unwrap();
        let found = way.of(plain).run(&TOKENS, &options).unwrap();
        let (exact, found) = (exact.logits().unwrap(), found.logits().unwrap());
        let d = distance(exact, found) / size(exact);
        assert_eq!(d > 1e-4, way.precision == Precision::Bf16, "{}: {d}", way.name());
    }
}

#[test]
fn lanes_equal_the_loop_with_every_kind_of_edit() {
    for way in ways() {
        for kind in KINDS {
            let (_, plain) = exact_and_plain(kind, Processing::Raw);
            let model = way.of(plain);
            // The rows walked are those of the f64 test, which takes every lane; one in seven meets every kind of
            // change, position and unit, since they repeat by eight.
            let lanes: Vec<Lane> = lanes_of_every_edit(kind, 5).into_iter().step_by(7).collect();
            // Logits of up to about ten; an edited scale can make them larger.
            let tolerance = 100.0 * way.tolerance;
            // The number type makes no difference to which rows are walked: once is enough for the coarser one.
            let reads = match way.precision {
                Precision::F32 => vec![Positions::All, Positions::Last],
                Precision::Bf16 => vec![Positions::Last],
            };
            for read in reads {
                let prompts = [prompt(5, 3)];
                assert_lanes_equal_the_loop(&model, &prompts, &lanes, &read, 200_000, tolerance);
            }
        }
    }
}

#[test]
fn derivatives_are_those_of_f64_to_rounding() {
    let seed = |logits: &Tensor| -> Result<Tensor, Error> {
        let cell = |i: usize| ((i * i + 5 * i) % 11) as f64 / 11.0 - 0.4;
        let values: Vec<f64> = (0..logits.elem_count()).map(cell).collect();
        // Where a metric computes it: on the CPU, whatever the logits are on.
        Ok(Tensor::from_vec(values, logits.dims(), &Device::Cpu)?)
    };
    let split = |hook: &Hook| matches!(hook.site, Site::AttnIn | Site::QInput | Site::KInput | Site::VInput);
    let norm = |hook: &Hook| matches!(hook.site, Site::Ln1Scale | Site::Ln1Normalized);
    for way in ways() {
        for kind in KINDS {
            let (exact, plain) = exact_and_plain(kind, Processing::Raw);
            let model = way.of(plain);
            let all = Hook::all(&config(kind));
            let unsplit: Vec<Hook> = all.iter().copied().filter(|hook| !split(hook)).collect();
            let unnormed: Vec<Hook> = all.iter().copied().filter(|hook| !norm(hook)).collect();
            for hooks in [unsplit, unnormed] {
                for read in [Positions::All, Positions::Last] {
                    let of = |model: &Model| model.gradients(&TOKENS, &[], &hooks, &read, seed).unwrap();
                    let (exact, found) = (of(&exact), of(&model));
                    for &hook in &hooks {
                        let (exact, found) =
                            (exact.gradients.get(hook).unwrap(), found.gradients.get(hook).unwrap());
                        let (d, within) = (distance(exact, found), 3.0 * way.tolerance * size(exact));
                        assert!(d < within, "{} {kind:?} {hook} {read:?}: {d}", way.name());
                    }
                }
            }
        }
    }
}

#[test]
fn a_stream_equals_the_whole_text() {
    for way in ways() {
        for kind in KINDS {
            let (_, plain) = exact_and_plain(kind, Processing::Folded);
            let model = way.of(plain);
            let shape = Site::ResidPre.at(2).shape(model.config(), TOKENS.len());
            let values = (0..shape.iter().product()).map(|i| (i % 7) as f32 * 0.1).collect::<Vec<f32>>();
            let added = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
            let edits = vec![
                Edit::new(Site::Z.at(0), Change::Zero).units([0]),
                Edit::new(Site::Pattern.at(1), Change::Previous).units([1]),
                Edit::new(Site::ResidPre.at(2), Change::Add(Value::Tensor(added))),
            ];
            let options = RunOptions { edits: edits.clone(), ..Default::default() };
            let whole = model.run(&TOKENS, &options).unwrap();
            let whole = whole.logits().unwrap();
            let mut stream = Stream::new(&model, &edits, TOKENS.len()).unwrap();
            let mut fed = 0;
            for step in [3, 1, 2, 1] {
                let new = stream.feed(&TOKENS[fed..fed + step]).unwrap();
                let d = distance(&new, &whole.narrow(0, fed, step).unwrap());
                let within = way.tolerance * size(whole);
                assert!(d < within, "{} {kind:?} after {fed}: {d}, allowed {within}", way.name());
                fed += step;
            }
        }
    }
}

#[test]
fn a_model_comes_back_from_a_device_as_it_went() {
    for way in ways() {
        let (_, plain) = exact_and_plain(Kind::Full, Processing::Folded);
        let there = way.of(plain.clone());
        assert_eq!(device_name(there.device()), device_name(&way.device));
        let back = there.weights().unpacked().unwrap();
        let d = distance(&plain.weights().unpacked().unwrap().unembed.w, &back.unembed.w);
        match way.precision {
            Precision::F32 => assert_eq!(d, 0.0),
            Precision::Bf16 => assert!(d > 0.0 && d < 0.05, "{d}"),
        }
    }
}
