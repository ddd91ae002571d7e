//! Files of prompt pairs.
//!
//! - JSON: `{"prompts": [{"clean", "corrupt", "answers": [..], "wrong_answers": [..]}]}`
//! - CSV of the MIB and EAP benchmarks: columns `clean, corrupted, correct_idx, incorrect_idx` (token
//!   ids, one or several separated by spaces or as a list), or `answer, wrong_answer` as text.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::experiment::Prompt;
use crate::text_model::{Answer, Text, TextModel};

/// The prompts of a file, CSV where its name ends so, else JSON.
///
/// # Errors
/// [`Error::BadPairs`] naming the file, the line, and what was expected.
pub fn read_pairs(path: &Path) -> Result<Vec<Prompt>> {
    let bad = |reason: String| Error::BadPairs { path: path.display().to_string(), reason };
    let text = std::fs::read_to_string(path).map_err(|e| bad(e.to_string()))?;
    let is_csv = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
    let prompts = if is_csv { from_csv(&text) } else { from_json(&text) }.map_err(bad)?;
    match prompts.is_empty() {
        true => Err(bad("it holds no prompts".to_owned())),
        false => Ok(prompts),
    }
}

/// The prompts as a JSON file, as [`read_pairs`] reads it.
pub fn pairs_as_json(prompts: &[Prompt]) -> String {
    #[derive(Serialize)]
    struct File<'a> {
        prompts: &'a [Prompt],
    }
    serde_json::to_string_pretty(&File { prompts }).expect("prompts are plain data") + "\n"
}

/// The prompts as a CSV file of the MIB and EAP benchmarks: answers by the ids they have in the model's vocabulary.
///
/// # Errors
/// [`Error::NotForCsv`] for a prompt of token ids, or without a corrupt one; an answer that is not one token.
pub fn pairs_as_csv(prompts: &[Prompt], model: &TextModel) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut write = |fields: [&str; 4]| writer.write_record(fields).expect("memory takes every field");
    write(["clean", "corrupted", "correct_idx", "incorrect_idx"]);
    for (index, prompt) in prompts.iter().enumerate() {
        let text_of = |text: Option<&Text>| match text {
            Some(Text::Text(text)) => Ok(text.clone()),
            Some(Text::Ids(_)) => Err(Error::NotForCsv { number: index + 1, what: "a list of token ids" }),
            None => Err(Error::NotForCsv { number: index + 1, what: "without a corrupt one" }),
        };
        let ids_of = |answers: &[Answer], role: &'static str| -> Result<String> {
            let ids: Vec<String> = answers
                .iter()
                .map(|answer| Ok(model.answer(answer, role)?.to_string()))
                .collect::<Result<_>>()?;
            Ok(match &ids[..] {
                [one] => one.clone(),
                several => format!("[{}]", several.join(", ")),
            })
        };
        let (clean, corrupt) = (text_of(Some(&prompt.clean))?, text_of(prompt.corrupt.as_ref())?);
        let right = ids_of(&prompt.answers, "target")?;
        let wrong = ids_of(&prompt.wrong_answers, "wrong answer")?;
        write([clean.as_str(), corrupt.as_str(), right.as_str(), wrong.as_str()]);
    }
    let bytes = writer.into_inner().expect("memory takes every byte");
    Ok(String::from_utf8(bytes).expect("fields are text"))
}

fn from_json(text: &str) -> std::result::Result<Vec<Prompt>, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        prompts: Vec<Prompt>,
    }
    let hint =
        r#"expected {"prompts": [{"clean": .., "corrupt": .., "answers": [..], "wrong_answers": [..]}]}"#;
    serde_json::from_str::<File>(text).map(|file| file.prompts).map_err(|e| format!("{e}; {hint}"))
}

fn from_csv(text: &str) -> std::result::Result<Vec<Prompt>, String> {
    // Spreadsheets put a byte-order mark in front.
    let text = text.trim_start_matches('\u{feff}');
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let headers = reader.headers().map_err(|e| e.to_string())?.clone();
    let column = |names: &[&str]| headers.iter().position(|header| names.contains(&header.trim()));
    let clean = column(&["clean"]).ok_or_else(|| {
        let found: Vec<&str> = headers.iter().collect();
        format!("no column `clean`; found {}", found.join(", "))
    })?;
    let corrupt = column(&["corrupted", "corrupt"]);
    let right_ids = column(&["correct_idx"]);
    let wrong_ids = column(&["incorrect_idx"]);
    let right = column(&["answer", "answers"]);
    let wrong = column(&["wrong_answer", "wrong_answers"]);
    let mut prompts = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| e.to_string())?;
        let line = record.position().map_or(0, csv::Position::line);
        let field = |column: Option<usize>| column.and_then(|c| record.get(c)).filter(|f| !f.is_empty());
        let answers = |ids: Option<usize>,
                       texts: Option<usize>|
         -> std::result::Result<Vec<Answer>, String> {
            match (field(ids), field(texts)) {
                (Some(ids), _) => ids
                    .split(|c: char| c.is_whitespace() || "[],;".contains(c))
                    .filter(|part| !part.is_empty())
                    .map(|part| {
                        let id = part.parse().map_err(|_| format!("line {line}: `{part}` is no token id"))?;
                        Ok(Answer::Id(id))
                    })
                    .collect(),
                (None, Some(text)) => Ok(vec![Answer::Text(text.to_owned())]),
                (None, None) => Ok(vec![]),
            }
        };
        prompts.push(Prompt {
            clean: Text::Text(record.get(clean).unwrap_or_default().to_owned()),
            corrupt: field(corrupt).map(|text| Text::Text(text.to_owned())),
            answers: answers(right_ids, right)?,
            wrong_answers: answers(wrong_ids, wrong)?,
        });
    }
    Ok(prompts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_give_the_same_prompts() {
        let json = r#"{"prompts":[{"clean":"a, b","corrupt":"c","answers":[5],"wrong_answers":[6,7]}]}"#;
        let csv = "clean,corrupted,correct_idx,incorrect_idx\n\"a, b\",c,5,\"[6, 7]\"\n";
        assert_eq!(from_json(json).unwrap(), from_csv(csv).unwrap());
        assert_eq!(from_json(json).unwrap(), from_csv(&format!("\u{feff}{csv}")).unwrap());
    }

    #[test]
    fn a_broken_file_is_an_error_that_says_what_was_expected() {
        assert!(from_json("{}").unwrap_err().contains("wrong_answers"));
        assert!(from_json(r#"{"prompts":[{"clan":"a"}]}"#).unwrap_err().contains("clan"));
        assert!(from_csv("text\nx\n").unwrap_err().contains("no column `clean`"));
        assert!(from_csv("clean,correct_idx\n\"two\nlines\",1\nx,Mary\n").unwrap_err().contains("line 4"));
    }
}
