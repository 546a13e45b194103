//! `countersign audit`: what happened, as the server tells it (`query`, `tail`) and as the files prove it (`verify`).

mod filter;
mod line;
mod query;
mod tail;
mod verify;

use clap::Subcommand;

use super::failure::Failure;
use super::remote::Remote;
use super::screen::Screen;

pub(super) use line::record as recorded;

#[derive(Debug, Subcommand)]
pub enum Audit {
    /// What happened
    Query(query::Query),
    /// What happens, as it happens
    Tail(tail::Tail),
    /// Prove that the journal's files are whole; needs no server
    Verify(verify::Verify),
}

impl Audit {
    pub async fn run(self, remote: &Remote, screen: &mut Screen) -> Result<(), Failure> {
        match self {
            Self::Query(query) => query.run(&remote.connect().await?, screen).await,
            Self::Tail(tail) => tail.run(remote, screen).await,
            Self::Verify(verify) => verify.run(screen),
        }
    }
}
