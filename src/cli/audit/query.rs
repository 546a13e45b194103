//! `audit query`.

use clap::Args;
use futures_util::StreamExt;

use super::filter::Filter;
use super::line;
use crate::cli::failure::Failure;
use crate::cli::parse::{self, Moment};
use crate::cli::screen::Screen;
use crate::cli::words::escaped;
use crate::grpc::client::Client;
use crate::wire::pb;

#[derive(Debug, Args)]
pub struct Query {
    #[command(flatten)]
    filter: Filter,
    /// From then on: 2026-01-31T12:00:00Z, or 2h for two hours ago
    #[arg(long, value_parser = parse::moment)]
    since: Option<Moment>,
    /// Before then
    #[arg(long, value_parser = parse::moment)]
    until: Option<Moment>,
    /// Newest first
    #[arg(long)]
    newest: bool,
    /// At most so many
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Continue there, with the same filter and order
    #[arg(long, default_value = "", hide_default_value = true)]
    cursor: String,
}

impl Query {
    pub async fn run(self, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
        let limit = self.limit;
        let mut records = client.audit(self.request(jiff::Timestamp::now())).await?;
        let (mut count, mut cursor) = (0, String::new());
        while let Some(answer) = records.next().await {
            let answer = answer?;
            cursor.clone_from(&answer.cursor);
            let Some(record) = &answer.record else { continue };
            count += 1;
            screen.message(record, |record, _| line::record(record))?;
        }
        if count >= limit {
            screen.note(&format!("there may be more: continue with --cursor {}", escaped(&cursor)));
        }
        Ok(())
    }

    fn request(self, now: jiff::Timestamp) -> pb::AuditRequest {
        let order = if self.newest { pb::Order::NewestFirst } else { pb::Order::OldestFirst };
        pb::AuditRequest {
            filter: Some(self.filter.into()),
            from: self.since.map(|moment| moment.at(now)),
            until: self.until.map(|moment| moment.at(now)),
            order: order.into(),
            limit: self.limit,
            cursor: self.cursor,
        }
    }
}
