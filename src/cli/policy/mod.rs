//! `countersign policy`: for those who write policies. Only `reload` needs a server.

mod check;
mod diagnostic;
mod diff;
mod explain;
mod fmt;
mod progress;
mod reload;
mod test;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::config::File;
use super::failure::Failure;
use super::remote::Remote;
use super::screen::Screen;
use crate::authoring::run;
use crate::authoring::scenario::Terms;
use crate::config::{Config, Layers};

#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Load policies as the server would, and say what is wrong with them or what they are
    Check(check::Check),
    /// Run the tests beside the policies (*.test.yaml), and say what they did not see
    Test(test::Test),
    /// Say why a query is answered as it is, what nearly permitted it, and who could countersign it
    Explain(Box<explain::Explain>),
    /// Say what a change of policies changes: by their tests, and by what was really asked
    Diff(diff::Diff),
    /// Lay policies out in one way; comments and meaning stay
    Fmt(fmt::Fmt),
    /// Have the server read its policy directory again now
    Reload,
}

impl Policy {
    pub async fn run(self, remote: &Remote, screen: &mut Screen) -> Result<(), Failure> {
        match self {
            Self::Check(check) => check.run(screen),
            Self::Test(test) => test.run(screen),
            Self::Explain(explain) => explain.run(screen),
            Self::Diff(diff) => diff.run(screen),
            Self::Fmt(fmt) => fmt.run(screen),
            Self::Reload => reload::run(remote, screen).await,
        }
    }
}

/// Which policies.
#[derive(Debug, Args)]
pub struct Place {
    /// The directory; as configured if not named
    dir: Option<PathBuf>,
    #[command(flatten)]
    file: File,
}

impl Place {
    /// The configuration, with the directory that was named.
    fn config(&self) -> Result<Config, Failure> {
        let mut config = Layers::of_process(self.file.config.clone()).load()?;
        if let Some(dir) = &self.dir {
            config.policy.dir.clone_from(dir);
        }
        Ok(config)
    }
}

/// How tests and explanations are run: as the server is configured.
fn settings(config: &Config, filter: Option<String>) -> run::Settings {
    run::Settings {
        policies: config.policy_settings(),
        terms: Terms {
            redeem_within: config.approvals.redeem_within.get(),
            outcome_lease: config.approvals.outcome_lease.get(),
            review: config.setup().limits.review,
        },
        filter,
    }
}
