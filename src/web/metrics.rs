//! `/metrics`, on a port of its own: whoever may scrape need not reach the inbox, and whoever uses the inbox not the metrics. It
//! takes no credential and says nothing of anybody: who can reach the port is the operator's affair.

use std::fmt;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::listen;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves until `shutdown`; `page` makes the text anew for each scrape.
pub async fn serve(
    listener: TcpListener,
    page: impl Fn() -> Result<String, fmt::Error> + Clone + Send + Sync + 'static,
    shutdown: impl Future<Output = ()>,
) {
    let show = move || std::future::ready(answer(page()));
    listen::serve(listener, Router::new().route("/metrics", get(show)), shutdown).await;
}

fn answer(page: Result<String, fmt::Error>) -> Response {
    match page {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
