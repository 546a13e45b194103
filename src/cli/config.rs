//! `countersign config`: what is in force, and what is wrong.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand};
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::screen::{Format, Screen};
use crate::config::print::{self, Secrets};
use crate::config::{Entry, Layers, Loaded, Origin, schema};

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the configuration in force as a commented file: every key, its meaning, its default
    Print {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        flags: Flags,
        /// Say where each value comes from: the default, a file and its line, a variable, or a flag
        #[arg(long)]
        origin: bool,
        /// Leave out what may be a secret, such as the arguments of commands; `--redacted=false` shows all
        #[arg(long, action = ArgAction::Set, default_value_t = true, default_missing_value = "true", num_args = 0..=1,
            require_equals = true)]
        redacted: bool,
        /// Print docs/configuration.md instead
        #[arg(long, hide = true)]
        reference: bool,
    },
    /// Say what is wrong with the configuration, if anything
    Check {
        #[command(flatten)]
        file: File,
    },
    /// Write the JSON Schema of the file, for editors
    Schema,
}

/// What `serve` takes as well, so that what is printed is what it would use.
#[derive(Debug, Args)]
pub struct Flags {
    /// Address and port of the gRPC service
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Address and port of the inbox
    #[arg(long, value_name = "ADDRESS")]
    pub web_listen: Option<String>,
    /// Where the journal is
    #[arg(long, value_name = "DIR")]
    pub journal_dir: Option<PathBuf>,
    /// Where the policies are
    #[arg(long, value_name = "DIR")]
    pub policy_dir: Option<PathBuf>,
}

impl Flags {
    /// The process's environment and file, under these flags.
    pub fn layers(&self, file: &File) -> Layers {
        Layers::of_process(file.config.clone())
            .flag("web.listen", self.web_listen.as_ref())
            .flag("grpc.listen", self.listen.as_ref())
            .flag("journal.dir", self.journal_dir.as_ref().map(|dir| dir.display()).as_ref())
            .flag("policy.dir", self.policy_dir.as_ref().map(|dir| dir.display()).as_ref())
    }
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
            Self::Print { file, flags, origin, redacted, reference: false } => {
                let loaded = flags.layers(&file).load_with_origins()?;
                let secrets = if redacted { Secrets::LeftOut } else { Secrets::Shown };
                match (screen.format, origin) {
                    (Format::Json, true) => screen.json(&as_json(&loaded, secrets, with_origin)),
                    (Format::Json, false) => screen.json(&as_json(&loaded, secrets, |entry, _| entry.value)),
                    (Format::Table, true) => screen.text(&print::with_origins(&loaded, secrets)),
                    (Format::Table, false) => screen.text(&print::to_toml(&loaded.config, secrets)),
                }
            }
            Self::Schema => screen.text(&schema::file()),
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

fn as_json(loaded: &Loaded, secrets: Secrets, shown: impl Fn(Entry, &Origin) -> Value) -> Value {
    let named = |entry: Entry| {
        let name = entry.key.rsplit('.').next().unwrap_or_default().to_owned();
        let origin = loaded.origins.get(&entry.key).unwrap_or(&Origin::Default);
        (name, shown(secrets.show(entry), origin))
    };
    let section = |entries: Vec<Entry>| entries.into_iter().map(named).collect::<Map<String, Value>>();
    let sections = loaded.config.sections();
    sections.iter().map(|it| (it.name().to_owned(), Value::Object(section(it.entries())))).collect()
}

fn with_origin(entry: Entry, origin: &Origin) -> Value {
    let mut told = match origin {
        Origin::Default => json!({"origin": "default"}),
        Origin::File { path, line } => json!({"origin": "file", "file": path, "line": line}),
        Origin::Environment(variable) => json!({"origin": "environment", "variable": variable}),
        Origin::Flag => json!({"origin": "flag"}),
    };
    if let Some(told) = told.as_object_mut() {
        told.insert("value".to_owned(), entry.value);
    }
    told
}
