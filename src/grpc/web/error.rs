//! Errors as Connect says them: a code in words, the message, every detail of the gRPC error (as bytes, and readable), and what HTTP
//! has words for: the status, when to ask again (`retry-after`), how to prove who one is (`www-authenticate`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::grpc::uniform::Answer;
use crate::wire::transcode::Vocabulary;

/// An error, and what HTTP says of it.
pub struct Problem {
    status: Status,
    http: StatusCode,
    header: Option<(HeaderName, HeaderValue)>,
}

impl From<Status> for Problem {
    fn from(status: Status) -> Self {
        let http = http_status(status.code());
        Self { status, http, header: None }
    }
}

impl Problem {
    /// One that HTTP knows better.
    pub fn with(status: Status, http: StatusCode) -> Self {
        Self { http, ..Self::from(status) }
    }

    pub fn saying(self, name: HeaderName, value: HeaderValue) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    /// Details can be read where there are words for them.
    pub fn answer(&self, vocabulary: Option<&Vocabulary>) -> Answer {
        let body = described(&self.status, vocabulary).to_string();
        let mut answer = Answer::new(Body::new(Full::from(body)));
        *answer.status_mut() = self.http;
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.extend(self.header.clone());
        if let Some(again) = self.status.get_details_retry_info().and_then(|info| info.retry_delay) {
            // Whole seconds, and never sooner than it was said.
            headers.insert(RETRY_AFTER, (again.as_millis().div_ceil(1_000) as u64).into());
        }
        if self.status.code() == Code::Unauthenticated {
            headers.insert(WWW_AUTHENTICATE, challenge(&self.status));
        }
        answer
    }
}

/// The error, in JSON.
pub fn described(status: &Status, vocabulary: Option<&Vocabulary>) -> Value {
    let details = vocabulary.map(|vocabulary| vocabulary.details(status.details())).unwrap_or_default();
    let details: Vec<_> = details
        .into_iter()
        .map(|detail| json!({ "type": detail.name, "value": STANDARD_NO_PAD.encode(detail.encoded), "debug": detail.readable }))
        .collect();
    json!({ "code": name(status.code()), "message": status.message(), "details": details })
}

/// RFC 6750 section 3 and RFC 9470 section 3, of what the error says of it.
fn challenge(status: &Status) -> HeaderValue {
    let bare = HeaderValue::from_static("Bearer");
    let Some(info) = status.get_details_error_info() else { return bare };
    let said = ["error", "max_age", "acr_values"].into_iter().filter_map(|name| {
        let value = info.metadata.get(name).filter(|value| !value.contains(['"', '\\']))?;
        Some(format!("{name}=\"{value}\""))
    });
    match said.collect::<Vec<_>>().join(", ") {
        nothing if nothing.is_empty() => bare,
        // What is no header says nothing.
        said => HeaderValue::try_from(format!("Bearer {said}")).unwrap_or(bare),
    }
}

/// By the table of the Connect protocol.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        // It has a number and no name.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "canceled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use tonic_types::ErrorDetails;

    use super::*;

    fn header(answer: &Answer, name: &str) -> Option<String> {
        answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn http_is_told_when_to_ask_again_and_how_to_prove_who_one_is() {
        let mut details = ErrorDetails::with_error_info("busy", "countersign", HashMap::new());
        details.set_retry_info(Some(Duration::from_millis(1_200)));
        let busy = Status::with_error_details(Code::Unavailable, "busy", details);
        let answer = Problem::from(busy).answer(None);
        assert_eq!(
            (answer.status(), header(&answer, "retry-after")),
            (StatusCode::SERVICE_UNAVAILABLE, Some("2".into()))
        );

        let metadata = [("scheme", "Bearer"), ("error", "insufficient_user_authentication"), ("max_age", "300")];
        let metadata = metadata.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let details = ErrorDetails::with_error_info("step_up", "countersign", HashMap::from(metadata));
        let answer = Problem::from(Status::with_error_details(Code::Unauthenticated, "older", details)).answer(None);
        let expected = r#"Bearer error="insufficient_user_authentication", max_age="300""#;
        assert_eq!(header(&answer, "www-authenticate").unwrap(), expected);
        let answer = Problem::from(Status::unauthenticated("who?")).answer(None);
        assert_eq!(
            (answer.status(), header(&answer, "www-authenticate").unwrap()),
            (StatusCode::UNAUTHORIZED, "Bearer".into())
        );
    }
}
