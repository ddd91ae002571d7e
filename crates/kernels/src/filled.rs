//! Large vectors whose memory is touched first by the threads that fill it.
//!
//! A vector of zeros that is filled afterwards is written twice, the first time by one thread alone.

use std::mem::MaybeUninit;

use rayon::prelude::*;

/// A vector of `len` values made in pieces of `piece`, on all threads. `fill` is given what `at_hand` made for its thread,
/// where a piece begins, and a place to put it, which holds values of another piece or zeros. An error ends it all.
///
/// # Errors
/// The first that `fill` gives.
///
/// # Panics
/// Where `piece` is 0.
pub fn filled<T: Copy + Default + Send + Sync, S, E: Send>(
    len: usize,
    piece: usize,
    at_hand: impl Fn() -> S + Sync,
    fill: impl Fn(&mut S, usize, &mut [T]) -> Result<(), E> + Sync,
) -> Result<Vec<T>, E> {
    let mut values: Vec<T> = Vec::with_capacity(len);
    let room = &mut values.spare_capacity_mut()[..len];
    room.par_chunks_mut(piece).enumerate().try_for_each_init(
        || (vec![T::default(); piece.min(len)], at_hand()),
        |(near, at_hand), (at, room): (usize, &mut [MaybeUninit<T>])| {
            let near = &mut near[..room.len()];
            fill(at_hand, at * piece, near)?;
            room.iter_mut().zip(near).for_each(|(to, x)| {
                to.write(*x);
            });
            Ok(())
        },
    )?;
    // SAFETY: without an error every piece has been written, and the pieces are all `len` values.
    unsafe { values.set_len(len) };
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_where_it_belongs_and_an_error_is_told() {
        for (len, piece) in [(0, 3), (1, 3), (3, 3), (100, 7), (5, 100)] {
            let of = |_: &mut (), first: usize, out: &mut [f32]| {
                out.iter_mut().enumerate().for_each(|(i, x)| *x = (first + i) as f32);
                Ok::<(), ()>(())
            };
            let expected: Vec<f32> = (0..len).map(|i| i as f32).collect();
            assert_eq!(filled(len, piece, || (), of), Ok(expected));
        }
        let at_49 = |(): &mut (), first, _: &mut [f64]| if first == 49 { Err(first) } else { Ok(()) };
        let refused = filled(100, 7, || (), at_49);
        assert_eq!(refused, Err(49));
    }
}
