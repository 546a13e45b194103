//! How far a long load is, for a person who waits. Nothing for anybody else, and nothing where it is short.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cli::screen::{Format, Screen};

/// Fewer policies than that are loaded before anybody could read it.
const WORTH_TELLING: usize = 5_000;

pub struct Progress {
    is_watched: bool,
    was_told: AtomicBool,
}

impl Progress {
    pub fn on(screen: &Screen) -> Self {
        let is_watched = screen.format == Format::Table && std::io::stderr().is_terminal();
        Self { is_watched, was_told: AtomicBool::new(false) }
    }

    pub fn tell(&self, done: usize, total: usize) {
        if self.is_watched && total >= WORTH_TELLING {
            self.was_told.store(true, Ordering::Relaxed);
            // If nobody looks any more there is nobody to tell.
            let _ = write!(std::io::stderr().lock(), "\r{done} of {total} policies ");
        }
    }

    /// Leaves the line as it was.
    pub fn end(&self) {
        if self.was_told.load(Ordering::Relaxed) {
            let _ = write!(std::io::stderr().lock(), "\r\u{1b}[2K");
        }
    }
}
