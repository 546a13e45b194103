//! The composition root: everything is made here, once, and handed what it needs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};

use crate::config::sealing::Use;
use crate::domain::Timestamp;
use crate::engine::{self, Engine, PolicySnapshot};
use crate::grpc::connection::{self, Connection, InClear, Protection};
use crate::grpc::door::{self, Door};
use crate::grpc::meters::Meters as Connections;
use crate::grpc::tls::{self, Now, Tls, TlsError};
use crate::grpc::unix::UnixSocket;
use crate::identity::certificate::RuleError;
use crate::identity::san::CertificateRule;
use crate::identity::{Certificates, IssuerSettings, SettingsError, Verifier};
use crate::reload::ReloadSettings;
use crate::service::chat::{Chat, ChatError};
use crate::service::outbox::{Outbox, OutboxError};
use crate::service::{Limits, Refusal, Service, mask};
use crate::store::embedded::{self, OpenError};
use crate::store::{Clock, Embedded, Redis, RedisError, RedisSettings, Store};
use crate::telemetry::{Metrics, Sources, TraceMeters};
use crate::web::dev_issuer::{DevIssuer, DevIssuerError};
use crate::web::inbox::Place;
use crate::web::{self, Inbox, InboxError};
use crate::{config, grpc, journal, notify};

/// All that a server is made from. `config` makes it from a file, tests make it by hand.
pub struct Setup {
    pub journal: journal::Settings,
    /// What seals the journal. Keys are read from where it says they lie.
    pub sealing: config::Sealing,
    /// Of approvals; with [`Setup::redis`] its settings say so instead.
    pub store: embedded::Limits,
    /// The Redis that replicas share; without one, approvals are this process's.
    pub redis: Option<RedisSettings>,
    pub policies: engine::Settings,
    pub issuers: Vec<IssuerSettings>,
    pub encryption: Encryption,
    /// How many connections the gRPC port takes.
    pub connections: door::Limits,
    /// Of the inbox, where there is a listener for it.
    pub web: web::Settings,
    pub limits: Limits,
    /// Keys are read from where it says they lie.
    pub masking: config::Masking,
    /// Where people are told.
    pub notify: notify::Settings,
    /// How often the policy directory is looked at where the system does not tell of changes; `None`: it is not watched.
    pub watch: Option<Duration>,
    /// What the journal may forget; checked every hour.
    pub retention: Retention,
    /// Of the traces of this process; they stay at zero where none are sent.
    pub traces: Arc<TraceMeters>,
    /// The clock, given the time of the last record.
    pub clock: Box<dyn FnOnce(Timestamp) -> Clock + Send>,
}

/// Who encrypts what travels.
#[derive(Debug, Clone, Default)]
pub enum Encryption {
    /// Nobody: the port is for this machine only, and others are refused.
    #[default]
    Loopback,
    /// Somebody else (a mesh, a tunnel).
    Elsewhere,
    /// The server, which also recognises callers by their certificates.
    Tls { settings: tls::Settings, certificates: Vec<CertificateRule> },
}

/// Whole old segments go when they are too old, or when all is too large. `None`: never for that reason.
#[derive(Debug, Clone, Copy, Default)]
pub struct Retention {
    pub max_age: Option<Duration>,
    pub max_bytes: Option<u64>,
}

/// Sockets that are bound already, so that whoever starts a server knows its ports.
pub struct Listeners {
    pub grpc: TcpListener,
    /// For gRPC on this machine, beside the port.
    pub grpc_unix: Option<UnixSocket>,
    /// For the inbox; without it there is none.
    pub web: Option<TcpListener>,
    /// For `/metrics`; without it nobody can scrape.
    pub metrics: Option<TcpListener>,
    /// For the development issuer; without it there is none.
    pub dev_issuer: Option<TcpListener>,
}

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("no issuer is configured: add [[identity.issuers]], or start with --dev to try things out")]
    NoIssuer,
    #[error(transparent)]
    Policies(#[from] engine::LoadError),
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error("store: {0}")]
    Redis(#[from] RedisError),
    #[error("notify: {0}")]
    Outbox(#[from] OutboxError),
    #[error(transparent)]
    Chat(#[from] ChatError),
    #[error("identity: {0}")]
    Identity(#[from] SettingsError),
    #[error("identity.certificates: {0}")]
    Certificates(#[from] RuleError),
    #[error(transparent)]
    Sealing(#[from] config::sealing::SealingError),
    #[error("masking: {0}")]
    MaskingSettings(#[from] config::masking::MaskingSettingsError),
    #[error("masking: {0}")]
    Masking(#[from] mask::MaskingError),
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    #[error(transparent)]
    InClear(#[from] InClear),
    #[error("the inbox: {0}")]
    Inbox(#[from] InboxError),
    #[error("the development issuer: {0}")]
    DevIssuer(#[from] DevIssuerError),
    #[error("reflection: {0}")]
    Reflection(#[from] grpc::transport::ReflectionError),
    #[error("cannot put the start on record: {0}")]
    Start(Refusal),
    #[error("the journal died of a disk error; restart once the disk is well")]
    JournalFailed,
    #[error("cannot read a bound address: {0}")]
    Address(std::io::Error),
}

/// The stack of a runtime worker: policies are evaluated on it, and nested expressions need room.
pub const WORKER_STACK_BYTES: usize = 16 << 20;

/// How long calls have to end when the server stops. Waits and streams end by themselves; this is for clients that do not take
/// their answers. With the journal's end it stays below the 30 s that orchestrators give.
const FAREWELL: Duration = Duration::from_secs(15);

/// A server that is ready to run.
pub struct Server {
    service: Service,
    store: Kept,
    outbox: Outbox,
    retention: Retention,
    reload: ReloadSettings,
    listeners: Listeners,
    dev_issuer: Option<DevIssuer>,
    inbox: Option<(Inbox, TcpListener)>,
    verifier: Arc<Verifier>,
    protection: Protection,
    door: Arc<Door>,
    traces: Arc<TraceMeters>,
    stopping: watch::Sender<bool>,
}

impl Server {
    /// Loads, opens and checks everything; a server that would not be safe is refused here. Blocking.
    pub fn prepare(setup: Setup, mut listeners: Listeners) -> Result<Self, ServerError> {
        let mut issuers = setup.issuers;
        // Beside the development issuer anybody can be anybody, whatever ids its tokens have.
        let recognised = match &setup.encryption {
            Encryption::Tls { certificates, .. } => Certificates::new(certificates, &issuers)?,
            Encryption::Loopback | Encryption::Elsewhere => Certificates::default(),
        };
        let mut dev_issuer = listeners.dev_issuer.take().map(DevIssuer::bind).transpose()?;
        issuers.extend(dev_issuer.iter().map(DevIssuer::settings));
        if issuers.is_empty() {
            return Err(ServerError::NoIssuer);
        }
        let place = listeners.web.take().map(|listener| place(setup.web, listener)).transpose()?;
        if let Some((place, _)) = &place {
            dev_issuer = dev_issuer.map(|issuer| issuer.with_login(place.callback()));
        }
        let verifier = Arc::new(Verifier::new(issuers.clone())?);
        let snapshot = PolicySnapshot::load(&setup.policies)?;
        crate::service::policies::tell_warnings(&snapshot);
        let used = if dev_issuer.is_some() { Use::Development } else { Use::Production };
        let vault = setup.sealing.vault(&setup.journal.dir, &[], used)?;
        let journal = journal::Settings { vault, ..setup.journal };
        let store = match setup.redis {
            None => Kept::Embedded(Embedded::open(journal, setup.store, setup.clock)?),
            Some(redis) => Kept::Redis(Redis::open(journal, redis, setup.clock)?),
        };
        let engine = Arc::new(Engine::new(match &store {
            Kept::Embedded(store) => snapshot.with_data(&store.entity_data())?,
            // Those that replicas share are taken up before anything is answered.
            Kept::Redis(_) => snapshot,
        }));
        let (stopping, stopped) = watch::channel(false);
        let masking = mask::Masking::new(config::masking::settings(&setup.masking)?)?;
        let (shared, log) = (store.shared(), store.log().clone());
        let service = Service::new(shared, log, engine, verifier.clone(), setup.limits, masking, stopped);
        let inbox = place.map(|(place, listener)| {
            let inbox = place.open(service.clone(), &issuers, &verifier);
            inbox.map(|inbox| (inbox, listener))
        });
        let inbox = inbox.transpose()?;
        if let Some(chat) = Chat::open(&setup.notify)? {
            service.decide_in(Arc::new(chat));
        }
        let outbox = Outbox::open(setup.notify, store.log())?;
        service.tell_of(outbox.board());
        let reload = ReloadSettings { watch: setup.watch, policies: setup.policies, hangups: Arc::default() };
        let protection = protection(setup.encryption, recognised, &service)?;
        protection.check(listeners.grpc.local_addr().map_err(ServerError::Address)?.ip())?;
        Ok(Self {
            service,
            store,
            outbox,
            retention: setup.retention,
            reload,
            listeners,
            dev_issuer,
            inbox,
            verifier,
            protection,
            door: Door::new(setup.connections),
            traces: setup.traces,
            stopping,
        })
    }

    /// Where gRPC is served.
    pub fn address(&self) -> Result<SocketAddr, ServerError> {
        self.listeners.grpc.local_addr().map_err(ServerError::Address)
    }

    /// The development issuer, for those who want to mint its tokens.
    #[must_use]
    pub fn dev_issuer(&self) -> Option<&DevIssuer> {
        self.dev_issuer.as_ref()
    }

    /// Notify it to have the policies read again, as SIGHUP does.
    #[must_use]
    pub fn hangups(&self) -> Arc<Notify> {
        self.reload.hangups.clone()
    }

    /// Serves until `shutdown`, then ends waits and streams, finishes calls, and closes the journal.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), ServerError> {
        let Self {
            service,
            store,
            outbox,
            retention,
            reload,
            listeners,
            dev_issuer,
            inbox,
            verifier,
            protection,
            door,
            traces,
            stopping,
        } = self;
        store.reach_out(&service).await?;
        service.record_start(env!("CARGO_PKG_VERSION")).await.map_err(ServerError::Start)?;
        let stopped = || {
            let mut stopping = stopping.subscribe();
            async move {
                // The sender lives in this function: the wait ends with the word or with the server.
                let _ = stopping.wait_for(|stopping| *stopping).await;
            }
        };
        if let Some(issuer) = dev_issuer {
            tokio::spawn(issuer.serve(stopped()));
        }
        let pages = inbox.map(|(inbox, listener)| tokio::spawn(inbox.serve(listener, stopped())));
        let _refresh = verifier.start();
        let connections = Arc::new(Connections::default());
        let metrics = metrics(&service, &store, &verifier, &connections, traces);
        let metrics = listeners
            .metrics
            .map(|listener| tokio::spawn(web::metrics::serve(listener, move |form| metrics.text(form), stopped())));
        let (port, reporter) = grpc::transport::Port::new(service.clone()).await?;
        let certificates =
            protection.tls().map(|tls| tokio::spawn(tls.clone().keep(reporter.clone(), stopping.subscribe())));
        let ways_in = protection.ways_in();
        let health = tokio::spawn(grpc::health::report(reporter, service.clone(), ways_in, stopping.subscribe()));
        let timer = tokio::spawn({
            let service = service.clone();
            async move { service.keep_up().await }
        });
        let reload = tokio::spawn(crate::reload::follow(service.clone(), reload, stopping.subscribe()));
        let outbox = tokio::spawn(outbox.run(service.clone(), stopping.subscribe()));
        let upkeep = tokio::spawn(store.clone().keep(retention, stopping.subscribe()));
        let incoming = incoming(listeners.grpc, listeners.grpc_unix, protection, door, connections);
        let serving = port.serve(incoming, stopped());
        tokio::pin!(serving);
        let ended = tokio::select! {
            () = &mut serving => Ok(()),
            () = store.log().journal().failed() => Err(ServerError::JournalFailed),
            () = shutdown => {
                tracing::info!("stopping: no new calls, waits and streams end");
                stopping.send_replace(true);
                ended_in_time(serving).await;
                Ok(())
            }
        };
        stopping.send_replace(true);
        if let Some(pages) = pages {
            // It gives its answers some seconds to leave; a panic in there was logged where it happened.
            let _ = pages.await;
        }
        for task in [health, timer, upkeep, reload, outbox].into_iter().chain(certificates).chain(metrics) {
            task.abort();
        }
        let log = store.log().clone();
        // A panic in there was logged by its thread; there is nothing left to save.
        let _ = tokio::task::spawn_blocking(move || log.close()).await;
        ended
    }
}

/// Where approvals are, as those need it who look after it.
#[derive(Clone)]
enum Kept {
    Embedded(Embedded),
    Redis(Redis),
}

impl Kept {
    fn shared(&self) -> Arc<dyn Store> {
        match self {
            Self::Embedded(store) => Arc::new(store.clone()),
            Self::Redis(store) => Arc::new(store.clone()),
        }
    }

    fn log(&self) -> &journal::Log {
        match self {
            Self::Embedded(store) => store.log(),
            Self::Redis(store) => store.log(),
        }
    }

    /// Where others have a part in it, what they did counts from the first call on.
    async fn reach_out(&self, service: &Service) -> Result<(), RedisError> {
        if let Self::Redis(store) = self {
            store.reach_out().await?;
            service.take_up_entities().await;
        }
        Ok(())
    }

    async fn keep(self, retention: Retention, stopping: watch::Receiver<bool>) {
        match self {
            Self::Embedded(store) => crate::upkeep::keep(store, retention, stopping).await,
            Self::Redis(store) => crate::upkeep::keep_shared(store, retention, stopping).await,
        }
    }
}

/// The connections of the port, and of the socket where there is one.
fn incoming(
    port: TcpListener,
    socket: Option<UnixSocket>,
    protection: Protection,
    door: Arc<Door>,
    meters: Arc<Connections>,
) -> impl Stream<Item = std::io::Result<Connection>> {
    let local = socket.map(|socket| connection::in_clear(socket, door.clone(), meters.clone()));
    stream::select_all(local.into_iter().chain([connection::incoming(port, protection, door, meters)]))
}

/// Finishes what is being served, as far as it ends within [`FAREWELL`].
async fn ended_in_time(serving: impl Future<Output = ()>) {
    if tokio::time::timeout(FAREWELL, serving).await.is_err() {
        tracing::warn!("some calls did not end in time and are cut off; what they were told is on record");
    }
}

fn place(settings: web::Settings, listener: TcpListener) -> Result<(Place, TcpListener), ServerError> {
    let address = listener.local_addr().map_err(ServerError::Address)?;
    Ok((Place::new(settings, address)?, listener))
}

fn metrics(
    service: &Service,
    store: &Kept,
    verifier: &Arc<Verifier>,
    connections: &Arc<Connections>,
    traces: Arc<TraceMeters>,
) -> Metrics {
    Metrics::new(Sources {
        service: service.clone(),
        store: store.shared(),
        log: store.log().clone(),
        verifier: verifier.clone(),
        connections: connections.clone(),
        traces,
    })
}

/// What a port is protected by; certificates are judged by the service's clock.
fn protection(encryption: Encryption, certificates: Certificates, service: &Service) -> Result<Protection, TlsError> {
    Ok(match encryption {
        Encryption::Loopback => Protection::Loopback,
        Encryption::Elsewhere => Protection::Elsewhere,
        Encryption::Tls { settings, .. } => {
            let service = service.clone();
            let now = Now(Arc::new(move || service.now()));
            Protection::Tls(Arc::new(Tls::load(settings, certificates, now)?))
        }
    })
}
