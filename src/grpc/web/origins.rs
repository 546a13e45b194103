//! Whose pages may call (CORS, the Fetch standard). Only origins that are listed, each by its whole name; no wildcard, and never with
//! credentials that the browser keeps.

use std::collections::BTreeSet;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::Foreign;
use crate::grpc::uniform::Answer;

/// What pages may send beside what every page may.
const TAKEN: &str = "authorization,connect-protocol-version,connect-timeout-ms,content-type,grpc-timeout,traceparent,tracestate,\
                     x-grpc-web,x-request-id,x-user-agent";
/// What pages may read beside what every page may.
const SHOWN: &str = "grpc-message,grpc-retry-pushback-ms,grpc-status,grpc-status-details-bin,retry-after,traceparent,\
                     www-authenticate,x-request-id";
/// How long browsers need not ask again: as long as any of them remembers.
const REMEMBERED_SECONDS: &str = "7200";

/// Origins whose pages may call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(BTreeSet<String>);

impl Origins {
    /// As browsers write them: `https://console.company.example`.
    pub fn new(origins: impl IntoIterator<Item = String>) -> Self {
        Self(origins.into_iter().collect())
    }

    /// The page that calls; nobody where it is a program.
    pub fn of(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, Foreign> {
        let mut all = headers.get_all(ORIGIN).iter();
        match (all.next(), all.next()) {
            (None, _) => Ok(None),
            (Some(one), None) if one.to_str().is_ok_and(|one| self.0.contains(one)) => Ok(Some(one.clone())),
            (Some(_), _) => Err(Foreign),
        }
    }
}

/// What a browser asks before a page of a listed origin calls.
pub fn preflight() -> Answer {
    let mut answer = Answer::default();
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(TAKEN));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(REMEMBERED_SECONDS));
    answer
}

/// The answer, which the page may read.
pub fn readable(mut answer: Answer, page: HeaderValue) -> Answer {
    let headers = answer.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, page);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(SHOWN));
    headers.insert(VARY, HeaderValue::from_static("origin"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_known_by_its_whole_origin_and_no_other_way() {
        let origins = Origins::new(["https://console.example".into()]);
        let check = |sent: &[&str], expected: Result<Option<&str>, Foreign>| {
            let mut headers = HeaderMap::new();
            for one in sent {
                headers.append(ORIGIN, one.parse().unwrap());
            }
            let page = origins.of(&headers).map(|page| page.map(|page| page.to_str().unwrap().to_owned()));
            assert_eq!(page, expected.map(|page| page.map(Into::into)), "{sent:?}");
        };
        check(&[], Ok(None));
        check(&["https://console.example"], Ok(Some("https://console.example")));
        for foreign in [
            "null",
            "*",
            "",
            "http://console.example",
            "https://console.example:8443",
            "https://console.example.evil.example",
            "https://CONSOLE.example",
            "https://evil.example, https://console.example",
        ] {
            check(&[foreign], Err(Foreign));
        }
        check(&["https://console.example", "https://console.example"], Err(Foreign));
        assert_eq!(Origins::default().of(&HeaderMap::new()), Ok(None));
    }
}
