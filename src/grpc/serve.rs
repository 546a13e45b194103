//! Connections, from the first call to the last: each in a task of its own, with an age at which its client is asked for a new
//! one (GOAWAY), so that load follows replicas that come and certificates that change.
//!
//! In place of tonic's own loop: that one has a single age for all, so that clients which came together come back together,
//! and cuts them off unsaid where it has a grace; and its deadlines end in errors without a reason.

use std::convert::Infallible;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream, StreamExt};
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tonic::body::Body;
use tonic::transport::server::Connected;
use tower::Service;
use uuid::Uuid;

use super::connection::{Connection, Peer};
use super::deadline::Deadline;
use super::status::status;
use super::uniform::{self, Answer};
use crate::service::Refusal;

/// How HTTP/2 is spoken.
pub type Protocol = http2::Builder<TokioExecutor>;

/// How long a connection lives.
#[derive(Debug, Clone, Copy)]
pub struct Life {
    /// Until it takes no new calls; each connection's own differs from it by up to a tenth.
    pub age: Duration,
    /// For the calls that are under way then.
    pub grace: Duration,
}

/// What answers calls.
pub trait Calls:
    Service<Request<Body>, Response = Answer, Error = Infallible, Future: Unpin + Send> + Clone + Send + 'static
{
}

impl<S> Calls for S where
    S: Service<Request<Body>, Response = Answer, Error = Infallible, Future: Unpin + Send> + Clone + Send + 'static
{
}

/// Serves until `stopped`, then takes no more connections and no more calls, and lets those under way end.
pub async fn serve(
    protocol: Protocol,
    life: Life,
    calls: impl Calls,
    connections: impl Stream<Item = io::Result<Connection>>,
    stopped: impl Future<Output = ()>,
) {
    let (stop, stopping) = watch::channel(false);
    let mut served = JoinSet::new();
    {
        let (mut connections, mut stopped) = (pin!(connections), pin!(stopped));
        loop {
            tokio::select! {
                () = &mut stopped => break,
                Some(_) = served.join_next() => {}
                connection = connections.next() => match connection {
                    Some(Ok(connection)) => {
                        let calls = Served { calls: calls.clone(), peer: connection.connect_info() };
                        served.spawn(one(protocol.clone(), life, calls, connection, stopping.clone()));
                    }
                    Some(Err(error)) => tracing::debug!(%error, "a connection was over before it began"),
                    None => break,
                },
            }
        }
    }
    // Each has its own receiver, which sees it.
    let _ = stop.send(true);
    while served.join_next().await.is_some() {}
}

/// Serves one connection.
async fn one<S: Calls>(
    protocol: Protocol,
    life: Life,
    calls: Served<S>,
    connection: Connection,
    mut stopping: watch::Receiver<bool>,
) {
    let mut serving = pin!(protocol.serve_connection(TokioIo::new(connection), calls));
    tokio::select! {
        ended = serving.as_mut() => return over(ended),
        () = sleep(own_age(life.age)) => {}
        // Also where nobody is left to say so.
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
    serving.as_mut().graceful_shutdown();
    tokio::select! {
        ended = serving => over(ended),
        () = sleep(life.grace) => tracing::debug!("a connection was past its age, and its calls did not end"),
    }
}

fn over(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

/// Up to a tenth more or less, at random: who came together does not come back together.
fn own_age(age: Duration) -> Duration {
    // The last bytes of a version 7 id are random.
    let random = Uuid::now_v7().as_u128() as u16;
    age.mul_f64(0.9 + 0.2 * f64::from(random) / f64::from(u16::MAX))
}

/// The calls of one connection.
struct Served<S> {
    calls: S,
    peer: Peer,
}

impl<S: Calls> hyper::service::Service<Request<Incoming>> for Served<S> {
    type Response = Answer;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Answer, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let mut request = request.map(Body::new);
        let deadline = Deadline::of(request.headers());
        request.extensions_mut().insert(self.peer.clone());
        deadline.map(|deadline| request.extensions_mut().insert(deadline));
        // It never holds back: each call has its place by HTTP/2's own limit, and what sheds load answers at once.
        let answering = self.calls.clone().call(request);
        Box::pin(whole(Deadline::bound(deadline, answering)))
    }
}

/// The answer as clients know ours: with a reason where it is an error, and INTERNAL where there was a panic, whose words are in
/// the log, by the process' panic hook.
async fn whole(answering: impl Future<Output = Result<Answer, Infallible>>) -> Result<Answer, Infallible> {
    let broken = |_| Ok(status(&Refusal::Internal("a call panicked".into())).into_http());
    let answer = AssertUnwindSafe(answering).catch_unwind().await.unwrap_or_else(broken);
    answer.map(uniform::answer)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::net::{TcpListener, TcpStream};

    use super::super::connection::{Protection, incoming};
    use super::super::door::{Door, Limits};
    use super::*;

    #[test]
    fn ages_differ_and_lie_about_what_is_set() {
        let age = Duration::from_secs(1_800);
        let ages: std::collections::BTreeSet<_> = (0..100).map(|_| own_age(age)).collect();
        assert!(ages.len() > 50);
        assert!(ages.iter().all(|own| (1_620..=1_980).contains(&own.as_secs())));
    }

    #[tokio::test]
    async fn a_connection_past_its_age_takes_no_new_calls_and_finishes_those_under_way() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (finish, finished) = watch::channel(false);
        let calls = tower::service_fn(move |_: Request<Body>| -> BoxFuture<'static, Result<Answer, Infallible>> {
            let mut finished = finished.clone();
            Box::pin(async move {
                finished.wait_for(|finished| *finished).await.unwrap();
                Ok(Answer::default())
            })
        });
        let connections = incoming(listener, Protection::Loopback, Door::new(Limits::default()), Arc::default());
        let life = Life { age: Duration::from_secs(2), grace: Duration::from_secs(60) };
        let server = serve(Protocol::new(TokioExecutor::new()), life, calls, connections, std::future::pending());
        tokio::spawn(server);
        let stream = TcpStream::connect(address).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = http::Request::get(format!("http://{address}/")).body(()).unwrap();
        let (answer, _) = client.clone().ready().await.unwrap().send_request(request, true).unwrap();
        let farewell = loop {
            match client.clone().ready().await {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => break error,
            }
        };
        assert_eq!(farewell.reason(), Some(h2::Reason::NO_ERROR), "{farewell}");
        finish.send(true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
        connection.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn fault_80_a_panic_outside_of_handlers_costs_one_call() {
        let nothing: Vec<Answer> = Vec::new();
        let answer = whole(async { Ok(nothing.into_iter().next().unwrap()) }).await.unwrap();
        let status = tonic::Status::from_header_map(answer.headers()).unwrap();
        assert_eq!(status.code(), tonic::Code::Internal);
        assert!(!status.details().is_empty());
    }
}
