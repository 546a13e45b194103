//! `countersign approvals`: what waits for people, and their word on it.

mod list;
mod show;
mod terminal;
mod vote;
mod watch;

use clap::{Args, Subcommand};

use super::failure::Failure;
use super::remote::Remote;
use super::screen::Screen;
use crate::wire::pb;

pub(super) use show::approval as shown;

#[derive(Debug, Subcommand)]
pub enum Approvals {
    /// List approvals, newest first
    List(list::List),
    /// Show one, in the order a reviewer needs
    Show {
        /// Such as apr_0198...
        id: String,
        /// Personal data and secrets as they are; that you looked goes on record
        #[arg(long)]
        reveal: bool,
    },
    /// Countersign: approve exactly what you were shown
    Approve(vote::Vote),
    /// Reject; one rejection is final
    Reject(vote::Vote),
    /// Take back what you asked for
    Cancel(Withdraw),
    /// Take back what was approved and not used yet
    Revoke(Withdraw),
    /// Let a pending action pass alone, where its gates name you for that (@break_glass); everybody is told
    BreakGlass {
        id: String,
        /// The binding of what you saw, as `approvals show` prints it
        #[arg(long, value_name = "HEX")]
        binding: String,
        /// Why it cannot wait
        #[arg(long)]
        reason: String,
    },
    /// Say that you looked at a glass that somebody broke; it takes two
    Examine {
        id: String,
        /// The binding of what you saw, as `approvals show` prints it
        #[arg(long, value_name = "HEX")]
        binding: String,
        /// It was not right
        #[arg(long)]
        wrong: bool,
        /// What you have to say of it
        #[arg(long, default_value = "")]
        comment: String,
    },
    /// An inbox at the terminal: read, and decide; into a file or a pipe, what waits and what changes
    Watch(watch::Watch),
}

#[derive(Debug, Args)]
pub struct Withdraw {
    id: String,
    /// Why
    #[arg(long, default_value = "")]
    comment: String,
}

impl Approvals {
    pub async fn run(self, remote: &Remote, screen: &mut Screen) -> Result<(), Failure> {
        let client = remote.connect().await?;
        let approval = match self {
            Self::List(list) => return list.run(&client, screen).await,
            Self::Watch(watch) => return watch.run(&client, screen).await,
            Self::Approve(vote) => return vote.run(pb::Verdict::Approve, &client, screen).await,
            Self::Reject(vote) => return vote.run(pb::Verdict::Reject, &client, screen).await,
            Self::Show { id, reveal } => {
                client.get_approval(pb::GetApprovalRequest { approval_id: id, reveal }).await?
            }
            Self::Cancel(Withdraw { id, comment }) => {
                client.cancel_approval(pb::CancelApprovalRequest { approval_id: id, comment }).await?
            }
            Self::Revoke(Withdraw { id, comment }) => {
                client.revoke_approval(pb::RevokeApprovalRequest { approval_id: id, comment }).await?
            }
            Self::BreakGlass { id, binding, reason } => {
                client.break_glass(pb::BreakGlassRequest { approval_id: id, binding, reason }).await?
            }
            Self::Examine { id, binding, wrong, comment } => {
                let verdict = if wrong { pb::Verdict::Reject } else { pb::Verdict::Approve }.into();
                let look = pb::ExamineBreakGlassRequest { approval_id: id, binding, verdict, comment };
                client.examine_break_glass(look).await?
            }
        };
        screen.message(&approval, |approval, style| show::approval(approval, jiff::Timestamp::now(), style))
    }
}
