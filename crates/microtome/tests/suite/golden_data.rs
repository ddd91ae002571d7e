//! Reference data beside the repository. Where it is absent a test prints why and passes, except in
//! CI, where its absence is a failure. `MICROTOME_TEST_ON` runs the models on another device.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use microtome::model::{DType, Device, DeviceChoice, LoadOptions, Processing, Tensor};
use microtome::{Text, TextModel};

/// A file or folder of reference data, or `None` after saying why not.
pub fn shared(env: &str, default: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let path = std::env::var_os(env).map_or_else(|| root.join(default), PathBuf::from);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "reference data is missing: {}", path.display());
    println!("skipped: no reference data at {}", path.display());
    None
}

/// A golden model and everything computed on it.
pub struct Golden {
    pub dir: PathBuf,
    pub json: serde_json::Value,
    pub derived: HashMap<String, Tensor>,
    pub acts: HashMap<String, Tensor>,
    pub model: TextModel,
}

impl Golden {
    /// The golden folder with weights raw or folded; numbers in f64 where there are.
    pub fn open(processing: Processing) -> Option<Golden> {
        let dir = shared("MICROTOME_GOLDEN", "golden/tiny")?;
        let json = serde_json::from_str(&std::fs::read_to_string(dir.join("golden.json")).unwrap()).unwrap();
        let kind = match processing {
            Processing::Raw => "f64",
            Processing::Folded => "processed_f32",
        };
        let load = |name: &str| {
            microtome::model::load_safetensors(&dir.join(format!("{name}_{kind}.safetensors"))).unwrap()
        };
        let model = load_model(&dir.join("hf"), processing);
        Some(Golden { json, derived: load("golden"), acts: load("acts"), model, dir })
    }

    pub fn ids(&self, key: &str) -> Vec<u32> {
        serde_json::from_value(self.json[key].clone()).unwrap()
    }

    pub fn id(&self, key: &str) -> u32 {
        serde_json::from_value(self.json[key].clone()).unwrap()
    }

    pub fn prompt(&self, key: &str) -> Text {
        Text::Ids(self.ids(key))
    }

    pub fn values(&self, name: &str) -> Vec<f64> {
        values(self.derived.get(name).unwrap_or_else(|| panic!("golden data has no `{name}`")))
    }
}

impl Golden {
    /// Every value close to the reference of this name: within 1e-4 of the largest, or, where that is
    /// finer than f32 computes the number (a recovery with a small denominator, a perplexity in the
    /// thousands), within ten times what TransformerLens's own f32 run is away from its f64 run.
    pub fn assert_close(&self, name: &str, found: &[f64]) {
        self.assert_close_to(name, found, &self.values(name));
    }

    /// The same for a part, or a rearrangement, of the reference of this name.
    pub fn assert_close_to(&self, name: &str, found: &[f64], expected: &[f64]) {
        let own_rounding = self.json["tensors"][name]["f32_vs_f64"]
            .as_f64()
            .unwrap_or_else(|| panic!("golden.json says nothing of the rounding of `{name}`"));
        let finite = || expected.iter().filter(|x| x.is_finite());
        let scale = finite().fold(1.0f64, |most, x| most.max(x.abs()));
        // Two tokens of a large vocabulary whose logits agree to rounding may change places.
        let place =
            if name.ends_with("delta_rank") && self.model.config().d_vocab > 1000 { 1.0 } else { 0.0 };
        let within = (1e-4 * scale).max(10.0 * own_rounding).max(place);
        assert_eq!(found.len(), expected.len(), "{name}");
        for (i, (a, b)) in found.iter().zip(expected).enumerate() {
            assert!(a == b || (a - b).abs() <= within, "{name} [{i}]: {a} against {b}, allowed {within}");
        }
    }
}

pub fn load_model(path: &Path, processing: Processing) -> TextModel {
    // Another device, or `composed`: the way a GPU computes, on the CPU.
    let on = std::env::var("MICROTOME_TEST_ON").unwrap_or_default();
    let device = match &on[..] {
        "" | "composed" => Device::Cpu,
        name => name.parse::<DeviceChoice>().unwrap().open().unwrap().device,
    };
    let options = LoadOptions { device, ..LoadOptions::default() };
    let model = TextModel::load(path.to_str().unwrap(), processing, &options, &mut ()).unwrap();
    if on == "composed" { model.composed().unwrap() } else { model }
}

pub fn values(tensor: &Tensor) -> Vec<f64> {
    tensor
        .to_device(&Device::Cpu)
        .unwrap()
        .to_dtype(DType::F64)
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_vec1()
        .unwrap()
}

/// Every value within `tolerance` of the largest reference value (or of 1, for small ones).
pub fn assert_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let finite = || expected.iter().filter(|x| x.is_finite());
    let scale = finite().fold(1.0f64, |most, x| most.max(x.abs()));
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!(a == b || (a - b).abs() <= tolerance * scale, "{what} [{i}]: {a} against {b}");
    }
}
