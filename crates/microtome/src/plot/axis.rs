//! Ticks at round numbers, on linear and logarithmic axes.

/// Round numbers inside `[lo, hi]`, about `target` of them, with the step between them.
pub(crate) fn nice_ticks(lo: f64, hi: f64, target: usize) -> (Vec<f64>, f64) {
    let span = hi - lo;
    if !span.is_finite() || span <= 0.0 {
        return (vec![lo], 1.0);
    }
    let step = nice_step(span / target.max(1) as f64);
    let first = (lo / step - 1e-9).ceil() as i64;
    let last = (hi / step + 1e-9).floor() as i64;
    let ticks = (first..=last).take(200).map(|k| k as f64 * step).collect();
    (ticks, step)
}

/// The smallest of 1, 2, 5 times a power of ten that is at least `rough`.
pub(crate) fn nice_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|f| f * power >= rough * 0.999_999).unwrap_or(10.0);
    factor * power
}

/// Text of a tick: as many decimals as the step needs.
pub(crate) fn tick_label(value: f64, step: f64) -> String {
    let magnitude = value.abs().max(step);
    if magnitude >= 1e7 || step < 1e-5 {
        return super::number::short(value);
    }
    let decimals = (-(step * 1.000_001).log10().floor()).max(0.0) as usize;
    super::number::NumberFormat::Fixed(decimals).plain(value)
}

/// Powers of ten inside `[lo, hi]`, every k-th so that at most about eight remain; where fewer
/// than three are inside, 1-2-5 steps instead.
pub(crate) fn log_ticks(lo: f64, hi: f64) -> Vec<f64> {
    let first = (lo.log10() - 1e-9).ceil() as i32;
    let last = (hi.log10() + 1e-9).floor() as i32;
    if last - first >= 2 {
        let every = ((last - first) / 8 + 1) as usize;
        return (first..=last).step_by(every).map(|e| 10f64.powi(e)).collect();
    }
    let decades = (first - 1)..=(last + 1);
    let ticks: Vec<f64> = decades
        .flat_map(|e| [1.0, 2.0, 5.0].map(|f| f * 10f64.powi(e)))
        .filter(|t| *t >= lo * 0.999_999 && *t <= hi * 1.000_001)
        .collect();
    if ticks.len() >= 2 { ticks } else { vec![lo, hi] }
}

/// Which of `n` labels to write when there is room for one every `min_gap` labels: every 1st, 2nd,
/// 5th, 10th ...
pub(crate) fn thin_every(min_gap: f64) -> usize {
    if min_gap <= 1.0 { 1 } else { nice_step(min_gap).ceil() as usize }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_inside_and_evenly_spaced() {
        for (lo, hi) in [(0.0, 1.0), (-3.7, 12.2), (1e-9, 3e-9), (0.0, 143_000.0), (-1e6, 1e6)] {
            let (ticks, step) = nice_ticks(lo, hi, 5);
            assert!((2..=11).contains(&ticks.len()), "{lo} {hi}: {ticks:?}");
            assert!(ticks.iter().all(|t| *t >= lo - step * 1e-6 && *t <= hi + step * 1e-6));
            let texts: Vec<String> = ticks.iter().map(|t| tick_label(*t, step)).collect();
            let mut distinct = texts.clone();
            distinct.dedup();
            assert_eq!(texts, distinct, "{lo} {hi}");
        }
    }

    #[test]
    fn an_empty_range_has_one_tick() {
        assert_eq!(nice_ticks(2.0, 2.0, 5).0, vec![2.0]);
        assert_eq!(nice_ticks(0.0, f64::INFINITY, 5).0, vec![0.0]);
    }

    #[test]
    fn log_ticks_are_powers_of_ten_over_decades_and_finer_within_one() {
        assert_eq!(log_ticks(0.01, 100.0).len(), 5);
        assert!(log_ticks(1.1, 9.0).contains(&5.0));
        assert!(log_ticks(1e-300, 1e300).len() <= 12);
    }

    #[test]
    fn thinning_keeps_round_steps() {
        assert_eq!([0.3, 1.0, 1.4, 3.0, 7.0, 30.0].map(thin_every), [1, 1, 2, 5, 10, 50]);
    }
}
