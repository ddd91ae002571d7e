use std::time::{Duration, Instant};

use microtome_model::pickle::{Pickle, PickleError};
use proptest::prelude::*;

/// Generous: a debug build on a busy machine needs milliseconds.
const QUICK: Duration = Duration::from_secs(5);

#[test]
fn every_protocol_of_one_value_reads_the_same() {
    // pickle.dumps({"a": [1, -2, 2.5, None, True], "b": (300, "é\n")}, protocol=n) in CPython.
    let protocols: [&[u8]; 4] = [
        b"(dp0\nVa\np1\n(lp2\nI1\naI-2\naF2.5\naNaI01\nasVb\np3\n(I300\nV\xe9\\u000a\np4\ntp5\ns.",
        b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffG@\x04\x00\x00\x00\x00\x00\x00N\x88eX\x01\x00\x00\x00bq\x03M,\x01X\x03\x00\x00\x00\xc3\xa9\nq\x04\x86q\x05u.",
        b"\x80\x04\x95\x2e\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x01a\x94]\x94(K\x01J\xfe\xff\xff\xffG@\x04\x00\x00\x00\x00\x00\x00N\x88e\x8c\x01b\x94M,\x01\x8c\x03\xc3\xa9\n\x94\x86\x94u.",
        b"\x80\x05\x95\x2e\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x01a\x94]\x94(K\x01J\xfe\xff\xff\xffG@\x04\x00\x00\x00\x00\x00\x00N\x88e\x8c\x01b\x94M,\x01\x8c\x03\xc3\xa9\n\x94\x86\x94u.",
    ];
    for bytes in protocols {
        let pickle = Pickle::parse(bytes).unwrap();
        let a = pickle.root().get("a").unwrap().elements().unwrap();
        assert_eq!((a[0].as_int(), a[1].as_int(), a[2].as_f64()), (Some(1), Some(-2), Some(2.5)));
        assert!(a[3].is_none());
        assert_eq!(a[4].as_bool(), Some(true));
        let b = pickle.root().get("b").unwrap().elements().unwrap();
        assert_eq!((b[0].as_int(), b[1].as_str()), (Some(300), Some("é\n")));
    }
}

#[test]
fn long_integers_keep_their_sign_or_are_declared_too_large() {
    let long = |bytes: &[u8]| {
        let pickle = [b"\x80\x02\x8a", &[bytes.len() as u8][..], bytes, b"."].concat();
        Pickle::parse(&pickle).unwrap().root().as_int()
    };
    assert_eq!(long(b""), Some(0));
    assert_eq!(long(b"\xff"), Some(-1));
    assert_eq!(long(b"\xff\x00"), Some(255));
    assert_eq!(long(b"\x00\x00\x00\x00\x00\x00\x00\x80"), Some(i64::MIN));
    assert_eq!(long(b"\x00\x00\x00\x00\x00\x00\x00\x80\x00"), None);
    assert_eq!(long(&[0x7f; 20]), None);
}

#[test]
fn a_call_is_recorded_and_not_made() {
    let pickle = Pickle::parse(b"cos\nsystem\n(Vtouch /tmp/owned\ntR.").unwrap();
    let (callee, args) = pickle.root().as_call().unwrap();
    assert_eq!(callee.as_global(), Some(("os", "system")));
    assert_eq!(args[0].as_str(), Some("touch /tmp/owned"));
}

#[test]
fn a_huge_length_is_an_error_before_it_is_memory() {
    let started = Instant::now();
    for head in [
        &b"X\xff\xff\xff\xff"[..],
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x8b\xff\xff\xff\x7f",
        b"B\xff\xff\xff\xff",
    ] {
        let error = Pickle::parse(head).unwrap_err();
        assert!(matches!(error, PickleError::Truncated { .. }), "{error}");
    }
    assert!(started.elapsed() < QUICK);
}

#[test]
fn nesting_a_million_deep_is_neither_recursion_nor_slow() {
    const DEPTH: usize = 1_000_000;
    let started = Instant::now();
    assert!(Pickle::parse(&vec![b'('; DEPTH]).is_err());
    let lists = [vec![b']'; DEPTH], vec![b'a'; DEPTH - 1], b".".to_vec()].concat();
    let pickle = Pickle::parse(&lists).unwrap();
    assert_eq!(pickle.root().elements().unwrap().len(), 1);
    drop(pickle.clone());
    drop(pickle);
    let tuples = [b")".to_vec(), vec![0x85; DEPTH], b".".to_vec()].concat();
    assert_eq!(Pickle::parse(&tuples).unwrap().root().kind(), "a tuple");
    assert!(started.elapsed() < QUICK);
}

#[test]
fn shared_values_are_stored_once() {
    // Each list holds the one before it twice: 2^5000 elements if they were copied.
    let started = Instant::now();
    let mut laughs = b"]q\x00".to_vec();
    for _ in 0..5000 {
        laughs.extend(b"(h\x00h\x00lq\x00");
    }
    laughs.push(b'.');
    assert_eq!(Pickle::parse(&laughs).unwrap().root().elements().unwrap().len(), 2);
    // One long dict given to a constructor again and again.
    let mut calls = b"](".to_vec();
    calls.extend(b"NN\x86".repeat(10_000));
    calls.extend(b"eq\x00");
    calls.extend(b"ccollections\nOrderedDict\nq\x01".iter());
    calls.extend(b"h\x01h\x00\x85R".repeat(10_000));
    calls.push(b'.');
    assert_eq!(Pickle::parse(&calls).unwrap().root().entries().unwrap().len(), 10_000);
    assert!(started.elapsed() < QUICK);
}

#[test]
fn a_value_may_contain_itself() {
    let pickle = Pickle::parse(b"]q\x00h\x00a.").unwrap();
    let inner = pickle.root().elements().unwrap()[0];
    assert_eq!(inner.elements().unwrap().len(), 1);
}

#[test]
fn instructions_cannot_reach_below_a_mark() {
    for bytes in
        [&b"N(\x85."[..], b"N(R.", b"N(b.", b"(.", b"u.", b"Nt.", b"NNs.", b"h\x05.", b"N(No", b"\x93."]
    {
        assert!(Pickle::parse(bytes).is_err(), "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(pickle) = Pickle::parse(&bytes) {
            let root = pickle.root();
            let _ = (root.entries(), root.elements(), root.as_call(), root.get("model"), root.kind());
        }
    }

    #[test]
    fn random_instructions_never_panic(
        ops in proptest::collection::vec(
            proptest::sample::select(b"(012NIJKM)]}tlduaesbRQq\x85\x86\x87\x81\x88\x8f\x90\x91\x92\x93\x94h".to_vec()),
            0..300,
        )
    ) {
        let bytes = [ops, b".".to_vec()].concat();
        if let Ok(pickle) = Pickle::parse(&bytes) {
            let root = pickle.root();
            let _ = (root.entries(), root.elements(), root.as_call(), root.get("model"), root.kind());
        }
    }
}
