//! The same API for those who do not speak gRPC: HTTP/JSON ([`connect`], the Connect protocol) and gRPC-Web, over HTTP/1.1 as well. What
//! comes in is turned into a call of gRPC and goes where every call goes, past the same limits; the answer is turned back. Nothing
//! is decided here (docs/adr/0064).
//!
//! Browsers are let in by what they say of themselves: a page says where it is from (`Origin`), and [`origins`] knows which may call. INVARIANT:
//! no call is taken that a page could send without having asked first: one of the media types below is needed, none of which
//! a form or a script may send to another origin without the browser asking for it. Credentials that a browser adds by
//! itself (cookies) are read nowhere; a client certificate is one that it does add, and the reason for all of this.

mod connect;
mod error;
mod inbound;
mod openapi;
mod origins;
mod outbound;

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method as Verb, Request, StatusCode, Version};
use tonic::Code;
use tonic::body::Body;
use tonic_web::GrpcWebLayer;
use tower::{Layer, Service};

use self::connect::Form;
use self::error::Problem;
use self::inbound::Timely;
pub use self::inbound::received;
pub use self::origins::Origins;
use super::serve::Calls;
use super::uniform::{Answer, refused};
use crate::wire::DESCRIPTORS;
use crate::wire::transcode::{DescriptorsError, Method, Vocabulary};

/// What is spoken on a port. Cheap to clone.
#[derive(Clone)]
pub enum Spoken {
    /// gRPC over HTTP/2, and nothing else.
    Grpc,
    /// Also gRPC-Web and HTTP/JSON, over HTTP/1.1 too.
    Web(Arc<Web>),
}

/// All that is needed to turn one into the other.
pub struct Web {
    vocabulary: Vocabulary,
    methods: HashMap<String, Method>,
    origins: Origins,
}

impl Web {
    /// For pages of these origins, and for programs.
    ///
    /// # Errors
    /// [`DescriptorsError`]
    pub fn new(origins: Origins) -> Result<Self, DescriptorsError> {
        let sets = [DESCRIPTORS, tonic_health::pb::FILE_DESCRIPTOR_SET, tonic_types::pb::FILE_DESCRIPTOR_SET];
        let vocabulary = Vocabulary::new(&sets)?;
        let methods = vocabulary.methods().map(|method| (method.path.clone(), method)).collect();
        Ok(Self { vocabulary, methods, origins })
    }
}

/// How a call is said.
enum Way {
    Grpc,
    GrpcWeb,
    Connect(Form),
    Preflight,
    OpenApi,
}

impl Spoken {
    /// Answers a call in the words in which it came.
    pub fn answer<S: Calls>(
        &self,
        mut calls: S,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Answer, Infallible>>
    where
        S::Future: 'static,
    {
        let page = match self.page(request.headers()) {
            Ok(page) => page,
            Err(Foreign) => return told(self, &Problem::from(foreign())),
        };
        let way = match self.way(&request) {
            Ok(way) => way,
            Err(problem) => return from_page(page, told(self, &problem)),
        };
        let answering = match (way, self) {
            (Way::Grpc, _) | (_, Self::Grpc) => return Box::pin(calls.call(request)),
            (Way::GrpcWeb, Self::Web(_)) => GrpcWebLayer::new().layer(calls).call(request.map(Timely::new)).boxed(),
            (Way::Connect(form), Self::Web(web)) => connect::call(web.clone(), calls, form, request),
            (Way::Preflight, Self::Web(_)) => ready(Ok(origins::preflight())).boxed(),
            (Way::OpenApi, Self::Web(_)) => ready(Ok(openapi::document())).boxed(),
        };
        from_page(page, answering)
    }

    /// The page that calls, where one does.
    fn page(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, Foreign> {
        let nobody = Origins::default();
        let origins = match self {
            Self::Grpc => &nobody,
            Self::Web(web) => &web.origins,
        };
        origins.of(headers)
    }

    fn way(&self, request: &Request<Body>) -> Result<Way, Problem> {
        let way = match media_type(request.headers()) {
            Some("application/grpc" | "application/grpc+proto") => Way::Grpc,
            _ if matches!(self, Self::Grpc) => return Err(unknown_media_type()),
            Some(
                "application/grpc-web"
                | "application/grpc-web+proto"
                | "application/grpc-web-text"
                | "application/grpc-web-text+proto",
            ) => Way::GrpcWeb,
            Some(other) => Way::Connect(Form::of(other).ok_or_else(unknown_media_type)?),
            None if request.method() == Verb::OPTIONS => return Ok(Way::Preflight),
            None if request.method() == Verb::GET && request.uri().path() == openapi::PATH => return Ok(Way::OpenApi),
            None if request.method() == Verb::POST => return Err(unknown_media_type()),
            None => return Err(wrong_verb()),
        };
        if request.method() != Verb::POST {
            return Err(wrong_verb());
        }
        if matches!(way, Way::Grpc) && request.version() < Version::HTTP_2 {
            let status = refused(Code::Unimplemented, "http_version", "gRPC itself takes HTTP/2");
            return Err(Problem::with(status, StatusCode::HTTP_VERSION_NOT_SUPPORTED));
        }
        Ok(way)
    }
}

/// A page of an origin that may not call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreign;

/// The media type without its parameters. Spelt as clients spell it: another spelling is not known.
fn media_type(headers: &HeaderMap) -> Option<&str> {
    // What is no text is not known either.
    let written = headers.get(CONTENT_TYPE)?.to_str().unwrap_or_default();
    Some(written.split_once(';').map_or(written, |(bare, _)| bare).trim())
}

fn foreign() -> tonic::Status {
    refused(
        Code::PermissionDenied,
        "foreign_origin",
        "pages of this origin may not call: `grpc.web_origins` lists who may",
    )
}

fn unknown_media_type() -> Problem {
    let status = refused(Code::Unimplemented, "unsupported_media_type", "this content type is not taken here");
    Problem::with(status, StatusCode::UNSUPPORTED_MEDIA_TYPE)
}

fn wrong_verb() -> Problem {
    let status = refused(Code::Unimplemented, "method_not_allowed", "calls are made with POST");
    Problem::with(status, StatusCode::METHOD_NOT_ALLOWED).saying(ALLOW, HeaderValue::from_static("POST"))
}

/// What went wrong before it was known whom to ask.
fn told(spoken: &Spoken, problem: &Problem) -> BoxFuture<'static, Result<Answer, Infallible>> {
    let vocabulary = match spoken {
        Spoken::Grpc => None,
        Spoken::Web(web) => Some(&web.vocabulary),
    };
    ready(Ok(problem.answer(vocabulary))).boxed()
}

/// The answer as a page may read it, where one asked.
fn from_page(
    page: Option<HeaderValue>,
    answering: BoxFuture<'static, Result<Answer, Infallible>>,
) -> BoxFuture<'static, Result<Answer, Infallible>> {
    match page {
        None => answering,
        Some(page) => answering.map(|answer| answer.map(|answer| origins::readable(answer, page))).boxed(),
    }
}
