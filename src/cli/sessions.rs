//! `countersign sessions`: who is signed in at the inbox, and is so no more.

use clap::Subcommand;

use super::failure::Failure;
use super::parse;
use super::remote::Remote;
use super::screen::Screen;
use super::words::uid;
use crate::wire::pb;

#[derive(Debug, Subcommand)]
pub enum Sessions {
    /// End all sessions of a person in the inbox, at every server; he can sign in again
    End {
        /// Such as `User::"alice"`
        #[arg(long, value_parser = parse::uid, value_name = "ENTITY")]
        person: pb::EntityUid,
    },
}

impl Sessions {
    pub async fn run(self, remote: &Remote, screen: &mut Screen) -> Result<(), Failure> {
        match self {
            Self::End { person } => {
                let name = uid(Some(&person));
                let request = pb::EndSessionsRequest { principal: Some(person) };
                let answer = remote.connect().await?.end_sessions(request).await?;
                screen.message(&answer, |answer, _| {
                    format!("sessions of {name} have ended, revision {}", answer.policy_revision)
                })
            }
        }
    }
}
