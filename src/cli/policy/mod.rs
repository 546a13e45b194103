//! `countersign policy`: for those who write policies. Nothing here needs a server.

mod check;
mod diagnostic;
mod progress;

use clap::Subcommand;

use super::failure::Failure;
use super::screen::Screen;

#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Load policies as the server would, and say what is wrong with them or what they are
    Check(check::Check),
}

impl Policy {
    pub fn run(self, screen: &mut Screen) -> Result<(), Failure> {
        match self {
            Self::Check(command) => command.run(screen),
        }
    }
}
