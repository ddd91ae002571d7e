//! Numbers as a figure prints them: one precision for the whole figure, a true minus sign.

/// How all values of one figure are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberFormat {
    /// A fixed number of decimals.
    Fixed(usize),
    /// `1.2e−5`, for magnitudes that fixed decimals cannot show.
    Scientific,
}

impl NumberFormat {
    /// About three significant digits for the largest value; none after the point for integers.
    pub(crate) fn fit(values: impl Iterator<Item = f64>) -> NumberFormat {
        let mut limit = 0.0f64;
        let mut all_integers = true;
        for value in values.filter(|v| v.is_finite()) {
            limit = limit.max(value.abs());
            all_integers &= value.fract() == 0.0;
        }
        match limit {
            _ if limit >= 1e6 || (limit > 0.0 && limit < 1e-3) => NumberFormat::Scientific,
            _ if all_integers && limit > 1.0 => NumberFormat::Fixed(0),
            _ if limit >= 100.0 => NumberFormat::Fixed(0),
            _ if limit >= 10.0 => NumberFormat::Fixed(1),
            _ if limit >= 0.1 || limit == 0.0 => NumberFormat::Fixed(2),
            _ if limit >= 0.01 => NumberFormat::Fixed(3),
            _ => NumberFormat::Fixed(4),
        }
    }

    /// The value with a minus sign where negative and nothing where positive.
    pub(crate) fn plain(self, value: f64) -> String {
        if value.is_nan() {
            return "n/a".to_owned();
        }
        if value.is_infinite() {
            return if value > 0.0 { "∞".to_owned() } else { "−∞".to_owned() };
        }
        let text = match self {
            NumberFormat::Fixed(decimals) => format!("{value:.decimals$}"),
            NumberFormat::Scientific if value == 0.0 => "0".to_owned(),
            NumberFormat::Scientific => format!("{value:.1e}"),
        };
        // A value that rounds to zero has no sign to show.
        let is_zero = text.trim_start_matches('-').bytes().all(|b| b == b'0' || b == b'.');
        let text = if is_zero { text.trim_start_matches('-') } else { &text };
        text.replace('-', "−")
    }

    /// Like [`plain`](Self::plain), with `+` before positive values.
    pub(crate) fn signed(self, value: f64) -> String {
        let text = self.plain(value);
        let is_zero = text.bytes().all(|b| b == b'0' || b == b'.');
        if value > 0.0 && !is_zero { format!("+{text}") } else { text }
    }
}

/// The shortest text that still says the value to four significant digits: for scale ends.
pub(crate) fn short(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if !value.is_finite() {
        return NumberFormat::Scientific.plain(value);
    }
    let magnitude = value.abs().log10().floor();
    if !(-4.0..6.0).contains(&magnitude) {
        let text = format!("{value:.2e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let digits = digits.trim_end_matches('0').trim_end_matches('.');
        return format!("{digits}e{exponent}").replace('-', "−");
    }
    let decimals = (3.0 - magnitude).max(0.0) as usize;
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    text.replace('-', "−")
}

/// [`short`] with `+` before positive values.
pub(crate) fn short_signed(value: f64) -> String {
    if value > 0.0 { format!("+{}", short(value)) } else { short(value) }
}

/// `12,345`: counts in sentences.
pub(crate) fn count(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_rounds_to_zero_has_no_sign() {
        let format = NumberFormat::Fixed(2);
        assert_eq!(format.plain(-0.0001), "0.00");
        assert_eq!(format.signed(0.0001), "0.00");
        assert_eq!(format.signed(0.124), "+0.12");
        assert_eq!(format.plain(-0.126), "−0.13");
    }

    #[test]
    fn the_precision_follows_the_largest_value() {
        let text = |values: &[f64]| NumberFormat::fit(values.iter().copied()).plain(values[0]);
        assert_eq!(text(&[0.98765, 0.1]), "0.99");
        assert_eq!(text(&[12.345, 0.1]), "12.3");
        assert_eq!(text(&[3.0, 144.0]), "3");
        assert_eq!(text(&[0.0123]), "0.012");
        assert_eq!(text(&[0.0000123]), "1.2e−5");
        assert_eq!(text(&[f64::NAN, 1.5]), "n/a");
    }

    #[test]
    fn scale_ends_are_short_and_true() {
        assert_eq!(short(1.0), "1");
        assert_eq!(short(-0.99), "−0.99");
        assert_eq!(short(1500.0), "1500");
        assert_eq!(short(1.5e-7), "1.5e−7");
        assert_eq!(short_signed(2.5), "+2.5");
        assert_eq!(count(1234567), "1,234,567");
    }
}
