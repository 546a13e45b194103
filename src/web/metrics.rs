//! `/metrics`, on a port of its own: whoever may scrape need not reach the inbox, and whoever uses the inbox not the metrics. It
//! takes no credential and says nothing of anybody: who can reach the port is the operator's affair.

use std::fmt;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::listen;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How the numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// OpenMetrics 1.0, which is what is written unless somebody cannot read it.
    OpenMetrics,
    /// The older text format of Prometheus, which most other tools read.
    Text,
}

impl Form {
    /// What whoever asks can read: by the types that he names, without their weights.
    fn wanted(headers: &HeaderMap) -> Self {
        let accepts = |kind: &str| {
            let named = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
            named.flat_map(|value| value.split(',')).any(|named| named.trim().starts_with(kind))
        };
        if accepts("text/plain") && !accepts("application/openmetrics-text") { Self::Text } else { Self::OpenMetrics }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => OPEN_METRICS,
            Self::Text => TEXT,
        }
    }
}

/// Serves until `shutdown`; `page` makes the text anew for each scrape.
pub async fn serve(
    listener: TcpListener,
    page: impl Fn(Form) -> Result<String, fmt::Error> + Clone + Send + Sync + 'static,
    shutdown: impl Future<Output = ()>,
) {
    let show = move |headers: HeaderMap| {
        let form = Form::wanted(&headers);
        std::future::ready(answer(form, page(form)))
    };
    listen::serve(listener, Router::new().route("/metrics", get(show)), shutdown).await;
}

fn answer(form: Form, page: Result<String, fmt::Error>) -> Response {
    match page {
        Ok(text) => ([(header::CONTENT_TYPE, form.content_type())], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
