//! The API over HTTP/JSON and gRPC-Web: the same answers, the same refusals, the same limits; and pages of strangers get nowhere.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use countersign::grpc::tls::ClientAuth;
use countersign::grpc::web::Origins;
use countersign::service::{self, load};
use countersign::wire::pb;
use prost::Message as _;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use rustls::version::TLS13;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::pki::{BOT, Pki};
use crate::support::{Options, TestServer};

const CONSOLE: &str = "https://console.example";
const STRANGER: &str = "https://stranger.example";
const AUTHORIZE: &str = "/countersign.v1.DecisionPoint/Authorize";
const DECIDE: &str = "/countersign.v1.DecisionPoint/Decide";

fn options() -> Options {
    Options { web_api: Some(Origins::new([CONSOLE.to_owned()])), ..Options::default() }
}

async fn start() -> TestServer {
    TestServer::with(options()).await
}

/// What came back.
struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Answered {
    /// The reason of an error, where it is one.
    fn reason(&self) -> &str {
        let details = self.body["details"].as_array().unwrap_or_else(|| panic!("no error: {}", self.body));
        let info = details.iter().find(|detail| detail["type"] == "google.rpc.ErrorInfo").expect("ErrorInfo");
        assert_eq!(info["debug"]["domain"], "countersign");
        info["debug"]["reason"].as_str().unwrap()
    }

    /// The field at fault.
    fn field(&self) -> &str {
        let details = self.body["details"].as_array().unwrap();
        let found = details.iter().find(|detail| detail["type"] == "google.rpc.BadRequest").expect("a field");
        found["debug"]["fieldViolations"][0]["field"].as_str().unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[track_caller]
    fn is_refused(&self, status: u16, code: &str, reason: &str) {
        let seen = (self.status.as_u16(), self.body["code"].as_str().unwrap_or_default());
        assert_eq!((seen, self.reason()), ((status, code), reason), "{}", self.body);
    }
}

/// A client of HTTP/1.1 that sends what it is told to.
struct Http {
    client: reqwest::Client,
    url: String,
    token: Option<String>,
}

impl Http {
    fn of(server: &TestServer, who: &str) -> Self {
        Self { token: Some(server.token(who)), ..Self::nobody(server) }
    }

    fn nobody(server: &TestServer) -> Self {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { client, url: server.url(), token: None }
    }

    async fn send(&self, verb: Method, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answered {
        let mut request = self.client.request(verb, format!("{}{path}", self.url)).body(body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        for (name, value) in headers {
            request = request.header(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.bytes().await.unwrap();
        Answered { status, headers, body: serde_json::from_slice(&body).unwrap_or(Value::Null) }
    }

    async fn text(&self, path: &str, body: &str) -> Answered {
        self.send(Method::POST, path, &[("content-type", "application/json")], body.into()).await
    }

    async fn call(&self, path: &str, message: &Value) -> Answered {
        self.text(path, &message.to_string()).await
    }

    /// With headers of its own.
    async fn saying(&self, headers: &[(&str, &str)]) -> Answered {
        let json = [("content-type", "application/json")];
        let all: Vec<_> = json.into_iter().filter(|(name, _)| headers.iter().all(|(own, _)| own != name)).collect();
        self.send(Method::POST, AUTHORIZE, &[&all, headers].concat(), read().to_string().into()).await
    }
}

fn query(action: &str, kind: &str, id: &str) -> Value {
    json!({"action": {"type": "Action", "id": action}, "resource": {"type": kind, "id": id}})
}

fn read() -> Value {
    query("read", "Dataset", "weather")
}

fn export() -> Value {
    let mut query = query("export", "Dataset", "customers");
    query["context"] = json!({"destination": {"string": "s3://partner"}, "rows": {"long": "1000"}});
    query["justification"] = json!("quarterly report");
    query
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_in_json_is_the_life_in_grpc() {
    let server = start().await;
    let (agent, alice, bob) = (Http::of(&server, "report-bot"), Http::of(&server, "alice"), Http::of(&server, "bob"));
    let allowed = agent.call(AUTHORIZE, &read()).await;
    assert_eq!((allowed.status, allowed.header("content-type")), (StatusCode::OK, Some("application/json")));
    assert_eq!((&allowed.body["outcome"], &allowed.body["reason"]), (&json!("OUTCOME_ALLOW"), &json!("permitted")));
    assert!(allowed.header("x-request-id").is_some() && allowed.header("grpc-status").is_none());
    let denied = agent.call(AUTHORIZE, &query("drop", "Database", "warehouse")).await;
    assert_eq!((denied.status, &denied.body["outcome"]), (StatusCode::OK, &json!("OUTCOME_DENY")));

    let asked = agent.call(AUTHORIZE, &export()).await;
    assert_eq!(asked.body["outcome"], "OUTCOME_PENDING", "{}", asked.body);
    let (id, binding) = (&asked.body["approval"]["id"], &asked.body["approval"]["binding"]);
    let vote = json!({"approvalId": id, "binding": binding, "verdict": "VERDICT_APPROVE"});
    let mut again = export();
    again["approvalId"] = id.clone();
    again["wait"] = json!("50s");
    let waiting = agent.call(AUTHORIZE, &again);
    let deciding = async {
        assert_eq!(alice.call(DECIDE, &vote).await.body["state"], "APPROVAL_STATE_PENDING");
        assert_eq!(bob.call(DECIDE, &vote).await.body["state"], "APPROVAL_STATE_APPROVED");
    };
    let (granted, ()) = tokio::join!(waiting, deciding);
    assert_eq!((&granted.body["outcome"], &granted.body["reason"]), (&json!("OUTCOME_ALLOW"), &json!("granted")));
    let used = agent.call(AUTHORIZE, &again).await;
    assert_eq!((&used.body["outcome"], &used.body["reason"]), (&json!("OUTCOME_DENY"), &json!("grant_consumed")));
    agent.call(DECIDE, &vote).await.is_refused(403, "permission_denied", "not_human");

    // What gRPC has on record is what JSON did, and gRPC goes on beside it.
    let records = server.client("erin").await.records_of(id.as_str().unwrap()).await;
    assert!(records.len() >= 5, "{records:#?}");
    let health = Http::nobody(&server).call("/grpc.health.v1.Health/Check", &json!({})).await;
    assert_eq!(health.body["status"], "SERVING");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_refused_with_its_field_and_never_in_part() {
    let server = start().await;
    let agent = Http::of(&server, "report-bot");
    for (text, field) in [
        (r#"{"acton":{"type":"Action","id":"read"}}"#, "acton"),
        (r#"{"action":{"type":"Action","id":"read","kind":"x"}}"#, "action.kind"),
        (r#"{"approvalId":"a","approval_id":"b"}"#, "approval_id"),
        (r#"{"context":{"rows":{"long":1.5}}}"#, "context.rows.long"),
        (r#"{"context":{"rows":{"long":"1"},"rows":{"long":"2"}}}"#, "context.rows"),
    ] {
        let refused = agent.text(AUTHORIZE, text).await;
        refused.is_refused(400, "invalid_argument", "malformed_message");
        assert_eq!(refused.field(), field, "{}", refused.body);
    }
    for text in ["", "{", "[]", "null", "{} {}", "\u{feff}{}"] {
        agent.text(AUTHORIZE, text).await.is_refused(400, "invalid_argument", "malformed_message");
    }
    // What can be read and is wrong is refused as in gRPC.
    let refused = agent.text(AUTHORIZE, "{}").await;
    refused.is_refused(400, "invalid_argument", "invalid_argument");
    assert_eq!(refused.field(), "action");

    let deep = format!(r#"{{"context":{{"a":{}{}}}}}"#, r#"{"set":{"values":["#.repeat(100), "]}}".repeat(100));
    agent.text(AUTHORIZE, &deep).await.is_refused(400, "invalid_argument", "malformed_message");
    // What is announced as too large is refused before it comes.
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let length = (4 << 20) + 1;
    let head = format!("POST {AUTHORIZE} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json");
    stream.write_all(format!("{head}\r\ncontent-length: {length}\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("message_too_large"), "{answer}");
    let values = format!(r#"{{"supportedObligations":[{}"mask"]}}"#, r#""","#.repeat(300_000));
    agent.text(AUTHORIZE, &values).await.is_refused(400, "invalid_argument", "malformed_message");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_known_is_told_how_to_be() {
    let server = start().await;
    let stranger = Http::nobody(&server);
    let refused = stranger.call(AUTHORIZE, &read()).await;
    refused.is_refused(401, "unauthenticated", "missing_token");
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    // A cookie is nobody's word.
    let cookie = format!("token={0}; authorization=Bearer {0}", server.token("report-bot"));
    stranger.saying(&[("cookie", &cookie)]).await.is_refused(401, "unauthenticated", "missing_token");
    let forged = Http { token: Some("eyJhbGciOiJub25lIn0.e30.".into()), ..stranger };
    let refused = forged.call(AUTHORIZE, &read()).await;
    assert_eq!(
        (refused.status.as_u16(), refused.header("www-authenticate")),
        (401, Some("Bearer error=\"invalid_token\""))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_said_in_one_way_each() {
    let server = start().await;
    let agent = Http::of(&server, "report-bot");
    let refused = agent.send(Method::GET, AUTHORIZE, &[], Vec::new()).await;
    refused.is_refused(405, "unimplemented", "method_not_allowed");
    assert_eq!(refused.header("allow"), Some("POST"));
    let json = [("content-type", "application/json")];
    for verb in [Method::PUT, Method::GET, Method::DELETE] {
        agent.send(verb, AUTHORIZE, &json, b"{}".to_vec()).await.is_refused(405, "unimplemented", "method_not_allowed");
    }
    for path in ["/", "/countersign.v1.DecisionPoint/Destroy", "/countersign.v1.DecisionPoint/Authorize/"] {
        agent.call(path, &read()).await.is_refused(404, "unimplemented", "unimplemented");
    }
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""] {
        let refused = agent.saying(&[("content-type", media_type)]).await;
        refused.is_refused(415, "unimplemented", "unsupported_media_type");
    }
    let subscribe = agent.call("/countersign.v1.DecisionPoint/Subscribe", &json!({})).await;
    subscribe.is_refused(415, "unimplemented", "unsupported_media_type");
    agent.saying(&[("content-type", "application/grpc")]).await.is_refused(505, "unimplemented", "http_version");
    agent.saying(&[("content-encoding", "gzip")]).await.is_refused(501, "unimplemented", "unsupported_encoding");
    agent.saying(&[("connect-protocol-version", "2")]).await.is_refused(400, "invalid_argument", "malformed_header");
    agent.saying(&[("connect-timeout-ms", "soon")]).await.is_refused(400, "invalid_argument", "malformed_header");
    let said = [("content-type", "application/json; charset=utf-8"), ("connect-protocol-version", "1")];
    assert_eq!(agent.saying(&said).await.body["outcome"], "OUTCOME_ALLOW");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_that_is_handed_out_names_what_is_answered() {
    let server = start().await;
    let nobody = Http::nobody(&server);
    let document = nobody.send(Method::GET, "/openapi.json", &[], Vec::new()).await;
    assert_eq!((document.status, document.header("content-type")), (StatusCode::OK, Some("application/json")));
    for path in document.body["paths"].as_object().unwrap().keys() {
        nobody.call(path, &json!({})).await.is_refused(401, "unauthenticated", "missing_token");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_is_kept_and_a_request_id_comes_back() {
    let server = start().await;
    let agent = Http::of(&server, "report-bot");
    let late = agent.saying(&[("connect-timeout-ms", "0"), ("x-request-id", "mine")]).await;
    assert_eq!((late.status.as_u16(), &late.body["code"]), (504, &json!("deadline_exceeded")));
    let in_time = agent.saying(&[("connect-timeout-ms", "50000"), ("x-request-id", "mine")]).await;
    assert_eq!((in_time.status, in_time.header("x-request-id")), (StatusCode::OK, Some("mine")));
    // gRPC's own word for it says nothing here.
    assert_eq!(agent.saying(&[("grpc-timeout", "0m")]).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_68_what_is_turned_away_says_when_to_come_back() {
    let full = load::Limits { decisions_max: 0, ..load::Limits::default() };
    let limits = service::Limits { load: full, ..service::Limits::default() };
    let server = TestServer::with(Options { limits, ..options() }).await;
    let refused = Http::of(&server, "report-bot").call(AUTHORIZE, &read()).await;
    refused.is_refused(503, "unavailable", "busy");
    let pause: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=5).contains(&pause));
    let quota = load::Limits { calls_per_second: Some(1), calls_burst: Some(1), ..load::Limits::default() };
    let limits = service::Limits { load: quota, ..service::Limits::default() };
    let server = TestServer::with(Options { limits, ..options() }).await;
    let agent = Http::of(&server, "report-bot");
    let answers = [agent.call(AUTHORIZE, &read()).await, agent.call(AUTHORIZE, &read()).await];
    let refused = answers.iter().find(|answer| answer.status != StatusCode::OK).expect("one too many");
    refused.is_refused(429, "resource_exhausted", "limit_exceeded");
    assert!(refused.header("retry-after").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_are_refused_whatever_they_bring() {
    let server = start().await;
    let agent = Http::of(&server, "report-bot");
    for origin in [STRANGER, "null", "http://console.example", "https://console.example.stranger.example"] {
        let refused = agent.saying(&[("origin", origin)]).await;
        refused.is_refused(403, "permission_denied", "foreign_origin");
        assert_eq!(refused.header("access-control-allow-origin"), None);
        let asked = [("origin", origin), ("access-control-request-method", "POST")];
        let preflight = agent.send(Method::OPTIONS, AUTHORIZE, &asked, Vec::new()).await;
        preflight.is_refused(403, "permission_denied", "foreign_origin");
        assert_eq!(preflight.header("access-control-allow-origin"), None);
        let grpc_web = agent.saying(&[("origin", origin), ("content-type", "application/grpc-web+proto")]).await;
        grpc_web.is_refused(403, "permission_denied", "foreign_origin");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_page_asks_first_and_may_read_its_answers_and_errors() {
    let server = start().await;
    let agent = Http::of(&server, "report-bot");
    let asked = [
        ("origin", CONSOLE),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type"),
    ];
    let preflight = Http::nobody(&server).send(Method::OPTIONS, AUTHORIZE, &asked, Vec::new()).await;
    assert_eq!(preflight.status, StatusCode::NO_CONTENT);
    assert_eq!(preflight.header("access-control-allow-methods"), Some("POST"));
    let taken: Vec<_> = preflight.header("access-control-allow-headers").unwrap().split(',').collect();
    assert!(
        ["authorization", "content-type", "connect-protocol-version", "x-grpc-web"]
            .iter()
            .all(|name| taken.contains(name))
    );
    for answer in [
        preflight,
        agent.saying(&[("origin", CONSOLE)]).await,
        agent.saying(&[("origin", CONSOLE), ("connect-timeout-ms", "x")]).await,
        agent.saying(&[("origin", CONSOLE), ("content-type", "text/plain")]).await,
        agent.call("/", &read()).await,
    ] {
        // Credentials that the browser keeps are never asked for.
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        if answer.header("vary").is_some() {
            assert_eq!(answer.header("access-control-allow-origin"), Some(CONSOLE));
            assert!(answer.header("access-control-expose-headers").unwrap().contains("grpc-status"));
        }
    }
    assert_eq!(agent.saying(&[("origin", CONSOLE)]).await.header("vary"), Some("origin"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_setting_only_grpc_is_spoken() {
    let server = TestServer::start().await;
    let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = format!("POST {AUTHORIZE} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json");
    stream.write_all(format!("{head}\r\ncontent-length: 2\r\n\r\n{{}}").as_bytes()).unwrap();
    let mut answer = Vec::new();
    // Closed or reset: not a word of HTTP/1.1.
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1"), "{}", String::from_utf8_lossy(&answer));
    // A page that gets as far as HTTP/2, which no form may: refused by what it says of itself, and by what it sends.
    for (headers, expected) in [
        (vec![("content-type", "application/grpc"), ("origin", STRANGER)], 403),
        (vec![("content-type", "text/plain")], 415),
        (vec![], 415),
    ] {
        let stream = TcpStream::connect(server.address()).await.unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut request = http::Request::post(format!("http://{}{AUTHORIZE}", server.address()));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let (answer, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
        assert_eq!(answer.await.unwrap().status().as_u16(), expected);
        connection.abort();
    }
    let agent = server.client("report-bot").await;
    assert!(agent.authorize(crate::support::client::query("read", "Dataset", "weather")).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_a_browser_adds_lets_no_foreign_page_in() {
    let pki = Pki::new();
    let server =
        TestServer::with(Options { web_api: options().web_api, ..pki.options(Some(ClientAuth::Optional)) }).await;
    let mut config = (*pki.raw_client(Some(&pki.clients.client(&[BOT])), &TLS13)).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let tls = TlsConnector::from(Arc::new(config));
    for (header, expected) in [
        ("content-type: application/json".to_owned(), "200 OK"),
        (format!("content-type: application/json\r\norigin: {STRANGER}"), "403 Forbidden"),
        ("content-type: text/plain".to_owned(), "415 Unsupported Media Type"),
    ] {
        let stream = TcpStream::connect(server.address()).await.unwrap();
        let mut stream = tls.connect("127.0.0.1".try_into().unwrap(), stream).await.unwrap();
        let body = read().to_string();
        let head = format!("POST {AUTHORIZE} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{header}");
        let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{header}: {answer}");
        assert_eq!(answer.contains("OUTCOME_ALLOW"), expected == "200 OK", "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_60_headers_that_never_end_cost_one_connection_for_a_while() {
    let server = start().await;
    let slow = tokio::task::spawn_blocking({
        let address = server.address();
        move || {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(45))).unwrap();
            write!(stream, "POST {AUTHORIZE} HTTP/1.1\r\nhost: localhost\r\nx-slow: ").unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).map(|_| answer)
        }
    });
    assert_eq!(Http::of(&server, "report-bot").call(AUTHORIZE, &read()).await.status, StatusCode::OK);
    // Closed by the server, after ten seconds.
    let answer = slow.await.unwrap().expect("an end");
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    let huge = "x".repeat(32 << 10);
    let refused = Http::of(&server, "report-bot").saying(&[("x-huge", &huge)]).await;
    assert_eq!(refused.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_the_server_comes_in_envelopes_and_says_how_it_ended() {
    let server = start().await;
    let agent = Http::of(&server, "report-bot");
    agent.call(AUTHORIZE, &read()).await;
    let envelope =
        |flag: u8, text: &[u8]| [&[flag], &u32::try_from(text.len()).unwrap().to_be_bytes()[..], text].concat();
    let audit = |who: &'static str| {
        let body = envelope(0, b"{}");
        let http = Http::of(&server, who);
        async move {
            let request = http.client.post(format!("{}/countersign.v1.DecisionPoint/Audit", http.url));
            let request = request.bearer_auth(http.token.unwrap()).header("content-type", "application/connect+json");
            let answer = request.body(body).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            assert_eq!(answer.headers()["content-type"], "application/connect+json");
            let mut rest = answer.bytes().await.unwrap().to_vec();
            let mut found = Vec::new();
            while !rest.is_empty() {
                let length = u32::from_be_bytes(rest[1..5].try_into().unwrap()) as usize;
                let message: Value = serde_json::from_slice(&rest[5..5 + length]).unwrap();
                found.push((rest[0], message));
                rest.drain(..5 + length);
            }
            found
        }
    };
    let found = audit("erin").await;
    let (last, records) = found.split_last().unwrap();
    assert!(records.iter().all(|(flag, record)| *flag == 0 && record["record"].is_object()), "{records:?}");
    assert!(records.iter().any(|(_, record)| record["record"]["decided"]["reason"] == "permitted"), "{records:?}");
    assert_eq!((last.0, last.1.get("error")), (2, None));
    let refused = audit("report-bot").await;
    let [(2, end)] = &refused[..] else { panic!("{refused:?}") };
    assert_eq!(end["error"]["code"], "permission_denied", "{end}");
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_web_is_answered_binary_and_as_text() {
    use base64::Engine as _;
    let server = start().await;
    let (token, url) = (server.token("report-bot"), format!("{}{AUTHORIZE}", server.url()));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let message = crate::support::client::query("read", "Dataset", "weather");
    let encoded = message.encode_to_vec();
    let frame = [&[0], &u32::try_from(encoded.len()).unwrap().to_be_bytes()[..], &encoded].concat();
    let base64 = base64::engine::general_purpose::STANDARD;
    for (media_type, body) in [
        ("application/grpc-web+proto", frame.clone()),
        ("application/grpc-web-text", base64.encode(&frame).into_bytes()),
    ] {
        let request =
            client.post(&url).bearer_auth(&token).header("content-type", media_type).header("accept", media_type);
        let answer = request.header("origin", CONSOLE).header("x-grpc-web", "1").body(body).send().await.unwrap();
        assert_eq!(
            (answer.status(), &answer.headers()["access-control-allow-origin"]),
            (StatusCode::OK, &CONSOLE.parse().unwrap())
        );
        let bytes = answer.bytes().await.unwrap().to_vec();
        let bytes = if media_type.ends_with("text") { base64.decode(bytes).unwrap() } else { bytes };
        let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
        let answer = pb::AuthorizeResponse::decode(&bytes[5..5 + length]).unwrap();
        assert_eq!(answer.outcome(), pb::Outcome::Allow);
        let trailers = String::from_utf8_lossy(&bytes[5 + length + 5..]);
        assert!(bytes[5 + length] == 0x80 && trailers.contains("grpc-status:0"), "{trailers}");
    }
    let nobody =
        client.post(&url).header("content-type", "application/grpc-web+proto").body(frame).send().await.unwrap();
    assert_eq!(nobody.headers()["grpc-status"], "16");
}
