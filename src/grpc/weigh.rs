//! Messages on their way in. Whoever sends half of a large one keeps that half in the server's memory, before anybody knows who he is, and
//! may do so on every call of every connection: what is beyond the size of ordinary calls is counted over all calls, and bounded.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tonic::Status;

use super::status::status;
use crate::service::load::{Kind, Load, Messages};

/// So much of each message is nobody's concern.
const ORDINARY_BYTES: usize = 64 << 10;

/// A message that is counted as it comes.
pub struct Weighed {
    body: tonic::body::Body,
    kind: Kind,
    load: Arc<Load>,
    bytes: usize,
    /// What of it is counted; given back when it was read.
    counted: Option<Messages>,
}

impl Weighed {
    pub fn new(body: tonic::body::Body, kind: Kind, load: Arc<Load>) -> Self {
        Self { body, kind, load, bytes: 0, counted: None }
    }

    fn weigh(&mut self, more: usize) -> Result<(), Status> {
        self.bytes = self.bytes.saturating_add(more);
        if self.bytes <= ORDINARY_BYTES {
            return Ok(());
        }
        let (load, kind) = (&self.load, self.kind);
        let counted = self.counted.get_or_insert_with(|| load.messages());
        counted.add(kind, more).map_err(|refusal| status(&refusal))
    }
}

impl Body for Weighed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)) else { return Poll::Ready(None) };
        let weighed = frame.and_then(|frame| {
            let more = frame.data_ref().map_or(0, Bytes::len);
            self.weigh(more).map(|()| frame)
        });
        Poll::Ready(Some(weighed))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
