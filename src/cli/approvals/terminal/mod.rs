//! `approvals watch` where a person sits at a terminal: what waits, one of it in the order in which a reviewer needs it, and his
//! word on it, with the binding of what was on the screen.
//!
//! [`inbox`] says what keys do and knows no terminal, [`seen`] what was on it; [`draw`] makes a screen of it; [`paint`] lets nothing reach the terminal
//! but text and a few colours; [`tty`] is the terminal itself. Here they are run, and the server is asked.

mod draw;
mod inbox;
mod paint;
mod seen;
mod tty;

use std::time::Duration;

use futures_util::StreamExt;

use self::inbox::{Inbox, Wish};
use self::tty::Tty;
use super::list::Which;
use super::watch::{GATHER, SHOWN_MAX, is_passing, news};
use crate::cli::failure::Failure;
use crate::cli::screen::Style;
use crate::grpc::client::Client;
use crate::wire::pb;

/// The time that is left runs.
const TICK: Duration = Duration::from_secs(1);

/// Runs until the person leaves.
pub async fn run(which: &Which, every: Duration, client: &Client, style: Style) -> Result<(), Failure> {
    let mut tty = Tty::open()?;
    let mut inbox = Inbox::default();
    let mut heard = news(client).await;
    let mut stop = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut look = tokio::time::interval(every);
    let mut tick = tokio::time::interval(TICK);
    loop {
        tty.draw(|frame| draw::screen(frame, &mut inbox, jiff::Timestamp::now(), style))?;
        tokio::select! {
            key = tty.key() => match inbox.press(key?, jiff::Timestamp::now()) {
                Wish::Nothing => {}
                Wish::Leave => return Ok(()),
                wish => ask(wish, &mut inbox, which, client).await?,
            },
            _ = look.tick() => refresh(&mut inbox, which, client).await?,
            event = heard.next() => match event {
                Some(()) => {
                    tokio::time::sleep(GATHER).await;
                    refresh(&mut inbox, which, client).await?;
                }
                // From now on only the clock says when to look.
                None => heard = futures_util::stream::pending().boxed(),
            },
            _ = tick.tick() => {}
            _ = stop.recv() => return Ok(()),
        }
    }
}

/// Does what was wished for. What the server refuses is told, and nothing is lost.
async fn ask(wish: Wish, inbox: &mut Inbox, which: &Which, client: &Client) -> Result<(), Failure> {
    match wish {
        Wish::Nothing | Wish::Leave => {}
        Wish::Show { id, reveal } => {
            match client.get_approval(pb::GetApprovalRequest { approval_id: id, reveal }).await {
                Ok(approval) => inbox.show(approval, reveal),
                Err(error) => inbox.tell(&Failure::from(error)),
            }
        }
        Wish::Decide(vote) => {
            match client.decide(vote).await {
                Ok(approval) => inbox.decided(approval),
                Err(error) => inbox.tell(&Failure::from(error)),
            }
            refresh(inbox, which, client).await?;
        }
    }
    Ok(())
}

/// What waits now, and what became of the one that is open.
async fn refresh(inbox: &mut Inbox, which: &Which, client: &Client) -> Result<(), Failure> {
    match which.fetch(client, SHOWN_MAX).await {
        Ok(approvals) => inbox.update(approvals),
        Err(failure) if is_passing(&failure) => {
            inbox.offline(&failure);
            return Ok(());
        }
        Err(failure) => return Err(failure),
    }
    if let Some(id) = inbox.settled_elsewhere()
        && let Ok(approval) = client.get_approval(pb::GetApprovalRequest { approval_id: id, reveal: false }).await
    {
        inbox.follow(&approval);
    }
    Ok(())
}
