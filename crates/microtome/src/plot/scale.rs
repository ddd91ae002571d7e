//! Colour scales: red - ground - blue for effects, ground - teal for magnitudes.
//!
//! Both are built in OKLab (Ottosson 2020), where equal steps look equally large. The two arms of
//! the diverging scale have the same lightness at the same distance from zero, so that +x and -x
//! look equally strong, and differ in hue along the blue-red line, which the common forms of
//! colour blindness leave apart. The sequential scale falls steadily in lightness.

/// An sRGB colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rgb {
    /// Red, 0 to 255.
    pub r: u8,
    /// Green, 0 to 255.
    pub g: u8,
    /// Blue, 0 to 255.
    pub b: u8,
}

/// What the colours of a heatmap mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleKind {
    /// Signed effects: symmetric around 0, blue positive, red negative.
    Diverging,
    /// Magnitudes and probabilities: from 0 (ground) to dark teal.
    Sequential,
}

/// A map from values to colours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColorScale {
    kind: ScaleKind,
    lo: f64,
    hi: f64,
}

/// The colour of zero.
pub const ZERO: Rgb = Rgb { r: 0xf0, g: 0xef, b: 0xeb };
/// The colour of a cell without a value, where cells are too small to be hatched.
pub const MISSING: Rgb = Rgb { r: 0xc4, g: 0xc1, b: 0xb9 };

const INK: Rgb = Rgb { r: 0x1f, g: 0x1e, b: 0x1b };
const WHITE: Rgb = Rgb { r: 0xff, g: 0xff, b: 0xff };

impl Rgb {
    /// `#rrggbb`.
    pub fn hex(self) -> String {
        format!("#{:02x}{:02x}{:02x}", self.r, self.g, self.b)
    }

    /// The text colour that reads best on this one: near-black or white.
    pub fn ink(self) -> Rgb {
        if contrast(self, INK) >= contrast(self, WHITE) { INK } else { WHITE }
    }
}

/// Contrast ratio of two colours as WCAG 2 defines it, 1 to 21.
pub fn contrast(a: Rgb, b: Rgb) -> f64 {
    let luminance = |c: Rgb| {
        let [r, g, b] = [c.r, c.g, c.b].map(linear_from_srgb);
        0.2126 * r + 0.7152 * g + 0.0722 * b
    };
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

impl ColorScale {
    /// A scale that holds all finite values: symmetric around 0 where diverging, reaching from 0
    /// where sequential. Ends are rounded outwards to two significant digits so that the printed
    /// end is the true one; without any non-zero value the scale ends at 1.
    pub fn fit(kind: ScaleKind, values: impl Iterator<Item = f64>) -> ColorScale {
        let (mut lo, mut hi) = (0.0f64, 0.0f64);
        for value in values.filter(|v| v.is_finite()) {
            lo = lo.min(value);
            hi = hi.max(value);
        }
        match kind {
            ScaleKind::Diverging => {
                let limit = outward(hi.max(-lo));
                let limit = if limit > 0.0 { limit } else { 1.0 };
                ColorScale { kind, lo: -limit, hi: limit }
            }
            ScaleKind::Sequential => {
                let (lo, hi) = (-outward(-lo), outward(hi));
                let hi = if lo == 0.0 && hi == 0.0 { 1.0 } else { hi };
                ColorScale { kind, lo: lo + 0.0, hi }
            }
        }
    }

    /// The value at the lower end.
    pub fn lo(&self) -> f64 {
        self.lo
    }

    /// The value at the upper end.
    pub fn hi(&self) -> f64 {
        self.hi
    }

    /// What the colours mean.
    pub fn kind(&self) -> ScaleKind {
        self.kind
    }

    /// The colour of a value; outside the ends, the colour of the end; [`MISSING`] for NaN.
    pub fn color(&self, value: f64) -> Rgb {
        if value.is_nan() {
            return MISSING;
        }
        match self.kind {
            ScaleKind::Diverging => diverging((value / self.hi).clamp(-1.0, 1.0)),
            ScaleKind::Sequential => {
                let value = value.clamp(self.lo, self.hi);
                // Halved before subtracting, so that ends near f64::MAX do not overflow.
                let span = self.hi / 2.0 - self.lo / 2.0;
                sequential(((value / 2.0 - self.lo / 2.0) / span).clamp(0.0, 1.0))
            }
        }
    }
}

/// Rounds a magnitude up to two significant digits.
fn outward(magnitude: f64) -> f64 {
    if magnitude.is_nan() || magnitude <= 0.0 {
        return 0.0;
    }
    let step = 10f64.powf(magnitude.log10().floor() - 1.0);
    let rounded = (magnitude / step - 1e-9).ceil() * step;
    if rounded.is_finite() && rounded > 0.0 {
        // 0.30000000000000004 -> 0.3
        format!("{rounded:.1e}").parse().unwrap_or(magnitude)
    } else {
        magnitude
    }
}

/// Lightness, and chroma with hue in degrees, of the two ends: same lightness on both sides.
const END_LIGHTNESS: f64 = 0.47;
const BLUE: (f64, f64) = (0.128, 252.0);
const RED: (f64, f64) = (0.158, 28.0);

/// `t` in [-1, 1].
fn diverging(t: f64) -> Rgb {
    if t == 0.0 {
        return ZERO;
    }
    let (chroma, hue) = if t > 0.0 { BLUE } else { RED };
    let end = lab_from_lch(END_LIGHTNESS, chroma, hue);
    rgb_from_lab(mix(lab_from_rgb(ZERO), end, t.abs()))
}

/// `t` in [0, 1].
fn sequential(t: f64) -> Rgb {
    if t == 0.0 {
        return ZERO;
    }
    let ground = lab_from_rgb(ZERO);
    let middle = lab_from_lch(0.66, 0.088, 190.0);
    let end = lab_from_lch(0.39, 0.066, 193.0);
    let half = 0.55;
    rgb_from_lab(if t < half {
        mix(ground, middle, t / half)
    } else {
        mix(middle, end, (t - half) / (1.0 - half))
    })
}

fn mix(a: [f64; 3], b: [f64; 3], t: f64) -> [f64; 3] {
    std::array::from_fn(|i| a[i] + (b[i] - a[i]) * t)
}

fn lab_from_lch(lightness: f64, chroma: f64, hue_degrees: f64) -> [f64; 3] {
    let hue = hue_degrees.to_radians();
    [lightness, chroma * hue.cos(), chroma * hue.sin()]
}

fn linear_from_srgb(channel: u8) -> f64 {
    let c = f64::from(channel) / 255.0;
    if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
}

fn srgb_from_linear(c: f64) -> u8 {
    let c = c.clamp(0.0, 1.0);
    let c = if c <= 0.003_130_8 { 12.92 * c } else { 1.055 * c.powf(1.0 / 2.4) - 0.055 };
    (c * 255.0).round() as u8
}

fn lab_from_rgb(color: Rgb) -> [f64; 3] {
    let [r, g, b] = [color.r, color.g, color.b].map(linear_from_srgb);
    let l = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b).cbrt();
    let m = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b).cbrt();
    let s = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b).cbrt();
    [
        0.2104542553 * l + 0.7936177850 * m - 0.0040720468 * s,
        1.9779984951 * l - 2.4285922050 * m + 0.4505937099 * s,
        0.0259040371 * l + 0.7827717662 * m - 0.8086757660 * s,
    ]
}

fn rgb_from_lab([lightness, a, b]: [f64; 3]) -> Rgb {
    let l = (lightness + 0.3963377774 * a + 0.2158037573 * b).powi(3);
    let m = (lightness - 0.1055613458 * a - 0.0638541728 * b).powi(3);
    let s = (lightness - 0.0894841775 * a - 1.2914855480 * b).powi(3);
    let r = 4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s;
    let g = -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s;
    let b = -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s;
    Rgb { r: srgb_from_linear(r), g: srgb_from_linear(g), b: srgb_from_linear(b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(kind: ScaleKind, values: &[f64]) -> ColorScale {
        ColorScale::fit(kind, values.iter().copied())
    }

    #[test]
    fn zero_is_the_ground_colour_on_both_scales() {
        for kind in [ScaleKind::Diverging, ScaleKind::Sequential] {
            assert_eq!(fitted(kind, &[0.0, 3.0]).color(0.0), ZERO);
            assert_eq!(fitted(kind, &[0.0, 0.0]).color(0.0), ZERO);
            assert_eq!(fitted(kind, &[]).color(0.0), ZERO);
            // Approaching zero approaches the ground: no jump.
            let near = fitted(kind, &[1.0]).color(1e-9);
            assert!(
                near.r.abs_diff(ZERO.r) <= 1 && near.g.abs_diff(ZERO.g) <= 1 && near.b.abs_diff(ZERO.b) <= 1
            );
        }
    }

    #[test]
    fn opposite_values_are_equally_light_and_of_opposite_hue() {
        let scale = fitted(ScaleKind::Diverging, &[-2.0, 1.0]);
        for step in 1..=20 {
            let value = f64::from(step) / 10.0;
            let (plus, minus) = (scale.color(value), scale.color(-value));
            let (l_plus, l_minus) = (lab_from_rgb(plus)[0], lab_from_rgb(minus)[0]);
            // 8-bit rounding moves lightness by under half a percent.
            assert!((l_plus - l_minus).abs() < 0.005, "{value}: {l_plus} {l_minus}");
            assert!(plus.b > plus.r && minus.r > minus.b, "{value}");
        }
    }

    #[test]
    fn more_is_darker_without_exception() {
        for kind in [ScaleKind::Diverging, ScaleKind::Sequential] {
            let scale = fitted(kind, &[1.0]);
            let lightness: Vec<f64> =
                (0..=50).map(|i| lab_from_rgb(scale.color(f64::from(i) / 50.0))[0]).collect();
            assert!(lightness.windows(2).all(|w| w[1] < w[0]), "{kind:?}");
        }
    }

    #[test]
    fn ends_hold_every_value_and_infinities_take_the_end_colour() {
        let scale = fitted(ScaleKind::Diverging, &[-0.987, 0.3, f64::INFINITY, f64::NAN]);
        assert_eq!((scale.lo(), scale.hi()), (-0.99, 0.99));
        assert_eq!(scale.color(f64::INFINITY), scale.color(0.99));
        assert_eq!(scale.color(f64::NEG_INFINITY), scale.color(-0.99));
        assert_eq!(scale.color(f64::NAN), MISSING);
        let scale = fitted(ScaleKind::Sequential, &[0.2, 7.01]);
        assert_eq!((scale.lo(), scale.hi()), (0.0, 7.1));
        assert_eq!(fitted(ScaleKind::Diverging, &[0.3]).hi(), 0.3);
    }

    #[test]
    fn extreme_magnitudes_still_separate() {
        for magnitude in [f64::MIN_POSITIVE, 1e-300, 1e300, f64::MAX] {
            let scale = fitted(ScaleKind::Diverging, &[magnitude]);
            assert_ne!(scale.color(magnitude), scale.color(-magnitude), "{magnitude}");
            let scale = fitted(ScaleKind::Sequential, &[magnitude, -magnitude]);
            assert_ne!(scale.color(magnitude), scale.color(-magnitude), "{magnitude}");
        }
    }

    #[test]
    fn printed_values_always_read_well_on_their_cell() {
        for kind in [ScaleKind::Diverging, ScaleKind::Sequential] {
            let scale = fitted(kind, &[-1.0, 1.0]);
            for step in -100..=100 {
                let color = scale.color(f64::from(step) / 100.0);
                // Midway between near-black and white the better of the two reaches about 4.1.
                assert!(contrast(color, color.ink()) >= 4.0, "{step}");
            }
        }
    }
}
