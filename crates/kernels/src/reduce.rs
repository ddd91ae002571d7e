//! Sums and maxima of a slice in sixteen lanes, the order of which is fixed.

/// How many partial results a reduction keeps.
const LANES: usize = 16;

/// The sum of `f(i)` for `i` in `0..n`.
#[inline(always)]
pub(crate) fn sum(n: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let whole = n - n % LANES;
    let mut i = 0;
    while i < whole {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += f(i + lane);
        }
        i += LANES;
    }
    let mut total = 0.0;
    for lane in lanes {
        total += lane;
    }
    for i in whole..n {
        total += f(i);
    }
    total
}

/// The largest of `x`, `-inf` for none.
#[inline(always)]
pub(crate) fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for chunk in whole {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = if *x > *lane { *x } else { *lane };
        }
    }
    let mut largest = f32::NEG_INFINITY;
    for x in lanes.iter().chain(rest) {
        largest = if *x > largest { *x } else { largest };
    }
    largest
}
