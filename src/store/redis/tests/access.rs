//! Who may talk to Redis, and to which: certificates, rights, passwords.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_only_the_server_that_the_authority_names_is_talked_to() {
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name).display().to_string();
    let authority = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = parameters.self_signed(&authority).unwrap();
    let issuer = rcgen::Issuer::new(parameters, authority);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &issuer).unwrap();
    std::fs::write(path("ca"), certificate.pem()).unwrap();
    std::fs::write(path("leaf"), leaf.pem()).unwrap();
    std::fs::write(path("key"), key.serialize_pem()).unwrap();
    let port = free_port();
    let tls = [("--tls-port", port.to_string()), ("--tls-cert-file", path("leaf")), ("--tls-key-file", path("key"))];
    let more = [("--tls-ca-cert-file", path("ca")), ("--tls-auth-clients", "no".to_owned())];
    let arguments = tls.into_iter().chain(more).flat_map(|(name, value)| [name.to_owned(), value]).collect();
    let server = Server::with(arguments).await;
    let store = |host: &str, ca_file: Option<&str>| {
        let seeds = vec![Address { host: host.into(), port }];
        let encryption = Some(Encryption { ca_file: ca_file.map(|name| files.path().join(name)) });
        let settings = Settings { seeds, encryption, ..server.settings() };
        let dir = tempfile::tempdir().unwrap();
        (Redis::open(journal(dir.path()), settings, Clock::system).unwrap(), dir)
    };
    let (good, _dir) = store("localhost", Some("ca"));
    good.reach_out().await.unwrap();
    open(&good, 1).await;
    for (host, ca_file) in [("127.0.0.1", Some("ca")), ("localhost", None), ("localhost", Some("missing"))] {
        let (refused, _dir) = store(host, ca_file);
        refused.reach_out().await.unwrap();
        assert!(refused.trouble().is_some(), "{host} {ca_file:?}");
    }
}

/// The manual's word is tried out.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_the_documented_rights_is_enough_and_the_password_is_read_anew() {
    let server = Server::start().await;
    let manual = include_str!("../../../../docs/redis.md");
    let rights = manual.lines().find(|line| line.starts_with("ACL SETUSER")).unwrap();
    server.tell(&rights.split(' ').collect::<Vec<_>>()).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "password\n").unwrap();
    let login = Login { username: Some("countersign".into()), password_file: Some(file.clone()) };
    let settings = Settings { login, settled_retention: Duration::ZERO, ..server.settings() };
    let store = Redis::open(journal(&dir.path().join("journal")), settings.clone(), Clock::system).unwrap();
    store.reach_out().await.unwrap();
    let id = open(&store, 1).await;
    let approved = approve(&store, id).await;
    assert_eq!(store.list(&Page { size: 10, ..Page::default() }).await.unwrap().approvals.len(), 1);
    redeem(&store, 1, &approved).await.unwrap();
    entities::put_and_delete(&store).await;
    let feed = store.feed().unwrap();
    assert_eq!(feed.reach().await.unwrap().iter().map(|reach| reach.head).sum::<u64>(), 5);
    assert_eq!(feed.after(Shard::of_approval(id).number(), 0, 10).await.unwrap().len(), 3);
    assert_eq!(fsck::check(settings, &Vault::default(), &[]).await.unwrap().findings, Vec::<String>::new());
    let everything = ["xautoclaim", "xpending", "xack", "hscan", "xread"];
    until("every task has done its part", async || {
        let stats = answer::text(server.tell(&["INFO", "commandstats"]).await).unwrap();
        everything.iter().all(|command| stats.contains(&format!("cmdstat_{command}:")))
    })
    .await;
    let denied = server.tell(&["ACL", "LOG"]).await;
    assert_eq!(denied, ::redis::Value::Array(Vec::new()), "nothing was refused, neither here nor in the tasks behind");
    server.tell(&["ACL", "SETUSER", "countersign", "resetpass", ">another"]).await;
    std::fs::write(&file, "another\n").unwrap();
    server.tell(&["CLIENT", "KILL", "USER", "countersign"]).await;
    until("it logs in with the new one", async || store.approval(id).await.is_ok()).await;
}
