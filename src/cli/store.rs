//! `countersign store`: looking after the Redis that replicas share. Both commands take the server's own configuration.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::config::File;
use super::failure::Failure;
use super::screen::{Format, Screen};
use crate::config::sealing::Use;
use crate::config::{Config, Layers};
use crate::store::redis::{Settings, fsck, reconcile};

#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Check every approval in Redis and all that leads to it; changes nothing, and may run beside servers
    Fsck {
        #[command(flatten)]
        file: File,
        /// The journals of all other replicas, or copies of them: whether they, the configured one and Redis tell the same
        #[arg(long, value_name = "DIR")]
        journal: Vec<PathBuf>,
    },
    /// After Redis lost state: deny on record what was open and is gone, and begin those shards anew. The server whose
    /// journal is configured must not be running
    Reconcile {
        #[command(flatten)]
        file: File,
        /// The journals of all other replicas, or copies of them
        #[arg(long, value_name = "DIR")]
        journal: Vec<PathBuf>,
        /// Go on although journals are missing or have a hole; what is denied then may have been used
        #[arg(long)]
        accept_missing: bool,
    },
}

impl StoreCommand {
    pub async fn run(self, screen: &mut Screen) -> Result<(), Failure> {
        match self {
            Self::Fsck { file, journal } => {
                let (config, settings) = redis(file)?;
                let own = (!journal.is_empty()).then(|| config.journal.dir.clone());
                let journals: Vec<PathBuf> = own.into_iter().chain(journal).collect();
                let dirs = std::iter::once(&*config.journal.dir).chain(journals.iter().map(PathBuf::as_path));
                let vault = config.sealing().reading(dirs).map_err(|error| Failure::Failed(error.to_string()))?;
                let report = fsck::check(settings, &vault, &journals).await;
                let report = report.map_err(|error| Failure::Failed(error.to_string()))?;
                match screen.format {
                    Format::Json => {
                        screen.json(&json!({"approvals": report.approvals, "findings": report.findings}))?;
                    }
                    Format::Table => {
                        report.findings.iter().try_for_each(|finding| screen.line(finding))?;
                        screen.line(&format!("{} approvals, {} findings", report.approvals, report.findings.len()))?;
                    }
                }
                if report.findings.is_empty() {
                    Ok(())
                } else {
                    Err(Failure::Failed("the store is damaged".to_owned()))
                }
            }
            Self::Reconcile { file, journal, accept_missing } => {
                let (config, settings) = redis(file)?;
                let own = config.setup().journal;
                let vault = config.sealing().vault(&own.dir, &journal, Use::Production);
                let vault = vault.map_err(|error| Failure::Failed(error.to_string()))?;
                let own = crate::journal::Settings { vault, ..own };
                let done = reconcile::reconcile(own, &journal, settings, accept_missing).await;
                let done = done.map_err(|error| Failure::Failed(error.to_string()))?;
                tell(&done, screen)
            }
        }
    }
}

fn redis(file: File) -> Result<(Config, Settings), Failure> {
    let config = Layers::of_process(file.config).load()?;
    let settings = config.redis_settings();
    let settings =
        settings.ok_or_else(|| Failure::Usage("`store.kind` is not `redis`: there is no such store".into()))?;
    Ok((config, settings))
}

fn tell(done: &reconcile::Reconciled, screen: &mut Screen) -> Result<(), Failure> {
    if screen.format == Format::Json {
        let shards: Vec<_> = done.shards.iter().map(|(shard, why)| json!({"shard": shard, "why": **why})).collect();
        let denied = done.denied.iter().map(|(id, state)| json!({"approval_id": id.to_string(), "was": state}));
        let events = |events: &[(u8, u64)]| {
            events.iter().map(|(shard, number)| json!({"shard": shard, "number": number})).collect::<Vec<_>>()
        };
        return screen.json(&json!({
            "shards": shards, "denied": denied.collect::<Vec<_>>(),
            "entities": done.entities, "missing": events(&done.missing), "forked": events(&done.forked),
        }));
    }
    for (_, why) in &done.shards {
        screen.line(why)?;
    }
    for (id, state) in &done.denied {
        screen.line(&format!("{id} was {state}, and is denied"))?;
    }
    if let Some(entities) = done.entities {
        screen.line(&format!("{entities} entities that were put over the API stand again"))?;
    }
    for (shard, number) in &done.missing {
        screen.line(&format!("event {number} of shard {shard} is in none of the journals"))?;
    }
    for (shard, number) in &done.forked {
        screen.line(&format!("event {number} of shard {shard} is told in two ways: both are on record"))?;
    }
    match done.shards.len() {
        0 => screen.line("nothing is lost"),
        shards => screen.line(&format!("{shards} shards begin anew, {} approvals are denied", done.denied.len())),
    }
}
