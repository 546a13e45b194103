//! Messages on their way in, in other words than gRPC's: read whole, and handed on as the one message that gRPC expects. It happens where
//! gRPC would read its own ([`received`]), so that what is turned away is turned away before, and what is read is counted.

use std::collections::HashMap;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Request;
use hyper::body::{Body as _, Bytes, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::connect::{Encoding, Form};
use crate::grpc::status::DOMAIN;
use crate::grpc::transport::MESSAGE_BYTES_MAX;
use crate::grpc::uniform::{explained, refused};
use crate::wire::transcode::{Misread, Words};

/// The flag and the length before each message of gRPC, and of Connect's streams.
pub const PREFIX_BYTES: usize = 5;
/// How long one message may take to come: whoever needs longer holds a connection of HTTP/1.1 for nothing.
const WHOLE_WITHIN: Duration = Duration::from_secs(30);

/// In which words a call came; an extension of requests that are to be translated.
#[derive(Clone)]
pub struct Inbound {
    pub form: Form,
    pub input: Words,
}

/// The call as gRPC takes it.
pub fn received(call: Request<Body>) -> Request<Body> {
    match call.extensions().get::<Inbound>().cloned() {
        None => call,
        Some(inbound) => call.map(|body| Body::new(Whole::new(body, inbound))),
    }
}

/// A message with its prefix.
pub fn framed(flag: u8, message: &[u8]) -> Bytes {
    // Longer ones are refused by those who read them; ours are none.
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[flag], &length[..], message].concat().into()
}

/// A body that comes in time.
pub struct Timely {
    body: Body,
    alarm: Pin<Box<Sleep>>,
}

impl Timely {
    pub fn new(body: Body) -> Self {
        Self { body, alarm: Box::pin(sleep(WHOLE_WITHIN)) }
    }
}

impl hyper::body::Body for Timely {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        let slow = || refused(Code::DeadlineExceeded, "message_too_slow", "the message did not come in time");
        self.alarm.as_mut().poll(context).map(|()| Some(Err(slow())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body that is read whole before anything comes of it.
struct Whole {
    body: Timely,
    inbound: Inbound,
    taken: Vec<u8>,
    is_over: bool,
}

impl Whole {
    fn new(body: Body, inbound: Inbound) -> Self {
        Self { body: Timely::new(body), inbound, taken: Vec::new(), is_over: false }
    }

    fn most(&self) -> usize {
        MESSAGE_BYTES_MAX + if self.inbound.form.streams { PREFIX_BYTES } else { 0 }
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), Status> {
        let announced = usize::try_from(self.body.size_hint().lower()).unwrap_or(usize::MAX);
        if self.taken.len().saturating_add(chunk.len()).saturating_add(announced) > self.most() {
            return Err(explained(&Status::out_of_range("")));
        }
        self.taken.extend_from_slice(chunk);
        Ok(())
    }

    /// The message that all of it is.
    fn message(&self) -> Result<Bytes, Status> {
        let said = if self.inbound.form.streams { sole(&self.taken)? } else { &*self.taken };
        match self.inbound.form.encoding {
            Encoding::Proto => Ok(framed(0, said)),
            Encoding::Json => self.inbound.input.read_json(said).map(|read| framed(0, &read)).map_err(malformed),
        }
    }

    fn poll_whole(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, Status>> {
        // What is announced as too large is not read.
        self.take(&[])?;
        loop {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                None => return Poll::Ready(self.message()),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                Some(Ok(frame)) => {
                    // Trailers say nothing to us.
                    if let Ok(chunk) = frame.into_data() {
                        self.take(&chunk)?;
                    }
                }
            }
        }
    }
}

impl hyper::body::Body for Whole {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let whole = ready!(self.poll_whole(context));
        self.is_over = true;
        self.taken = Vec::new();
        Poll::Ready(Some(whole.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}

/// The one message of a stream, as Connect envelopes it.
fn sole(stream: &[u8]) -> Result<&[u8], Status> {
    let bad = || refused(Code::InvalidArgument, "malformed_message", "expected one enveloped message, not compressed");
    let (prefix, message) = stream.split_first_chunk::<PREFIX_BYTES>().ok_or_else(bad)?;
    let [flag, length @ ..] = prefix;
    let is_all = usize::try_from(u32::from_be_bytes(*length)).is_ok_and(|length| length == message.len());
    if *flag == 0 && is_all { Ok(message) } else { Err(bad()) }
}

fn malformed(misread: Misread) -> Status {
    let mut details = ErrorDetails::with_error_info("malformed_message", DOMAIN, HashMap::new());
    let message = match &*misread.field {
        "" => format!("the message cannot be read: {misread}"),
        field => format!("the message cannot be read: `{field}`: {misread}"),
    };
    if !misread.field.is_empty() {
        details.add_bad_request_violation(misread.field, misread.message);
    }
    Status::with_error_details(Code::InvalidArgument, message, details)
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_message_that_does_not_come_whole_in_time_is_given_up() {
        let begun = futures_util::stream::iter([Ok::<_, Status>(Frame::data(Bytes::from_static(b"{")))]);
        let never = Body::new(http_body_util::StreamBody::new(begun.chain(futures_util::stream::pending())));
        let mut timely = Timely::new(never);
        assert!(timely.frame().await.unwrap().is_ok());
        let status = timely.frame().await.unwrap().unwrap_err();
        assert_eq!(
            (status.code(), &*status.get_details_error_info().unwrap().reason),
            (Code::DeadlineExceeded, "message_too_slow")
        );
    }

    #[test]
    fn a_stream_of_one_message_is_that_message() {
        assert_eq!(sole(&framed(0, b"abc")).unwrap(), b"abc");
        assert_eq!(sole(&framed(0, b"")).unwrap(), b"");
        let two = [framed(0, b"a"), framed(0, b"b")].concat();
        for bad in [&b""[..], b"\0\0\0\0", &framed(1, b"abc"), &framed(2, b"{}"), &two, &framed(0, b"abc")[..7]] {
            assert_eq!(sole(bad).unwrap_err().code(), Code::InvalidArgument, "{bad:?}");
        }
    }
}
