//! Where an issuer's keys come from: the one place of this module that touches the world outside. Fetching is
//! mistrustful: HTTPS only, no redirects, no proxies of the environment, short time, small bodies.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;

use super::json::{self, Json};
use super::settings::{IssuerSettings, KeyLocation};

/// How long one HTTP exchange may take, from connecting to the last byte.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest discovery document or key set that is read.
pub const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;

/// A fetch in progress.
pub type Fetching<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, FetchError>> + Send + 'a>>;

/// Something that yields an issuer's current key set document (RFC 7517).
pub trait KeySource: Send + Sync {
    /// Fetches it now. Must end within a few [`FETCH_TIMEOUT`]s.
    fn fetch(&self) -> Fetching<'_>;
}

/// Why there is no key set. The text is for the operator's log and health page; it holds no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    #[error("cannot reach {url}: {cause}")]
    Unreachable { url: String, cause: String },
    #[error("{url} must be https (or http to a loopback address, with `allow_insecure_http_loopback`)")]
    Insecure { url: String },
    #[error("{url} answered with status {status}; redirects are not followed")]
    Status { url: String, status: u16 },
    #[error("{url} answered with more than {DOCUMENT_BYTES_MAX} bytes")]
    TooLarge { url: String },
    #[error("the discovery document of {issuer} is for another issuer")]
    IssuerMismatch { issuer: String },
    #[error("the discovery document of {issuer} is not usable: {cause}")]
    Discovery { issuer: String, cause: String },
    #[error("cannot read {}: {cause}", .path.display())]
    File { path: PathBuf, cause: String },
}

/// The real source for an issuer's settings.
///
/// # Errors
///
/// A text for the operator if no TLS client can be built, or a URL is not one or not secure.
pub fn source_for(settings: &IssuerSettings) -> Result<Arc<dyn KeySource>, String> {
    let client = || Client::new(settings.allow_insecure_http_loopback, settings.ca_file.as_deref());
    match &settings.keys {
        KeyLocation::Discovery => {
            let client = client()?;
            client.admit(&settings.issuer).map_err(|error| format!("`issuer`: {error}"))?;
            Ok(Arc::new(Discovered { client, issuer: settings.issuer.clone() }))
        }
        KeyLocation::JwksUrl(url) => {
            let client = client()?;
            client.admit(url).map_err(|error| error.to_string())?;
            Ok(Arc::new(Published { client, url: url.clone() }))
        }
        KeyLocation::JwksFile(path) => Ok(Arc::new(Filed { path: path.clone() })),
    }
}

/// The real source of keys at an address.
///
/// # Errors
///
/// As [`source_for`].
pub fn published(url: &str, allow_insecure_http_loopback: bool) -> Result<Arc<dyn KeySource>, String> {
    let client = Client::new(allow_insecure_http_loopback, None)?;
    client.admit(url).map_err(|error| error.to_string())?;
    Ok(Arc::new(Published { client, url: url.to_owned() }))
}

/// Keys at the address that the issuer's discovery document names (OIDC Discovery section 4).
///
/// Read by hand, not by openidconnect: that wants everything a login needs (`authorization_endpoint` and more), which
/// GitHub Actions, Kubernetes and SPIRE do not have. Of the document two members matter here.
struct Discovered {
    client: Client,
    issuer: String,
}

impl KeySource for Discovered {
    fn fetch(&self) -> Fetching<'_> {
        Box::pin(async move {
            let document = self.client.get(&discovery_address(&self.issuer)).await?;
            self.client.get(&keys_address(&self.issuer, &document)?).await
        })
    }
}

/// Where an issuer's discovery document is (OIDC Discovery section 4).
#[must_use]
pub fn discovery_address(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))
}

/// Where the keys are, by the issuer's discovery document.
///
/// # Errors
///
/// [`FetchError`], if it is not usable, or another issuer's.
pub fn keys_address(issuer: &str, document: &[u8]) -> Result<String, FetchError> {
    let unusable = |cause: &str| FetchError::Discovery { issuer: issuer.to_owned(), cause: cause.to_owned() };
    let members = json::parse_object(document).map_err(|_| unusable("it is not strict JSON"))?;
    let text = |name: &str| members.get(name).and_then(Json::as_text);
    // INVARIANT: the document must be for exactly this issuer (OIDC Discovery section 4.3), to the byte.
    if text("issuer").ok_or_else(|| unusable("it has no `issuer`"))? != issuer {
        return Err(FetchError::IssuerMismatch { issuer: issuer.to_owned() });
    }
    text("jwks_uri").map(str::to_owned).ok_or_else(|| unusable("it has no `jwks_uri`"))
}

/// Keys at a configured address.
struct Published {
    client: Client,
    url: String,
}

impl KeySource for Published {
    fn fetch(&self) -> Fetching<'_> {
        Box::pin(self.client.get(&self.url))
    }
}

/// Keys in a file.
struct Filed {
    path: PathBuf,
}

impl KeySource for Filed {
    fn fetch(&self) -> Fetching<'_> {
        Box::pin(async {
            use tokio::io::AsyncReadExt;
            let failed = |cause: String| FetchError::File { path: self.path.clone(), cause };
            let file = tokio::fs::File::open(&self.path).await.map_err(|error| failed(error.to_string()))?;
            let mut document = Vec::new();
            let mut bounded = file.take(DOCUMENT_BYTES_MAX as u64 + 1);
            bounded.read_to_end(&mut document).await.map_err(|error| failed(error.to_string()))?;
            if document.len() > DOCUMENT_BYTES_MAX {
                return Err(failed(format!("more than {DOCUMENT_BYTES_MAX} bytes")));
            }
            Ok(document)
        })
    }
}

/// The way to an issuer for whoever sends people to its login page: as mistrustful as the way to its keys.
pub struct Outbound(Client);

impl Outbound {
    /// How long one exchange may take: behind a login there may be a slow directory.
    pub const TIMEOUT: Duration = Duration::from_secs(10);

    /// To the issuer of these settings.
    ///
    /// # Errors
    ///
    /// A text for the operator if no TLS client can be built.
    pub fn to(issuer: &IssuerSettings) -> Result<Self, String> {
        Client::new(issuer.allow_insecure_http_loopback, issuer.ca_file.as_deref()).map(Self)
    }

    /// One request and its whole answer, whatever its status but a redirect.
    ///
    /// # Errors
    ///
    /// [`FetchError`].
    pub async fn exchange(&self, request: http::Request<Vec<u8>>) -> Result<http::Response<Vec<u8>>, FetchError> {
        let url = request.uri().to_string();
        let (head, body) = request.into_parts();
        let request = self.0.http.request(head.method, self.0.admit(&url)?).headers(head.headers).body(body);
        let response = request.timeout(Self::TIMEOUT).send().await.map_err(|error| unreachable(&url, &error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        if status.is_redirection() {
            return Err(FetchError::Status { url, status: status.as_u16() });
        }
        let mut answer = http::Response::new(read_bounded(&url, response).await?);
        (*answer.status_mut(), *answer.headers_mut()) = (status, headers);
        Ok(answer)
    }
}

/// An HTTP client that goes only where it was told to.
struct Client {
    http: reqwest::Client,
    allow_insecure_http_loopback: bool,
}

impl Client {
    fn new(allow_insecure_http_loopback: bool, ca_file: Option<&Path>) -> Result<Self, String> {
        let builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(FETCH_TIMEOUT)
            .pool_max_idle_per_host(0);
        let builder = match ca_file {
            None => builder,
            Some(path) => builder.tls_certs_merge(certificates(path)?),
        };
        let http = builder.build().map_err(|error| with_sources(&error))?;
        Ok(Self { http, allow_insecure_http_loopback })
    }

    /// Whether this address may be asked at all.
    fn admit(&self, url: &str) -> Result<reqwest::Url, FetchError> {
        let parsed = reqwest::Url::parse(url).map_err(|error| unreachable(url, &error))?;
        let is_loopback = parsed.host_str().is_some_and(is_loopback_host);
        match parsed.scheme() {
            "https" => Ok(parsed),
            "http" if self.allow_insecure_http_loopback && is_loopback => Ok(parsed),
            _ => Err(FetchError::Insecure { url: url.to_owned() }),
        }
    }

    /// The body of a good answer.
    async fn get(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        let parsed = self.admit(url)?;
        let request = self.http.get(parsed).header(http::header::ACCEPT, "application/json");
        let response = request.send().await.map_err(|error| unreachable(url, &error))?;
        match response.status() {
            http::StatusCode::OK => read_bounded(url, response).await,
            status => Err(FetchError::Status { url: url.to_owned(), status: status.as_u16() }),
        }
    }
}

/// The certificates in a file; one that holds none is a mistake.
fn certificates(path: &Path) -> Result<Vec<reqwest::Certificate>, String> {
    let wrong = |cause: String| format!("`ca_file` {}: {cause}", path.display());
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(wrong("no certificate in it".to_owned())),
        Err(error) => Err(wrong(with_sources(&error))),
    }
}

async fn read_bounded(url: &str, response: reqwest::Response) -> Result<Vec<u8>, FetchError> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| unreachable(url, &error))?;
        if body.len() + chunk.len() > DOCUMENT_BYTES_MAX {
            return Err(FetchError::TooLarge { url: url.to_owned() });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Loopback by address, not by what a name resolves to; `localhost` is reserved for it (RFC 6761).
fn is_loopback_host(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn unreachable(url: &str, error: &dyn std::error::Error) -> FetchError {
    FetchError::Unreachable { url: url.to_owned(), cause: with_sources(error) }
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
