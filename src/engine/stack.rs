//! Room to read policies in, where that does not happen at the start: Cedar's parser recurses, and a caller's thread may
//! have less stack than the bounded text wants.

use super::load::STACK_BYTES;

/// Does some work on a thread with a stack that the bounded text cannot exhaust. `None` if there is no such thread to be had,
/// or if the work panicked.
pub fn with_room<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("policy-read".into()).stack_size(STACK_BYTES);
        thread.spawn_scoped(scope, work).ok()?.join().ok()
    })
}
