//! Links between Markdown files: every relative one leads to a file of the repository, and its
//! `#fragment` to a heading there.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{Event, Parser, Tag, TagEnd};

/// What is wrong with the links of a Markdown file; `path` is relative to `root`.
pub fn broken(root: &Path, path: &Path, text: &str) -> Vec<String> {
    targets(text).into_iter().filter_map(|target| problem(root, path, text, &target)).collect()
}

/// The destinations of all links and images.
fn targets(text: &str) -> Vec<String> {
    let of = |event| match event {
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => Some(dest_url.to_string()),
        _ => None,
    };
    Parser::new(text).filter_map(of).collect()
}

fn problem(root: &Path, path: &Path, text: &str, target: &str) -> Option<String> {
    let is_elsewhere = target.split_once(':').is_some_and(|(scheme, _)| !scheme.contains(['/', '#']));
    if is_elsewhere {
        return None;
    }
    let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
    let in_other = (!file.is_empty()).then(|| within(path.parent().unwrap_or(Path::new("")), file));
    let linked = match in_other {
        None => text.to_owned(),
        Some(None) => return Some(format!("link `{target}` leads out of the repository")),
        Some(Some(other)) if !root.join(&other).exists() => {
            return Some(format!("link `{target}` leads nowhere"));
        }
        Some(Some(other)) => std::fs::read_to_string(root.join(other)).unwrap_or_default(),
    };
    (!fragment.is_empty() && !anchors(&linked).contains(fragment))
        .then(|| format!("link `{target}`: there is no heading `#{fragment}`"))
}

/// `target` seen from `dir`, both relative to the root; `None` where it leaves the root.
fn within(dir: &Path, target: &str) -> Option<PathBuf> {
    let mut parts: Vec<Component> = Vec::new();
    let joined = dir.join(target);
    for part in joined.components() {
        match part {
            Component::Normal(_) => parts.push(part),
            Component::CurDir => {}
            Component::ParentDir => drop(parts.pop()?),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.iter().collect())
}

/// The fragments that headings can be linked by, as code hosts make them: lower case, punctuation
/// dropped, spaces as hyphens.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut heading: Option<String> = None;
    for event in Parser::new(text) {
        match (event, &mut heading) {
            (Event::Start(Tag::Heading { .. }), _) => heading = Some(String::new()),
            (Event::Text(text) | Event::Code(text), Some(so_far)) => so_far.push_str(&text),
            (Event::End(TagEnd::Heading(_)), so_far) => {
                let words = so_far.take().unwrap_or_default().to_lowercase();
                let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
                found.insert(kept.map(|c| if c == ' ' { '-' } else { c }).collect());
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_and_code_is_not() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("docs")).unwrap();
        std::fs::write(home.path().join("README.md"), "# The first `one`\n").unwrap();
        let text = "# Here\n[a](../README.md) [b](../README.md#the-first-one) [c](#here) [d][r]\n\
                    [e](https://example.org/x) `[f](gone.md)`\n\n```\n[g](gone.md)\n```\n\n[r]: ../README.md\n";
        assert_eq!(broken(home.path(), Path::new("docs/a.md"), text), [""; 0]);
        let text = "[a](gone.md) [b](../README.md#none) [c](#none) [d](../../x.md)";
        let found = broken(home.path(), Path::new("docs/a.md"), text);
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found[3].contains("out of the repository"), "{found:?}");
    }
}
