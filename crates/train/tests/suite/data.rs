//! Text to windows.

use microtome_train::{
    BpeConfig, CorpusConfig, Data, DataConfig, Documents, Error, Part, Texts, Vocabulary, Windows,
};

use crate::toy::text;

/// A vocabulary by way of its file, as a run has it.
fn vocabulary(json: &str) -> Vocabulary {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    std::fs::write(&path, json).unwrap();
    Vocabulary::read(&path).unwrap()
}

fn characters(text: &str) -> Vocabulary {
    vocabulary(&Vocabulary::characters(std::iter::once(text.to_owned()), Documents::One))
}

fn bpe(texts: &Texts, vocab: usize) -> Vocabulary {
    vocabulary(&Vocabulary::bpe(texts.iter(), BpeConfig { vocab, min_frequency: 2 }, "a test").unwrap())
}

#[test]
fn every_character_is_a_token_and_others_are_refused() {
    let text = "héllo\n\"wörld\" \\ \u{1f600}";
    let vocabulary = characters(text);
    let ids = vocabulary.encode(text).unwrap();
    assert_eq!(ids.len(), text.chars().count());
    // The table, and the file as others read it.
    assert_eq!(ids, vocabulary.tokenizer().encode(text).unwrap());
    assert_eq!(vocabulary.tokenizer().decode(&ids), text);
    let message = vocabulary.encode("hllp").unwrap_err().to_string();
    assert!(message.contains('p'), "{message}");
    let read_back = vocabulary.tokenizer().encode("hllp").unwrap_err().to_string();
    assert!(read_back.contains("'p'") || read_back.contains("`p`"), "{read_back}");
    assert_eq!((vocabulary.end_of_text(), vocabulary.tokenizer().bos()), (None, None));
}

#[test]
fn characters_of_documents_have_the_mark_between_them() {
    let texts = ["ab", "bc"].map(str::to_owned);
    let vocabulary = vocabulary(&Vocabulary::characters(texts.into_iter(), Documents::Apart));
    assert_eq!(vocabulary.size(), 4);
    assert_eq!(vocabulary.encode("ab<|endoftext|>c").unwrap(), [0, 1, 3, 2]);
    assert_eq!(vocabulary.tokenizer().encode("ab<|endoftext|>c").unwrap(), [0, 1, 3, 2]);
    assert_eq!(vocabulary.tokenizer().bos(), Some(3));
}

#[test]
fn byte_pairs_have_the_size_asked_for_and_give_every_text_back() {
    let texts = Texts::File(text(500));
    let vocabulary = bpe(&texts, 290);
    assert_eq!(vocabulary.size(), 290);
    assert_eq!(vocabulary.tokenizer().bos(), vocabulary.end_of_text());
    for text in ["the cat sat", " \n\t  mixed   spaces\r\n", "naïve \u{1f600} 12345", ""] {
        let ids = vocabulary.encode(text).unwrap();
        assert_eq!(vocabulary.tokenizer().decode(&ids), text);
    }
    assert!(vocabulary.encode("the cat sat on the mat.").unwrap().len() < 12);
    // The same text gives the same vocabulary.
    assert_eq!(vocabulary.json(), bpe(&texts, 290).json());
}

#[test]
fn byte_pairs_end_where_none_is_frequent_enough() {
    let settings = BpeConfig { vocab: 5000, min_frequency: 3 };
    let text = "ab ab ab cd cd".to_owned();
    let vocabulary = vocabulary(&Vocabulary::bpe(std::iter::once(text), settings, "a test").unwrap());
    // Bytes, the mark, and `ab`; ` ab` and ` cd` occur twice.
    assert_eq!(vocabulary.size(), 258);
    assert_eq!(vocabulary.encode("ab").unwrap().len(), 1);
}

#[test]
fn a_long_text_is_cut_into_the_same_tokens_as_in_one_piece() {
    let vocabulary = bpe(&Texts::File(text(500)), 290);
    // Many times the length at which texts are cut.
    let long = text(30_000).replace("we saw", "we  saw'll don't\u{a0}see 1 2 3");
    assert!(long.len() > 400_000);
    assert_eq!(vocabulary.encode(&long).unwrap(), vocabulary.tokenizer().encode(&long).unwrap());
}

fn data(config: &DataConfig, n_ctx: usize) -> Result<(Data, Vocabulary), Box<Error>> {
    let texts = match config.corpus {
        Some(corpus) => Texts::Corpus(corpus),
        None => Texts::File(text(300)),
    };
    let vocabulary = match config.corpus {
        Some(_) => vocabulary(&Vocabulary::characters(texts.iter(), Documents::Apart)),
        None => characters(&text(300)),
    };
    Ok((Data::read(&texts, &vocabulary, config, n_ctx, 1)?, vocabulary))
}

#[test]
fn training_and_validation_share_no_token() {
    let (data, vocabulary) = data(&DataConfig::default(), 16).unwrap();
    let all = vocabulary.encode(&text(300)).unwrap();
    let cut = data.tokens(Part::Training);
    assert_eq!(cut + data.tokens(Part::Validation), all.len());
    assert_eq!(cut, (all.len() as f64 * 0.9) as usize);
    let is_in = |window: &[u32], part: &[u32]| part.windows(window.len()).any(|w| w == window);
    for step in 0..20 {
        for window in data.batch(step, 0, 4) {
            assert!(window.len() == 17 && is_in(&window, &all[..cut]));
        }
    }
    assert!(data.fixed(Part::Validation, 50).iter().all(|window| is_in(window, &all[cut..])));
    let whole = data.whole(Part::Validation, usize::MAX);
    let read: Vec<u32> = whole.iter().flat_map(|window| window[..16].to_vec()).collect();
    assert_eq!(read, all[cut..cut + read.len()]);
    assert!(all.len() - cut - read.len() <= 16);
}

#[test]
fn a_batch_depends_on_seed_and_step_and_on_nothing_else() {
    let (data, _) = data(&DataConfig { repeats: Some(0.3), ..DataConfig::default() }, 16).unwrap();
    let batch = data.batch(7, 0, 6);
    data.batch(3, 0, 6);
    assert_eq!(batch, data.batch(7, 0, 6));
    assert_ne!(batch, data.batch(8, 0, 6));
    assert_ne!(batch, data.batch(7, 1, 6));
}

#[test]
fn windows_begin_at_documents_right_after_their_mark_or_anywhere() {
    let corpus = Some(CorpusConfig { seed: 1, documents: 400, favour: None });
    let config = DataConfig { corpus, windows: Windows::Documents, ..DataConfig::default() };
    let (data, vocabulary) = data(&config, 8).unwrap();
    let end = vocabulary.end_of_text().unwrap();
    let windows: Vec<Vec<u32>> = (0..100).flat_map(|step| data.batch(step, 0, 20)).collect();
    let at_mark = windows.iter().filter(|window| window[0] == end).count() as f64 / 2000.0;
    // 70 %, and a little from those anywhere; the standard error is 1 %.
    assert!((0.66..0.76).contains(&at_mark), "{at_mark}");
    assert_eq!(data.hash(), self::data(&config, 8).unwrap().0.hash());
}

#[test]
fn repeated_windows_are_a_mark_and_a_sequence_again_and_again() {
    let data = Data::random(50, Some(3), 20, 9);
    for window in data.batch(0, 0, 50) {
        assert_eq!((window.len(), window[0]), (21, 3));
        let rest = &window[1..];
        assert!(!rest.contains(&3));
        let is_period = |p: &usize| rest[*p..].iter().zip(rest).all(|(a, b)| a == b);
        assert!((4..=10).any(|p| is_period(&p)), "{window:?}");
    }
    let fixed = data.fixed_repeats(3);
    assert_eq!(fixed, data.fixed_repeats(3));
    assert!(fixed.iter().all(|window| window[1..11] == window[11..]));
}

#[test]
fn a_text_shorter_than_a_context_is_refused_with_both_lengths() {
    let error = data(&DataConfig::default(), 5000).unwrap_err();
    let n = text(300).chars().count();
    let part = (n as f64 * 0.9) as usize;
    assert!(error.to_string().contains(&format!("has {part} tokens; a window takes 5001")), "{error}");
    // The validation part is the shorter one.
    let error = data(&DataConfig::default(), n / 9 + 10).unwrap_err();
    assert!(error.to_string().contains("validation part"), "{error}");
}

#[test]
fn windows_at_documents_need_documents() {
    let config = DataConfig { windows: Windows::Documents, ..DataConfig::default() };
    let error = data(&config, 8).unwrap_err();
    assert!(matches!(*error, Error::NoDocuments { .. }), "{error}");
}
