//! Where the demo takes place: a directory of its own, the example policies, and a server in this process.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::cli::failure::Failure;
use crate::cli::start::{self, Issuers};
use crate::config::{Config, LogFilter};
use crate::grpc::client::{Client, Code};
use crate::server::Listeners;

const READY_WITHIN: Duration = Duration::from_secs(20);
const READY_PROBE: Duration = Duration::from_millis(20);

/// The example policies, for where the project's directory is not at hand.
const POLICIES: [(&str, &str); 5] = [
    ("app.cedarschema", include_str!("../../../policies/app.cedarschema")),
    ("countersign.cedarschema", include_str!("../../../policies/countersign.cedarschema")),
    ("entities.json", include_str!("../../../policies/entities.json")),
    ("service.cedar", include_str!("../../../policies/service.cedar")),
    ("warehouse.cedar", include_str!("../../../policies/warehouse.cedar")),
];

/// A running server and its directory, which goes when it closes.
pub struct House {
    dir: PathBuf,
    server_url: String,
    issuer_url: String,
    inbox_url: String,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Result<(), Failure>>,
}

impl House {
    /// Starts the server and waits until it answers.
    pub async fn open() -> Result<Self, Failure> {
        let dir = std::env::temp_dir().join(format!("countersign-demo-{}", uuid::Uuid::now_v7().simple()));
        fs::DirBuilder::new().mode(0o700).create(&dir)?;
        let opened = Self::open_in(dir.clone()).await;
        if opened.is_err() {
            remove(&dir)?;
        }
        opened
    }

    async fn open_in(dir: PathBuf) -> Result<Self, Failure> {
        let mut config = Config::default();
        config.journal.dir = dir.join("journal");
        config.policy.dir = policies(&dir)?;
        config.log.level = LogFilter::warn();
        let listeners = bind(&mut config).await?;
        let (server_url, issuer_url, inbox_url) = urls(&listeners)?;
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(start::serve(config, listeners, |_| {}, async move {
            // A sender that is gone means that the demo is over, too.
            let _ = stopped.await;
        }));
        let mut house = Self { dir, server_url, issuer_url, inbox_url, stop: Some(stop), running };
        house.ready().await?;
        Ok(house)
    }

    pub fn server_url(&self) -> &str {
        &self.server_url
    }

    pub fn issuer_url(&self) -> &str {
        &self.issuer_url
    }

    pub fn inbox_url(&self) -> &str {
        &self.inbox_url
    }

    pub fn journal_dir(&self) -> PathBuf {
        self.dir.join("journal")
    }

    /// Waits until the server answers, or returns why it ended.
    async fn ready(&mut self) -> Result<(), Failure> {
        let answers = async {
            while let Err(error) = Client::connect(&self.server_url, None).await {
                if error.code != Code::Unreachable {
                    return Err(Failure::from(error));
                }
                tokio::time::sleep(READY_PROBE).await;
            }
            Ok(())
        };
        tokio::select! {
            answers = tokio::time::timeout(READY_WITHIN, answers) => {
                answers.map_err(|_| Failure::Failed("the server did not answer in time".into()))?
            }
            ended = &mut self.running => {
                ended.map_err(|error| Failure::Failed(error.to_string()))??;
                Err(Failure::Failed("the server ended by itself".into()))
            }
        }
    }

    /// Keeps the server up until `stop`, then closes.
    pub async fn stay(mut self, stop: impl Future<Output = ()>) -> Result<(), Failure> {
        tokio::select! {
            () = stop => self.close().await,
            ended = &mut self.running => {
                remove(&self.dir)?;
                ended.map_err(|error| Failure::Failed(error.to_string()))?
            }
        }
    }

    /// Stops the server and removes the directory.
    pub async fn close(mut self) -> Result<(), Failure> {
        self.stop.take();
        let ended = self.running.await.map_err(|error| Failure::Failed(error.to_string()));
        remove(&self.dir)?;
        ended?
    }
}

/// The default ports, so that every command finds the server without flags; others if they are taken.
async fn bind(config: &mut Config) -> Result<Listeners, Failure> {
    match start::bind(config, Issuers::Development).await {
        Err(Failure::Listen { .. }) => {
            config.grpc.listen.set_port(0);
            config.dev.issuer_listen.set_port(0);
            config.web.listen = Some(([127, 0, 0, 1], 0).into());
            start::bind(config, Issuers::Development).await
        }
        bound => bound,
    }
}

/// Of the server, its issuer and its inbox.
fn urls(listeners: &Listeners) -> Result<(String, String, String), Failure> {
    let url = |listener: Option<&TcpListener>| match listener {
        Some(listener) => Ok(format!("http://{}", listener.local_addr()?)),
        None => Err(Failure::Failed("a part of the demo has no socket".into())),
    };
    Ok((url(Some(&listeners.grpc))?, url(listeners.dev_issuer.as_ref())?, url(listeners.web.as_ref())?))
}

/// `policies/` of the project if this is it, else a copy.
fn policies(dir: &Path) -> Result<PathBuf, Failure> {
    let here = PathBuf::from("policies");
    if POLICIES.iter().all(|(name, _)| here.join(name).is_file()) {
        return Ok(here);
    }
    let copy = dir.join("policies");
    fs::create_dir(&copy)?;
    POLICIES.iter().try_for_each(|(name, text)| fs::write(copy.join(name), text))?;
    Ok(copy)
}

fn remove(dir: &Path) -> Result<(), Failure> {
    Ok(fs::remove_dir_all(dir)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_policies_are_all_of_the_example_set_and_load() {
        let dir = tempfile::tempdir().unwrap();
        POLICIES.iter().for_each(|(name, text)| fs::write(dir.path().join(name), text).unwrap());
        let loaded = crate::engine::PolicySnapshot::load(&crate::engine::Settings::new(dir.path())).unwrap();
        assert_eq!(loaded.summary().gates, 2);
        let shipped = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/policies")).unwrap();
        let is_policy = |name: &str| [".cedar", ".cedarschema", ".json"].iter().any(|end| name.ends_with(end));
        let shipped = shipped.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(shipped.filter(|name| is_policy(name)).count(), POLICIES.len());
    }
}
