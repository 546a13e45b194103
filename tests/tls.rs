//! The TLS of the port, over real sockets: what is refused in the handshake and how the client is told, certificates that
//! change while the server runs, clients that never finish, and a port in clear that others could reach.

use std::time::Duration;

use countersign::grpc::tls::ClientAuth;
use countersign::server::{Encryption, Listeners, Server, ServerError};
use countersign::store::ManualClock;
use countersign::wire::pb::Outcome;
use rcgen::ExtendedKeyUsagePurpose;
use rustls::SupportedProtocolVersion;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::client::query;
use crate::support::pki::{BOT, Ca, HOUR, Leaf, Pair, Pki};
use crate::support::{Client, Options, TestServer, setup, today};

const PATIENCE: Duration = Duration::from_secs(30);

async fn handshake(
    server: &TestServer,
    pki: &Pki,
    pair: Option<&Pair>,
    version: &'static SupportedProtocolVersion,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(pki.raw_client(pair, version)).connect(name, stream).await
}

/// Why a client was refused, by the alert that it got.
async fn alert(server: &TestServer, pki: &Pki, pair: Option<&Pair>) -> String {
    // In TLS 1.3 the client is done before the server has looked at its certificate.
    let mut stream = handshake(server, pki, pair, &TLS13).await.unwrap();
    let said = timeout(PATIENCE, stream.read_u8()).await.unwrap();
    said.expect_err("no HTTP/2 settings: the server took the certificate").to_string()
}

/// The first byte of HTTP/2: the server has taken the client.
async fn is_taken(server: &TestServer, pki: &Pki, pair: Option<&Pair>) -> bool {
    let mut stream = handshake(server, pki, pair, &TLS13).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    timeout(PATIENCE, stream.read_u8()).await.unwrap().is_ok()
}

async fn can_ask(client: &Client) -> bool {
    let answer = client.authorize(query("read", "Dataset", "weather")).await;
    answer.is_ok_and(|answer| answer.outcome() == Outcome::Allow)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_good_ends_the_handshake() {
    let pki = Pki::new();
    let server = TestServer::with(pki.options(Some(ClientAuth::Optional))).await;
    let expired = Leaf { until: today().before(Duration::from_secs(1)), ..Leaf::of(&[BOT]) };
    let future = Leaf { from: today().after(Duration::from_secs(60)), ..Leaf::of(&[BOT]) };
    let purposeless = Leaf { purposes: Vec::new(), ..Leaf::of(&[BOT]) };
    let of_a_server = Leaf { purposes: vec![ExtendedKeyUsagePurpose::ServerAuth], ..Leaf::of(&[BOT]) };
    for (leaf, wanted) in [
        (expired, "CertificateExpired"),
        (future, "CertificateExpired"),
        (purposeless, "UnsupportedCertificate"),
        (of_a_server, "UnsupportedCertificate"),
    ] {
        let said = alert(&server, &pki, Some(&pki.clients.issue(leaf))).await;
        assert!(said.contains(wanted), "{said}, not {wanted}");
    }
    assert!(is_taken(&server, &pki, Some(&pki.clients.client(&[BOT]))).await);
    assert!(is_taken(&server, &pki, None).await, "a certificate is optional");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_ends_the_handshake() {
    let pki = Pki::new();
    let server = TestServer::with(pki.options(Some(ClientAuth::Optional))).await;
    // By the same name, and by the one that is good for servers.
    for other in [&Ca::new("clients"), &Ca::new("others"), &pki.servers] {
        let said = alert(&server, &pki, Some(&other.client(&[BOT]))).await;
        assert!(
            said.contains("UnknownCA") || said.contains("DecryptError") || said.contains("BadCertificate"),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_certificate_is_required_a_token_is_not_enough() {
    let pki = Pki::new();
    let server = TestServer::with(pki.options(Some(ClientAuth::Required))).await;
    let said = alert(&server, &pki, None).await;
    assert!(said.contains("CertificateRequired"), "{said}");
    let token = server.token("report-bot");
    let known = server.over(&pki.client(Some(&pki.clients.client(&[BOT]))), Some(&token)).await;
    assert!(can_ask(&known).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn older_versions_and_clear_text_find_no_server() {
    let pki = Pki::new();
    let server = TestServer::with(pki.options(None)).await;
    let said = handshake(&server, &pki, None, &TLS12).await.unwrap_err().to_string();
    assert!(said.contains("ProtocolVersion"), "{said}");
    let mut clear = TcpStream::connect(server.address()).await.unwrap();
    clear.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut said = Vec::new();
    // Reset or closed: either way nothing but a TLS alert comes back.
    let _ = timeout(PATIENCE, clear.read_to_end(&mut said)).await.unwrap();
    assert!(said.is_empty() || said[0] == 21, "{said:?}");
    let token = server.token("report-bot");
    assert!(can_ask(&server.over(&pki.client(None), Some(&token)).await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_session_is_resumed() {
    let pki = Pki::new();
    let server = TestServer::with(pki.options(Some(ClientAuth::Required))).await;
    let config = pki.raw_client(Some(&pki.clients.client(&[BOT])), &TLS13);
    for _ in 0..3 {
        let stream = TcpStream::connect(server.address()).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut stream = TlsConnector::from(config.clone()).connect(name, stream).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.read_u8().await.unwrap();
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
}

/// The certificate that a new connection is shown.
async fn shown(server: &TestServer, pki: &Pki) -> CertificateDer<'static> {
    let stream = handshake(server, pki, None, &TLS13).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

async fn until_health(server: &TestServer, pki: &Pki, wanted: ServingStatus) {
    let channel = server.endpoint(Some(&pki.client(None))).connect().await.unwrap();
    let request = HealthCheckRequest { service: "tls".into() };
    let mut states = HealthClient::new(channel).watch(request).await.unwrap().into_inner();
    let seen =
        timeout(PATIENCE, async { while states.message().await.unwrap().unwrap().status as i32 != wanted as i32 {} });
    seen.await.expect("health in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_of_the_server_is_shown_to_new_connections_while_old_ones_live() {
    let pki = Pki::new();
    let server = TestServer::with(pki.options(None)).await;
    let token = server.token("report-bot");
    let old = server.over(&pki.client(None), Some(&token)).await;
    assert!(can_ask(&old).await);
    let first = shown(&server, &pki).await;
    pki.give_server(&pki.servers.server());
    let changed = timeout(PATIENCE, async { while shown(&server, &pki).await == first {} });
    changed.await.expect("the new certificate in time");
    assert!(can_ask(&old).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_does_not_match_changes_nothing_and_shows_in_health() {
    let pki = Pki::new();
    let server = TestServer::with(pki.options(None)).await;
    until_health(&server, &pki, ServingStatus::Serving).await;
    let first = shown(&server, &pki).await;
    let next = pki.servers.server();
    for broken in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &next.certificate] {
        pki.write("server.crt", broken);
        until_health(&server, &pki, ServingStatus::NotServing).await;
        assert_eq!(shown(&server, &pki).await, first);
    }
    pki.write("server.key", &next.key);
    until_health(&server, &pki, ServingStatus::Serving).await;
    assert_ne!(shown(&server, &pki).await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_an_authority_that_was_replaced_are_refused_from_then_on() {
    let pki = Pki::new();
    let server = TestServer::with(pki.options(Some(ClientAuth::Required))).await;
    let (old, next) = (pki.clients.client(&[BOT]), Ca::new("clients of next year"));
    assert!(is_taken(&server, &pki, Some(&old)).await);
    pki.trust(&next);
    let changed = timeout(PATIENCE, async { while is_taken(&server, &pki, Some(&old)).await {} });
    changed.await.expect("the new authority in time");
    assert!(alert(&server, &pki, Some(&old)).await.contains("UnknownCA"));
    assert!(is_taken(&server, &pki, Some(&next.client(&[BOT]))).await);
}

/// A connection that has begun to speak HTTP/2.
async fn talking(server: &TestServer, pki: &Pki, pair: &Pair) -> TlsStream<TcpStream> {
    const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    let mut stream = handshake(server, pki, Some(pair), &TLS13).await.unwrap();
    stream.write_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", SETTINGS].concat()).await.unwrap();
    stream.read_u8().await.unwrap();
    stream
}

/// Whether the other end answers a ping of HTTP/2.
async fn answers(stream: &mut TlsStream<TcpStream>) -> bool {
    const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0countess";
    let mut said = Vec::new();
    if stream.write_all(PING).await.is_err() {
        return false;
    }
    while !said.windows(8).any(|part| part == b"countess") {
        match timeout(PATIENCE, stream.read_buf(&mut said)).await.expect("an answer or an end in time") {
            Ok(1..) => {}
            Ok(0) | Err(_) => return false,
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_by_an_authority_that_is_withdrawn_end_and_the_others_live() {
    let pki = Pki::new();
    let next = Ca::new("clients of next year");
    pki.write("clients.crt", &[pki.clients.pem(), next.pem()].concat());
    let server = TestServer::with(pki.options(Some(ClientAuth::Required))).await;
    let mut old = talking(&server, &pki, &pki.clients.client(&[BOT])).await;
    let mut new = talking(&server, &pki, &next.client(&[BOT])).await;
    assert!(answers(&mut old).await && answers(&mut new).await);
    pki.trust(&next);
    let ended = timeout(PATIENCE, old.read_to_end(&mut Vec::new())).await;
    drop(ended.expect("an end in time"));
    assert!(!answers(&mut old).await);
    assert!(answers(&mut new).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sighup_the_files_are_read_at_once() {
    let pki = Pki::new();
    let mut options = pki.options(None);
    let Encryption::Tls { settings, .. } = &mut options.encryption else { unreachable!() };
    settings.reload_interval = HOUR;
    let server = TestServer::with(options).await;
    // Whoever says how it is has begun to listen to the signal.
    until_health(&server, &pki, ServingStatus::Serving).await;
    let first = shown(&server, &pki).await;
    pki.give_server(&pki.servers.server());
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).unwrap();
    let changed = timeout(PATIENCE, async { while shown(&server, &pki).await == first {} });
    changed.await.expect("the new certificate in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_never_ends_costs_nobody_else_and_is_ended() {
    let pki = Pki::new();
    let mut options = pki.options(None);
    let Encryption::Tls { settings, .. } = &mut options.encryption else { unreachable!() };
    (settings.handshake_timeout, settings.handshakes_max) = (Duration::from_millis(300), 4);
    let server = TestServer::with(options).await;
    let mut silent = Vec::new();
    for _ in 0..32 {
        silent.push(TcpStream::connect(server.address()).await.unwrap());
    }
    let token = server.token("report-bot");
    assert!(can_ask(&server.over(&pki.client(None), Some(&token)).await).await);
    for stream in &mut silent {
        let ended = timeout(PATIENCE, stream.read_u8()).await.expect("an end in time");
        assert!(ended.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_limit_of_handshakes_the_oldest_gives_way() {
    let pki = Pki::new();
    let mut options = pki.options(None);
    let Encryption::Tls { settings, .. } = &mut options.encryption else { unreachable!() };
    (settings.handshake_timeout, settings.handshakes_max) = (HOUR, 2);
    let server = TestServer::with(options).await;
    let mut first = TcpStream::connect(server.address()).await.unwrap();
    let mut rest = Vec::new();
    let pushed_out = async {
        // Others come until the first is gone; they are never refused for its sake.
        loop {
            rest.push(TcpStream::connect(server.address()).await.unwrap());
            tokio::select! {
                ended = first.read_u8() => return ended,
                () = tokio::task::yield_now() => {}
            }
        }
    };
    assert!(timeout(PATIENCE, pushed_out).await.expect("an end in time").is_err());
    let token = server.token("report-bot");
    assert!(can_ask(&server.over(&pki.client(None), Some(&token)).await).await);
}

#[tokio::test]
async fn a_port_that_others_can_reach_is_not_served_in_clear_unless_told() {
    let prepare = async |encryption: Encryption| {
        let dir = tempfile::tempdir().unwrap();
        let grpc = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let dev_issuer = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let clock = ManualClock::starting_at(today());
        let setup = setup(&dir, &clock, Options { encryption, ..Options::default() });
        Server::prepare(
            setup,
            Listeners { grpc, grpc_unix: None, web: None, metrics: None, dev_issuer: Some(dev_issuer) },
        )
        .map(drop)
    };
    let refused = prepare(Encryption::Loopback).await.unwrap_err();
    assert!(matches!(refused, ServerError::InClear(_)), "{refused}");
    assert!(refused.to_string().contains("grpc.allow_plaintext"), "{refused}");
    prepare(Encryption::Elsewhere).await.unwrap();
    prepare(Pki::new().encryption(None)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_lines_client_talks_only_to_whom_it_believes() {
    use countersign::grpc::client::{self, BearerToken, Code, Tls};
    let pki = Pki::new();
    let server = TestServer::with(pki.options(Some(ClientAuth::Required))).await;
    let pair = pki.clients.client(&[BOT]);
    let identity = Some((pair.certificate.into_bytes(), pair.key.into_bytes()));
    let token = || BearerToken::new(&server.token("alice"));
    let good = Tls { ca: Some(pki.servers.pem().into_bytes()), identity: identity.clone() };
    let client = client::Client::connect_tls(&server.url(), token(), good).await.unwrap();
    client.list_approvals(countersign::wire::pb::ListApprovalsRequest::default()).await.unwrap();
    let other = Tls { ca: Some(pki.clients.pem().into_bytes()), identity: identity.clone() };
    for stranger in [other, Tls { ca: None, identity }] {
        let refused = client::Client::connect_tls(&server.url(), token(), stranger).await.err().unwrap();
        assert_eq!(refused.code, Code::Unreachable);
        assert!(refused.message.contains("certificate"), "{refused}");
    }
}
