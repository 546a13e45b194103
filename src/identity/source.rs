//! Where an issuer's keys come from: the one place of this module that touches the world outside. Fetching is
//! mistrustful: HTTPS only, no redirects, no proxies of the environment, short time, small bodies.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use openidconnect::core::CoreProviderMetadata;
use openidconnect::{AsyncHttpClient, DiscoveryError, HttpRequest, HttpResponse, IssuerUrl};

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
    let client = || Client::new(settings.allow_insecure_http_loopback);
    match &settings.keys {
        KeyLocation::Discovery => {
            let issuer = IssuerUrl::new(settings.issuer.clone()).map_err(|error| format!("`issuer`: {error}"))?;
            let client = client()?;
            client.admit(&settings.issuer).map_err(|error| error.to_string())?;
            Ok(Arc::new(Discovered { client, issuer }))
        }
        KeyLocation::JwksUrl(url) => {
            let client = client()?;
            client.admit(url).map_err(|error| error.to_string())?;
            Ok(Arc::new(Published { client, url: url.clone() }))
        }
        KeyLocation::JwksFile(path) => Ok(Arc::new(Filed { path: path.clone() })),
    }
}

/// Keys at the address that OpenID Connect Discovery names.
struct Discovered {
    client: Client,
    issuer: IssuerUrl,
}

impl KeySource for Discovered {
    fn fetch(&self) -> Fetching<'_> {
        Box::pin(async move {
            let exchanges = Exchanges { client: &self.client, last_body: Mutex::default() };
            let metadata = CoreProviderMetadata::discover_async(self.issuer.clone(), &exchanges).await;
            let metadata = metadata.map_err(|error| discovery_error(&self.issuer, error))?;
            // INVARIANT: the document must be for exactly this issuer (OIDC Discovery section 4.3), to the byte.
            if metadata.issuer().as_str() != self.issuer.as_str() {
                return Err(FetchError::IssuerMismatch { issuer: self.issuer.to_string() });
            }
            Ok(exchanges.last_body.into_inner().unwrap_or_else(PoisonError::into_inner))
        })
    }
}

/// What openidconnect asks our client for. The last answer is the key set: openidconnect keeps of it only what its
/// own verifier needs (no `key_ops`), and we need the document.
struct Exchanges<'a> {
    client: &'a Client,
    last_body: Mutex<Vec<u8>>,
}

impl<'c> AsyncHttpClient<'c> for Exchanges<'_> {
    type Error = FetchError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, FetchError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let response = self.client.exchange(request).await?;
            self.last_body.lock().unwrap_or_else(PoisonError::into_inner).clone_from(response.body());
            Ok(response)
        })
    }
}

fn discovery_error(issuer: &IssuerUrl, error: DiscoveryError<FetchError>) -> FetchError {
    let issuer = issuer.to_string();
    match error {
        DiscoveryError::Request(cause) => cause,
        DiscoveryError::Validation(_) => FetchError::IssuerMismatch { issuer },
        DiscoveryError::Response(_, _, cause) => FetchError::Discovery { issuer, cause },
        other => FetchError::Discovery { issuer, cause: with_sources(&other) },
    }
}

/// Keys at a configured address.
struct Published {
    client: Client,
    url: String,
}

impl KeySource for Published {
    fn fetch(&self) -> Fetching<'_> {
        Box::pin(async {
            let request = http::Request::get(&self.url).header(http::header::ACCEPT, "application/json");
            let request = request.body(Vec::new()).map_err(|error| unreachable(&self.url, &error))?;
            let response = self.client.exchange(request).await?;
            match response.status() {
                http::StatusCode::OK => Ok(response.into_body()),
                status => Err(FetchError::Status { url: self.url.clone(), status: status.as_u16() }),
            }
        })
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

/// An HTTP client that goes only where it was told to.
struct Client {
    http: reqwest::Client,
    allow_insecure_http_loopback: bool,
}

impl Client {
    fn new(allow_insecure_http_loopback: bool) -> Result<Self, String> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(FETCH_TIMEOUT)
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|error| with_sources(&error))?;
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

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, FetchError> {
        let url = self.admit(&request.uri().to_string())?;
        let name = url.to_string();
        let response = self.http.get(url).headers(request.headers().clone()).send().await;
        let response = response.map_err(|error| unreachable(&name, &error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        if status.is_redirection() {
            return Err(FetchError::Status { url: name, status: status.as_u16() });
        }
        let mut answer = http::Response::new(read_bounded(&name, response).await?);
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        Ok(answer)
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
