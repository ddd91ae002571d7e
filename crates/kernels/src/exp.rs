//! `exp` and the logistic function in a form the compiler can vectorise: no branch, no call.

/// `exp(x)` to f32 rounding for `x` up to 87, beyond which it stays; 0 below -87, where the true value is below
/// the normal numbers of f32.
///
/// `exp(x) = 2^n exp(r)` with `n` the nearest whole number to `x / ln 2` and `|r| <= ln 2 / 2`, where the
/// Taylor series to the seventh power is exact to f32 rounding. `r` subtracts `n ln 2` in two parts, the
/// first short enough that the product is exact.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to a whole number
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let vanishes = x < -87.0;
    let x = x.clamp(-87.0, 87.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND); // n stands in its lowest bits
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x));
    let mut sum = 1.0f32 / 5040.0;
    sum = sum.mul_add(r, 1.0 / 720.0);
    sum = sum.mul_add(r, 1.0 / 120.0);
    sum = sum.mul_add(r, 1.0 / 24.0);
    sum = sum.mul_add(r, 1.0 / 6.0);
    sum = sum.mul_add(r, 0.5);
    sum = sum.mul_add(r, 1.0);
    sum = sum.mul_add(r, 1.0);
    let e = sum * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if vanishes { 0.0 } else { e }
}

/// `1 / (1 + exp(-x))`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_exact_to_f32_rounding_over_its_range() {
        for i in -870_000..=870_000 {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 2.5e-7, "{x}");
        }
    }

    #[test]
    fn infinities_end_at_the_ends_of_the_range_and_nan_stays() {
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-87.1), 0.0);
        assert!(exp(f32::INFINITY) > 1e37);
        assert!(exp(f32::NAN).is_nan());
    }
}
