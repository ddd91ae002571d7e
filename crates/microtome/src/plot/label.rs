//! Tick labels that may be tokens: visible spaces and newlines, nothing that breaks a picture or a
//! terminal, and an estimate of how wide they are.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// A label ready to draw: pieces of text, some of them faint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Label {
    /// Text and whether it stands for something invisible.
    pub(crate) pieces: Vec<(String, Tone)>,
}

/// How strongly a piece of a label is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// The text itself.
    Full,
    /// A sign for a space, a newline or another invisible character.
    Faint,
}

impl Label {
    /// Makes the invisible visible: leading spaces `·`, newline `⏎`, tab `⇥`, other controls and
    /// zero-width characters as their code.
    pub(crate) fn of(raw: &str) -> Label {
        let mut label = Label::default();
        let mut is_leading = true;
        for c in raw.chars() {
            is_leading &= c == ' ';
            match c {
                ' ' if is_leading => label.push("·", Tone::Faint),
                '\n' => label.push("⏎", Tone::Faint),
                '\r' => label.push("\\r", Tone::Faint),
                '\t' => label.push("⇥", Tone::Faint),
                '\u{fffe}' | '\u{ffff}' => label.push("\u{fffd}", Tone::Faint),
                '\u{a0}' | '\u{ad}' => label.push(&format!("\\x{:02x}", c as u32), Tone::Faint),
                c if c.is_control() => label.push(&format!("\\x{:02x}", c as u32), Tone::Faint),
                // A combining mark at the start has nothing to sit on.
                c if c.width() == Some(0) && label.pieces.is_empty() && !is_format(c) => {
                    label.push(&format!("◌{c}"), Tone::Full);
                }
                c if is_format(c) => label.push(&format!("\\u{{{:x}}}", c as u32), Tone::Faint),
                c => label.push(c.encode_utf8(&mut [0; 4]), Tone::Full),
            }
        }
        label
    }

    fn push(&mut self, text: &str, tone: Tone) {
        match self.pieces.last_mut() {
            Some((last, last_tone)) if *last_tone == tone => last.push_str(text),
            _ => self.pieces.push((text.to_owned(), tone)),
        }
    }

    /// The label as one string.
    pub(crate) fn text(&self) -> String {
        self.pieces.iter().map(|(text, _)| text.as_str()).collect()
    }

    /// Columns it takes in a terminal.
    pub(crate) fn columns(&self) -> usize {
        self.pieces.iter().map(|(text, _)| text.width()).sum()
    }

    /// Cut to at most `columns`, ending in `…` where something was lost.
    pub(crate) fn shortened(&self, columns: usize) -> Label {
        if self.columns() <= columns {
            return self.clone();
        }
        let mut label = Label::default();
        let mut used = 0;
        'pieces: for (text, tone) in &self.pieces {
            for c in text.chars() {
                let width = c.width().unwrap_or(0);
                if used + width + 1 > columns {
                    break 'pieces;
                }
                used += width;
                label.push(c.encode_utf8(&mut [0; 4]), *tone);
            }
        }
        if columns > 0 {
            label.push("…", Tone::Faint);
        }
        label
    }
}

/// Invisible characters that change how their neighbours are drawn.
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Whether labels count on: `0 1 2`, `L0 L1`, `H11`. Such labels can be thinned without loss;
/// anything else is a name or a token and is set in monospace.
pub(crate) fn are_numbered(labels: &[String]) -> bool {
    labels.iter().all(|label| {
        let digits = label.trim_start_matches(|c: char| c.is_ascii_alphabetic());
        label.len() - digits.len() <= 2 && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
    })
}

/// Estimated width of proportional text, in pixels: generous, since viewers differ in their font.
pub(crate) fn sans_width(text: &str, size: f64) -> f64 {
    let ems: f64 = text
        .chars()
        .map(|c| match c {
            'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | '·' => 0.29,
            ' ' | 'f' | 'r' | 't' | '(' | ')' | '[' | ']' | '/' | '-' => 0.37,
            'm' | 'w' | 'M' | 'W' | '@' | '%' => 0.87,
            'A'..='Z' => 0.68,
            '0'..='9' | '+' | '−' | '=' | '<' | '>' => 0.62,
            c if c.width() == Some(2) => 1.1,
            c if c.width() == Some(0) => 0.0,
            _ => 0.575,
        })
        .sum();
    ems * size
}

/// Width of monospaced text, in pixels.
pub(crate) fn mono_width(text: &str, size: f64) -> f64 {
    text.width() as f64 * 0.605 * size
}

/// Breaks text at spaces into lines for which `fits` holds, breaking inside a word only where the
/// word alone does not fit.
pub(crate) fn wrap(text: &str, fits: impl Fn(&str) -> bool) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let candidate = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
        if fits(&candidate) {
            line = candidate;
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        for c in word.chars() {
            line.push(c);
            if !fits(&line) && line.chars().count() > 1 {
                line.pop();
                lines.push(std::mem::replace(&mut line, c.to_string()));
            }
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_characters_become_visible_and_faint() {
        let label = Label::of("  John\n");
        let pieces: Vec<(&str, Tone)> = label.pieces.iter().map(|(t, s)| (t.as_str(), *s)).collect();
        assert_eq!(pieces, [("··", Tone::Faint), ("John", Tone::Full), ("⏎", Tone::Faint)]);
        assert_eq!(Label::of("L4 MLP").text(), "L4 MLP");
        assert_eq!(Label::of("   ").text(), "···");
    }

    #[test]
    fn no_control_or_formatting_character_survives() {
        for code in (0u32..0x300).chain(0x2000..0x2100).chain(0xfff0..0x10010) {
            let Some(c) = char::from_u32(code) else { continue };
            let text = Label::of(&format!("a{c}b")).text();
            assert!(!text.chars().any(|c| c.is_control() || is_format(c)), "{code:x}");
        }
        assert_eq!(Label::of("\u{1b}[31m").text(), "\\x1b[31m");
    }

    #[test]
    fn shortened_labels_fit_and_say_that_they_were_cut() {
        for columns in 0..12 {
            for raw in ["internationalization", "日本語日本語", " a", "", "\n\n\n\n\n\n"] {
                let label = Label::of(raw);
                let short = label.shortened(columns);
                assert!(short.columns() <= columns);
                assert!(short == label || columns == 0 || short.text().ends_with('…'));
            }
        }
    }

    #[test]
    fn numbered_labels_are_told_from_tokens() {
        let numbered =
            |labels: &[&str]| are_numbered(&labels.iter().map(|s| s.to_string()).collect::<Vec<_>>());
        assert!(numbered(&["L0", "L1", "L11"]));
        assert!(numbered(&["0", "1"]));
        assert!(!numbered(&["When", " Mary"]));
        assert!(!numbered(&["MLP0", ""]));
    }

    #[test]
    fn wrapping_keeps_every_word_and_every_line_fits() {
        let text = "the quick brown fox extraordinarily-long-word-without-a-break jumps";
        let lines = wrap(text, |line| line.len() <= 12);
        assert!(lines.iter().all(|line| line.len() <= 12));
        assert_eq!(lines.concat().replace(' ', ""), text.replace(' ', ""));
    }
}
