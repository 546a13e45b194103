//! A panic in a handler, or in finding out who calls, costs that call. Without this its stream would end without a status, and a
//! client could not tell it from a broken connection, which it would try again. Around it, [`super::serve`] does the same for what
//! is no handler, and [`super::stream`] for what comes after the answer's beginning.
//!
//! What a panic could leave half done is not there: a commit is one step behind one lock, and plain values behind every other
//! lock are whole between any two statements. The journal's writer is no handler: its panic ends the server.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

use crate::service::Refusal;

/// The answer, or INTERNAL where there was a panic. What it said is in the log, by the process' panic hook.
/// No `async fn`, which would keep room for the handler twice in what waits.
pub fn unbroken<T>(handler: impl Future<Output = Result<T, Refusal>>) -> impl Future<Output = Result<T, Refusal>> {
    let broken = |_| Err(Refusal::Internal("a handler panicked".into()));
    AssertUnwindSafe(handler).catch_unwind().map(move |caught| caught.unwrap_or_else(broken))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn fault_80_a_panic_is_an_internal_error_of_that_call_alone() {
        let nothing: Vec<u8> = Vec::new();
        let broken = unbroken(async { Ok::<_, Refusal>(nothing[0]) }).await;
        assert!(matches!(broken, Err(Refusal::Internal(_))));
        assert_eq!(unbroken(async { Ok(7) }).await.unwrap(), 7);
    }
}
