//! How the command line starts a server: `serve` and `demo` alike.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::net::TcpListener;

use super::failure::Failure;
use crate::config::{Config, Text};
use crate::grpc::unix::UnixSocket;
use crate::server::{Listeners, Server, ServerError, Setup};
use crate::telemetry::Traces;

/// Whose tokens are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Issuers {
    /// Those of `[[identity.issuers]]`; at least one.
    Configured,
    /// Also those of the development issuer, which is started along.
    Development,
}

/// Where the inbox is when things are tried out and nobody says otherwise.
const DEVELOPMENT_INBOX: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7480);

/// Takes the ports that the configuration names.
///
/// # Errors
/// The address that cannot be had, or that there is no issuer.
pub async fn bind(config: &Config, issuers: Issuers) -> Result<Listeners, Failure> {
    let dev_issuer = match issuers {
        Issuers::Configured if config.identity.issuers.is_empty() => return Err(ServerError::NoIssuer.into()),
        Issuers::Configured => None,
        Issuers::Development => Some(listen(config.dev.issuer_listen).await?),
    };
    let web = match (config.web.listen, issuers) {
        (Some(address), _) => Some(listen(address).await?),
        (None, Issuers::Development) => Some(listen(DEVELOPMENT_INBOX).await?),
        (None, Issuers::Configured) => None,
    };
    let metrics = match config.telemetry.metrics {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let grpc = listen(config.grpc.listen).await?;
    let grpc_unix = match &config.grpc.unix {
        Some(path) => Some(UnixSocket::bind(path).await?),
        None => None,
    };
    Ok(Listeners { grpc, grpc_unix, web, metrics, dev_issuer })
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|source| Failure::Listen { address, source })
}

/// Serves until `shutdown`; `ready` is called once nothing can keep it from starting any more.
///
/// # Errors
/// What keeps the server from starting, or ended it.
pub async fn serve(
    config: Config,
    listeners: Listeners,
    ready: impl FnOnce(&Server) + Send,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Failure> {
    let traces = config.trace_settings().as_ref().map(Traces::start).transpose();
    let traces = traces.map_err(|error| Failure::Failed(format!("telemetry.traces: {error}")))?;
    super::logging::start(&config.log, traces.as_ref())?;
    let mut config = config;
    if listeners.dev_issuer.is_some() && config.web.issuer.is_none() {
        config.web.issuer = Some(Text::of(crate::web::dev_issuer::NAME));
    }
    // Reads the journal and the policies, which takes a while and blocks.
    // Where nothing is traced, nothing is counted: the figures stay at zero.
    let counted = traces.as_ref().map(Traces::meters).unwrap_or_default();
    let setup = Setup { traces: counted, ..config.setup() };
    let prepared = tokio::task::spawn_blocking(move || Server::prepare(setup, listeners)).await;
    let server = prepared.map_err(|error| Failure::Failed(format!("the server did not start: {error}")))??;
    ready(&server);
    let ended = server.run(shutdown).await;
    if let Some(traces) = traces {
        traces.finish().await;
    }
    Ok(ended?)
}
