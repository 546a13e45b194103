//! The inbox: all that its pages need, and the table of pages.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};
use axum::{Router, http};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::cookie::Cookies;
use super::provider::Provider;
use super::seal::{NoRandomness, Seal};
use super::session::{Session, Sessions};
use super::settings::Settings;
use super::throttle::{self, Throttle};
use super::{
    assets, away, clicks, decision, detail, events, figures, glass, headers, link, list, listen, login, own_sessions,
    pace, problem, slack, teams, together,
};
use crate::identity::{IssuerSettings, LoginSettings, LoginVerifier, SettingsError, Verifier};
use crate::service::Service;

/// Where the issuer sends people back to, behind the origin.
pub const CALLBACK: &str = "/login/callback";
/// One form.
const FORM_BYTES_MAX: usize = 64 << 10;

/// Why there is no inbox.
#[derive(Debug, thiserror::Error)]
pub enum InboxError {
    #[error("`web.issuer` must name one of the issuers: there are {0}")]
    NoIssuer(usize),
    #[error("`web.issuer`: {0}")]
    Issuer(#[from] SettingsError),
    #[error("`web.issuer`: {0}")]
    Provider(String),
    #[error("`web.client_secret_file` {}: {cause}", .path.display())]
    Secret { path: PathBuf, cause: std::io::Error },
    #[error(
        "{0} is reachable from other machines and sessions would cross the network in clear: listen on 127.0.0.1, or let \
         a proxy encrypt and say `web.allow_plaintext = true` with `web.public_url`"
    )]
    InClear(IpAddr),
    #[error(transparent)]
    Random(#[from] NoRandomness),
}

/// What is known of the inbox before there is a service.
pub struct Place {
    settings: Settings,
    address: SocketAddr,
}

/// The inbox, ready to be served.
pub struct Inbox(Arc<Shared>);

/// What all handlers share.
pub(super) struct Shared {
    pub service: Service,
    pub settings: Settings,
    /// The origin as browsers see it.
    pub origin: String,
    pub cookies: Cookies,
    pub sessions: Sessions,
    pub seal: Seal,
    pub provider: Provider,
    pub logins: LoginVerifier,
    /// Logins.
    pub throttle: Throttle,
    /// Everything.
    pub requests: Throttle,
    pub started: Instant,
    /// Clicks in chat.
    pub work: clicks::Work,
}

impl Place {
    /// A place on a bound port.
    ///
    /// # Errors
    /// [`InboxError::InClear`].
    pub fn new(settings: Settings, address: SocketAddr) -> Result<Self, InboxError> {
        let is_open = !address.ip().to_canonical().is_loopback();
        if is_open && !(settings.allow_plaintext && settings.public_url.is_some()) {
            return Err(InboxError::InClear(address.ip()));
        }
        Ok(Self { settings, address })
    }

    /// The origin as browsers see it.
    #[must_use]
    pub fn origin(&self) -> String {
        self.settings.public_url.clone().unwrap_or_else(|| format!("http://{}", self.address))
    }

    /// Where the issuer sends people back to.
    #[must_use]
    pub fn callback(&self) -> String {
        format!("{}{CALLBACK}", self.origin())
    }

    /// The inbox of a service whose tokens `verifier` verifies.
    ///
    /// # Errors
    /// [`InboxError`].
    pub fn open(self, service: Service, issuers: &[IssuerSettings], verifier: &Verifier) -> Result<Inbox, InboxError> {
        let (origin, callback) = (self.origin(), self.callback());
        let settings = self.settings;
        let issuer = issuer(&settings, issuers)?;
        let login = LoginSettings {
            issuer: issuer.name.clone(),
            client_id: settings.client_id.clone(),
            id_token: settings.id_token.clone(),
        };
        let secret = settings.client_secret_file.clone().map(secret).transpose()?;
        let provider = Provider::new(issuer, &settings.client_id, secret, &settings.scopes, callback);
        Ok(Inbox(Arc::new(Shared {
            service,
            cookies: if origin.starts_with("https://") { Cookies::Secure } else { Cookies::Loopback },
            origin,
            sessions: Sessions::default(),
            seal: Seal::new()?,
            provider: provider.map_err(InboxError::Provider)?,
            logins: verifier.for_login(&login)?,
            throttle: Throttle::new(throttle::LOGINS),
            requests: Throttle::new(settings.pace),
            started: Instant::now(),
            work: clicks::Work::default(),
            settings,
        })))
    }
}

impl Inbox {
    /// Serves until `shutdown`.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        listen::serve(listener, self.router(), shutdown).await;
    }

    fn router(self) -> Router {
        Router::new()
            .route("/", get(list::show))
            .route("/approvals/{id}", get(detail::show))
            .route("/approvals/{id}/decision", post(decision::decide))
            .route("/approvals/{id}/reveal", get(detail::masked).post(detail::reveal))
            .route("/approvals/{id}/glass", post(glass::break_glass))
            .route("/approvals/{id}/examination", post(glass::examine))
            .route("/together", get(together::show).post(together::decide))
            .route("/figures", get(figures::show))
            .route("/events", get(events::events))
            .route(away::PAGE, get(away::show))
            .route("/away/start", post(away::start))
            .route("/away/end", post(away::end))
            .route(link::PAGE, get(link::show))
            .route("/link/code", post(link::begin))
            .route("/link/end", post(link::end))
            .route("/login", get(login::depart))
            .route(CALLBACK, get(login::arrive))
            .route("/logout", post(login::leave))
            .route(own_sessions::PAGE, get(own_sessions::show))
            .route("/signed-out", get(login::signed_out))
            .route("/assets/{digest}/{name}", get(assets::serve))
            .fallback(problem::no_such_page)
            .method_not_allowed_fallback(problem::no_such_page)
            .layer(middleware::from_fn_with_state(self.0.clone(), pace::keep))
            // All clicks in chat come from a few addresses, are signed, and have limits of their own.
            .route("/slack/interactions", post(slack::interact).layer(DefaultBodyLimit::max(slack::BODY_BYTES_MAX)))
            .route("/teams/messages", post(teams::messages).layer(DefaultBodyLimit::max(teams::BODY_BYTES_MAX)))
            .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
            .layer(middleware::from_fn(headers::guard))
            .with_state(self.0)
    }
}

fn issuer<'a>(settings: &Settings, issuers: &'a [IssuerSettings]) -> Result<&'a IssuerSettings, InboxError> {
    match (&settings.issuer, issuers) {
        (None, [only]) => Ok(only),
        (None, _) => Err(InboxError::NoIssuer(issuers.len())),
        (Some(name), _) => {
            issuers.iter().find(|issuer| issuer.name == *name).ok_or(InboxError::NoIssuer(issuers.len()))
        }
    }
}

fn secret(path: PathBuf) -> Result<String, InboxError> {
    match std::fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        Ok(_) => Err(InboxError::Secret { path, cause: std::io::Error::other("it is empty") }),
        Err(cause) => Err(InboxError::Secret { path, cause }),
    }
}

impl Shared {
    /// The session of an id, if it is still one. INVARIANT: one that was ended, here or at another replica, is none.
    pub fn session(&self, id: &str) -> Option<Session> {
        let session = self.sessions.find(id, self.service.wall())?;
        self.still_stands(&session).then_some(session)
    }

    /// Whether nobody ended the sessions of its person since it began; where that is not known, it is as if somebody had.
    pub fn still_stands(&self, session: &Session) -> bool {
        let known = self.service.session_mark(&session.caller.identity().uid);
        known.is_ok_and(|mark| mark == session.mark)
    }

    /// Whether a browser says that a request comes from a page of ours.
    pub fn is_from_us(&self, headers: &http::HeaderMap) -> bool {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let origin = text("origin");
        let site = text("sec-fetch-site");
        // A browser that sends neither is older than both: the form's token alone must do then.
        origin.is_none_or(|origin| origin == self.origin) && site.is_none_or(|site| site == "same-origin")
    }
}
