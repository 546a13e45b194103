//! How long a caller waits for its answer, as it says in `grpc-timeout`. After that it gets DEADLINE_EXCEEDED.
//!
//! What is late is not begun. What was begun is given up where it is: a commit is whole or not at all, and whole once the
//! journal has it; who asks again with the same idempotency key gets what came of it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderMap;
use tokio::time::{Instant, Sleep, sleep_until};

use super::status::status;
use super::uniform::Answer;
use crate::service::Refusal;

const TIMEOUT: &str = "grpc-timeout";
/// As gRPC over HTTP/2 has it.
const DIGITS_MAX: usize = 8;
/// What handlers do not see, such as a message that never comes whole, is given up so much later: where a handler runs, it
/// answers, with the ids of the call.
const FOR_HANDLERS: Duration = Duration::from_millis(100);

/// When the caller of a request stops waiting; an extension of requests whose callers say so.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// `None` where nothing is said, or nothing that is a timeout.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        Instant::now().checked_add(timeout(headers.get(TIMEOUT)?.to_str().ok()?)?).map(Self)
    }

    pub fn at(self) -> std::time::Instant {
        self.0.into_std()
    }

    pub fn is_over(self) -> bool {
        self.0 <= Instant::now()
    }

    pub fn alarm(self) -> Alarm {
        Alarm(Box::pin(sleep_until(self.0)))
    }

    /// The answer, or DEADLINE_EXCEEDED where not even a handler came to one.
    pub fn bound<F>(deadline: Option<Self>, answering: F) -> Bound<F> {
        let late = |Self(at): Self| Alarm(Box::pin(sleep_until(at + FOR_HANDLERS)));
        Bound { answering, alarm: deadline.map(late) }
    }
}

/// Rings at a deadline.
pub struct Alarm(Pin<Box<Sleep>>);

impl Alarm {
    /// What comes of it in time.
    ///
    /// # Errors
    /// [`Refusal::DeadlinePassed`].
    pub async fn in_time<T>(
        alarm: &mut Option<Self>,
        work: impl Future<Output = Result<T, Refusal>> + Unpin,
    ) -> Result<T, Refusal> {
        match alarm {
            None => work.await,
            Some(alarm) if alarm.0.deadline() <= Instant::now() => Err(Refusal::DeadlinePassed),
            Some(alarm) => tokio::select! {
                biased;
                done = work => done,
                () = alarm.0.as_mut() => Err(Refusal::DeadlinePassed),
            },
        }
    }
}

/// What answers, until an alarm.
pub struct Bound<F> {
    answering: F,
    alarm: Option<Alarm>,
}

impl<F: Future<Output = Result<Answer, E>> + Unpin, E> Future for Bound<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(answer) = Pin::new(&mut self.answering).poll(context) {
            return Poll::Ready(answer);
        }
        let Some(Alarm(alarm)) = &mut self.alarm else { return Poll::Pending };
        alarm.as_mut().poll(context).map(|()| Ok(status(&Refusal::DeadlinePassed).into_http()))
    }
}

fn timeout(written: &str) -> Option<Duration> {
    let (digits, unit) = written.split_at_checked(written.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3_600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        for (written, expected) in [
            ("1H", Some(Duration::from_secs(3_600))),
            ("2M", Some(Duration::from_secs(120))),
            ("30S", Some(Duration::from_secs(30))),
            ("250m", Some(Duration::from_millis(250))),
            ("7u", Some(Duration::from_micros(7))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("0n", Some(Duration::ZERO)),
            ("100000000n", None),
            ("1", None),
            ("S", None),
            ("", None),
            ("-1S", None),
            ("+1S", None),
            ("1 S", None),
            ("1s", None),
            ("1é", None),
        ] {
            assert_eq!(timeout(written), expected, "{written}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_late_is_given_up_and_what_is_too_late_never_begun() {
        let at = Instant::now() + Duration::from_secs(1);
        let mut alarm = Some(Deadline(at).alarm());
        assert_eq!(Alarm::in_time(&mut alarm, Box::pin(async { Ok(7) })).await.unwrap(), 7);
        let never = Alarm::in_time(&mut alarm, Box::pin(std::future::pending::<Result<(), _>>())).await;
        assert!(matches!(never, Err(Refusal::DeadlinePassed)));
        assert_eq!(Instant::now(), at);
        let begun = Alarm::in_time(&mut alarm, Box::pin(async { panic!("it began") }));
        assert!(matches!(begun.await, Result::<(), _>::Err(Refusal::DeadlinePassed)));
    }
}
