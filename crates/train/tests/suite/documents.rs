//! The guide names every setting, and its configurations are ones.

use std::path::Path;

use microtome_train::Config;

fn guide() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/training.md");
    std::fs::read_to_string(path).unwrap()
}

/// Keys of a table and of the tables in it.
fn keys(table: &toml::Table, found: &mut Vec<String>) {
    for (key, value) in table {
        found.push(key.clone());
        if let toml::Value::Table(inner) = value {
            keys(inner, found);
        }
    }
}

#[test]
fn the_guide_has_every_setting() {
    // The example with what it has in comments.
    let uncommented: String = (Config::EXAMPLE.lines())
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.split_whitespace().nth(1) == Some("=") => format!("{}\n", rest.trim()),
            _ => format!("{line}\n"),
        })
        .filter(|line| !line.starts_with("tokenizer"))
        .collect();
    let mut found = Vec::new();
    keys(&uncommented.parse().unwrap_or_else(|e| panic!("{e}\n{uncommented}")), &mut found);
    assert!(found.len() > 40 && found.contains(&"init_from".to_owned()), "{found:?}");
    let guide = guide();
    for key in found.iter().map(String::as_str).chain(["tokenizer", "vocab", "min_frequency"]) {
        let is_there = [format!("`{key}`"), format!("`[{key}]`"), format!(" {key}"), format!("{{ {key}")]
            .iter()
            .any(|form| guide.contains(form.as_str()));
        assert!(is_there, "docs/training.md says nothing of `{key}`");
    }
}

#[test]
fn configurations_in_the_guide_are_ones() {
    let guide = guide();
    let blocks: Vec<&str> =
        guide.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(blocks.len(), 1);
    for block in blocks {
        Config::parse(block, Path::new("guide")).unwrap().resolved().unwrap();
    }
}
