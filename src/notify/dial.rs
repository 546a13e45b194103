//! One outbound request: resolved first, connected to exactly what was looked at, no redirects, bounded in time and size.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::Method;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, RETRY_AFTER};

use super::address::{Network, may_reach};
use super::channel::Failure;

/// For everything: resolving, connecting, sending, and reading the answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What is read of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What came back.
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<Duration>,
    /// The first [`ANSWER_BYTES_MAX`] bytes.
    pub body: Vec<u8>,
}

/// Posts `body`; see [`send`].
pub async fn post(
    url: &reqwest::Url,
    allowed: &[Network],
    headers: HeaderMap,
    body: Vec<u8>,
) -> Result<Answer, Failure> {
    send(Method::POST, url, allowed, headers, body).await
}

/// Sends `body`. Whatever the status, an answer is an answer; see [`Answer::accepted`].
pub async fn send(
    method: Method,
    url: &reqwest::Url,
    allowed: &[Network],
    headers: HeaderMap,
    body: Vec<u8>,
) -> Result<Answer, Failure> {
    in_time(async {
        let client = client(admitted(url, allowed).await?)?;
        let sent = client.request(method, url.clone()).headers(headers).body(body).send().await;
        let response = sent.map_err(|error| Failure::later(causes(&error.without_url())))?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(seconds);
        Ok(Answer { status, retry_after, body: beginning(response).await })
    })
    .await
}

/// Asks the host for its front page's head, whatever it says: neither the path nor a secret is sent.
pub async fn knock(url: &reqwest::Url, allowed: &[Network]) -> Result<(), Failure> {
    let mut front = url.clone();
    front.set_path("/");
    front.set_query(None);
    in_time(async {
        let client = client(admitted(&front, allowed).await?)?;
        let sent = client.head(front.clone()).send().await;
        sent.map(drop).map_err(|error| Failure::later(causes(&error.without_url())))
    })
    .await
}

async fn in_time<T>(exchange: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let late = |_| Err(Failure::later(format!("no answer within {} s", TIMEOUT.as_secs())));
    tokio::time::timeout(TIMEOUT, exchange).await.unwrap_or_else(late)
}

/// A client that connects to these addresses alone.
fn client(addresses: Vec<SocketAddr>) -> Result<reqwest::Client, Failure> {
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(TIMEOUT)
        .pool_max_idle_per_host(0)
        // Whatever name it would look up, it gets what was judged: a second look could be answered differently.
        .dns_resolver(Arc::new(Pinned(addresses)))
        .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
        .build();
    client.map_err(|error| Failure::later(causes(&error)))
}

/// The addresses of the URL's host, if every one of them may be reached.
pub async fn admitted(url: &reqwest::Url, allowed: &[Network]) -> Result<Vec<SocketAddr>, Failure> {
    let target = url.clone();
    let resolved = tokio::task::spawn_blocking(move || target.socket_addrs(|| super::email::port(&target))).await;
    let addresses = resolved.map_err(|error| Failure::later(error.to_string()))?;
    let addresses = addresses.map_err(|error| Failure::later(format!("cannot resolve the host: {error}")))?;
    let refused = addresses.iter().find(|address| !may_reach(address.ip(), allowed));
    if let Some(refused) = refused {
        return Err(Failure::later(format!("`{}` is not on the public internet; see `allow`", refused.ip())));
    }
    let in_clear = url.scheme() == "http"
        && !addresses.iter().all(|address| allowed.iter().any(|network| network.contains(address.ip().to_canonical())));
    if in_clear {
        return Err(Failure::later("only `allow`ed addresses are spoken to in clear: use https".to_owned()));
    }
    Ok(addresses)
}

impl Answer {
    /// Nothing, if the endpoint took it; a redirect is not followed and takes nothing.
    pub fn accepted(&self) -> Result<(), Failure> {
        let told = format!("the endpoint answered {}", self.status);
        match self.status {
            200..=299 => Ok(()),
            // The message itself is at fault: it would be again.
            400 | 413 | 422 => Err(Failure::Refused(told)),
            _ => Err(Failure::Later { after: self.retry_after, cause: told }),
        }
    }
}

/// What did not fit or did not come is left out: the status decides.
async fn beginning(response: reqwest::Response) -> Vec<u8> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(Ok(chunk)) = chunks.next().await {
        let room = ANSWER_BYTES_MAX.saturating_sub(body.len());
        body.extend(chunk.iter().take(room));
        if chunk.len() >= room {
            break;
        }
    }
    body
}

/// Of the two forms of `Retry-After` the one with seconds; after a date, the own wait applies.
fn seconds(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(Duration::from_secs)
}

fn causes(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

struct Pinned(Vec<SocketAddr>);

impl Resolve for Pinned {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Addrs = Box::new(self.0.clone().into_iter());
        Box::pin(std::future::ready(Ok(addresses)))
    }
}
