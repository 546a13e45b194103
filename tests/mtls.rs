//! Callers that are known by their certificates: who they are, what a token beside it changes, when it ends, and what is on
//! record of it.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::config::{Sealing, SealingMode};
use countersign::grpc::tls::ClientAuth;
use countersign::identity::{IssuerSettings, KeyLocation};
use countersign::server::{Listeners, Server};
use countersign::store::ManualClock;
use countersign::wire::pb;
use pb::record::Fact;
use pb::{Outcome, PrincipalKind, ProofMethod};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tonic::{Code, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::client::{export, query, reason, uid, wait};
use crate::support::pki::{BOT, HOUR, Leaf, Pair, Pki};
use crate::support::{Client, PolicyDir, TestServer, setup, today};

const PATIENCE: Duration = Duration::from_secs(30);

async fn start(pki: &Pki) -> TestServer {
    TestServer::with(pki.options(Some(ClientAuth::Optional))).await
}

fn reading() -> pb::AuthorizeRequest {
    query("read", "Dataset", "weather")
}

async fn with(server: &TestServer, pki: &Pki, pair: &Pair, token: Option<&str>) -> Client {
    server.over(&pki.client(Some(pair)), token).await
}

async fn refused(client: &Client) -> Status {
    client.authorize(reading()).await.expect_err("a refusal")
}

/// Who the records say asked, newest first.
async fn callers(server: &TestServer, pki: &Pki) -> Vec<pb::Identity> {
    let erin = server.over(&pki.client(None), Some(&server.token("erin"))).await;
    let request = pb::AuditRequest { order: pb::Order::NewestFirst.into(), ..pb::AuditRequest::default() };
    let records = erin.audit(request).await.unwrap();
    let caller = |record: pb::Record| match record.fact {
        Some(Fact::Decided(decided)) => decided.caller_identity.or(decided.principal_identity),
        _ => None,
    };
    records.into_iter().filter_map(caller).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_stands_for_its_principal_and_the_record_says_how_it_was_proved() {
    let pki = Pki::new();
    let server = start(&pki).await;
    let pair = pki.clients.client(&[BOT]);
    let answer = with(&server, &pki, &pair, None).await.authorize(reading()).await.unwrap();
    assert_eq!(answer.outcome(), Outcome::Allow);
    let caller = callers(&server, &pki).await.remove(0);
    assert_eq!(caller.uid, Some(uid("Agent", "prod/report-bot")));
    assert_eq!((caller.kind(), caller.proof_method()), (PrincipalKind::Agent, ProofMethod::Certificate));
    assert_eq!((&*caller.issuer, &*caller.subject), ("x509:prod.example", BOT));
    assert_eq!(caller.groups, [uid("Group", "agents")]);
    let der = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
    assert_eq!(caller.certificate_sha256, Sha256::digest(&der).to_vec());
    assert_eq!(caller.proof_expires_at_micros, today().after(HOUR).as_micros());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_a_name_as_well() {
    let pki = Pki::new();
    let server = start(&pki).await;
    let pair = pki.clients.client(&["internal.example", "One.Gateways.example"]);
    with(&server, &pki, &pair, None).await.authorize(reading()).await.unwrap();
    let caller = callers(&server, &pki).await.remove(0);
    assert_eq!(caller.uid, Some(uid("Workload", "gateways/one")));
    assert_eq!((&*caller.issuer, &*caller.subject), ("x509:dns", "dns:one.gateways.example"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_names_nobody_or_several_is_no_credential() {
    let pki = Pki::new();
    let server = start(&pki).await;
    let other = "spiffe://prod.example/agents/other";
    for (names, wanted) in [
        (&["spiffe://dev.example/agents/report-bot"][..], "unknown_certificate"),
        (&["spiffe://prod.example/agents/report-bot/x"], "unknown_certificate"),
        (&["spiffe://prod.example/Agents/report-bot"], "unknown_certificate"),
        (&["spiffe://prod.example/agents/../report-bot"], "unknown_certificate"),
        (&["one.gateways.example.org"], "unknown_certificate"),
        (&["*.gateways.example"], "unknown_certificate"),
        (&["https://prod.example/agents/report-bot"], "unknown_certificate"),
        (&[], "unknown_certificate"),
        (&[BOT, other], "certificate_ambiguous"),
        (&[BOT, BOT], "certificate_ambiguous"),
        (&[BOT, "https://prod.example/"], "certificate_ambiguous"),
        (&["one.gateways.example", "two.gateways.example"], "certificate_ambiguous"),
        // The SPIFFE ID counts, and nothing beside it.
        (&["spiffe://dev.example/a", "one.gateways.example"], "unknown_certificate"),
    ] {
        let refused = refused(&with(&server, &pki, &pki.clients.client(names), None).await).await;
        assert_eq!((refused.code(), &*reason(&refused)), (Code::Unauthenticated, wanted), "{names:?}");
    }
    let nobody = refused(&server.over(&pki.client(None), None).await).await;
    assert_eq!((nobody.code(), &*reason(&nobody)), (Code::Unauthenticated, "missing_token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_the_callers_word_and_the_certificate_only_lets_it_in() {
    let pki = Pki::new();
    let server = start(&pki).await;
    let token = server.token("frank");
    let known = with(&server, &pki, &pki.clients.client(&[BOT]), Some(&token)).await;
    known.authorize(reading()).await.unwrap();
    let caller = callers(&server, &pki).await.remove(0);
    assert_eq!((caller.uid.clone(), caller.proof_method()), (Some(uid("User", "frank")), ProofMethod::Token));
    // Also where the certificate would stand for nobody.
    let unknown = with(&server, &pki, &pki.clients.client(&["some.example"]), Some(&token)).await;
    unknown.authorize(reading()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_token_is_never_replaced_by_a_good_certificate() {
    let pki = Pki::new();
    let server = start(&pki).await;
    let tls = pki.client(Some(&pki.clients.client(&[BOT])));
    let mut forged = server.token("report-bot");
    forged.replace_range(forged.len() - 4.., "AAAA");
    for (header, wanted) in [
        (format!("Bearer {forged}"), "bad_signature"),
        ("Bearer x".to_owned(), "malformed"),
        ("Bearer ".to_owned(), "missing_token"),
        ("Bearer".to_owned(), "missing_token"),
        (String::new(), "missing_token"),
        ("Basic cmVwb3J0LWJvdDo=".to_owned(), "missing_token"),
    ] {
        let channel = server.endpoint(Some(&tls)).connect().await.unwrap();
        let refused = refused(&Client::with_header(channel, Some(header.clone()))).await;
        assert_eq!((refused.code(), &*reason(&refused)), (Code::Unauthenticated, wanted), "{header}");
    }
    let good = with(&server, &pki, &pki.clients.client(&[BOT]), None).await;
    good.authorize(reading()).await.unwrap();
    server.advance(2 * HOUR);
    let old = with(&server, &pki, &pki.clients.issue(lasting(&[BOT], 5 * HOUR)), Some(&server.token("frank"))).await;
    old.authorize(reading()).await.unwrap();
    server.advance(2 * HOUR);
    assert_eq!(reason(&refused(&old).await), "expired", "the token has, the certificate has not");
    assert_eq!(reason(&refused(&good).await), "certificate_expired");
}

fn lasting<'a>(names: &'a [&'a str], span: Duration) -> Leaf<'a> {
    Leaf { until: today().after(span), ..Leaf::of(names) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_worth_no_more_than_its_certificate() {
    let pki = Pki::new();
    let server = start(&pki).await;
    let pair = pki.clients.issue(lasting(&[BOT], Duration::from_secs(600)));
    let without = with(&server, &pki, &pair, None).await;
    let token = server.token("report-bot");
    let beside = with(&server, &pki, &pair, Some(&token)).await;
    server.advance(Duration::from_secs(599));
    for client in [&without, &beside] {
        client.authorize(reading()).await.unwrap();
    }
    server.advance(Duration::from_secs(1));
    for client in [&without, &beside] {
        let refused = refused(client).await;
        assert_eq!((refused.code(), &*reason(&refused)), (Code::Unauthenticated, "certificate_expired"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_with_the_certificate() {
    let pki = Pki::new();
    let server = start(&pki).await;
    let pair = pki.clients.issue(lasting(&[BOT], Duration::from_secs(600)));
    let bot = with(&server, &pki, &pair, None).await;
    let approval = bot.authorize(export()).await.unwrap().approval.unwrap();
    let waiting = tokio::spawn({
        let bot = bot.clone();
        async move { bot.authorize(pb::AuthorizeRequest { wait: wait(PATIENCE), ..export() }).await }
    });
    server.advance(Duration::from_secs(600));
    let alice = server.over(&pki.client(None), Some(&server.token("alice"))).await;
    alice.approve(&approval).await.unwrap();
    let ended = timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap_err();
    let said = reason(&ended);
    // Before the wait began, or in it.
    assert!(said == "expired" || said == "certificate_expired", "{said}");
    assert_eq!(ended.code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_never_countersigns() {
    let pki = Pki::new();
    let everybody = "permit (principal, action == Countersign::Action::\"review\", resource);";
    let policies =
        PolicyDir::extended().and(everybody).but("warehouse.cedar", "Group::\\\"dpo\\\"", "Group::\\\"agents\\\"");
    let options = pki.options(Some(ClientAuth::Optional));
    let server = TestServer::with(crate::support::Options { policies: policies.path().into(), ..options }).await;
    let frank = server.over(&pki.client(None), Some(&server.token("frank"))).await;
    let approval = frank.authorize(export()).await.unwrap().approval.unwrap();
    let bot = with(&server, &pki, &pki.clients.client(&[BOT]), None).await;
    let refused = bot.approve(&approval).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::PermissionDenied, "not_human"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_with_a_certificate_forwards_tokens_and_speaks_for_whom_it_may() {
    let pki = Pki::new();
    let speaks = "permit (principal == Workload::\"gateways/one\", action == Countersign::Action::\"authorize_as\", \
                  resource == Agent::\"report-bot\");";
    let policies = PolicyDir::shipped().and(speaks);
    let options = pki.options(Some(ClientAuth::Optional));
    let server = TestServer::with(crate::support::Options { policies: policies.path().into(), ..options }).await;
    let gateway = with(&server, &pki, &pki.clients.client(&["one.gateways.example"]), None).await;
    let forwarded = pb::AuthorizeRequest { subject_token: server.token("frank"), ..reading() };
    assert_eq!(gateway.authorize(forwarded).await.unwrap().outcome(), Outcome::Allow);
    let named = |id: &str| pb::AuthorizeRequest { principal: Some(uid("Agent", id)), ..reading() };
    gateway.authorize(named("report-bot")).await.unwrap();
    let refused = gateway.authorize(named("other")).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let proofs: Vec<_> = callers(&server, &pki).await.iter().map(|caller| caller.proof_method()).collect();
    assert_eq!(proofs, [ProofMethod::Certificate, ProofMethod::Certificate]);
}

fn issuer_of(token: &str) -> String {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice::<serde_json::Value>(&payload).unwrap()["iss"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_35_without_any_keys_callers_with_certificates_are_served() {
    let pki = Pki::new();
    let other = start(&pki).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let issuer = IssuerSettings {
        keys: KeyLocation::JwksUrl(format!("http://{closed}/jwks")),
        namespace: Some("company".into()),
        user_clients: vec!["*".into()],
        algorithms: serde_json::from_value(serde_json::json!(["EdDSA"])).unwrap(),
        allow_insecure_http_loopback: true,
        ..IssuerSettings::new("company", &issuer_of(&other.token("report-bot")), "countersign")
    };
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::starting_at(today()));
    let setup = countersign::server::Setup {
        issuers: vec![issuer],
        sealing: Sealing { mode: SealingMode::Kept, keys: Vec::new() },
        ..setup(&dir, &clock, pki.options(Some(ClientAuth::Optional)))
    };
    let grpc = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server =
        Server::prepare(setup, Listeners { grpc, grpc_unix: None, web: None, metrics: None, dev_issuer: None })
            .unwrap();
    let url = format!("https://{}", server.address().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(server.run(async move {
        let _ = stopped.await;
    }));
    let tls = pki.client(Some(&pki.clients.client(&[BOT])));
    let channel =
        tonic::transport::Endpoint::from_shared(url).unwrap().tls_config(tls).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel.clone());
    let whole = "countersign.v1.DecisionPoint";
    for (name, wanted) in [("issuer.company", ServingStatus::NotServing), (whole, ServingStatus::Serving)] {
        let request = HealthCheckRequest { service: name.into() };
        // Not known before it was looked at for the first time.
        let seen = timeout(PATIENCE, async {
            while !health.check(request.clone()).await.is_ok_and(|state| state.get_ref().status == wanted as i32) {}
        });
        seen.await.expect("health in time");
    }
    assert_eq!(Client::over(channel.clone(), None).authorize(reading()).await.unwrap().outcome(), Outcome::Allow);
    let token = other.token("report-bot");
    let unknown = refused(&Client::over(channel, Some(&token))).await;
    assert_eq!((unknown.code(), &*reason(&unknown)), (Code::Unavailable, "jwks_unavailable"));
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}
