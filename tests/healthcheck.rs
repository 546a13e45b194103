//! `countersign healthcheck` as a container runtime runs it: the program itself, beside a server, with its configuration.

use std::process::{Command, Output, Stdio};

use countersign::grpc::tls::ClientAuth;
use rcgen::ExtendedKeyUsagePurpose::{self, ClientAuth as OfClients, ServerAuth as OfServers};
use tonic_health::pb::health_check_response::ServingStatus;

use crate::support::pki::{Ca, HOUR, Leaf, Pki};
use crate::support::{PolicyDir, TestServer, today};

/// Runs it with a configuration that says where the server listens, and more.
async fn healthcheck(server: &TestServer, more: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let config = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(config.path(), format!("grpc.listen = \"{}\"\n{more}", server.address())).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command
        .arg("healthcheck")
        .args(arguments)
        .stdin(Stdio::null())
        .env_clear()
        .env("COUNTERSIGN_CONFIG", config.path());
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_tells_a_server_that_is_well_from_one_that_is_not_or_that_is_gone() {
    let policies = PolicyDir::extended();
    let server = policies.serve().await;
    let check = async |arguments: &[&str], code, said: &str| {
        let (status, text) = healthcheck(&server, "", arguments).await;
        assert!(status == Some(code) && text.contains(said), "{arguments:?}: {status:?} {text}, not {said}");
    };
    check(&[], 0, "the server is well").await;
    check(&["--service", "journal"], 0, "journal is well").await;
    check(&["--service", "jurnal"], 1, "no part `jurnal`").await;
    policies.write("broken.cedar", "permit (principal, action");
    server.admin().await.reload().await.unwrap();
    server.until_health("policies", ServingStatus::NotServing).await;
    check(&["--service", "policies"], 1, "policies is not serving").await;
    check(&[], 0, "the server is well").await;
    check(&["--server", "http://127.0.0.1:1"], 1, "cannot reach http://127.0.0.1:1").await;
    let (status, text) = healthcheck(&server, "grpc.lisen = 1", &[]).await;
    assert!(status == Some(1) && text.contains("grpc.lisen"), "{status:?} {text}");
}

fn tls(pki: &Pki, client_auth: Option<ClientAuth>) -> String {
    format!("grpc.tls = {}", toml_of(&serde_json::to_value(pki.files(client_auth)).unwrap()))
}

fn toml_of(table: &serde_json::Value) -> String {
    let keys = table.as_object().unwrap().iter().map(|(key, value)| format!("{key} = {value}"));
    format!("{{ {} }}", keys.collect::<Vec<_>>().join(", "))
}

/// Good by this machine's clock as well as by that of servers under test.
fn leaf(purposes: Vec<ExtendedKeyUsagePurpose>) -> Leaf<'static> {
    let decade = HOUR * 24 * 3_650;
    Leaf { from: today().before(decade), until: today().after(decade), purposes, ..Leaf::of(&["pdp.example"]) }
}

/// A server that the test itself waits for without verifying its name.
async fn tls_server(pki: &Pki, client_auth: Option<ClientAuth>) -> TestServer {
    let mut options = pki.options(client_auth);
    options.trust = options.trust.map(|trust| trust.domain_name("pdp.example"));
    TestServer::with(options).await
}

/// Lets certificates of this authority in beside those of the clients' own.
fn trust(pki: &Pki, more: &Ca) {
    pki.write("clients.crt", &format!("{}{}", pki.clients.pem(), more.pem()));
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_it_reaches_a_server_whose_certificate_does_not_name_this_machine() {
    let pki = Pki::new();
    pki.give_server(&pki.servers.issue(leaf(vec![OfServers])));
    for client_auth in [None, Some(ClientAuth::Optional)] {
        let server = tls_server(&pki, client_auth).await;
        let (status, text) = healthcheck(&server, &tls(&pki, client_auth), &[]).await;
        assert!(status == Some(0) && text.contains("the server is well"), "{status:?} {text}");
        let (status, text) = healthcheck(&server, "", &[]).await;
        assert!(status == Some(1) && text.contains("error: "), "in clear: {status:?} {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_clients_need_a_certificate_it_shows_the_servers_own() {
    let pki = Pki::new();
    pki.give_server(&pki.servers.issue(leaf(vec![OfServers])));
    let server = tls_server(&pki, Some(ClientAuth::Required)).await;
    let (status, text) = healthcheck(&server, &tls(&pki, Some(ClientAuth::Required)), &[]).await;
    assert_eq!(status, Some(1), "of an authority that is not one of clients: {text}");
    pki.give_server(&pki.servers.issue(leaf(vec![OfServers, OfClients])));
    trust(&pki, &pki.servers);
    let server = tls_server(&pki, Some(ClientAuth::Required)).await;
    let (status, text) = healthcheck(&server, &tls(&pki, Some(ClientAuth::Required)), &[]).await;
    assert!(status == Some(0), "{status:?} {text}");
}
