//! Many calls of `Authorize` from few connections, each with a deadline, by callers that do as they like: as cheap for who asks as
//! HTTP/2 lets it be, so that a machine that has the server as well can ask for more than it answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use h2::client::SendRequest;
use http::Request;
use prost::bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Of one connection at the same time: as many as the server lets there be.
const UNDER_WAY_MAX: usize = 256;
const TICK: Duration = Duration::from_millis(2);

/// What all calls have in common.
#[derive(Clone)]
pub struct Asked {
    pub address: SocketAddr,
    pub token: String,
    /// The query, encoded.
    pub query: Vec<u8>,
    pub connections: usize,
    /// After it an answer is worth nothing, and the call is given up.
    pub deadline: Duration,
}

#[derive(Debug, Default)]
pub struct Tally {
    /// Answers in time.
    pub answered: AtomicUsize,
    /// Errors in time.
    pub turned_away: AtomicUsize,
    /// Given up.
    pub late: AtomicUsize,
    /// Not even sent: as much was under way already as the connection takes.
    pub unsent: AtomicUsize,
}

impl Tally {
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    pub fn tried(&self) -> usize {
        [&self.answered, &self.turned_away, &self.late, &self.unsent]
            .map(|count| count.load(Ordering::Relaxed))
            .iter()
            .sum()
    }
}

impl Asked {
    async fn connect(&self) -> SendRequest<Bytes> {
        let stream = TcpStream::connect(self.address).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        let (client, connection) = h2::client::handshake(stream).await.expect("a handshake");
        tokio::spawn(async move {
            let _ = connection.await;
        });
        client
    }

    fn frame(&self) -> Bytes {
        let length = u32::try_from(self.query.len()).expect("a short query").to_be_bytes();
        Bytes::from([&[0][..], &length, &self.query].concat())
    }

    fn head(&self) -> Request<()> {
        Request::post(format!("http://{}/countersign.v1.DecisionPoint/Authorize", self.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("authorization", format!("Bearer {}", self.token))
            .header("grpc-timeout", format!("{}m", self.deadline.as_millis()))
            .body(())
            .expect("a request")
    }

    /// As many callers as these, each of which asks again as soon as it has heard anything, for so long.
    pub async fn by_callers(&self, callers: usize, lasts: Duration) -> Arc<Tally> {
        let (tally, end) = (Arc::new(Tally::default()), Instant::now() + lasts);
        let mut running = tokio::task::JoinSet::new();
        for connection in 0..self.connections.min(callers) {
            let client = self.connect().await;
            for _ in (connection..callers).step_by(self.connections) {
                let (client, tally, head, frame, deadline) =
                    (client.clone(), tally.clone(), self.head(), self.frame(), self.deadline);
                running.spawn(async move {
                    while Instant::now() < end {
                        call(client.clone(), &head, &frame, deadline, &tally).await;
                    }
                });
            }
        }
        running.join_all().await;
        tally
    }

    /// So many calls a second, whatever becomes of those before them, for so long.
    pub async fn by_rate(&self, per_second: f64, lasts: Duration) -> Arc<Tally> {
        let (tally, end) = (Arc::new(Tally::default()), Instant::now() + lasts);
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..self.connections {
            let (client, asked, tally) = (self.connect().await, self.clone(), tally.clone());
            let each = per_second / self.connections as f64;
            running.spawn(async move { asked.connection_by_rate(client, each, end, tally).await });
        }
        running.join_all().await;
        tally
    }

    async fn connection_by_rate(&self, client: SendRequest<Bytes>, per_second: f64, end: Instant, tally: Arc<Tally>) {
        let (began, mut due) = (Instant::now(), 0);
        let (head, frame, under_way) = (self.head(), self.frame(), Arc::new(AtomicUsize::new(0)));
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while Instant::now() < end {
            ticks.tick().await;
            let by_now = (began.elapsed().as_secs_f64() * per_second) as usize;
            for _ in due..by_now {
                if under_way.load(Ordering::Relaxed) >= UNDER_WAY_MAX {
                    tally.unsent.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                under_way.fetch_add(1, Ordering::Relaxed);
                let (client, tally, under_way) = (client.clone(), tally.clone(), under_way.clone());
                let (head, frame, deadline) = (head.clone(), frame.clone(), self.deadline);
                tokio::spawn(async move {
                    call(client, &head, &frame, deadline, &tally).await;
                    under_way.fetch_sub(1, Ordering::Relaxed);
                });
            }
            due = by_now;
        }
    }
}

async fn call(client: SendRequest<Bytes>, head: &Request<()>, frame: &Bytes, deadline: Duration, tally: &Tally) {
    let count = match timeout(deadline, answer(client, head.clone(), frame.clone())).await {
        Ok(Ok(true)) => &tally.answered,
        Ok(Ok(false)) => &tally.turned_away,
        Ok(Err(_)) | Err(_) => &tally.late,
    };
    count.fetch_add(1, Ordering::Relaxed);
}

/// Whether there is an answer rather than an error.
async fn answer(client: SendRequest<Bytes>, head: Request<()>, frame: Bytes) -> Result<bool, h2::Error> {
    let mut client = client.ready().await?;
    let (answer, mut body) = client.send_request(head, false)?;
    body.send_data(frame, true)?;
    let answer = answer.await?;
    if answer.headers().contains_key("grpc-status") {
        return Ok(false);
    }
    let mut body = answer.into_body();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
    }
    let trailers = body.trailers().await?;
    Ok(trailers.is_some_and(|trailers| trailers.get("grpc-status").is_some_and(|status| status == "0")))
}
