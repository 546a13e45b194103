//! Answers of gRPC on their way out, as Connect has them: one message, one error, or a stream of envelopes whose last one says how it
//! ended.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Frame};
use serde_json::json;
use tonic::body::Body;
use tonic::{Code, Status};

use super::Web;
use super::connect::{Encoding, Form};
use super::error::{Problem, described};
use super::inbound::{PREFIX_BYTES, framed};
use crate::grpc::status::status;
use crate::grpc::uniform::Answer;
use crate::service::Refusal;
use crate::wire::transcode::{Vocabulary, Words};

/// The flag of the envelope that ends a stream.
const END: u8 = 2;

/// An error in this form.
pub fn refusal(vocabulary: &Vocabulary, form: Form, status: &Status) -> Answer {
    if !form.streams {
        return Problem::from(status.clone()).answer(Some(vocabulary));
    }
    let mut answer = Answer::new(Body::new(Full::new(last(vocabulary, Some(status), &HeaderMap::new()))));
    answer.headers_mut().insert(CONTENT_TYPE, form.media_type());
    answer
}

/// What gRPC answered, in this form.
pub async fn answer(web: Arc<Web>, form: Form, output: Words, answer: Answer) -> Answer {
    let (mut parts, body) = answer.into_parts();
    if let Some(status) = Status::from_header_map(&parts.headers).filter(|status| status.code() != Code::Ok) {
        let mut refused = refusal(&web.vocabulary, form, &status);
        keep(&parts.headers, refused.headers_mut());
        return refused;
    }
    let mut headers = HeaderMap::new();
    keep(&parts.headers, &mut headers);
    headers.insert(CONTENT_TYPE, form.media_type());
    parts.headers = headers;
    if form.streams {
        let stream = Enveloped {
            body,
            web,
            encoding: form.encoding,
            output,
            read: Vec::new(),
            ready: VecDeque::new(),
            is_over: false,
        };
        return Answer::from_parts(parts, Body::new(stream));
    }
    match only(body, form.encoding, &output).await {
        Ok((message, trailers)) => {
            for (name, value) in trailers.iter().filter(|(name, _)| is_kept(name)) {
                if let Ok(name) = HeaderName::try_from(format!("trailer-{name}")) {
                    parts.headers.append(name, value.clone());
                }
            }
            Answer::from_parts(parts, Body::new(Full::new(message)))
        }
        Err(status) => {
            parts.headers.remove(CONTENT_TYPE);
            let mut refused = refusal(&web.vocabulary, form, &status);
            keep(&parts.headers, refused.headers_mut());
            refused
        }
    }
}

/// The one message of an answer, and its trailers, or how it ended otherwise.
async fn only(body: Body, encoding: Encoding, output: &Words) -> Result<(Bytes, HeaderMap), Status> {
    let collected = body.collect().await?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    ended(&trailers)?;
    let read = collected.to_bytes();
    let message = read.get(PREFIX_BYTES..).ok_or_else(unsaid)?;
    Ok((said(message, encoding, output)?, trailers))
}

/// How a call ended. One that does not say so did not end well.
fn ended(trailers: &HeaderMap) -> Result<(), Status> {
    let status = Status::from_header_map(trailers).ok_or_else(unsaid)?;
    if status.code() == Code::Ok { Ok(()) } else { Err(status) }
}

fn said(message: &[u8], encoding: Encoding, output: &Words) -> Result<Bytes, Status> {
    match encoding {
        Encoding::Proto => Ok(Bytes::copy_from_slice(message)),
        Encoding::Json => output.write_json(message).map(Into::into).ok_or_else(unsaid),
    }
}

fn unsaid() -> Status {
    status(&Refusal::Internal("an answer is not what its method answers".into()))
}

/// Copies what is not gRPC's own.
fn keep(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from.iter().filter(|(name, _)| is_kept(name)) {
        to.append(name.clone(), value.clone());
    }
}

fn is_kept(name: &HeaderName) -> bool {
    !name.as_str().starts_with("grpc-") && name != CONTENT_TYPE
}

/// The envelope at the end of a stream.
fn last(vocabulary: &Vocabulary, error: Option<&Status>, trailers: &HeaderMap) -> Bytes {
    let mut metadata = serde_json::Map::new();
    for name in trailers.keys().filter(|name| is_kept(name)) {
        let values: Vec<_> = trailers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        metadata.insert(name.to_string(), json!(values));
    }
    let mut end = json!({ "metadata": metadata });
    if let (Some(status), Some(end)) = (error, end.as_object_mut()) {
        end.insert("error".into(), described(status, Some(vocabulary)));
    }
    framed(END, end.to_string().as_bytes())
}

/// The messages of gRPC, each in an envelope of Connect.
struct Enveloped {
    body: Body,
    web: Arc<Web>,
    encoding: Encoding,
    output: Words,
    /// Of a message that is not whole yet.
    read: Vec<u8>,
    ready: VecDeque<Bytes>,
    is_over: bool,
}

impl Enveloped {
    fn take(&mut self, chunk: &[u8]) -> Result<(), Status> {
        self.read.extend_from_slice(chunk);
        while let Some((prefix, rest)) = self.read.split_first_chunk::<PREFIX_BYTES>() {
            let [_, length @ ..] = prefix;
            let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| unsaid())?;
            let Some(message) = rest.get(..length) else { return Ok(()) };
            let said = said(message, self.encoding, &self.output)?;
            self.ready.push_back(framed(0, &said));
            self.read.drain(..PREFIX_BYTES + length);
        }
        Ok(())
    }

    fn end(&mut self, how: Result<(), Status>, trailers: &HeaderMap) {
        self.is_over = true;
        let how = if self.read.is_empty() { how } else { how.and_then(|()| Err(unsaid())) };
        self.ready.push_back(last(&self.web.vocabulary, how.err().as_ref(), trailers));
    }
}

impl hyper::body::Body for Enveloped {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            if let Some(envelope) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(envelope))));
            }
            if self.is_over {
                return Poll::Ready(None);
            }
            let none = HeaderMap::new();
            match std::task::ready!(Pin::new(&mut self.body).poll_frame(context)) {
                None => self.end(Err(unsaid()), &none),
                Some(Err(error)) => self.end(Err(error), &none),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) => {
                        if let Err(error) = self.take(&chunk) {
                            self.read.clear();
                            self.end(Err(error), &none);
                        }
                    }
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        self.end(ended(&trailers), &trailers);
                    }
                },
            }
        }
    }
}
