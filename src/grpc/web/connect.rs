//! The Connect protocol (<https://connectrpc.com/docs/protocol>): a POST of one message, as JSON or protobuf, to the path that gRPC
//! has, answered with one message or one error; and streams of the server. A call without streams is what `curl` can say.
//!
//! Absent on purpose: GET (a page could send it without asking), compression (of secrets beside what a stranger chose), streams
//! of the client (gRPC has them).

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use tonic::body::Body;
use tonic::{Code, Status};

use super::Web;
use super::error::Problem;
use super::inbound::Inbound;
use super::outbound;
use crate::grpc::serve::Calls;
use crate::grpc::status::status;
use crate::grpc::uniform::{Answer, refused};
use crate::service::Refusal;
use crate::wire::transcode::{Method, Streams};

const VERSION: HeaderName = HeaderName::from_static("connect-protocol-version");
const TIMEOUT: HeaderName = HeaderName::from_static("connect-timeout-ms");
/// What has a meaning in gRPC, and none in what comes in.
const OF_GRPC: [&str; 4] = ["grpc-timeout", "grpc-encoding", "grpc-accept-encoding", "grpc-status"];
/// As Connect has it.
const TIMEOUT_DIGITS_MAX: usize = 10;
/// As gRPC has it; longer ones are said in seconds.
const TIMEOUT_MILLIS_MAX: u64 = 99_999_999;

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Json,
    Proto,
}

/// In what form a call came, which is that of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    pub encoding: Encoding,
    /// Whether messages are enveloped, because there may be many.
    pub streams: bool,
}

impl Form {
    pub fn of(media_type: &str) -> Option<Self> {
        let (encoding, streams) = match media_type {
            "application/json" => (Encoding::Json, false),
            "application/proto" => (Encoding::Proto, false),
            "application/connect+json" => (Encoding::Json, true),
            "application/connect+proto" => (Encoding::Proto, true),
            _ => return None,
        };
        Some(Self { encoding, streams })
    }

    pub fn media_type(self) -> HeaderValue {
        HeaderValue::from_static(match (self.encoding, self.streams) {
            (Encoding::Json, false) => "application/json",
            (Encoding::Proto, false) => "application/proto",
            (Encoding::Json, true) => "application/connect+json",
            (Encoding::Proto, true) => "application/connect+proto",
        })
    }
}

/// Makes the call in gRPC, and answers it in the form in which it came.
pub fn call<S: Calls>(
    web: Arc<Web>,
    mut calls: S,
    form: Form,
    mut request: Request<Body>,
) -> BoxFuture<'static, Result<Answer, Infallible>>
where
    S::Future: 'static,
{
    let method = match web.method(form, request.uri().path()) {
        Ok(method) => method.clone(),
        Err(problem) => return ready(Ok(problem.answer(Some(&web.vocabulary)))).boxed(),
    };
    if let Err(status) = become_grpc(request.headers_mut()) {
        return ready(Ok(outbound::refusal(&web.vocabulary, form, &status))).boxed();
    }
    request.extensions_mut().insert(Inbound { form, input: method.input.clone() });
    let answering = calls.call(request);
    let answered = async move {
        let Ok(answer) = answering.await;
        outbound::answer(web, form, method.output, answer).await
    };
    let broken = |_| {
        let status = status(&Refusal::Internal("an answer could not be translated".into()));
        Problem::from(status).answer(None)
    };
    // Around what the call itself does there is the same already: this is for the translation.
    AssertUnwindSafe(answered).catch_unwind().map(move |caught| Ok(caught.unwrap_or_else(broken))).boxed()
}

impl Web {
    fn method(&self, form: Form, path: &str) -> Result<&Method, Problem> {
        let unknown = || {
            let status = refused(Code::Unimplemented, "unimplemented", "there is no such method");
            Problem::with(status, StatusCode::NOT_FOUND)
        };
        let method = self.methods.get(path).ok_or_else(unknown)?;
        let elsewhere = |message| {
            let status = refused(Code::Unimplemented, "unsupported_media_type", message);
            Problem::with(status, StatusCode::UNSUPPORTED_MEDIA_TYPE)
        };
        match (method.streams, form.streams) {
            (Streams::Neither, false) | (Streams::Server, true) => Ok(method),
            (Streams::Neither, true) => Err(elsewhere("this method has one answer: `application/json`")),
            (Streams::Server, false) => Err(elsewhere("this method streams: `application/connect+json`, or gRPC")),
            (Streams::Client, _) => Err(elsewhere("the client streams: gRPC only")),
        }
    }
}

/// Takes away what only Connect says, and says it in gRPC.
fn become_grpc(headers: &mut HeaderMap) -> Result<(), Status> {
    for name in OF_GRPC {
        headers.remove(name);
    }
    if headers.remove(VERSION).is_some_and(|version| version != "1") {
        return Err(refused(Code::InvalidArgument, "malformed_header", "`connect-protocol-version`: expected 1"));
    }
    for name in [CONTENT_ENCODING, HeaderName::from_static("connect-content-encoding")] {
        if headers.remove(name).is_some_and(|coding| coding != "identity") {
            let message = "compressed messages are not taken; supported: identity";
            return Err(refused(Code::Unimplemented, "unsupported_encoding", message));
        }
    }
    if let Some(written) = headers.remove(TIMEOUT) {
        let malformed = || {
            let message = "`connect-timeout-ms`: expected at most 10 digits";
            refused(Code::InvalidArgument, "malformed_header", message)
        };
        headers.insert("grpc-timeout", timeout(&written).ok_or_else(malformed)?);
    }
    headers.remove(ACCEPT_ENCODING);
    // Of what came, not of what it becomes.
    headers.remove(CONTENT_LENGTH);
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Ok(())
}

/// The same in gRPC's words.
fn timeout(written: &HeaderValue) -> Option<HeaderValue> {
    let digits = written.to_str().ok()?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || digits.len() > TIMEOUT_DIGITS_MAX {
        return None;
    }
    let millis: u64 = digits.parse().ok()?;
    let said = if millis <= TIMEOUT_MILLIS_MAX { format!("{millis}m") } else { format!("{}S", millis / 1_000) };
    HeaderValue::from_str(&said).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_said_in_grpcs_words() {
        for (written, expected) in [
            ("0", Some("0m")),
            ("250", Some("250m")),
            ("99999999", Some("99999999m")),
            ("100000000", Some("100000S")),
            ("9999999999", Some("9999999S")),
            ("10000000000", None),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("1s", None),
        ] {
            let said = timeout(&HeaderValue::from_static(written));
            assert_eq!(said.as_ref().map(|said| said.to_str().unwrap()), expected, "{written}");
        }
    }

    #[test]
    fn what_connect_says_is_taken_away_and_grpcs_own_words_are_not_believed() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/json"),
            ("content-length", "2"),
            ("connect-protocol-version", "1"),
            ("connect-timeout-ms", "5"),
            ("grpc-timeout", "1H"),
            ("grpc-encoding", "gzip"),
            ("accept-encoding", "gzip"),
            ("authorization", "Bearer x"),
            ("x-request-id", "r"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        become_grpc(&mut headers).unwrap();
        let left: std::collections::BTreeMap<_, _> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        let expected = [
            ("authorization", "Bearer x"),
            ("content-type", "application/grpc"),
            ("grpc-timeout", "5m"),
            ("te", "trailers"),
            ("x-request-id", "r"),
        ];
        assert_eq!(left, expected.into());
        for (name, value) in
            [("connect-protocol-version", "2"), ("content-encoding", "gzip"), ("connect-timeout-ms", "x")]
        {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert!(become_grpc(&mut headers).is_err(), "{name}");
        }
    }
}
