//! `countersign serve`.

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::config::{File, Flags};
use super::failure::Failure;
use super::screen::Screen;
use super::start::{self, Issuers};
use crate::config::{Config, PublicUrl};
use crate::server::{Listeners, Server};

#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    file: File,
    /// Try it out: also believe the tokens of a development issuer, started along on a loopback port. Anybody on this
    /// machine can then be anybody
    #[arg(long)]
    dev: bool,
    #[command(flatten)]
    flags: Flags,
}

impl Serve {
    pub async fn run(self, screen: &Screen) -> Result<(), Failure> {
        let config = self.config()?;
        let issuers = if self.dev { Issuers::Development } else { Issuers::Configured };
        let listeners = start::bind(&config, issuers).await?;
        let scheme = if config.grpc.tls.is_some() { "https" } else { "http" };
        let announced = announcement(&listeners, scheme, config.web.public_url.as_ref())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let announce = |server: &Server| {
            announced.iter().for_each(|line| screen.note(line));
            let hangups = server.hangups();
            // Lives as long as the process.
            tokio::spawn(async move {
                while hangup.recv().await.is_some() {
                    hangups.notify_one();
                }
            });
        };
        start::serve(config, listeners, announce, stop()?).await
    }

    fn config(&self) -> Result<Config, Failure> {
        Ok(self.flags.layers(&self.file).load()?)
    }
}

fn announcement(listeners: &Listeners, scheme: &str, public_url: Option<&PublicUrl>) -> Result<Vec<String>, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let mut lines = vec![format!("countersign {version} listens on {scheme}://{}", listeners.grpc.local_addr()?)];
    if let Some(socket) = &listeners.grpc_unix {
        lines.push(format!("and on unix://{}", socket.path().display()));
    }
    if let Some(web) = &listeners.web {
        let address = format!("http://{}", web.local_addr()?);
        lines.push(format!("the inbox is at {}", public_url.map_or(address, ToString::to_string)));
    }
    if let Some(metrics) = &listeners.metrics {
        lines.push(format!("metrics are at http://{}/metrics", metrics.local_addr()?));
    }
    if let Some(issuer) = &listeners.dev_issuer {
        let issuer = issuer.local_addr()?;
        lines.push(format!("DEVELOPMENT issuer on http://{issuer}: anybody on this machine can be anybody"));
        lines.push("try: export COUNTERSIGN_TOKEN=$(countersign token alice); countersign approvals list".to_owned());
    }
    Ok(lines)
}

/// The exit code after a second signal: as of a process that a SIGTERM ended.
const SECOND_SIGNAL: i32 = 143;

/// Resolves when the process is asked to end. The signal after that ends it at once.
///
/// # Errors
/// If signals cannot be listened to.
pub fn stop() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        // Whoever asks twice means it. What is on record stays, as after `kill -9`. The task ends with the process.
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            tracing::warn!("asked to stop a second time: stopping at once");
            std::process::exit(SECOND_SIGNAL);
        });
    })
}
