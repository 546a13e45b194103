//! The same work on many policies, on all cores: parsing and validation look at each policy alone. Every thread has a
//! stack that the bounded text cannot exhaust.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Tell;

/// Enough for Cedar's parser and validator at the depth that [`crate::engine::Limits`] allows, many times over.
pub const STACK_BYTES: usize = 64 << 20;

/// What one thread takes at a time.
const PIECE: usize = 512;

/// No thread could be had, or one failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no thread to load policies on, or one that failed on these")]
pub struct Failed;

/// `work` on pieces of `items`; the answers are in the order of the pieces.
pub fn each_piece<T: Sync, R: Send>(
    items: &[T],
    tell: &Tell<'_>,
    work: impl Fn(&[T]) -> R + Sync,
) -> Result<Vec<R>, Failed> {
    let pieces: Vec<_> = items.chunks(PIECE).collect();
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(pieces.len())));
    let run = || {
        while let Some((place, piece)) = taken(&pieces, &next) {
            let answer = work(piece);
            let mut done = done.lock().map_err(|_| Failed)?;
            done.push((place, answer));
            tell((done.len() * PIECE).min(items.len()), items.len());
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let start = |_| std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, run);
        let threads: Vec<_> = (0..cores.min(pieces.len())).map(start).collect();
        threads.into_iter().try_for_each(|thread| thread.map_err(|_| Failed)?.join().map_err(|_| Failed)?)
    })?;
    let mut done = done.into_inner().map_err(|_| Failed)?;
    done.sort_by_key(|(place, _)| *place);
    Ok(done.into_iter().map(|(_, answer)| answer).collect())
}

fn taken<P: Copy>(pieces: &[P], next: &AtomicUsize) -> Option<(usize, P)> {
    let place = next.fetch_add(1, Ordering::Relaxed);
    pieces.get(place).map(|piece| (place, *piece))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_order_and_every_item_is_seen_once() {
        let items: Vec<_> = (0..5_000).collect();
        let answers = each_piece(&items, &|_, _| {}, <[i32]>::to_vec).unwrap();
        assert_eq!(answers.concat(), items);
        assert_eq!(each_piece(&[0; 0], &|_, _| {}, |_: &[i32]| ()), Ok(vec![]));
    }
}
