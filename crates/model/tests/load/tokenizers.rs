use std::path::Path;

use microtome_model::Error;
use microtome_model::tokenizer::{END_OF_TEXT, Tokenizer};

use crate::fixtures::{message, p_dict, p_int, p_str, shakespeare};

const TEXTS: [&str; 8] = [
    "",
    "Hello world!",
    " When Mary and John went to the store, John gave a drink to",
    "naïve café — “quotes” … 日本語 한국어 العربية",
    "🙂👩‍👩‍👧‍👦 zero\u{200b}width",
    "tabs\tand\nnew\r\nlines   and   runs  ",
    "fn main() { println!(\"{}\", 1_000); }",
    "a<|endoftext|>b",
];

#[test]
fn built_in_gpt2_gives_the_well_known_ids() {
    let gpt2 = Tokenizer::gpt2();
    assert_eq!(gpt2.encode("Hello world!").unwrap(), [15496, 995, 0]);
    assert_eq!(gpt2.encode(" John").unwrap(), [1757]);
    assert_eq!(gpt2.encode(" Mary").unwrap(), [5335]);
    assert_eq!(gpt2.encode(END_OF_TEXT).unwrap(), [50256]);
    assert_eq!(gpt2.bos(), Some(50256));
    assert_eq!(gpt2.vocab_size(), 50257);
    assert_eq!(gpt2.describe(), "GPT-2 BPE (built in)");
}

#[test]
fn decoding_what_was_encoded_gives_the_text_back() {
    let gpt2 = Tokenizer::gpt2();
    for text in TEXTS {
        let ids = gpt2.encode(text).unwrap();
        assert_eq!(gpt2.decode(&ids), text);
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| gpt2.token_bytes(id).unwrap()).collect();
        assert_eq!(bytes, text.as_bytes());
    }
}

#[test]
fn half_a_character_is_shown_as_its_bytes() {
    let gpt2 = Tokenizer::gpt2();
    let ids = gpt2.encode("🙂").unwrap();
    assert!(ids.len() > 1);
    assert_eq!(gpt2.display(ids[0]), "<0xF0><0x9F>");
    assert_eq!(gpt2.decode(&ids[..1]), "\u{fffd}");
    assert_eq!(gpt2.display(5335), " Mary");
    assert_eq!(gpt2.display(50300), "<50300>");
    assert!(matches!(gpt2.token_bytes(50300), Err(Error::UnknownToken { id: 50300, d_vocab: 50257 })));
}

#[test]
fn a_target_of_several_tokens_is_an_error_with_a_suggestion() {
    let gpt2 = Tokenizer::gpt2();
    assert_eq!(gpt2.single_token(" John").unwrap(), 1757);
    assert_eq!(
        message(gpt2.single_token(" Marys")),
        "target ` Marys` is 2 tokens (` Mary`, `s`); give one token, for example ` Mary`"
    );
    assert_eq!(
        message(gpt2.single_token_for("foil", "Einstein")),
        "foil `Einstein` is 2 tokens (`E`, `instein`); give one token, for example ` Einstein`"
    );
    assert_eq!(message(gpt2.single_token("")), "target `` is 0 tokens; give one token");
}

/// GPT-2's vocabulary as its `vocab.json`, in the byte alphabet, and merges that a byte-pair
/// encoder needs for a few words.
fn write_toy_vocab(dir: &Path) {
    let vocab = ["H", "e", "l", "o", "Ġ", "w", "he", "ll", "llo", "Ã", "©", "<|endoftext|>", "Ġw"];
    let entries: Vec<String> = vocab.iter().enumerate().map(|(i, t)| format!("{t:?}: {i}")).collect();
    std::fs::write(dir.join("vocab.json"), format!("{{{}}}", entries.join(", "))).unwrap();
    std::fs::write(dir.join("merges.txt"), "#version: 0.2\nl l\nll o\nĠ w\n").unwrap();
}

#[test]
fn vocab_and_merges_cut_like_gpt2() {
    let dir = tempfile::tempdir().unwrap();
    write_toy_vocab(dir.path());
    let tokenizer = Tokenizer::from_dir(dir.path()).unwrap().unwrap();
    let ids = tokenizer.encode("Hello wé<|endoftext|>").unwrap();
    let pieces: Vec<String> = ids.iter().map(|&id| tokenizer.display(id)).collect();
    assert_eq!(pieces, ["H", "e", "llo", " w", "<0xC3>", "<0xA9>", "<|endoftext|>"]);
    assert_eq!(tokenizer.decode(&ids), "Hello wé<|endoftext|>");
    assert_eq!(tokenizer.bos(), Some(11));
    assert_eq!(tokenizer.vocab_size(), 13);
}

#[test]
fn tokenizer_json_takes_precedence_and_its_config_names_the_bos() {
    let dir = tempfile::tempdir().unwrap();
    write_toy_vocab(dir.path());
    let json = serde_json::json!({
        "version": "1.0",
        "added_tokens": [{"id": 3, "content": "<s>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true}],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},
    });
    std::fs::write(dir.path().join("tokenizer.json"), json.to_string()).unwrap();
    std::fs::write(dir.path().join("tokenizer_config.json"), r#"{"bos_token": {"content": "<s>"}}"#).unwrap();
    let tokenizer = Tokenizer::from_dir(dir.path()).unwrap().unwrap();
    assert_eq!(tokenizer.encode("<s>abb").unwrap(), [3, 2, 1]);
    assert_eq!(tokenizer.bos(), Some(3));
    assert_eq!(tokenizer.display(3), "<s>");
    assert_eq!(tokenizer.vocab_size(), 4);
}

#[test]
fn a_broken_tokenizer_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tokenizer.json"), "{").unwrap();
    assert!(message(Tokenizer::from_dir(dir.path())).contains("tokenizer.json"));
    std::fs::remove_file(dir.path().join("tokenizer.json")).unwrap();
    std::fs::write(dir.path().join("meta.pkl"), p_dict(&[("stoi", p_int(3))])).unwrap();
    assert!(message(Tokenizer::from_dir(dir.path())).contains("meta.pkl"));
    assert!(Tokenizer::from_dir(tempfile::tempdir().unwrap().path()).unwrap().is_none());
}

#[test]
fn contradicting_dicts_in_meta_pkl_are_an_error() {
    let dict = |key: Vec<u8>, value: Vec<u8>| [b"}(".to_vec(), key, value, b"u".to_vec()].concat();
    let meta = p_dict(&[("itos", dict(p_int(0), p_str("a"))), ("stoi", dict(p_str("b"), p_int(0)))]);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("meta.pkl"), meta).unwrap();
    assert!(message(Tokenizer::from_dir(dir.path())).contains("disagree about token 0"));
}

#[test]
fn golden_characters_round_trip_and_unknown_ones_are_named() {
    let Some(dir) = shakespeare() else { return };
    let tokenizer = Tokenizer::from_dir(&dir).unwrap().unwrap();
    let expected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.join("expected.json")).unwrap()).unwrap();
    let text = expected["text"].as_str().unwrap();
    let file = std::fs::read(dir.join("expected.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&file).unwrap();
    let ids = file.tensor("ids").unwrap();
    let ids: Vec<u32> = ids.data().as_chunks().0.iter().map(|&b| i64::from_le_bytes(b) as u32).collect();
    assert_eq!(tokenizer.encode(text).unwrap(), ids);
    assert_eq!(tokenizer.decode(&ids), text);
    assert_eq!(tokenizer.bos(), None);
    assert!(tokenizer.describe().contains("characters from meta.pkl"));
    let error = tokenizer.encode("ROMEO§").unwrap_err();
    assert!(matches!(error, Error::UnknownCharacter { character: '§', position: 5, .. }), "{error}");
}
