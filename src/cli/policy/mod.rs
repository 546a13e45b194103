//! `countersign policy`: for those who write policies. Only `reload` needs a server.

mod check;
mod diagnostic;
mod progress;
mod reload;

use clap::Subcommand;

use super::failure::Failure;
use super::remote::Remote;
use super::screen::Screen;

#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Load policies as the server would, and say what is wrong with them or what they are
    Check(check::Check),
    /// Have the server read its policy directory again now
    Reload,
}

impl Policy {
    pub async fn run(self, remote: &Remote, screen: &mut Screen) -> Result<(), Failure> {
        match self {
            Self::Check(command) => command.run(screen),
            Self::Reload => reload::run(remote, screen).await,
        }
    }
}
