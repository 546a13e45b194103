//! The command line: a table of commands, and what all of them share.
//!
//! Commands that work on files (`config`, `policy check`, `audit verify`), on Redis (`store`) or on all of it (`doctor`) need no server; all others speak gRPC to one, as any
//! client does, with the caller's own token. Whatever came from outside is shown escaped.

mod approvals;
mod ask;
mod audit;
mod away;
mod config;
mod demo;
mod doctor;
mod entities;
mod failure;
mod healthcheck;
pub mod logging;
mod panics;
mod parse;
mod policy;
mod remote;
mod screen;
mod serve;
mod sessions;
mod start;
mod store;
mod token;
mod words;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use failure::Failure;
use remote::Remote;
use screen::{Format, Screen};

/// Ask before you act; countersign what others ask.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, after_long_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    remote: Remote,
    /// How answers are written. `json`: one value a line, as the API's proto3 JSON (64-bit integers as text, bytes in
    /// hexadecimal).
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// No colours; also by NO_COLOR
    #[arg(long, global = true)]
    no_color: bool,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  wrong usage or configuration
  3  refused: not authenticated, not permitted, or denied
  4  there is no such thing, or you may not see it
  5  the server cannot be reached or is out of order; try again
  6  too late: already settled, or not what was reviewed";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(serve::Serve),
    /// Watch it work: a server, an agent, and the people who countersign
    Demo(demo::Demo),
    /// Write policies: check, test, explain, compare and format them; have the server load them again
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Ask whether something may be done, as an enforcement point does; exit code 0 for ALLOW alone
    Ask(ask::Ask),
    /// See and decide what waits for people
    #[command(subcommand)]
    Approvals(approvals::Approvals),
    /// Out of office: have somebody stand in for a reviewer who is away
    #[command(subcommand)]
    Away(away::Away),
    /// The server's own entity data, beside what files say
    #[command(subcommand)]
    Entities(entities::Entities),
    /// Who is signed in at the inbox, and no more
    #[command(subcommand)]
    Sessions(sessions::Sessions),
    /// What happened, and proof of it
    #[command(subcommand)]
    Audit(audit::Audit),
    /// See and check the server's configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Find out what would keep the server from its work, today or soon, and what to do about it
    Doctor(doctor::Doctor),
    /// Look after a store that several replicas share
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Exit with 0 if the server is well, else with 1 and why; for container runtimes
    Healthcheck(healthcheck::Healthcheck),
    /// Get a token of the development issuer
    Token(token::Token),
    /// Write a completion script for a shell
    Completions { shell: clap_complete::Shell },
}

/// Parses the command, runs it, and says what went wrong.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut screen = Screen::of_process(cli.output, cli.no_color);
    let done = tokio::runtime::Runtime::new()
        .map_err(Failure::from)
        .and_then(|runtime| runtime.block_on(run(cli, &mut screen)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            screen.failure(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

async fn run(cli: Cli, screen: &mut Screen) -> Result<(), Failure> {
    match cli.command {
        Command::Serve(command) => command.run(screen).await,
        Command::Demo(command) => command.run(screen).await,
        Command::Policy(command) => command.run(&cli.remote, screen).await,
        Command::Entities(command) => command.run(&cli.remote, screen).await,
        Command::Sessions(command) => command.run(&cli.remote, screen).await,
        Command::Ask(command) => command.run(&cli.remote, screen).await,
        Command::Approvals(command) => command.run(&cli.remote, screen).await,
        Command::Away(command) => command.run(&cli.remote, screen).await,
        Command::Audit(command) => command.run(&cli.remote, screen).await,
        Command::Config(command) => command.run(screen),
        Command::Doctor(command) => command.run(screen).await,
        Command::Store(command) => command.run(screen).await,
        Command::Healthcheck(command) => command.run(&cli.remote, screen).await,
        Command::Token(command) => command.run(screen).await,
        Command::Completions { shell } => completions(shell, screen),
    }
}

fn completions(shell: clap_complete::Shell, screen: &mut Screen) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "countersign", &mut script);
    screen.text(&String::from_utf8_lossy(&script))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_commands_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn commands_are_taken_as_documented() {
        for line in [
            "serve --dev --listen 127.0.0.1:0 --journal-dir j --policy-dir p --config c.toml",
            "demo --auto",
            "policy check policies",
            "policy reload --server http://127.0.0.1:1",
            "entities put people.json",
            r#"entities delete User::"a" Group::b"#,
            "entities list --type User -o json",
            r#"sessions end --person User::"alice""#,
            "policy test policies --filter export --junit out.xml --min-coverage 100 -o json",
            "policy explain --principal Agent::bot --group agents --action read --resource Dataset::a --context {\"rows\":1}",
            "policy explain --query a.test.yaml --filter export policies -o json",
            "policy diff old new --journal data --tests --exit-code",
            "policy fmt policies --check",
            "ask export Dataset::a --context {\"rows\":1} --justification why --wait",
            "healthcheck --config c.toml --service journal",
            "approvals list --state pending --state approved --reviewable --principal Agent::bot -o json",
            "approvals show apr_1 --server http://127.0.0.1:1 --no-color",
            "approvals approve apr_1 --comment fine --gate a --gate b --binding 00ff",
            "approvals reject apr_1 --comment no",
            "approvals watch --reviewable",
            r#"audit query --since 2h --until 2026-01-01T00:00:00Z --outcome deny --resource Dataset::"a" --limit 3"#,
            "audit tail --from-beginning",
            "audit verify dir",
            "config print --reference",
            "config print --origin --redacted=false --listen 127.0.0.1:1 -o json",
            "config schema",
            "doctor --config c.toml --journal-dir j -o json",
            "config check --config c.toml",
            "store reconcile --config c.toml --journal a --journal b",
            "store fsck --config c.toml",
            "token report-bot --for alice",
            "completions bash",
        ] {
            let parsed = Cli::try_parse_from(format!("countersign {line}").split(' '));
            assert!(parsed.is_ok(), "{line}: {parsed:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "approvals approve",
            "audit query --since yesterday",
            "audit query --outcome maybe",
            "audit verify dir --anchor 7:aa",
            "audit tail --from-beginning --cursor x",
            "approvals list --principal alice",
            "approvals list --state open",
            "policy explain --principal Agent::bot",
            "policy test --min-coverage 101",
            "token",
            "serve --token-file",
        ] {
            assert!(Cli::try_parse_from(format!("countersign {line}").split(' ')).is_err(), "{line}");
        }
    }
}
