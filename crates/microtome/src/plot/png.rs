//! SVG to PNG with two embedded fonts, the same pixels on every machine.
//!
//! Fonts: Ubuntu Light as sans-serif and Hack as monospace, both from `epaint_default_fonts`; the
//! fonts of the system are never asked. `⏎` is drawn as `↵`; other signs that neither has are drawn as
//! an empty box.
//! Ubuntu comes only in its light weight, so text gets a thin stroke of its own colour, and bold
//! text a thicker one; the SVG itself is left as it is.

use std::sync::{Arc, LazyLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

use super::PlotError;

/// The most pixels of one picture: 256 MiB of RGBA.
pub const MAX_PIXELS: u64 = 1 << 26;

/// Rasterises an SVG; `scale` 1 makes one pixel of each SVG unit, 2 suits print and dense screens.
///
/// # Errors
///
/// [`PlotError::PngScale`] where the scale is not positive and finite, [`PlotError::Svg`] where the
/// text is not an SVG, [`PlotError::PngTooLarge`] over [`MAX_PIXELS`], [`PlotError::PngEncode`]
/// where the encoder fails.
pub fn svg_to_png(svg: &str, scale: f32) -> Result<Vec<u8>, PlotError> {
    if !scale.is_finite() || scale <= 0.0 {
        return Err(PlotError::PngScale { scale });
    }
    // Neither font has `⏎`; Hack has the other sign for the same key.
    let svg = svg.replace('⏎', "↵");
    let tree = Tree::from_str(&svg, &options())?;
    let side = |length: f32| (f64::from(length) * f64::from(scale)).ceil().max(1.0);
    let (width, height) = (side(tree.size().width()), side(tree.size().height()));
    let too_large = || PlotError::PngTooLarge { width, height, max_pixels: MAX_PIXELS, scale };
    if width * height > MAX_PIXELS as f64 {
        return Err(too_large());
    }
    let mut pixmap = Pixmap::new(width as u32, height as u32).ok_or_else(too_large)?;
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixmap.as_mut());
    pixmap.encode_png().map_err(|error| PlotError::PngEncode { reason: error.to_string() })
}

fn options() -> Options<'static> {
    static FONTS: LazyLock<Arc<fontdb::Database>> = LazyLock::new(|| Arc::new(fonts()));
    let fontdb = Arc::clone(&FONTS);
    let sans = fontdb.family_name(&fontdb::Family::SansSerif).to_owned();
    Options { fontdb, font_family: sans, style_sheet: Some(STROKES.to_owned()), ..Options::default() }
}

/// Weights made by strokes: the fill of a text is its `color`.
const STROKES: &str = "\
    text { stroke: currentColor; stroke-width: 0.018em; stroke-linejoin: round }\
    text.strong { stroke-width: 0.048em }\
    text.mono { stroke: none }";

fn fonts() -> fontdb::Database {
    let mut database = fontdb::Database::new();
    let mut load = |data: &'static [u8]| {
        let ids = database.load_font_source(fontdb::Source::Binary(Arc::new(data)));
        let face = ids.first().and_then(|id| database.face(*id));
        face.and_then(|face| face.families.first()).map(|(name, _)| name.clone()).unwrap_or_default()
    };
    let sans = load(epaint_default_fonts::UBUNTU_LIGHT);
    let mono = load(epaint_default_fonts::HACK_REGULAR);
    database.set_sans_serif_family(&sans);
    database.set_serif_family(&sans);
    database.set_cursive_family(&sans);
    database.set_fantasy_family(&sans);
    database.set_monospace_family(mono);
    database
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(svg: &str, scale: f32) -> Pixmap {
        let png = svg_to_png(svg, scale).expect("a png");
        Pixmap::decode_png(&png).expect("decodes")
    }

    /// An SVG of 100 x 30 with one text on white.
    fn with_text(text: &str, family: &str) -> String {
        let text = crate::plot::svg::escape(text);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"100\" height=\"30\" font-family=\"{family}\">\
             <rect width=\"100\" height=\"30\" fill=\"#fff\"/><text x=\"5\" y=\"20\">{text}</text></svg>"
        )
    }

    fn dark_pixels(picture: &Pixmap) -> usize {
        picture.pixels().iter().filter(|p| p.red() < 128).count()
    }

    #[test]
    fn the_size_is_the_svg_times_the_scale() {
        for (scale, size) in [(1.0, (100, 30)), (2.0, (200, 60)), (0.5, (50, 15)), (0.001, (1, 1))] {
            let picture = render(&with_text("x", crate::plot::svg::SANS), scale);
            assert_eq!((picture.width(), picture.height()), size);
        }
    }

    #[test]
    fn text_appears_in_both_families_and_they_differ() {
        let sans = render(&with_text("Wil", crate::plot::svg::SANS), 1.0);
        let mono = render(&with_text("Wil", crate::plot::svg::MONO), 1.0);
        assert!(dark_pixels(&sans) > 10 && dark_pixels(&mono) > 10);
        assert_ne!(sans.data(), mono.data());
    }

    #[test]
    fn the_signs_that_labels_use_have_glyphs_in_an_embedded_font() {
        let database = fonts();
        for c in "·↵⇥…−→←↑↓∞×±≤≥≈Δ∂√µ°éßøñЖяλ▀▌░◌".chars() {
            let has = database.faces().any(|face| {
                let covers = |data: &[u8], _| covers(data, c);
                database.with_face_data(face.id, covers).unwrap_or(false)
            });
            assert!(has, "{c}");
        }
    }

    /// Whether drawing the character in this font alone differs from drawing one that no font has.
    fn covers(data: &[u8], c: char) -> bool {
        let mut database = fontdb::Database::new();
        database.load_font_data(data.to_vec());
        let name =
            database.faces().next().and_then(|f| f.families.first()).map(|f| f.0.clone()).unwrap_or_default();
        let draw = |c: char| {
            let options = Options { fontdb: Arc::new(database.clone()), ..Options::default() };
            let tree = Tree::from_str(&with_text(&c.to_string(), &name), &options).expect("an svg");
            let mut pixmap = Pixmap::new(100, 30).expect("a pixmap");
            resvg::render(&tree, Transform::identity(), &mut pixmap.as_mut());
            pixmap.take()
        };
        c == ' ' || draw(c) != draw('\u{e123}')
    }

    #[test]
    fn signs_without_a_glyph_do_not_break_the_text_around_them() {
        for text in ["日本", "a😀b", "\u{e000}", "مرحبا", "e\u{301}", "\u{1f468}\u{200d}\u{1f469}", "ก็"]
        {
            let picture = render(&with_text(&format!("{text} end"), crate::plot::svg::MONO), 1.0);
            assert!(dark_pixels(&picture) > 10, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_drawn_is_an_error_that_says_why() {
        let svg = with_text("x", "sans-serif");
        for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(matches!(svg_to_png(&svg, scale), Err(PlotError::PngScale { .. })));
        }
        assert!(matches!(svg_to_png("<svg", 1.0), Err(PlotError::Svg { .. })));
        let error = svg_to_png(&svg, 1000.0).expect_err("three thousand million pixels");
        assert!(error.to_string().contains("give a smaller scale than `1000`"), "{error}");
    }

    #[test]
    fn the_same_svg_is_the_same_png() {
        let svg = with_text("·John → 0.12", crate::plot::svg::MONO);
        assert_eq!(svg_to_png(&svg, 2.0).expect("a png"), svg_to_png(&svg, 2.0).expect("a png"));
    }
}
