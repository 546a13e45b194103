//! So many at the same time.

use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug)]
pub struct Gate {
    taken: AtomicUsize,
    most: usize,
}

/// A place, given back when dropped.
#[derive(Debug)]
#[must_use]
pub struct Place<'a>(&'a Gate);

impl Gate {
    pub const fn new(most: usize) -> Self {
        Self { taken: AtomicUsize::new(0), most }
    }

    /// `None` where all are taken. Nobody waits for one: who is told at once can go elsewhere.
    pub fn enter(&self) -> Option<Place<'_>> {
        if self.taken.fetch_add(1, Ordering::Relaxed) < self.most {
            return Some(Place(self));
        }
        self.taken.fetch_sub(1, Ordering::Relaxed);
        None
    }

    /// A place over the number, if need be.
    pub fn enter_again(&self) -> Place<'_> {
        self.taken.fetch_add(1, Ordering::Relaxed);
        Place(self)
    }

    pub fn is_full(&self) -> bool {
        self.taken() >= self.most
    }

    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    pub const fn most(&self) -> usize {
        self.most
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}
