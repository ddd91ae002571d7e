//! Eigenvalues of a real matrix that need not be symmetric.
//!
//! The textbook way, as EISPACK and LAPACK go it: 1. Householder reflections make the matrix upper Hessenberg (0
//! below the first subdiagonal), which keeps its eigenvalues; 2. double-shift QR steps (Francis 1961) drive
//! subdiagonal entries to 0, until only blocks of one or two rows are left, whose eigenvalues are read off: a real
//! one, or two that are real or conjugate. Every tenth step without success takes another shift, which breaks
//! cycles. In f64 the error is about 1e-16 times the matrix's norm, for eigenvalues that are well-conditioned.
//!
//! Own code rather than a library: matrices here are `d_head` wide, one function is needed, and the linear algebra
//! crates that have it bring some fifty thousand lines each. Eigenvectors are left out.

use crate::error::{Error, Result};

/// An eigenvalue, `re + i im`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Eigenvalue {
    /// Real part.
    pub re: f64,
    /// Imaginary part.
    pub im: f64,
}

impl Eigenvalue {
    /// Its absolute value.
    pub fn abs(self) -> f64 {
        self.re.hypot(self.im)
    }
}

/// Steps for one eigenvalue before giving up; LAPACK allows 30 on average.
const MOST_STEPS: usize = 300;

/// The eigenvalues of a square matrix, row after row, the largest absolute values first.
///
/// # Errors
/// [`Error::NotFinite`] for NaN and infinities, [`Error::NoConvergence`] where the iteration does not end.
pub fn eigenvalues(matrix: &[Vec<f64>]) -> Result<Vec<Eigenvalue>> {
    let n = matrix.len();
    debug_assert!(matrix.iter().all(|row| row.len() == n), "the matrix is square");
    if matrix.iter().flatten().any(|x| !x.is_finite()) {
        return Err(Error::NotFinite { what: "the product of a head's weights".to_owned() });
    }
    let mut h = matrix.to_vec();
    to_hessenberg(&mut h);
    let mut found = francis(h)?;
    // Conjugate pairs stay together, the one above the axis first.
    found.sort_by(|a, b| b.abs().total_cmp(&a.abs()).then(b.re.total_cmp(&a.re)).then(b.im.total_cmp(&a.im)));
    Ok(found)
}

/// The sum of eigenvalues over the sum of their absolute values: 1 where all are positive, -1 where all are negative.
/// The imaginary parts, which come in pairs, cancel. `None` where all are 0.
pub fn positivity(eigenvalues: &[Eigenvalue]) -> Option<f64> {
    let all: f64 = eigenvalues.iter().map(|value| value.abs()).sum();
    (all > 0.0).then(|| eigenvalues.iter().map(|value| value.re).sum::<f64>() / all)
}

/// Householder reflections from both sides, column after column.
fn to_hessenberg(a: &mut [Vec<f64>]) {
    let n = a.len();
    for column in 0..n.saturating_sub(2) {
        let below = column + 1..n;
        let scale = below.clone().map(|i| a[i][column].abs()).fold(0.0, f64::max);
        if scale == 0.0 {
            continue;
        }
        let mut v: Vec<f64> = below.clone().map(|i| a[i][column] / scale).collect();
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        v[0] += norm.copysign(v[0]);
        let factor = 2.0 / v.iter().map(|x| x * x).sum::<f64>();
        // Dot products of all columns at once, for rows lie together in memory.
        let mut dots = vec![0.0; n];
        for (row, v) in a[below.clone()].iter().zip(&v) {
            dots.iter_mut().zip(row).for_each(|(dot, x)| *dot += v * x);
        }
        for (row, v) in a[below.clone()].iter_mut().zip(&v) {
            row.iter_mut().zip(&dots).for_each(|(x, dot)| *x -= factor * dot * v);
        }
        for row in a.iter_mut() {
            let dot: f64 = row[below.clone()].iter().zip(&v).map(|(x, v)| v * x).sum();
            row[below.clone()].iter_mut().zip(&v).for_each(|(x, v)| *x -= factor * dot * v);
        }
        (column + 2..n).for_each(|i| a[i][column] = 0.0);
    }
}

/// Double-shift QR steps on a Hessenberg matrix, deflating from its end.
fn francis(mut h: Vec<Vec<f64>>) -> Result<Vec<Eigenvalue>> {
    let n = h.len();
    let norm: f64 =
        h.iter().enumerate().flat_map(|(i, row)| &row[i.saturating_sub(1)..]).map(|x| x.abs()).sum();
    let mut found = Vec::with_capacity(n);
    let mut end = n; // rows below are done
    let mut shifted = 0.0; // taken off the diagonal by exceptional shifts
    let mut steps = 0;
    while end > 0 {
        let last = end - 1;
        let first = block_start(&h, last, norm);
        let (x, mut shift) = (h[last][last], Shift::of(&h, first, last));
        if first == last {
            found.push(Eigenvalue { re: x + shifted, im: 0.0 });
            (end, steps) = (end - 1, 0);
            continue;
        }
        if first + 1 == last {
            found.extend(of_two(h[last - 1][last - 1], h[last - 1][last], h[last][last - 1], x, shifted));
            (end, steps) = (end - 2, 0);
            continue;
        }
        if steps == MOST_STEPS {
            return Err(Error::NoConvergence { what: "eigenvalues of a head's weights" });
        }
        if steps > 0 && steps % 10 == 0 {
            shifted += x;
            (0..end).for_each(|i| h[i][i] -= x);
            let s = h[last][last - 1].abs() + h[last - 1][last - 2].abs();
            shift = Shift { x: 0.75 * s, y: 0.75 * s, w: -0.4375 * s * s };
        }
        steps += 1;
        step(&mut h, first, last, shift);
    }
    Ok(found)
}

/// Where the block that ends at `last` begins: above it is a subdiagonal entry that counts as 0.
fn block_start(h: &[Vec<f64>], last: usize, norm: f64) -> usize {
    let negligible = |i: usize| {
        let around = h[i - 1][i - 1].abs() + h[i][i].abs();
        let around = if around == 0.0 { norm } else { around };
        h[i][i - 1].abs() <= f64::EPSILON * around
    };
    (1..=last).rev().find(|&i| negligible(i)).unwrap_or(0)
}

/// The eigenvalues of `[[a, b], [c, d]]`, moved by `shifted`.
fn of_two(a: f64, b: f64, c: f64, d: f64, shifted: f64) -> [Eigenvalue; 2] {
    let half = (a - d) / 2.0;
    let inside = half * half + b * c;
    let root = inside.abs().sqrt();
    if inside < 0.0 {
        let re = d + half + shifted;
        return [Eigenvalue { re, im: root }, Eigenvalue { re, im: -root }];
    }
    // The larger offset from d first; the other from the product, so that nothing cancels.
    let far = half + root.copysign(half);
    let near = if far == 0.0 { 0.0 } else { -b * c / far };
    [Eigenvalue { re: d + far + shifted, im: 0.0 }, Eigenvalue { re: d + near + shifted, im: 0.0 }]
}

/// The two shifts of a step, as the last two rows' diagonal and the product beside it.
#[derive(Clone, Copy)]
struct Shift {
    x: f64,
    y: f64,
    w: f64,
}

impl Shift {
    fn of(h: &[Vec<f64>], first: usize, last: usize) -> Shift {
        match first < last {
            true => {
                Shift { x: h[last][last], y: h[last - 1][last - 1], w: h[last][last - 1] * h[last - 1][last] }
            }
            false => Shift { x: h[last][last], y: 0.0, w: 0.0 },
        }
    }
}

/// One double step on the block `first..=last`, of three rows at least: a bulge chased down its diagonal.
fn step(h: &mut [Vec<f64>], first: usize, last: usize, Shift { x, y, w }: Shift) {
    // The bulge may begin below two small entries in a row.
    let mut begin = last - 2;
    let mut column = bulge(h, begin, x, y, w);
    while begin > first && !starts(h, begin, column) {
        begin -= 1;
        column = bulge(h, begin, x, y, w);
    }
    for k in begin..last {
        let rows = (last + 1 - k).min(3);
        if k > begin {
            column = [h[k][k - 1], h[k + 1][k - 1], if rows == 3 { h[k + 2][k - 1] } else { 0.0 }];
        }
        let turned = reflect(h, k, rows, column, last);
        if k > begin {
            h[k][k - 1] = turned;
            (k + 1..k + rows).for_each(|i| h[i][k - 1] = 0.0);
        } else if begin > first && turned != 0.0 {
            // Its other entries count as 0: that is how the place to begin at was chosen.
            h[k][k - 1] = -h[k][k - 1];
        }
    }
}

/// The first column of (H - shift)(H - its partner) for a block that begins at row `m`, up to a factor.
fn bulge(h: &[Vec<f64>], m: usize, x: f64, y: f64, w: f64) -> [f64; 3] {
    let z = h[m][m];
    let (r, s) = (x - z, y - z);
    let column = [(r * s - w) / h[m + 1][m] + h[m][m + 1], h[m + 1][m + 1] - z - r - s, h[m + 2][m + 1]];
    let size: f64 = column.iter().map(|c| c.abs()).sum();
    if size > 0.0 { column.map(|c| c / size) } else { column }
}

/// Whether a step may begin at row `m`: what it would put left of the diagonal counts as 0.
fn starts(h: &[Vec<f64>], m: usize, column: [f64; 3]) -> bool {
    let beside = h[m - 1][m - 1].abs() + h[m][m].abs() + h[m + 1][m + 1].abs();
    let small = h[m][m - 1].abs() * (column[1].abs() + column[2].abs());
    small <= f64::EPSILON * column[0].abs() * beside
}

/// The Householder reflection that turns `column` into its first place alone, on rows and columns from `k`. Gives
/// what stands there afterwards.
fn reflect(h: &mut [Vec<f64>], k: usize, rows: usize, column: [f64; 3], last: usize) -> f64 {
    let scale = column.iter().map(|c| c.abs()).fold(0.0, f64::max);
    if scale == 0.0 {
        return 0.0;
    }
    let mut v = column.map(|c| c / scale);
    let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
    v[0] += norm.copysign(v[0]);
    let factor = 2.0 / v.iter().map(|x| x * x).sum::<f64>();
    let n = h.len();
    let mut dots = vec![0.0; n - k];
    for (row, v) in h[k..k + rows].iter().zip(v) {
        dots.iter_mut().zip(&row[k..]).for_each(|(dot, x)| *dot += v * x);
    }
    for (row, v) in h[k..k + rows].iter_mut().zip(v) {
        row[k..].iter_mut().zip(&dots).for_each(|(x, dot)| *x -= factor * dot * v);
    }
    for row in &mut h[..=(k + 3).min(last)] {
        let dot: f64 = (0..rows).map(|i| v[i] * row[k + i]).sum();
        (0..rows).for_each(|i| row[k + i] -= factor * dot * v[i]);
    }
    -scale * norm.copysign(column[0])
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn random(n: usize, rng: &mut StdRng) -> Vec<Vec<f64>> {
        (0..n).map(|_| (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()).collect()
    }

    fn product(a: &[Vec<f64>], b: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let n = b[0].len();
        a.iter().map(|row| (0..n).map(|j| row.iter().zip(b).map(|(x, b)| x * b[j]).sum()).collect()).collect()
    }

    /// The inverse by elimination, pivots chosen.
    fn inverse(a: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let n = a.len();
        let mut wide: Vec<Vec<f64>> = a
            .iter()
            .enumerate()
            .map(|(i, row)| row.iter().copied().chain((0..n).map(|j| f64::from(u8::from(i == j)))).collect())
            .collect();
        for c in 0..n {
            let pivot = (c..n).max_by(|&i, &j| wide[i][c].abs().total_cmp(&wide[j][c].abs())).unwrap();
            wide.swap(c, pivot);
            let by = wide[c][c];
            wide[c].iter_mut().for_each(|x| *x /= by);
            let row = wide[c].clone();
            for (_, other) in wide.iter_mut().enumerate().filter(|(i, _)| *i != c) {
                let by = other[c];
                other.iter_mut().zip(&row).for_each(|(x, r)| *x -= by * r);
            }
        }
        wide.into_iter().map(|row| row[n..].to_vec()).collect()
    }

    fn assert_same(found: &[Eigenvalue], mut expected: Vec<(f64, f64)>, within: f64) {
        assert_eq!(found.len(), expected.len());
        for value in found {
            let nearest = (0..expected.len())
                .min_by(|&i, &j| {
                    let apart = |(re, im): (f64, f64)| (value.re - re).hypot(value.im - im);
                    apart(expected[i]).total_cmp(&apart(expected[j]))
                })
                .unwrap();
            let (re, im) = expected.swap_remove(nearest);
            assert!((value.re - re).hypot(value.im - im) <= within, "{value:?} against {re} + {im} i");
        }
    }

    #[test]
    fn matrices_with_known_eigenvalues_have_them() {
        // A rotation by 60 degrees, a triangle, a companion of (x - 1)(x - 2)(x - 3)(x + 4).
        let (c, s) = (0.5, 0.75f64.sqrt());
        let rotation = vec![vec![c, -s], vec![s, c]];
        assert_same(&eigenvalues(&rotation).unwrap(), vec![(c, s), (c, -s)], 1e-14);
        let triangle = vec![vec![3.0, 5.0, -7.0], vec![0.0, -2.0, 4.0], vec![0.0, 0.0, 0.5]];
        assert_same(&eigenvalues(&triangle).unwrap(), vec![(3.0, 0.0), (-2.0, 0.0), (0.5, 0.0)], 1e-14);
        let companion = vec![
            vec![2.0, 13.0, -38.0, 24.0],
            vec![1.0, 0.0, 0.0, 0.0],
            vec![0.0, 1.0, 0.0, 0.0],
            vec![0.0, 0.0, 1.0, 0.0],
        ];
        let roots = vec![(1.0, 0.0), (2.0, 0.0), (3.0, 0.0), (-4.0, 0.0)];
        assert_same(&eigenvalues(&companion).unwrap(), roots, 1e-12);
        assert_eq!(eigenvalues(&[]).unwrap(), vec![]);
        assert_eq!(eigenvalues(&[vec![-7.0]]).unwrap(), vec![Eigenvalue { re: -7.0, im: 0.0 }]);
        assert_same(&eigenvalues(&vec![vec![0.0; 5]; 5]).unwrap(), vec![(0.0, 0.0); 5], 0.0);
    }

    #[test]
    fn a_matrix_made_of_known_blocks_keeps_their_eigenvalues_under_a_change_of_basis() {
        let mut rng = StdRng::seed_from_u64(3);
        for n in [4, 9, 24, 64] {
            let mut blocks = vec![vec![0.0; n]; n];
            let mut expected = Vec::new();
            let mut i = 0;
            while i < n {
                let (re, im) = (rng.random_range(-2.0..2.0), rng.random_range(0.1..2.0));
                if i % 3 == 0 && i + 1 < n {
                    (blocks[i][i], blocks[i + 1][i + 1]) = (re, re);
                    (blocks[i][i + 1], blocks[i + 1][i]) = (im, -im);
                    expected.extend([(re, im), (re, -im)]);
                    i += 2;
                } else {
                    blocks[i][i] = re;
                    expected.push((re, 0.0));
                    i += 1;
                }
            }
            let basis = random(n, &mut rng);
            let turned = product(&product(&basis, &blocks), &inverse(&basis));
            // The basis is random, so its condition (some thousands at 64) multiplies rounding.
            assert_same(&eigenvalues(&turned).unwrap(), expected, 1e-8);
        }
    }

    #[test]
    fn sums_of_powers_are_the_traces_of_powers() {
        let mut rng = StdRng::seed_from_u64(8);
        for n in [1, 2, 3, 5, 16, 33, 64] {
            let matrix = random(n, &mut rng);
            let found = eigenvalues(&matrix).unwrap();
            let trace = |m: &[Vec<f64>]| (0..n).map(|i| m[i][i]).sum::<f64>();
            let squared = product(&matrix, &matrix);
            let cubed = product(&squared, &matrix);
            let power = |k: i32| -> f64 {
                found.iter().map(|v| v.abs().powi(k) * (f64::from(k) * v.im.atan2(v.re)).cos()).sum()
            };
            for (k, expected) in [(1, trace(&matrix)), (2, trace(&squared)), (3, trace(&cubed))] {
                let scale = (n as f64).powi(k).max(1.0);
                assert!((power(k) - expected).abs() < 1e-13 * scale, "{n} {k}: {} {expected}", power(k));
            }
            assert!(found.iter().map(|v| v.im).sum::<f64>().abs() < 1e-10);
        }
    }

    #[test]
    fn matrices_that_resist_plain_shifts_end() {
        // A cycle, which every unshifted step leaves as it is: the roots of unity.
        let n = 8;
        let cycle: Vec<Vec<f64>> =
            (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(j == (i + 1) % n))).collect()).collect();
        let root = |k: usize| (k as f64 * std::f64::consts::TAU / n as f64).sin_cos();
        let unity = (0..n).map(|k| (root(k).1, root(k).0)).collect();
        assert_same(&eigenvalues(&cycle).unwrap(), unity, 1e-13);
        // Day's matrix, on which standard shifts stall ("How the shifted QR algorithm fails to converge").
        let n = 4;
        let mut day = vec![vec![0.0; 2 * n]; 2 * n];
        for i in (0..2 * n).step_by(2) {
            (day[i][i + 1], day[i + 1][i]) = (1.0, 1.0);
        }
        for i in 0..n - 1 {
            day[2 * i + 2][2 * i + 1] += 1e-3;
        }
        day[0][2 * n - 1] += 1e-3;
        let found = eigenvalues(&day).unwrap();
        assert!(found.iter().map(|v| v.re).sum::<f64>().abs() < 1e-12);
        assert!(found.iter().all(|v| (v.abs() - 1.0).abs() < 1e-3));
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused() {
        assert!(eigenvalues(&[vec![1.0, f64::NAN], vec![0.0, 1.0]]).is_err());
    }

    #[test]
    fn positivity_is_one_minus_one_or_between() {
        let of = |values: &[(f64, f64)]| {
            positivity(&values.iter().map(|&(re, im)| Eigenvalue { re, im }).collect::<Vec<_>>())
        };
        assert_eq!(of(&[(2.0, 0.0), (0.5, 0.0), (0.0, 0.0)]), Some(1.0));
        assert_eq!(of(&[(-2.0, 0.0)]), Some(-1.0));
        assert_eq!(of(&[(0.0, 1.0), (0.0, -1.0)]), Some(0.0));
        assert_eq!(of(&[(0.0, 0.0)]), None);
    }
}
