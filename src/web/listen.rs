//! The port: connections with limits. axum's own loop has none: a client that sends half a request would keep its connection
//! for ever.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::ServiceExt;

/// Connections at the same time; past it new ones wait in the system's queue.
pub const CONNECTIONS_MAX: usize = 4_096;
/// From the first byte of a request to the last of its head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 32 << 10;
/// After a connection could not be taken (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long answers have to leave when the server stops.
const FAREWELL: Duration = Duration::from_secs(5);

/// The address at the other end of the connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// Serves until `shutdown`, then finishes what has begun.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    tokio::pin!(shutdown);
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await;
            (listener.accept().await, place)
        };
        tokio::select! {
            (accepted, place) = accepted => match (accepted, place) {
                (Ok((stream, address)), Ok(place)) => {
                    let connection = graceful.watch(connection(stream, Peer(address.ip()), router.clone()));
                    tokio::spawn(async move {
                        // A connection that breaks off is the client's affair.
                        let _ = connection.await;
                        drop(place);
                    });
                }
                (Err(error), _) => {
                    tracing::warn!(%error, "a connection to the inbox could not be taken");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                (_, Err(_)) => return,
            },
            () = &mut shutdown => break,
        }
    }
    drop(listener);
    // Those who take longer are cut off: the process ends.
    let _ = tokio::time::timeout(FAREWELL, graceful.shutdown()).await;
}

fn connection(
    stream: TcpStream,
    peer: Peer,
    router: Router,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> + Send {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let router = router.clone();
        async move {
            let answered = router.oneshot(request.map(Body::new)).await;
            answered.map_err(|never: Infallible| match never {})
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
}
