//! The document that says what can be called over HTTP/JSON, for generators and for people: made of the protos by `make docs`, and here as it
//! lies in `docs/`. As reflection does, it tells everybody what the API is.

use http::HeaderValue;
use http::header::CONTENT_TYPE;
use http_body_util::Full;
use tonic::body::Body;

use crate::grpc::uniform::Answer;

pub const PATH: &str = "/openapi.json";

const DOCUMENT: &str = include_str!("../../../docs/openapi.json");

pub fn document() -> Answer {
    let mut answer = Answer::new(Body::new(Full::from(DOCUMENT)));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
