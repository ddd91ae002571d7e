//! Damaged files: every cut is an error that names the file, and no change of bytes is a panic.

use std::path::{Path, PathBuf};

use candle_core::DType;
use microtome_model::Result;
use microtome_model::archive::TensorArchive;
use proptest::prelude::*;

use crate::fixtures::*;

/// One small file of each container, with the name its reader goes by.
fn containers(dir: &Path) -> Vec<PathBuf> {
    let safetensors = dir.join("small.safetensors");
    write_safetensors(
        &safetensors,
        &[("a".to_owned(), raw(&[3, 4], 1)), ("b".to_owned(), raw(&[5], 2))].into(),
    );
    let zip = dir.join("small.pt");
    let pickle = p_dict(&[
        ("a", p_tensor("FloatStorage", "0", 0, &[3, 4], &[1, 3])),
        ("b", p_tensor("DoubleStorage", "1", 0, &[2], &[1])),
    ]);
    write_torch_zip(&zip, &pickle, &[("0", &le_bytes(&values(12, 1))), ("1", &[0; 16])]);
    vec![safetensors, zip]
}

fn read_all(path: &Path) -> Result<()> {
    let archive = TensorArchive::open(path)?;
    for name in archive.names() {
        archive.tensor(name, DType::F32)?;
    }
    Ok(())
}

#[test]
fn every_cut_is_an_error_that_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    for path in containers(dir.path()) {
        let bytes = std::fs::read(&path).unwrap();
        read_all(&path).unwrap();
        for cut in 0..bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let text = message(read_all(&path));
            assert!(text.contains("small."), "cut at {cut}: {text}");
        }
    }
}

#[test]
fn golden_checkpoints_cut_anywhere_are_errors_that_name_the_file() {
    let Some(golden) = golden() else { return };
    let dir = tempfile::tempdir().unwrap();
    for name in ["hf/model.safetensors", "nanogpt.pt", "tl_state_dict.pth"] {
        let bytes = std::fs::read(golden.join(name)).unwrap();
        let path = dir.path().join(Path::new(name).file_name().unwrap());
        let cuts = (0..40).map(|i| i * bytes.len() / 40).chain([1, 7, 8, 9, 63, bytes.len() - 1]);
        for cut in cuts {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let text = message(load_path(&path));
            assert!(text.contains(path.file_name().unwrap().to_str().unwrap()), "cut at {cut}: {text}");
        }
    }
}

#[test]
fn golden_checkpoints_with_flipped_bits_never_panic() {
    let Some(golden) = golden() else { return };
    let dir = tempfile::tempdir().unwrap();
    for name in ["nanogpt.pt", "tl_state_dict.pth"] {
        let good = std::fs::read(golden.join(name)).unwrap();
        let path = dir.path().join(name);
        // The pickle lies at the front and the directory at the end: that is where bits matter.
        let places = (0..6000).step_by(61).chain(good.len() - 6000..good.len()).step_by(7);
        for (i, at) in places.enumerate() {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (i % 8);
            std::fs::write(&path, &bytes).unwrap();
            if let Err(error) = read_all(&path) {
                assert!(error.to_string().contains(name), "{error}");
            }
        }
    }
}

#[test]
fn a_header_that_claims_terabytes_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.safetensors");
    for length in [1u64 << 40, u64::MAX, 99_999_999] {
        std::fs::write(&path, [&length.to_le_bytes()[..], b"{}"].concat()).unwrap();
        assert!(message(read_all(&path)).contains("x.safetensors"));
    }
    let huge = u64::MAX / 2;
    let header = format!(r#"{{"a":{{"dtype":"F32","shape":[{huge}, 0],"data_offsets":[0,0]}}}}"#);
    std::fs::write(&path, [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()).unwrap();
    let _ = read_all(&path);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn changed_bytes_never_panic(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let dir = tempfile::tempdir().unwrap();
        for path in containers(dir.path()) {
            let mut bytes = std::fs::read(&path).unwrap();
            for (index, byte) in &changes {
                let at = index.index(bytes.len());
                bytes[at] = *byte;
            }
            std::fs::write(&path, &bytes).unwrap();
            if let Err(error) = read_all(&path) {
                prop_assert!(error.to_string().contains("small."), "{error}");
            }
        }
    }
}
