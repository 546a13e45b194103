//! `audit tail`: what happens, as it happens. A connection that breaks is made again, and the stream goes on after the
//! last record that was written out: nothing is lost, and nothing is written twice unless the program itself is.

use std::time::Duration;

use clap::Args;
use futures_util::StreamExt;

use super::filter::Filter;
use super::line;
use crate::cli::failure::Failure;
use crate::cli::remote::Remote;
use crate::cli::screen::Screen;
use crate::cli::words::escaped;
use crate::grpc::client::{CallError, Code};
use crate::wire::pb;

const BACKOFF_MIN: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(15);
/// Heartbeats come every 15 s: longer silence means that nobody is there.
const SILENCE_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub struct Tail {
    #[command(flatten)]
    filter: Filter,
    /// Start with the oldest record there is
    #[arg(long, conflicts_with = "cursor")]
    from_beginning: bool,
    /// Continue after this place
    #[arg(long)]
    cursor: Option<String>,
}

/// Where the stream is, and how patient we are.
struct Place {
    request: pb::SubscribeRequest,
    backoff: Duration,
}

impl Tail {
    pub async fn run(self, remote: &Remote, screen: &mut Screen) -> Result<(), Failure> {
        let mut place = Place {
            request: pb::SubscribeRequest {
                filter: Some(self.filter.into()),
                cursor: self.cursor.unwrap_or_default(),
                from_beginning: self.from_beginning,
            },
            backoff: BACKOFF_MIN,
        };
        let ended = tokio::select! {
            stop = tokio::signal::ctrl_c() => stop.map_err(Failure::from),
            failure = follow(remote, screen, &mut place) => Err(failure),
        };
        if !place.request.cursor.is_empty() {
            screen.note(&format!("continue with --cursor {}", escaped(&place.request.cursor)));
        }
        ended
    }
}

/// Follows for ever; returns what cannot be mended by trying again.
async fn follow(remote: &Remote, screen: &mut Screen, place: &mut Place) -> Failure {
    loop {
        let Err(failure) = stream(remote, screen, place).await else { continue };
        let is_first = place.request.cursor.is_empty() && !place.request.from_beginning;
        match &failure {
            Failure::Call(error) if is_passing(error) => {
                screen.note(&format!("{}; trying again in {:.1?}", escaped(&error.message), place.backoff));
                if is_first {
                    screen.note("what happens until then will not be seen: there was no place to continue from yet");
                }
            }
            _ => return failure,
        }
        tokio::time::sleep(place.backoff).await;
        place.backoff = (place.backoff * 2).min(BACKOFF_MAX);
    }
}

/// One connection, until it ends.
async fn stream(remote: &Remote, screen: &mut Screen, place: &mut Place) -> Result<(), Failure> {
    let client = remote.connect().await?;
    let mut events = client.subscribe(place.request.clone()).await?;
    while let Ok(Some(event)) = tokio::time::timeout(SILENCE_MAX, events.next()).await {
        let event = event?;
        if let Some(record) = &event.record {
            screen.message(record, |record, _| line::record(record))?;
        }
        // After it was written out: what is not on the screen has not been seen.
        place.reached(event.cursor);
    }
    Err(Failure::Call(CallError::ended()))
}

impl Place {
    fn reached(&mut self, cursor: String) {
        if !cursor.is_empty() {
            self.request.cursor = cursor;
            self.request.from_beginning = false;
        }
        self.backoff = BACKOFF_MIN;
    }
}

fn is_passing(error: &CallError) -> bool {
    match error.code {
        Code::Unreachable | Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded => true,
        Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument | Code::NotFound => false,
        Code::FailedPrecondition | Code::Aborted | Code::Other => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_goes_on_after_the_last_record_that_was_seen() {
        let request = pb::SubscribeRequest { from_beginning: true, ..pb::SubscribeRequest::default() };
        let mut place = Place { request, backoff: BACKOFF_MAX };
        place.reached(String::new());
        assert!(place.request.from_beginning, "no place is known yet");
        place.reached("c1".into());
        assert_eq!((place.request.cursor.as_str(), place.request.from_beginning), ("c1", false));
        assert_eq!(place.backoff, BACKOFF_MIN);
    }
}
