//! `countersign config`: what is in force, and what is wrong.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::screen::{Format, Screen};
use crate::config::{Config, Layers, print};

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the configuration in force as a commented file: every key, its meaning, its default
    Print {
        #[command(flatten)]
        file: File,
        /// Print docs/configuration.md instead
        #[arg(long, hide = true)]
        reference: bool,
    },
    /// Say what is wrong with the configuration, if anything
    Check {
        #[command(flatten)]
        file: File,
    },
}

#[derive(Debug, Args)]
pub struct File {
    /// The file; countersign.toml if there is one here
    #[arg(long, env = "COUNTERSIGN_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl ConfigCommand {
    pub fn run(self, screen: &mut Screen) -> Result<(), Failure> {
        match self {
            Self::Print { reference: true, .. } => screen.text(&print::reference()),
            Self::Print { file, .. } => {
                let config = Layers::of_process(file.config).load()?;
                match screen.format {
                    Format::Json => screen.json(&as_json(&config)),
                    Format::Table => screen.text(&print::to_toml(&config)),
                }
            }
            Self::Check { file } => {
                let layers = Layers::of_process(file.config);
                layers.load()?;
                let source =
                    layers.file.map_or("no file; defaults and environment".into(), |file| file.display().to_string());
                match screen.format {
                    Format::Json => screen.json(&json!({"ok": true, "source": source})),
                    Format::Table => screen.line(&format!("good ({source})")),
                }
            }
        }
    }
}

fn as_json(config: &Config) -> Value {
    let section = |entries: Vec<crate::config::Entry>| -> Map<String, Value> {
        let named =
            entries.into_iter().map(|entry| (entry.key.rsplit('.').next().unwrap_or_default().to_owned(), entry.value));
        named.collect()
    };
    let sections = config.sections();
    sections.iter().map(|it| (it.name().to_owned(), Value::Object(section(it.entries())))).collect()
}
