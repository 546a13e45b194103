//! TLS of the gRPC port: whom the server is to its clients, and whose certificates it takes. The files are looked at again
//! while it runs: new connections are made with what they say, those of clients whose CA was taken away end, and files
//! that do not go together change nothing.
//!
//! Absent on purpose: TLS 1.2, session tickets (a resumed session would not show its certificate to today's CAs), early
//! data, revocation lists (certificates are meant to live for hours).

mod presented;
mod server_config;
mod shown;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use rustls::time_provider::TimeProvider;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tonic_health::server::HealthReporter;

pub use self::presented::{Presented, presented};
use self::server_config::{Contents, make};
pub(super) use self::shown::{Chain, Held};
use self::shown::{Shown, check};
use crate::domain::Timestamp;
use crate::identity::Certificates;

/// The `grpc.tls` table of the config file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// PEM: the server's certificate, then the intermediate ones.
    pub certificate: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
    /// PEM: the CAs whose certificates clients may show. Without it nobody is asked for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
    /// With `client_ca`; `required` if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<ClientAuth>,
}

/// Whether a client needs a certificate to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// No connection without one, whatever token comes over it.
    Required,
    /// One that is shown must be good; without one, a token is needed.
    Optional,
}

/// The files, and the limits of what clients may do before they are known.
#[derive(Debug, Clone)]
pub struct Settings {
    pub files: Files,
    /// How long a client may take for its handshake.
    pub handshake_timeout: Duration,
    /// Handshakes under way at once; past it the oldest is given up.
    pub handshakes_max: usize,
    /// How often the files are looked at.
    pub reload_interval: Duration,
}

impl Settings {
    #[must_use]
    pub fn new(files: Files) -> Self {
        Self {
            files,
            handshake_timeout: Duration::from_secs(10),
            handshakes_max: 1_024,
            reload_interval: Duration::from_secs(30),
        }
    }
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read `{}`: {source}", .file.display())]
    Unreadable { file: PathBuf, source: std::io::Error },
    #[error("`{}` is larger than {most} bytes", .file.display())]
    TooLarge { file: PathBuf, most: u64 },
    #[error("`{}` holds no {what} in PEM form", .file.display())]
    Missing { file: PathBuf, what: &'static str },
    #[error("`{}` is not good: {reason}", .file.display())]
    Bad { file: PathBuf, reason: String },
    #[error("`{}` and `{}` do not go together: {reason}", .certificate.display(), .key.display())]
    Pair { certificate: PathBuf, key: PathBuf, reason: rustls::Error },
}

/// The service's clock, by which certificates are judged as tokens are (invariant 6).
#[derive(Clone)]
pub struct Now(pub Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl fmt::Debug for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Now")
    }
}

/// What the files came to.
pub(super) struct InForce {
    pub config: Arc<ServerConfig>,
    /// Whose certificates are taken; absent where nobody is asked for one.
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

/// What new connections are made with, and who is connected by a certificate.
pub struct Tls {
    settings: Settings,
    now: Now,
    certificates: Certificates,
    current: ArcSwap<InForce>,
    shown: Shown,
    /// Of what was looked at last, good or not: nothing is told twice.
    seen: Mutex<[u8; 32]>,
    is_well: AtomicBool,
}

impl Tls {
    /// Reads the files. Blocking.
    ///
    /// # Errors
    /// [`TlsError`] if they are not there or not good.
    pub fn load(settings: Settings, certificates: Certificates, now: Now) -> Result<Self, TlsError> {
        let contents = Contents::read(&settings.files)?;
        let current = ArcSwap::from_pointee(make(&settings.files, &contents, &now)?);
        let seen = Mutex::new(contents.digest());
        let (shown, is_well) = (Shown::default(), AtomicBool::new(true));
        Ok(Self { settings, now, certificates, current, shown, seen, is_well })
    }

    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether callers can be recognised by their certificates.
    #[must_use]
    pub fn recognises_callers(&self) -> bool {
        self.settings.files.client_ca.is_some() && !self.certificates.is_empty()
    }

    pub(super) fn in_force(&self) -> Arc<InForce> {
        self.current.load_full()
    }

    /// Keeps the certificate of a connection in view; `None` where it is no longer good. It was under `made_with`.
    pub(super) fn hold(&self, chain: Chain, made_with: &Arc<InForce>) -> Option<Held> {
        self.shown.hold(chain, |chain| {
            let current = self.current.load();
            Arc::ptr_eq(&current, made_with) || self.is_good(&current, chain)
        })
    }

    fn is_good(&self, current: &InForce, chain: &Chain) -> bool {
        let (Some(clients), Some(now)) = (&current.clients, self.now.current_time()) else { return false };
        check(&**clients, chain, now).is_ok()
    }

    pub(super) fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.now.0)()
    }

    /// Looks at the files; takes them if they are new and good. Blocking.
    fn refresh(&self) {
        let contents = Contents::read(&self.settings.files);
        let digest = match &contents {
            Ok(contents) => contents.digest(),
            Err(error) => Sha256::digest(error.to_string()).into(),
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == digest {
            return;
        }
        *seen = digest;
        match contents.and_then(|contents| make(&self.settings.files, &contents, &self.now)) {
            Ok(next) => {
                self.current.store(Arc::new(next));
                self.is_well.store(true, Ordering::Release);
                // INVARIANT: after the swap. Who is not seen here is held against what is in force by `hold`.
                let current = self.current.load();
                let connections_ended = self.shown.end_unless(|chain| self.is_good(&current, chain));
                tracing::info!(connections_ended, "new TLS certificates are in force");
            }
            Err(error) => {
                self.is_well.store(false, Ordering::Release);
                tracing::error!(%error, "the TLS files have changed and are not good; the last good ones stay in force");
            }
        }
    }

    /// Keeps up with the files, by time and on SIGHUP, until the server stops. Health knows it by the name `tls`.
    pub async fn keep(self: Arc<Self>, reporter: HealthReporter, mut stopping: watch::Receiver<bool>) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => Some(hangup),
            Err(error) => {
                tracing::warn!(%error, "SIGHUP cannot be listened to; the TLS files are read from time to time only");
                None
            }
        };
        loop {
            reporter.set_service_status("tls", super::health::status(self.is_well.load(Ordering::Acquire))).await;
            let hung_up = async {
                match &mut hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = tokio::time::sleep(self.settings.reload_interval) => {}
                _ = hung_up => {}
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
            let tls = self.clone();
            if let Err(error) = tokio::task::spawn_blocking(move || tls.refresh()).await {
                tracing::error!(%error, "looking at the TLS files broke off");
            }
        }
    }
}
