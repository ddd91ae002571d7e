use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use microtome_model::Error;
use microtome_model::archive::{StoredDtype, TensorArchive};
use safetensors::tensor::Dtype;

use crate::fixtures::*;

fn rows(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn stored_halves_and_doubles_become_the_floats_they_stand_for() {
    let dir = tempfile::tempdir().unwrap();
    let x = values(24, 7);
    let halves: Vec<half::f16> = x.iter().map(|&v| half::f16::from_f32(v)).collect();
    let brains: Vec<half::bf16> = x.iter().map(|&v| half::bf16::from_f32(v)).collect();
    let cases: [(Dtype, StoredDtype, Vec<u8>, Vec<f32>); 3] = [
        (
            Dtype::F16,
            StoredDtype::F16,
            halves.iter().flat_map(|v| v.to_le_bytes()).collect(),
            halves.iter().map(|v| v.to_f32()).collect(),
        ),
        (
            Dtype::BF16,
            StoredDtype::BF16,
            brains.iter().flat_map(|v| v.to_le_bytes()).collect(),
            brains.iter().map(|v| v.to_f32()).collect(),
        ),
        (
            Dtype::F64,
            StoredDtype::F64,
            x.iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect(),
            x.clone(),
        ),
    ];
    for (dtype, stored, bytes, expected) in cases {
        let path = dir.path().join("x.safetensors");
        write_safetensors_as(&path, dtype, &[("x".to_owned(), vec![4, 6], bytes)]);
        let archive = TensorArchive::open(&path).unwrap();
        assert_eq!(archive.dtype("x").unwrap(), &stored);
        let tensor = archive.tensor("x", DType::F32).unwrap();
        assert_eq!(tensor.dims(), [4, 6]);
        assert_eq!(rows(&tensor), expected);
        let double: Vec<f64> =
            archive.tensor("x", DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert!(double.iter().zip(&expected).all(|(&d, &f)| d == f64::from(f)));
    }
}

#[test]
fn integers_are_listed_but_not_read_as_weights() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.safetensors");
    write_safetensors_as(&path, Dtype::I64, &[("ids".to_owned(), vec![2], vec![0; 16])]);
    let archive = TensorArchive::open(&path).unwrap();
    assert_eq!(archive.names().collect::<Vec<_>>(), ["ids"]);
    let error = archive.tensor("ids", DType::F32).unwrap_err();
    assert!(matches!(&error, Error::TensorDtype { tensor, found, .. } if tensor == "ids" && found == "I64"));
    assert!(matches!(archive.tensor("ids", DType::U8), Err(Error::TargetDtype { .. })));
}

#[test]
fn strided_views_of_a_torch_storage_come_out_row_major() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.pt");
    let x = values(40, 3);
    let pickle = p_dict(&[
        ("plain", p_tensor("FloatStorage", "0", 0, &[4, 6], &[6, 1])),
        ("turned", p_tensor("FloatStorage", "0", 0, &[6, 4], &[1, 6])),
        ("inner", p_tensor("FloatStorage", "0", 7, &[2, 3], &[12, 2])),
        ("third", p_tensor("FloatStorage", "0", 24, &[2, 2, 4], &[1, 2, 4])),
        ("one", p_tensor("FloatStorage", "0", 39, &[], &[])),
        ("none", p_tensor("FloatStorage", "0", 40, &[0, 5], &[5, 1])),
        ("halves", p_tensor("HalfStorage", "0", 0, &[2], &[1])),
        ("mask", p_tensor("BoolStorage", "0", 0, &[4], &[1])),
    ]);
    write_torch_zip(&path, &pickle, &[("0", &le_bytes(&x))]);
    let archive = TensorArchive::open(&path).unwrap();
    let read = |name: &str| rows(&archive.tensor(name, DType::F32).unwrap());
    assert_eq!(read("plain"), x[..24]);
    let turned: Vec<f32> = (0..6).flat_map(|r| (0..4).map(move |c| c * 6 + r)).map(|i| x[i]).collect();
    assert_eq!(read("turned"), turned);
    assert_eq!(read("inner"), [7, 9, 11, 19, 21, 23].map(|i| x[i]));
    let third: Vec<f32> = (0..2)
        .flat_map(|a| (0..2).flat_map(move |b| (0..4).map(move |c| 24 + a + 2 * b + 4 * c)))
        .map(|i| x[i])
        .collect();
    assert_eq!(read("third"), third);
    assert_eq!(read("one"), x[39..]);
    assert!(read("none").is_empty());
    assert_eq!(read("halves").len(), 2);
    assert!(matches!(archive.tensor("mask", DType::F32), Err(Error::TensorDtype { .. })));
}

#[test]
fn impossible_shapes_offsets_and_strides_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.pt");
    let big = i32::MAX as usize;
    for (offset, shape, strides) in [
        (0, vec![11], vec![1]),
        (5, vec![6], vec![1]),
        (0, vec![2, 2], vec![9, 9]),
        (0, vec![big, big], vec![0, 0]),
        (0, vec![100, 100], vec![0, 0]),
        (0, vec![big, big, big, big], vec![1, 1, 1, 1]),
        (big, vec![1], vec![1]),
        (0, vec![2, 2], vec![1]),
        (0, vec![2, big], vec![big, big]),
    ] {
        let pickle = p_dict(&[("x", p_tensor("FloatStorage", "0", offset, &shape, &strides))]);
        write_torch_zip(&path, &pickle, &[("0", &[0; 40])]);
        let text = message(TensorArchive::open(&path).and_then(|a| a.tensor("x", DType::F32)));
        assert!(text.contains("x.pt"), "{text}");
    }
    let pickle = p_dict(&[("x", p_tensor("FloatStorage", "1", 0, &[1], &[1]))]);
    write_torch_zip(&path, &pickle, &[("0", &[0; 40])]);
    let text = message(TensorArchive::open(&path));
    assert!(text.contains("archive/data/1") && text.contains("`x`"), "{text}");
}

#[test]
fn parameters_and_subclasses_are_seen_through() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.pt");
    let tensor = p_tensor("FloatStorage", "0", 0, &[3], &[1]);
    let parameter = [
        b"ctorch._utils\n_rebuild_parameter\n(".to_vec(),
        tensor.clone(),
        b"\x88ccollections\nOrderedDict\n)RtR".to_vec(),
    ]
    .concat();
    write_torch_zip(&path, &p_dict(&[("x", parameter)]), &[("0", &le_bytes(&[1., 2., 3.]))]);
    let archive = TensorArchive::open(&path).unwrap();
    assert_eq!(rows(&archive.tensor("x", DType::F32).unwrap()), [1., 2., 3.]);
}

#[test]
fn an_index_joins_shards_of_either_container() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (raw(&[2, 3], 1), raw(&[5], 2));
    write_safetensors(&dir.path().join("one.safetensors"), &BTreeMap::from([("a".to_owned(), a.clone())]));
    let pickle = p_dict(&[("b", p_tensor("FloatStorage", "0", 0, &[5], &[1]))]);
    write_torch_zip(&dir.path().join("two.bin"), &pickle, &[("0", &le_bytes(&b.1))]);
    let index = dir.path().join("model.safetensors.index.json");
    let write = |map: &str| std::fs::write(&index, format!(r#"{{"weight_map": {map}}}"#)).unwrap();
    write(r#"{"a": "one.safetensors", "b": "two.bin"}"#);
    let archive = TensorArchive::open(&index).unwrap();
    assert_eq!(archive.names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(rows(&archive.tensor("a", DType::F32).unwrap()), a.1);
    assert_eq!(rows(&archive.tensor("b", DType::F32).unwrap()), b.1);
    assert_eq!(archive.files().len(), 2);
    write(r#"{"a": "one.safetensors", "c": "two.bin"}"#);
    assert!(message(TensorArchive::open(&index)).contains("tensor `c` not found"));
    write(r#"{"a": "three.safetensors"}"#);
    assert!(message(TensorArchive::open(&index)).contains("three.safetensors"));
    write(r#"{"a": "../one.safetensors"}"#);
    assert!(message(TensorArchive::open(&index)).contains("not a file beside it"));
}

#[test]
fn nan_and_infinity_are_counted_and_located() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.safetensors");
    let mut x = values(24, 1);
    (x[10], x[20]) = (f32::NAN, f32::NEG_INFINITY);
    write_safetensors(&path, &BTreeMap::from([("w".to_owned(), (vec![4, 6], x))]));
    let error = TensorArchive::open(&path).unwrap().tensor("w", DType::F32).unwrap_err();
    let Error::NotFinite { tensor, count, first, path: named } = &error else { panic!("{error}") };
    assert_eq!((tensor.as_str(), *count, first.as_slice()), ("w", 2, &[1, 4][..]));
    assert_eq!(named, &path);
}

#[test]
fn other_files_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let cases: [(&str, &[u8], &str); 6] = [
        ("old.pt", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", "before 1.6"),
        ("lfs.bin", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        ("bare.pth", b"\x80\x02}q\x00.", "a bare pickle"),
        ("text.pt", b"hello", "of an unknown kind"),
        ("empty.pt", b"", "empty"),
        ("empty.safetensors", b"", "truncated"),
    ];
    for (name, bytes, expected) in cases {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let text = message(TensorArchive::open(&path));
        assert!(text.contains(expected) && text.contains(name), "{text}");
    }
    let text = message(TensorArchive::open(&dir.path().join("none.pt")));
    assert!(text.contains("none.pt"), "{text}");
}

#[test]
fn a_missing_tensor_suggests_the_nearest_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.safetensors");
    write_safetensors(&path, &BTreeMap::from([("h.0.ln_1.weight".to_owned(), raw(&[2], 1))]));
    let text = message(TensorArchive::open(&path).unwrap().tensor("h.0.ln1.weight", DType::F32));
    assert!(text.contains("did you mean `h.0.ln_1.weight`?"), "{text}");
}
