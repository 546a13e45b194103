//! Errors that are made before a handler runs (a message that cannot be decoded, one that is too large, an unknown method)
//! look like our own: the right code, `ErrorInfo`, the field where it is known, and nothing internal.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::status::DOMAIN;
use super::transport::MESSAGE_BYTES_MAX;

/// An answer on its way out.
pub type Answer = http::Response<tonic::body::Body>;

/// How `tonic` begins the text of an error that `prost` found; message and field follow.
const UNDECODABLE: &str = "failed to decode Protobuf message: ";

/// Rewrites an error that says nothing of its reason; leaves everything else as it is.
pub fn answer(mut answer: Answer) -> Answer {
    let Some(status) = Status::from_header_map(answer.headers()) else { return answer };
    if status.code() == Code::Ok || !status.details().is_empty() {
        return answer;
    }
    // The old message and code are replaced; should ours not fit into headers, the old ones stay: an error all the same.
    if explained(&status).add_header(answer.headers_mut()).is_err() {
        tracing::warn!(grpc.code = ?status.code(), "an error could not be explained to its client");
    }
    answer
}

/// The same error with its reason.
pub fn explained(status: &Status) -> Status {
    let limit = || HashMap::from([("limit".to_owned(), "message_bytes_max".to_owned())]);
    match status.code() {
        Code::OutOfRange | Code::ResourceExhausted => {
            let message = format!("the message is larger than `message_bytes_max`, {MESSAGE_BYTES_MAX} bytes");
            let details = ErrorDetails::with_error_info("message_too_large", DOMAIN, limit());
            Status::with_error_details(Code::InvalidArgument, message, details)
        }
        Code::Internal => undecodable(status.message()),
        Code::Unimplemented => same(status, "unimplemented", "there is no such method"),
        _ => same(status, "transport", "the call failed on its way"),
    }
}

fn same(status: &Status, reason: &str, message: &str) -> Status {
    Status::with_error_details(status.code(), message, ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new()))
}

/// Handlers explain their own internal errors, so that one without a reason is a request that could not be read.
fn undecodable(text: &str) -> Status {
    let message = "the message cannot be decoded: malformed, or nested too deep";
    let mut details = ErrorDetails::with_error_info("malformed_message", DOMAIN, HashMap::new());
    if let Some(field) = text.strip_prefix(UNDECODABLE).and_then(outermost_field) {
        details.add_bad_request_violation(field, message);
    }
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// `Value.kind: AuthorizeRequest.context: ..`, the innermost first, names `context`.
fn outermost_field(path: &str) -> Option<&str> {
    let is_name =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let fields = path.split(": ").map_while(|part| part.split_once('.').map(|(_, field)| field));
    fields.take_while(|field| is_name(field)).last()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_undecodable_message_names_its_outermost_field() {
        let status = Status::internal(format!("{UNDECODABLE}Value.kind: AuthorizeRequest.context: recursion limit"));
        let explained = explained(&status);
        assert_eq!(explained.code(), Code::InvalidArgument);
        let violations = explained.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "context");
        assert!(!explained.message().contains("recursion"));
    }

    #[test]
    fn what_is_explained_already_and_what_succeeded_stay_as_they_are() {
        let mut ours = Answer::default();
        same(&Status::not_found(""), "not_found", "m").add_header(ours.headers_mut()).unwrap();
        let before = ours.headers().clone();
        assert_eq!(answer(ours).headers(), &before);
        assert!(answer(Answer::default()).headers().is_empty());
    }
}
