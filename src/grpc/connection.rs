//! Connections, in clear or encrypted, each with what its client has shown. A handshake is somebody else's pace: it runs
//! beside all others, for a limited time, and where there are too many the oldest gives way. How many there may be in all, and how
//! long one may take to begin, is the [`door`](super::door)'s.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::door::{Door, Greeting, Origin, Place};
use super::meters::{Meters, Open};
use super::tls::{Chain, Held, Tls};
use crate::identity::ClientCertificate;

/// Connections whose handshake is done and that are not served yet.
const READY_MAX: usize = 64;
/// How long the answers of an expired connection have to leave; then it is closed, so that its client makes a new one.
const FAREWELL: Duration = Duration::from_secs(30);
/// A certificate that lives longer needs no alarm clock.
const ALARM_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);
/// After a connection could not be taken (too many open files), so that the next attempt finds something changed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How what travels is protected.
#[derive(Clone, Default)]
pub enum Protection {
    /// Not: the port is for this machine only.
    #[default]
    Loopback,
    /// By somebody else (a mesh, a tunnel); the operator says so.
    Elsewhere,
    Tls(Arc<Tls>),
}

/// A port that others can reach, and no word on how tokens are protected on their way there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is reachable from other machines and tokens would cross the network in clear: set `grpc.tls`, listen on \
     127.0.0.1, or say `grpc.allow_plaintext = true` if a mesh or tunnel encrypts"
)]
pub struct InClear(pub IpAddr);

impl Protection {
    /// Whether it is enough for this address.
    ///
    /// # Errors
    /// [`InClear`].
    pub fn check(&self, address: IpAddr) -> Result<(), InClear> {
        match self {
            Self::Loopback if !address.to_canonical().is_loopback() => Err(InClear(address)),
            Self::Loopback | Self::Elsewhere | Self::Tls(_) => Ok(()),
        }
    }

    #[must_use]
    pub fn tls(&self) -> Option<&Arc<Tls>> {
        match self {
            Self::Tls(tls) => Some(tls),
            Self::Loopback | Self::Elsewhere => None,
        }
    }

    /// How callers can prove who they are.
    #[must_use]
    pub fn ways_in(&self) -> WaysIn {
        match self.tls() {
            Some(tls) if tls.recognises_callers() => WaysIn::TokensAndCertificates,
            Some(_) | None => WaysIn::Tokens,
        }
    }
}

/// How callers can prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaysIn {
    Tokens,
    TokensAndCertificates,
}

/// What is known of who is at the other end; an extension of every request.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// Shown in the handshake, and verified.
    pub certificate: Option<Arc<ClientCertificate>>,
}

/// One connection that may be served.
pub struct Connection {
    stream: Box<dyn Duplex>,
    peer: Peer,
    /// When its certificate has been no good for a while.
    end: Option<Pin<Box<Sleep>>>,
    /// Its certificate, as long as clients may come with it.
    held: Option<Held>,
    /// Until its preface is whole.
    greeting: Option<Greeting>,
    meters: Arc<Meters>,
    _open: Open,
    _place: Place,
}

/// What can be read and written.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// Where connections come from.
pub trait Listener: Send + Sync + 'static {
    type Stream: Duplex + 'static;

    /// The next connection, and with whom it counts; nobody where it must not be let in.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Option<Origin>)>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Option<Origin>)> {
        let (stream, from) = Self::accept(self).await?;
        // Fails where the client is gone already, which is noticed when it is read.
        let _ = stream.set_nodelay(true);
        Ok((stream, Some(Origin::of(from.ip()))))
    }
}

/// The connections of a port, as they are ready to be served. Must be called within a runtime.
pub fn incoming(
    listener: TcpListener,
    protection: Protection,
    door: Arc<Door>,
    meters: Arc<Meters>,
) -> BoxStream<'static, io::Result<Connection>> {
    match protection {
        Protection::Loopback | Protection::Elsewhere => in_clear(listener, door, meters),
        Protection::Tls(tls) => {
            let port = Port { listener, door, meters };
            let (ready, connections) = mpsc::channel(READY_MAX);
            let mut handshakes = JoinSet::new();
            handshakes.spawn(accept(port, tls, ready));
            // The handshakes end with the stream, which holds them.
            stream::unfold((connections, handshakes), |(mut connections, handshakes)| async move {
                let connection = connections.recv().await?;
                Some((Ok(connection), (connections, handshakes)))
            })
            .boxed()
        }
    }
}

/// The same where nothing is encrypted.
pub fn in_clear<L: Listener>(
    listener: L,
    door: Arc<Door>,
    meters: Arc<Meters>,
) -> BoxStream<'static, io::Result<Connection>> {
    let port = Port { listener, door, meters };
    let next = |port: Port<L>| async move {
        let Accepted { stream, place } = port.next().await;
        Some((Ok(Connection::new(Box::new(stream), Peer::default(), place, &port.meters)), port))
    };
    stream::unfold(port, next).boxed()
}

/// A listener, and what is kept of its connections.
struct Port<L> {
    listener: L,
    door: Arc<Door>,
    meters: Arc<Meters>,
}

/// A connection that was let in, before anything is known of it.
struct Accepted<S> {
    stream: S,
    place: Place,
}

impl<L: Listener> Port<L> {
    /// The next connection that there is a place for. One that cannot be taken (too many open files) is told of and left to the
    /// next attempt, so that the server is still there when there is room again.
    async fn next(&self) -> Accepted<L::Stream> {
        loop {
            match self.listener.accept().await {
                Ok((_, None)) => self.meters.not_let_in.count(),
                Ok((stream, Some(origin))) => match self.door.enter(origin) {
                    Some(place) => {
                        self.meters.accepted.count();
                        return Accepted { stream, place };
                    }
                    // Closed at once, which costs least.
                    None => self.meters.turned_away.count(),
                },
                Err(error) => {
                    self.meters.not_accepted.count();
                    tracing::warn!(%error, "a connection could not be taken");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Takes connections and starts their handshakes, without end.
async fn accept(port: Port<TcpListener>, tls: Arc<Tls>, ready: mpsc::Sender<Connection>) {
    let meters = port.meters.clone();
    let mut handshakes = Handshakes { running: JoinSet::new(), oldest_first: VecDeque::new(), meters };
    loop {
        tokio::select! {
            accepted = port.next() => handshakes.start(accepted, tls.clone(), ready.clone()),
            Some(_) = handshakes.running.join_next() => {}
        }
    }
}

/// What is under way. INVARIANT: never more than `handshakes_max`.
struct Handshakes {
    running: JoinSet<()>,
    oldest_first: VecDeque<AbortHandle>,
    meters: Arc<Meters>,
}

impl Handshakes {
    fn start(&mut self, accepted: Accepted<TcpStream>, tls: Arc<Tls>, ready: mpsc::Sender<Connection>) {
        let most = tls.settings().handshakes_max;
        self.oldest_first.retain(|handshake| !handshake.is_finished());
        while self.oldest_first.len() >= most.max(1) {
            // Who is in earnest needs milliseconds: the oldest is the least likely to be.
            if let Some(oldest) = self.oldest_first.pop_front() {
                oldest.abort();
                self.meters.handshakes_displaced.count();
            }
        }
        let meters = self.meters.clone();
        let handshake = self.running.spawn(async move {
            let limit = tls.settings().handshake_timeout;
            let began = Instant::now();
            let Ok(Some(connection)) = timeout(limit, encrypted(accepted, &tls, &meters)).await else {
                meters.handshakes_failed.count();
                return;
            };
            meters.handshakes.record(began.elapsed());
            // Nobody serves any more: the connection ends here.
            let _ = ready.send(connection).await;
        });
        self.oldest_first.push_back(handshake);
    }
}

/// `None` where client and server do not come together. The client is told by the protocol; who it was, is not known.
async fn encrypted(
    Accepted { stream, place }: Accepted<TcpStream>,
    tls: &Tls,
    meters: &Arc<Meters>,
) -> Option<Connection> {
    let in_force = tls.in_force();
    let stream = match TlsAcceptor::from(in_force.config.clone()).accept(stream).await {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "a TLS handshake failed");
            return None;
        }
    };
    let chain = shown(&stream);
    let leaf = chain.as_ref().and_then(|chain| chain.first());
    let certificate = match leaf.map(|leaf| tls.certificates().read(leaf)).transpose() {
        Ok(certificate) => certificate.map(Arc::new),
        Err(reason) => {
            tracing::debug!(%reason, "a client certificate was refused");
            return None;
        }
    };
    let left = certificate.as_ref().map(|certificate| tls.now().until(certificate.expires_at()));
    let end = left.filter(|left| *left < ALARM_MAX).map(|left| Box::pin(sleep(left + FAREWELL)));
    let held = match chain {
        // Withdrawn while the handshake went on.
        Some(chain) => Some(tls.hold(chain, &in_force)?),
        None => None,
    };
    Some(Connection { end, held, ..Connection::new(Box::new(stream), Peer { certificate }, place, meters) })
}

/// What the client has shown; whatever there is was verified in the handshake.
fn shown(stream: &TlsStream<TcpStream>) -> Option<Chain> {
    let (_, session) = stream.get_ref();
    Some(session.peer_certificates()?.iter().map(|one| one.clone().into_owned()).collect())
}

impl Connection {
    fn new(stream: Box<dyn Duplex>, peer: Peer, place: Place, meters: &Arc<Meters>) -> Self {
        let (greeting, meters) = (Some(place.door().greeting()), meters.clone());
        Self { stream, peer, end: None, held: None, greeting, _open: Open::new(&meters), meters, _place: place }
    }

    /// Reads, while the client is expected to begin.
    fn poll_greeting(
        &mut self,
        greeting: &mut Greeting,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(context, buffer) {
            let bytes = buffer.filled().len().saturating_sub(before);
            return Poll::Ready(read.map(|()| greeting.is_whole_with(bytes)));
        }
        std::task::ready!(greeting.poll_over(context));
        self.meters.never_began.count();
        // As if the client had hung up.
        Poll::Ready(Ok(true))
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(end) = &mut self.end
            && end.as_mut().poll(context).is_ready()
        {
            // As if the client had hung up.
            return Poll::Ready(Ok(()));
        }
        if let Some(held) = &mut self.held
            && Pin::new(&mut held.ended).poll(context).is_ready()
        {
            // The CA was withdrawn: who holds such a certificate gets no further answer.
            self.held = None;
            self.end = Some(Box::pin(sleep(Duration::ZERO)));
            return Poll::Ready(Ok(()));
        }
        if let Some(mut greeting) = self.greeting.take() {
            let read = self.poll_greeting(&mut greeting, context, buffer);
            if !matches!(read, Poll::Ready(Ok(true))) {
                self.greeting = Some(greeting);
            }
            return read.map_ok(|_| ());
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
