//! An HTTP endpoint of somebody else: keeps what it got and answers as it was told.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::sync::{Mutex as AsyncMutex, mpsc};

/// How a request is answered.
#[derive(Clone)]
pub enum Reply {
    Status(u16),
    /// 429, come back after so many seconds.
    RetryAfter(u64),
    Redirect(String),
    /// 200 with this body.
    Json(serde_json::Value),
    /// 200 with this `Date`, and nothing in it.
    Dated(String),
    Never,
}

#[derive(Clone)]
pub struct Request {
    pub path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Request {
    pub fn header(&self, name: &str) -> String {
        self.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

struct Shared {
    always: Mutex<HashMap<String, Reply>>,
    script: Mutex<VecDeque<Reply>>,
    otherwise: Mutex<Reply>,
    got: Mutex<Vec<Request>>,
    tell: mpsc::UnboundedSender<Request>,
}

pub struct Receiver {
    port: u16,
    shared: Arc<Shared>,
    told: AsyncMutex<mpsc::UnboundedReceiver<Request>>,
    /// What [`Receiver::until`] passed over.
    heard: Mutex<Vec<Request>>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, told) = mpsc::unbounded_channel();
        let (script, otherwise) = (Mutex::default(), Mutex::new(Reply::Status(200)));
        let shared = Arc::new(Shared { always: Mutex::default(), script, otherwise, got: Mutex::default(), tell });
        let router = axum::Router::new().fallback(answer).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { port, shared, told: AsyncMutex::new(told), heard: Mutex::default() }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// The next answers, one each.
    pub fn script<const N: usize>(&self, replies: [Reply; N]) {
        self.shared.script.lock().unwrap().extend(replies);
    }

    /// The answer to this path, whatever the script says.
    pub fn always(&self, path: &str, reply: Reply) {
        self.shared.always.lock().unwrap().insert(path.to_owned(), reply);
    }

    /// Every answer after the script.
    pub fn otherwise(&self, reply: Reply) {
        *self.shared.otherwise.lock().unwrap() = reply;
    }

    /// The next request, waited for.
    pub async fn next(&self) -> Request {
        self.told.lock().await.recv().await.unwrap()
    }

    /// The next request of this path that was not looked at yet, waited for; others are kept for later.
    pub async fn until(&self, path: &str) -> Request {
        loop {
            if let Some(request) = self.take_heard(path) {
                return request;
            }
            let request = self.next().await;
            self.heard.lock().unwrap().push(request);
        }
    }

    fn take_heard(&self, path: &str) -> Option<Request> {
        let mut heard = self.heard.lock().unwrap();
        let at = heard.iter().position(|request| request.path == path)?;
        Some(heard.remove(at))
    }

    /// Whether there is one of this path among those that [`Receiver::until`] passed over.
    pub fn passed_over(&self, path: &str) -> bool {
        self.heard.lock().unwrap().iter().any(|request| request.path == path)
    }

    /// The ids of all that came, in order.
    pub fn ids(&self) -> Vec<String> {
        self.shared.got.lock().unwrap().iter().map(|request| request.header("webhook-id")).collect()
    }
}

async fn answer(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let request = Request { path: uri.path().to_owned(), headers, body };
    shared.got.lock().unwrap().push(request.clone());
    let always = shared.always.lock().unwrap().get(&request.path).cloned();
    let scripted = always.or_else(|| shared.script.lock().unwrap().pop_front());
    let reply = scripted.unwrap_or_else(|| shared.otherwise.lock().unwrap().clone());
    shared.tell.send(request).unwrap();
    match reply {
        Reply::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Reply::RetryAfter(seconds) => {
            (StatusCode::TOO_MANY_REQUESTS, [("retry-after", seconds.to_string())]).into_response()
        }
        Reply::Redirect(to) => (StatusCode::TEMPORARY_REDIRECT, [("location", to)]).into_response(),
        Reply::Json(body) => axum::Json(body).into_response(),
        Reply::Dated(date) => [("date", date)].into_response(),
        Reply::Never => std::future::pending().await,
    }
}
