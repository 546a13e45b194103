//! `approvals watch`: what waits for people, as often as it changes. Who may subscribe is told at once; who may not looks again
//! every few seconds. A person at a terminal gets an inbox ([`super::terminal`]); files and pipes get lines.

use std::collections::HashMap;
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::list::{Which, rows};
use crate::cli::failure::Failure;
use crate::cli::screen::{Format, Screen};
use crate::config::Span;
use crate::grpc::client::{Client, Code};
use crate::wire::json::to_json;
use crate::wire::pb;

/// Approvals on the screen at once.
pub(super) const SHOWN_MAX: usize = 200;
/// Many changes at once are drawn once.
pub(super) const GATHER: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub struct Watch {
    #[command(flatten)]
    which: Which,
    /// How often to look
    #[arg(long, default_value = "2s")]
    every: Span,
}

impl Watch {
    pub async fn run(self, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
        let which = self.which.pending_by_default();
        let every = self.every.get().max(Duration::from_millis(200));
        if screen.can_ask() {
            return super::terminal::run(&which, every, client, screen.style).await;
        }
        let mut news = news(client).await;
        let mut drawn = Drawn::default();
        loop {
            match which.fetch(client, SHOWN_MAX).await {
                Ok(approvals) => drawn.update(&approvals, screen)?,
                Err(failure) if is_passing(&failure) => screen.failure(&failure),
                Err(failure) => return Err(failure),
            }
            tokio::select! {
                stop = tokio::signal::ctrl_c() => return Ok(stop?),
                () = tokio::time::sleep(every) => {}
                event = news.next() => match event {
                    Some(()) => tokio::time::sleep(GATHER).await,
                    // The stream is over: from now on only the clock says when to look.
                    None => news = futures_util::stream::pending().boxed(),
                },
            }
        }
    }
}

/// Ticks when anything happens, for those who may know; else never.
pub(super) async fn news(client: &Client) -> BoxStream<'static, ()> {
    match client.subscribe(pb::SubscribeRequest::default()).await {
        Ok(events) => events.take_while(|event| std::future::ready(event.is_ok())).map(|_| ()).boxed(),
        Err(_) => futures_util::stream::pending().boxed(),
    }
}

pub(super) fn is_passing(failure: &Failure) -> bool {
    let Failure::Call(error) = failure else { return false };
    matches!(error.code, Code::Unreachable | Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded)
}

/// What is on the screen, by id and version.
#[derive(Default)]
struct Drawn(Option<HashMap<String, u64>>);

impl Drawn {
    fn update(&mut self, approvals: &[pb::Approval], screen: &mut Screen) -> Result<(), Failure> {
        let next: HashMap<_, _> = approvals.iter().map(|approval| (approval.id.clone(), approval.version)).collect();
        let is_first = self.0.is_none();
        let seen = self.0.take().unwrap_or_default();
        let is_new = |approval: &&pb::Approval| seen.get(&approval.id) != Some(&approval.version);
        match screen.format {
            Format::Json => approvals.iter().filter(is_new).try_for_each(|approval| screen.json(&to_json(approval)))?,
            Format::Table if is_first || next != seen => draw(approvals, screen)?,
            Format::Table => {}
        }
        self.0 = Some(next);
        Ok(())
    }
}

fn draw(approvals: &[pb::Approval], screen: &mut Screen) -> Result<(), Failure> {
    let now = jiff::Timestamp::now();
    let title = format!("{now:.0}  {} waiting; decide with `countersign approvals approve ID`", approvals.len());
    screen.line(&screen.style.bold(&title))?;
    screen.table(&rows(approvals, now))
}
