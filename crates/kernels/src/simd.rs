//! Sixteen numbers at a time, in each instruction set.
//!
//! Every kernel that is not a plain loop is written once over [`Sixteen`]. A product is one fused
//! multiply-add per step everywhere and [`Sixteen::sum`] adds in one order everywhere, so all instruction
//! sets give the same bits.

use std::mem::MaybeUninit;

use half::bf16;

use crate::matmul::Matrix;
use crate::tile::Target;
use crate::turn::turn;

/// Sixteen f32.
///
/// # Safety
/// Calling any method of an implementation asks for a processor that has its instruction set. Pointers must
/// be valid for the sixteen values read or written; they need no alignment.
pub(crate) unsafe trait Sixteen {
    /// The sixteen values, in as many registers as it takes.
    type V: Copy;

    /// All `x`.
    unsafe fn splat(x: f32) -> Self::V;

    unsafe fn load(from: *const f32) -> Self::V;

    unsafe fn load_bf16(from: *const bf16) -> Self::V;

    unsafe fn store(to: *mut f32, v: Self::V);

    /// `a b + c`, rounded once.
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;

    /// Adds value `i + 8` to value `i` for the first eight, then `i + 4` for the first four, `i + 2`, `i + 1`.
    unsafe fn sum(v: Self::V) -> f32;

    /// [`Sixteen::sum`] of each: the same bits, where some can be made at once.
    #[inline(always)]
    unsafe fn sum_each(v: &[Self::V], sums: &mut [f32]) {
        for (sum, v) in sums.iter_mut().zip(v) {
            // SAFETY: the caller's promise.
            *sum = unsafe { Self::sum(*v) };
        }
    }
}

/// Where a cache line is fetched to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cache {
    Nearest,
    Second,
}

/// Asks for the cache line at an address, which need not be a valid one.
#[inline(always)]
pub(crate) fn fetch<E>(at: *const E, to: Cache) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        // SAFETY: a prefetch reads nothing and never faults; every such processor has it.
        unsafe {
            match to {
                Cache::Nearest => _mm_prefetch::<_MM_HINT_T0>(at.cast()),
                Cache::Second => _mm_prefetch::<_MM_HINT_T1>(at.cast()),
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, to);
}

/// A number as weights are stored.
pub(crate) trait Element: Copy + Send + Sync + 'static {
    const ZERO: Self;

    /// Rounded to nearest.
    fn of(x: f32) -> Self;

    fn value(self) -> f32;

    /// # Safety
    /// As [`Sixteen`] says.
    unsafe fn load<S: Sixteen>(from: *const Self) -> S::V;

    /// Writes `from[row][column]`, whose rows are of neighbouring values, to `to[column * stride + row]`.
    ///
    /// # Panics
    /// Where there is no room.
    fn turn(from: Matrix, to: &mut [MaybeUninit<Self>], stride: usize) {
        let (rows, columns) = from.shape();
        // Some columns at a time, so that each cache line is used up while it is near.
        for first in (0..columns).step_by(16) {
            for row in 0..rows {
                let values = &from.row(row)[first..columns.min(first + 16)];
                for (i, x) in values.iter().enumerate() {
                    to[(first + i) * stride + row].write(Self::of(*x));
                }
            }
        }
    }
}

impl Element for f32 {
    const ZERO: f32 = 0.0;

    fn of(x: f32) -> f32 {
        x
    }

    fn value(self) -> f32 {
        self
    }

    #[inline(always)]
    unsafe fn load<S: Sixteen>(from: *const f32) -> S::V {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { S::load(from) }
    }

    fn turn(from: Matrix, to: &mut [MaybeUninit<f32>], stride: usize) {
        let (rows, columns) = from.shape();
        if rows == 0 || columns == 0 {
            return;
        }
        assert!(rows <= stride && (columns - 1) * stride + rows <= to.len(), "room for a matrix turned");
        let to = Target { to: to.as_mut_ptr().cast(), row_stride: stride };
        // SAFETY: the view was checked when it was made, and the room just now.
        unsafe { turn(from.whole_rows(), 0..rows, 0..columns, to) };
    }
}

impl Element for bf16 {
    const ZERO: bf16 = bf16::ZERO;

    fn of(x: f32) -> bf16 {
        bf16::from_f32(x)
    }

    fn value(self) -> f32 {
        self.to_f32()
    }

    #[inline(always)]
    unsafe fn load<S: Sixteen>(from: *const bf16) -> S::V {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { S::load_bf16(from) }
    }
}

/// Plain Rust: the reference.
pub(crate) struct Scalar;

// SAFETY: nothing is asked of the processor.
unsafe impl Sixteen for Scalar {
    type V = [f32; 16];

    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; 16] {
        [x; 16]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; 16] {
        // SAFETY: valid for sixteen values, which an array of them holds in order.
        unsafe { from.cast::<[f32; 16]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> [f32; 16] {
        // SAFETY: as above.
        unsafe { from.cast::<[bf16; 16]>().read_unaligned() }.map(bf16::to_f32)
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, v: [f32; 16]) {
        // SAFETY: as above.
        unsafe { to.cast::<[f32; 16]>().write_unaligned(v) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: [f32; 16], b: [f32; 16], c: [f32; 16]) -> [f32; 16] {
        let mut out = c;
        let mut i = 0;
        while i < 16 {
            out[i] = a[i].mul_add(b[i], c[i]);
            i += 1;
        }
        out
    }

    #[inline(always)]
    unsafe fn sum(v: [f32; 16]) -> f32 {
        let mut v = v;
        let mut half = 8;
        while half > 0 {
            for i in 0..half {
                v[i] += v[i + half];
            }
            half /= 2;
        }
        v[0]
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use half::bf16;

    use super::Sixteen;

    /// Two registers of eight.
    pub(crate) struct Avx2;

    // SAFETY: the trait asks its callers for a processor with AVX2 and FMA and for
    // pointers valid for sixteen values; each intrinsic needs no more than the one or the other.
    unsafe impl Sixteen for Avx2 {
        type V = [__m256; 2];

        #[inline(always)]
        unsafe fn splat(x: f32) -> [__m256; 2] {
            // SAFETY: as the implementation says.
            let v = unsafe { _mm256_set1_ps(x) };
            [v, v]
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> [__m256; 2] {
            // SAFETY: as the implementation says.
            unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
        }

        #[inline(always)]
        unsafe fn load_bf16(from: *const bf16) -> [__m256; 2] {
            // SAFETY: as the implementation says. A bf16 is the upper half of the f32 of the same value.
            unsafe {
                let wide =
                    |half: __m128i| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(half)));
                let halves = _mm256_loadu_si256(from.cast());
                [wide(_mm256_castsi256_si128(halves)), wide(_mm256_extracti128_si256::<1>(halves))]
            }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, v: [__m256; 2]) {
            // SAFETY: as the implementation says.
            unsafe {
                _mm256_storeu_ps(to, v[0]);
                _mm256_storeu_ps(to.add(8), v[1]);
            }
        }

        #[inline(always)]
        unsafe fn mul_add(a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
            // SAFETY: as the implementation says.
            unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
        }

        #[inline(always)]
        unsafe fn sum(v: [__m256; 2]) -> f32 {
            // SAFETY: as the implementation says.
            unsafe { sum_of_eight(_mm256_add_ps(v[0], v[1])) }
        }

        #[inline(always)]
        unsafe fn sum_each(v: &[[__m256; 2]], sums: &mut [f32]) {
            let ((fours, rest), (sums_of_fours, sums_of_rest)) =
                (v.as_chunks::<4>(), sums.as_chunks_mut::<4>());
            // SAFETY: as the implementation says.
            unsafe {
                for (sums, v) in sums_of_fours.iter_mut().zip(fours) {
                    let eight = |i: usize| _mm256_add_ps(v[i][0], v[i][1]);
                    let (a, b, c, d) = (eight(0), eight(1), eight(2), eight(3));
                    // Four of each left: of a and b side by side, of c and d.
                    let (ab, cd) = (halves_added(a, b), halves_added(c, d));
                    // Two of each: a and c in the lower half, b and d in the upper one.
                    let low = _mm256_shuffle_ps::<0b01_00_01_00>(ab, cd);
                    let two = _mm256_add_ps(low, _mm256_shuffle_ps::<0b11_10_11_10>(ab, cd));
                    let even = _mm256_shuffle_ps::<0b10_00_10_00>(two, two);
                    let one = _mm256_add_ps(even, _mm256_shuffle_ps::<0b11_01_11_01>(two, two));
                    let (ac, bd) = (_mm256_castps256_ps128(one), _mm256_extractf128_ps::<1>(one));
                    _mm_storeu_ps(sums.as_mut_ptr(), _mm_unpacklo_ps(ac, bd));
                }
                for (sum, v) in sums_of_rest.iter_mut().zip(rest) {
                    *sum = Self::sum(*v);
                }
            }
        }
    }

    /// One register of sixteen.
    pub(crate) struct Avx512;

    // SAFETY: the trait asks its callers for a processor with AVX-512 F, BW, DQ and VL
    // and for pointers valid for sixteen values; each intrinsic needs no more than the one or the other.
    unsafe impl Sixteen for Avx512 {
        type V = __m512;

        #[inline(always)]
        unsafe fn splat(x: f32) -> __m512 {
            // SAFETY: as the implementation says.
            unsafe { _mm512_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m512 {
            // SAFETY: as the implementation says.
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn load_bf16(from: *const bf16) -> __m512 {
            // SAFETY: as the implementation says. A bf16 is the upper half of the f32 of the same value.
            unsafe {
                let halves = _mm256_loadu_si256(from.cast());
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
            }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, v: __m512) {
            // SAFETY: as the implementation says.
            unsafe { _mm512_storeu_ps(to, v) }
        }

        #[inline(always)]
        unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
            // SAFETY: as the implementation says.
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        unsafe fn sum(v: __m512) -> f32 {
            // SAFETY: as the implementation says.
            unsafe {
                let upper = _mm512_extractf32x8_ps::<1>(v);
                sum_of_eight(_mm256_add_ps(_mm512_castps512_ps256(v), upper))
            }
        }
    }

    /// The halves of `a` added, and those of `b`, side by side.
    ///
    /// # Safety
    /// For processors with AVX.
    #[inline(always)]
    unsafe fn halves_added(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the caller has AVX.
        unsafe { _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b)) }
    }

    /// # Safety
    /// For processors with AVX.
    #[inline(always)]
    unsafe fn sum_of_eight(v: __m256) -> f32 {
        // SAFETY: the caller has AVX.
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }
}

#[cfg(target_arch = "aarch64")]
pub(crate) use arm::Neon;

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;

    use half::bf16;

    use super::Sixteen;

    /// Four registers of four.
    pub(crate) struct Neon;

    // SAFETY: the trait asks its callers for a processor with NEON and for pointers valid
    // for sixteen values; each intrinsic needs no more than the one or the other.
    unsafe impl Sixteen for Neon {
        type V = [float32x4_t; 4];

        #[inline(always)]
        unsafe fn splat(x: f32) -> [float32x4_t; 4] {
            // SAFETY: as the implementation says.
            [unsafe { vdupq_n_f32(x) }; 4]
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> [float32x4_t; 4] {
            // SAFETY: as the implementation says.
            unsafe {
                [vld1q_f32(from), vld1q_f32(from.add(4)), vld1q_f32(from.add(8)), vld1q_f32(from.add(12))]
            }
        }

        #[inline(always)]
        unsafe fn load_bf16(from: *const bf16) -> [float32x4_t; 4] {
            // SAFETY: as the implementation says. A bf16 is the upper half of the f32 of the same value.
            unsafe {
                let from = from.cast::<u16>();
                [
                    vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(vld1_u16(from)))),
                    vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(vld1_u16(from.add(4))))),
                    vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(vld1_u16(from.add(8))))),
                    vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(vld1_u16(from.add(12))))),
                ]
            }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, v: [float32x4_t; 4]) {
            // SAFETY: as the implementation says.
            unsafe {
                vst1q_f32(to, v[0]);
                vst1q_f32(to.add(4), v[1]);
                vst1q_f32(to.add(8), v[2]);
                vst1q_f32(to.add(12), v[3]);
            }
        }

        #[inline(always)]
        unsafe fn mul_add(a: [float32x4_t; 4], b: [float32x4_t; 4], c: [float32x4_t; 4]) -> [float32x4_t; 4] {
            // SAFETY: as the implementation says.
            unsafe {
                [
                    vfmaq_f32(c[0], a[0], b[0]),
                    vfmaq_f32(c[1], a[1], b[1]),
                    vfmaq_f32(c[2], a[2], b[2]),
                    vfmaq_f32(c[3], a[3], b[3]),
                ]
            }
        }

        #[inline(always)]
        unsafe fn sum(v: [float32x4_t; 4]) -> f32 {
            // SAFETY: as the implementation says.
            unsafe {
                let four = vaddq_f32(vaddq_f32(v[0], v[2]), vaddq_f32(v[1], v[3]));
                let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
                vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two)
            }
        }
    }
}
