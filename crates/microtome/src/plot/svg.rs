//! A small SVG writer: elements, attributes and escaped text, nothing else.

use std::borrow::Cow;
use std::fmt::{Display, Write};

use super::label::{Label, Tone};

/// Families tried in this order; the generic last one is what the PNG writer resolves.
pub(crate) const SANS: &str = "Inter, system-ui, -apple-system, 'Segoe UI', Ubuntu, sans-serif";
/// Families for tokens and code.
pub(crate) const MONO: &str = "ui-monospace, 'SF Mono', 'Cascadia Mono', Hack, monospace";

/// For signs that are not in every sans: those of the viewer, else a monospaced one.
const SIGNS: &str = "Inter, system-ui, monospace";

/// An SVG document being written.
#[derive(Debug)]
pub(crate) struct Svg {
    width: f64,
    height: f64,
    body: String,
}

/// Which part of a text its `x` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    /// The left end.
    Start,
    /// The middle.
    Middle,
    /// The right end.
    End,
}

/// How a text is set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TextStyle<'a> {
    /// Font size in pixels.
    pub(crate) size: f64,
    /// Fill colour.
    pub(crate) fill: &'a str,
    /// What `x` names.
    pub(crate) anchor: Anchor,
    /// The family stack; `None` keeps the sans of the document.
    pub(crate) family: Option<&'a str>,
    /// Weight; 400 is normal.
    pub(crate) weight: u16,
    /// Turned by this many degrees around its anchor.
    pub(crate) degrees: f64,
}

impl Svg {
    /// An empty document of this size in pixels.
    pub(crate) fn new(width: f64, height: f64) -> Svg {
        Svg { width, height, body: String::new() }
    }

    /// One element without content.
    pub(crate) fn element(&mut self, name: &str, attributes: &[(&str, &dyn Display)]) {
        self.open(name, attributes);
        self.body.truncate(self.body.len() - 2);
        self.body.push_str("/>\n");
    }

    /// An element that the caller closes with [`close`](Self::close).
    pub(crate) fn open(&mut self, name: &str, attributes: &[(&str, &dyn Display)]) {
        self.body.push('<');
        self.body.push_str(name);
        for (key, value) in attributes {
            let value = value.to_string();
            let _ = write!(self.body, " {key}=\"{}\"", escape(&value));
        }
        self.body.push_str(">\n");
    }

    /// Closes an element.
    pub(crate) fn close(&mut self, name: &str) {
        let _ = writeln!(self.body, "</{name}>");
    }

    /// A tooltip (inside an open element) for viewers that show one.
    pub(crate) fn tooltip(&mut self, text: &str) {
        let _ = writeln!(self.body, "<title>{}</title>", escape(text));
    }

    /// A filled rectangle.
    pub(crate) fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), radius: f64, fill: &str) {
        self.element(
            "rect",
            &[
                ("x", &px(x)),
                ("y", &px(y)),
                ("width", &px(width)),
                ("height", &px(height)),
                ("rx", &px(radius)),
                ("fill", &fill),
            ],
        );
    }

    /// A straight hairline.
    pub(crate) fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), stroke: &str, width: f64) {
        self.element(
            "line",
            &[
                ("x1", &px(x1)),
                ("y1", &px(y1)),
                ("x2", &px(x2)),
                ("y2", &px(y2)),
                ("stroke", &stroke),
                ("stroke-width", &px(width)),
            ],
        );
    }

    /// One line of text with its baseline at `y`.
    pub(crate) fn text(&mut self, at: (f64, f64), text: &str, style: TextStyle<'_>) {
        let pieces = [(text.to_owned(), Tone::Full)];
        self.pieces(at, &pieces, style);
    }

    /// A label whose faint pieces are drawn at lower opacity.
    pub(crate) fn label(&mut self, at: (f64, f64), label: &Label, style: TextStyle<'_>) {
        self.pieces(at, &label.pieces, style);
    }

    fn pieces(&mut self, (x, y): (f64, f64), pieces: &[(String, Tone)], style: TextStyle<'_>) {
        let _ = write!(
            self.body,
            // The fill stands in `color` so that the PNG writer can give text a stroke of its own ink.
            "<text x=\"{}\" y=\"{}\" font-size=\"{}\" color=\"{}\" fill=\"currentColor\"",
            px(x),
            px(y),
            px(style.size),
            escape(style.fill)
        );
        match style.anchor {
            Anchor::Start => {}
            Anchor::Middle => self.body.push_str(" text-anchor=\"middle\""),
            Anchor::End => self.body.push_str(" text-anchor=\"end\""),
        }
        if let Some(family) = style.family {
            let _ = write!(self.body, " font-family=\"{}\" class=\"mono\"", escape(family));
        } else if style.weight != 400 {
            let _ = write!(self.body, " font-weight=\"{}\" class=\"strong\"", style.weight);
        }
        if style.degrees != 0.0 {
            let _ = write!(self.body, " transform=\"rotate({} {} {})\"", px(style.degrees), px(x), px(y));
        }
        self.body.push('>');
        for (text, tone) in pieces {
            match tone {
                Tone::Full if style.family.is_none() => self.sans_runs(text),
                Tone::Full => self.body.push_str(&escape(text)),
                Tone::Faint => {
                    let _ = write!(
                        self.body,
                        "<tspan fill-opacity=\"0.55\" stroke-opacity=\"0.55\">{}</tspan>",
                        escape(text)
                    );
                }
            }
        }
        self.body.push_str("</text>\n");
    }

    /// Sans text, with signs that the PNG writer's sans lacks in a run of their own: it would take
    /// the whole line from its other font for the sake of one arrow.
    fn sans_runs(&mut self, text: &str) {
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let is_common = in_every_sans(first);
            let end = rest.find(|c| in_every_sans(c) != is_common).unwrap_or(rest.len());
            let run = escape(&rest[..end]);
            if is_common {
                self.body.push_str(&run);
            } else {
                let _ = write!(self.body, "<tspan font-family=\"{SIGNS}\" stroke=\"none\">{run}</tspan>");
            }
            rest = &rest[end..];
        }
    }

    /// The whole document; `title` names it for screen readers.
    pub(crate) fn finish(self, title: &str) -> String {
        let (width, height) = (px(self.width), px(self.height));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" role=\"img\" font-family=\"{SANS}\" \
             style=\"font-variant-numeric: tabular-nums\">\n<title>{}</title>\n{}</svg>\n",
            escape(title),
            self.body
        )
    }
}

/// Letters of the Latin, Greek and Cyrillic scripts and the usual typographic signs.
fn in_every_sans(c: char) -> bool {
    matches!(c, '\0'..='\u{36f}' | '\u{384}'..='\u{52f}') || "–—‘’“”•…€™−∞≤≥≈≠√∂∑∏∫".contains(c)
}

/// A coordinate with at most two decimals and no trailing zeros.
pub(crate) fn px(value: f64) -> String {
    debug_assert!(value.is_finite(), "a coordinate must be finite");
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Text safe inside an element or a double-quoted attribute; characters that XML cannot hold
/// become `�`.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c >= ' ' && !matches!(c, '&' | '<' | '>' | '"' | '\u{fffe}' | '\u{ffff}');
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\r' | '\t' => out.push(' '),
            c if is_plain(c) => out.push(c),
            _ => out.push('\u{fffd}'),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use resvg::usvg::roxmltree::Document;

    #[test]
    fn any_text_survives_the_trip_through_xml() {
        for text in ["a < b & c > \"d\" 'e'", "]]>", "<script>", "·⏎−→ é 日本", "&amp;"] {
            let mut svg = Svg::new(10.0, 10.0);
            let style = TextStyle {
                size: 10.0,
                fill: "#000",
                anchor: Anchor::Start,
                family: None,
                weight: 400,
                degrees: 0.0,
            };
            svg.text((0.0, 0.0), text, style);
            let xml = svg.finish(text);
            let document = Document::parse(&xml).expect("well-formed");
            let drawn = document.descendants().filter(|n| n.has_tag_name("text") || n.has_tag_name("title"));
            for node in drawn {
                let inside: String =
                    node.descendants().filter(|n| n.is_text()).filter_map(|n| n.text()).collect();
                assert_eq!(inside, text);
            }
        }
    }

    #[test]
    fn characters_that_xml_forbids_are_replaced() {
        let all: String = (0u32..0x11000).filter_map(char::from_u32).collect();
        let xml = Svg::new(1.0, 1.0).finish(&all);
        Document::parse(&xml).expect("well-formed");
    }

    #[test]
    fn coordinates_are_short() {
        assert_eq!([0.0, -0.001, 1.5, 2.0, 10.129].map(px), ["0", "0", "1.5", "2", "10.13"]);
    }
}
