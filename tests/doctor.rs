//! `countersign doctor` against what is really broken: keys that others can read, certificates of yesterday, a damaged journal, a
//! Redis that forgets, clocks that are off, and nobody at the other end.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::ExtendedKeyUsagePurpose::ServerAuth;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::configuration::countersign;
use crate::notify::email::{MailServer, Way};
use crate::notify::receiver::{Receiver, Reply};
use crate::support::TestServer;
use crate::support::pki::{Ca, HOUR, Leaf, Pair, Pki};
use crate::support::redis::{Redis, Replicated};

const DAY: Duration = Duration::from_secs(86_400);

/// A configuration that is well but for what a test breaks.
struct Site {
    dir: tempfile::TempDir,
    config: String,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let site = Self { dir, config: String::new() };
        site.secret("sealing", &"0f".repeat(32));
        site.write("jwks.json", r#"{"keys": [{"kty": "OKP"}]}"#);
        let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/policies");
        let at = |name: &str| site.dir.path().join(name).display().to_string();
        let config = format!(
            "journal.dir = \"{}\"\njournal.sealing_keys = [{{ id = \"a\", from = \"file:{}\" }}]\npolicy.dir = \"{policies}\"\n\
             [[identity.issuers]]\nname = \"company\"\nissuer = \"https://login.example\"\naudiences = [\"x\"]\nuser_clients = \
             [\"y\"]\nkeys = {{ jwks_file = \"{}\" }}\n",
            at("journal"),
            at("sealing"),
            at("jwks.json"),
        );
        Self { config, ..site }
    }

    fn write(&self, name: &str, text: &str) -> std::path::PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn secret(&self, name: &str, text: &str) -> std::path::PathBuf {
        let path = self.write(name, text);
        mode(&path, 0o600);
        path
    }

    /// The same with more to it.
    fn and(&self, more: &str) -> String {
        format!("{}{more}", self.config)
    }

    async fn examine(&self, config: &str) -> Examined {
        let file = self.write("countersign.toml", config);
        let dir = self.dir.path().to_owned();
        let arguments = ["doctor", "-o", "json", "--config", file.to_str().unwrap()].map(str::to_owned);
        let run = move || countersign(&dir, &[], &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let (code, out, said) = tokio::task::spawn_blocking(run).await.unwrap();
        Examined { code, findings: out.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), said }
    }
}

struct Examined {
    code: i32,
    findings: Vec<Value>,
    said: String,
}

impl Examined {
    /// That it says this of the part, with something to do about it where all is not well.
    #[track_caller]
    fn says(&self, part: &str, verdict: &str, text: &str) {
        let found = self.findings.iter().find(|finding| {
            finding["part"] == part && finding["verdict"] == verdict && finding["says"].as_str().unwrap().contains(text)
        });
        let found = found
            .unwrap_or_else(|| panic!("no `{verdict}` of {part} with `{text}`: {:#?} {}", self.findings, self.said));
        assert_eq!(found["advice"].is_null(), verdict == "ok", "{found}");
        assert_eq!(self.code == 1, self.findings.iter().any(|finding| finding["verdict"] == "fail"), "{}", self.said);
    }
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_well_is_said_to_be_and_secrets_that_others_have_or_nobody_renews_are_not() {
    let site = Site::new();
    let well = site.examine(&site.config).await;
    assert_eq!(well.code, 0, "{:#?} {}", well.findings, well.said);
    well.says("keys", "ok", "sealed by key `a`");
    well.says("policies", "ok", "load");
    well.says("issuers", "ok", "has 1 keys");
    well.says("clock", "warn", "no other clock");

    let sealing = site.dir.path().join("sealing");
    mode(&sealing, 0o622);
    site.examine(&site.config).await.says("secrets", "fail", "can be replaced by others (mode 622)");
    mode(&sealing, 0o604);
    site.examine(&site.config).await.says("secrets", "warn", "can be read by everybody");
    mode(&sealing, 0o600);
    let file = std::fs::File::options().write(true).open(&sealing).unwrap();
    file.set_modified(SystemTime::now() - DAY * 400).unwrap();
    site.examine(&site.config).await.says("secrets", "warn", "is 400 days old");
    site.secret("sealing", "sesame");
    let wrong = site.examine(&site.config).await;
    wrong.says("keys", "fail", "expected 32 bytes");
    assert!(!format!("{:?}{}", wrong.findings, wrong.said).contains("sesame"));
    site.secret("sealing", "");
    site.examine(&site.config).await.says("secrets", "fail", "is empty");
    std::fs::remove_file(&sealing).unwrap();
    site.examine(&site.config).await.says("secrets", "fail", "cannot be read");

    let none = "journal.sealing = \"off\"\npolicy.dir = \"nowhere\"\n";
    let none = site.examine(none).await;
    none.says("keys", "warn", "in clear");
    none.says("policies", "fail", "do not load");
    none.says("issuers", "fail", "nobody is believed");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_yesterday_and_tomorrow_and_keys_of_others_are_found() {
    let site = Site::new();
    let pki = Pki::new();
    let files = pki.files(None);
    let tls = format!(
        "grpc.tls = {{ certificate = \"{}\", key = \"{}\" }}\n",
        files.certificate.display(),
        files.key.display()
    );
    let config = format!("{tls}{}", site.config);
    let now = today_here();
    let give = |from, until| {
        pki.give_server(&pki.servers.issue(Leaf {
            from,
            until,
            purposes: vec![ServerAuth],
            ..Leaf::of(&["pdp.example"])
        }));
    };
    give(now.before(HOUR), now.after(DAY * 100));
    let well = site.examine(&config).await;
    well.says("certificates", "ok", "belong together");
    well.says("certificates", "ok", "is good for 9");
    give(now.before(HOUR), now.after(DAY * 5));
    site.examine(&config).await.says("certificates", "warn", "expires in 4 days");
    give(now.before(DAY * 9), now.before(DAY * 3));
    site.examine(&config).await.says("certificates", "fail", "expired 3 days ago");
    give(now.after(DAY), now.after(DAY * 3));
    site.examine(&config).await.says("certificates", "fail", "is not yet good");
    let other = pki.servers.server();
    std::fs::write(&files.key, other.key).unwrap();
    site.examine(&config).await.says("certificates", "fail", "gRPC cannot be served");
    std::fs::write(&files.certificate, "no PEM").unwrap();
    site.examine(&config).await.says("certificates", "fail", "no certificate");
}

/// A server that shows this certificate to whoever calls, and then says nothing.
async fn shows(pair: &Pair) -> u16 {
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            // Whoever looks at the certificate alone breaks off.
            tokio::spawn(async move { drop(acceptor.accept(stream).await) });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_others_are_read_before_they_are_over_and_nothing_is_sent_to_the_wrong_ones() {
    let (site, ca, other) = (Site::new(), Ca::new("theirs"), Ca::new("other"));
    let now = today_here();
    let leaf = |names, from, until| Leaf { from, until, purposes: vec![ServerAuth], ..Leaf::of(names) };
    let (file, wrong) = (site.write("theirs.crt", &ca.pem()), site.write("other.crt", &other.pem()));
    let issuer = |port: u16, ca: &Path| {
        format!(
            "journal.sealing = \"off\"\n[[identity.issuers]]\nname = \"far\"\naudiences = [\"x\"]\nuser_clients = [\"y\"]\n\
             issuer = \"https://localhost:{port}\"\nca_file = \"{}\"\n",
            ca.display()
        )
    };
    let well = shows(&ca.issue(leaf(&["localhost"], now.before(HOUR), now.after(DAY * 100)))).await;
    let of = format!("the certificate of issuer `far` at localhost:{well}");
    let seen = site.examine(&issuer(well, &file)).await;
    seen.says("certificates", "ok", &of);
    seen.says("certificates", "ok", "is good for 99 more days");
    site.examine(&issuer(well, &wrong)).await.says("certificates", "fail", "is from nobody in its `ca_file`");

    let cases = [
        (leaf(&["localhost"], now.before(HOUR), now.after(DAY * 20)), "warn", "expires in 19 days"),
        (leaf(&["localhost"], now.before(HOUR), now.after(DAY * 22)), "ok", "is good for 21 more days"),
        (leaf(&["localhost"], now.before(DAY * 9), now.before(DAY * 3)), "fail", "expired 3 days ago"),
        (leaf(&["localhost"], now.after(DAY), now.after(DAY * 90)), "fail", "is not yet good"),
        (leaf(&["elsewhere.example"], now.before(HOUR), now.after(DAY * 90)), "fail", "is for another name"),
    ];
    for (leaf, verdict, text) in cases {
        let port = shows(&ca.issue(leaf)).await;
        site.examine(&issuer(port, &file)).await.says("certificates", verdict, text);
    }

    // The same of whoever else is called over TLS.
    let redis = redis(&format!("rediss://localhost:{well}"), &format!("ca_file = \"{}\"\n", file.display()));
    let traces = format!("\n[telemetry]\ntraces = \"https://localhost:{well}\"\n");
    let all = site.examine(&site.and(&format!("{redis}{traces}"))).await;
    all.says("certificates", "ok", &format!("the certificate of redis at localhost:{well}"));
    all.says("certificates", "ok", &format!("the certificate of the collector at localhost:{well}"));
    let mail = MailServer::start(&ca, Way::Tls, &[]).await;
    site.secret("password", "whsec_c2VzYW1lc2VzYW1lc2VzYW1l");
    let webhook = format!(
        "\n[[notify.targets]]\nname = \"hook\"\nkind = \"webhook\"\nurl = \"https://localhost:{}\"\nsecret_file = \"{}\"\n\
         allow = [\"127.0.0.0/8\"]\n",
        mail.port,
        site.dir.path().join("password").display()
    );
    let told = site.examine(&site.and(&webhook)).await;
    told.says("certificates", "ok", &format!("the certificate of target `hook` at localhost:{}", mail.port));
    let clear = Receiver::start().await;
    let none = site.examine(&issuer(clear.port(), &file)).await;
    none.says("certificates", "warn", "shows no certificate");
}

/// By the clock that the doctor goes by.
fn today_here() -> countersign::domain::Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    countersign::domain::Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_is_whole_or_damaged_and_somebodys_or_nobodys() {
    let site = Site::new();
    let server = TestServer::start().await;
    server.client("report-bot").await.authorize(crate::support::client::export()).await.unwrap();
    let journal = server.dir.path().join("journal");
    let config = format!("journal.dir = \"{}\"\njournal.sealing = \"off\"\n", journal.display());
    let running = site.examine(&config).await;
    running.says("journal", "ok", &format!("process {} serves with it", std::process::id()));
    running.says("journal", "ok", "its newest segment is whole, through record");
    let (dir, _clock) = server.stop().await;
    site.examine(&config).await.says("journal", "ok", "nobody has");
    let segment = std::fs::read_dir(&journal).unwrap().map(|entry| entry.unwrap().path());
    let segment = segment.filter(|path| path.extension().is_some_and(|kind| kind == "seg")).max().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    // Within the first record, behind the header of 128 bytes.
    bytes[200] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    site.examine(&config).await.says("journal", "fail", "the journal is damaged");
    drop(dir);

    let absent = site.examine("journal.dir = \"no/such/journal\"\njournal.sealing = \"off\"\n").await;
    absent.says("journal", "fail", "the directory above");
    // Nowhere are 66 GiB of shared memory free.
    let full = tempfile::tempdir_in("/dev/shm").unwrap();
    let reserve =
        "journal.segment_bytes = 1073741824\njournal.reserve_bytes = 68719476736\njournal.sealing = \"off\"\n";
    let full = site.examine(&format!("journal.dir = \"{}\"\n{reserve}", full.path().display())).await;
    full.says("journal", "fail", "less than the reserve");
}

fn redis(url: &str, more: &str) -> String {
    format!("\n[store]\nkind = \"redis\"\n[store.redis]\nurls = [\"{url}\"]\ncommand_timeout = \"2s\"\n{more}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_forgets_is_alone_was_emptied_or_is_not_there_is_found() {
    let site = Site::new();
    let group = Replicated::start(1).await;
    let (url, primary) = (group.primary.url(), &group.primary);
    let seen = site.examine(&site.and(&redis(&url, ""))).await;
    seen.says("store", "ok", "has 1 replicas, and 1 have every change");
    seen.says("store", "ok", "forgets nothing");
    seen.says("store", "warn", "does not write what it has into a file");
    seen.says("store", "warn", "16 of 16 shards were never begun");
    seen.says("clock", "ok", "the clock of redis");
    site.examine(&site.and(&redis(&url, "replicas = 2"))).await.says(
        "store",
        "fail",
        "has 1 replicas, and 2 must have",
    );
    site.examine(&site.and(&redis(&url, "durability = \"primary\""))).await.says(
        "store",
        "warn",
        "a failover may lose",
    );
    site.examine(&site.and(&redis(&group.replicas[0].url(), ""))).await.says("store", "fail", "is no primary");
    primary.ask::<()>(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    primary.ask::<()>(&["HSET", "{countersign:0}h", "lost", "it was emptied"]).await;
    let broken = site.examine(&site.and(&redis(&url, ""))).await;
    broken.says("store", "fail", "maxmemory-policy allkeys-lru");
    broken.says("store", "fail", "shard 0 is marked as lost: it was emptied");
    // From here on it does what it was found ready to do.
    primary.ask::<()>(&["CONFIG", "SET", "maxmemory", "1100000"]).await;
    site.examine(&site.and(&redis(&url, ""))).await.says("store", "warn", "MiB");

    let locked = Redis::start().await;
    locked.ask::<()>(&["CONFIG", "SET", "requirepass", "sesame"]).await;
    site.examine(&site.and(&redis(&locked.url(), "durability = \"primary\""))).await.says("store", "fail", "redis at");
    site.examine(&site.and(&redis("redis://127.0.0.1:1", ""))).await.says("store", "fail", "127.0.0.1:1");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_to_be_reached_is_asked_and_whose_clock_is_off_is_told() {
    let site = Site::new();
    let issuer = Receiver::start().await;
    let address = format!("http://127.0.0.1:{}", issuer.port());
    let of_issuer = |more: &str| {
        let own = "journal.sealing = \"off\"\n[[identity.issuers]]\nname = \"near\"\naudiences = [\"x\"]\nuser_clients = [\"y\"]\n";
        format!("{own}issuer = \"{address}\"\nallow_insecure_http_loopback = true\n{more}")
    };
    let document = json!({"issuer": address, "jwks_uri": format!("{address}/keys"), "keys": [{}, {}]});
    issuer.otherwise(Reply::Json(document));
    let near = site.examine(&of_issuer("")).await;
    near.says("issuers", "ok", "has 2 keys");
    near.says("clock", "ok", "issuer `near` agrees");
    issuer.otherwise(Reply::Json(json!({"issuer": "https://other.example", "jwks_uri": address})));
    site.examine(&of_issuer("")).await.says("issuers", "fail", "is another issuer's");
    issuer.otherwise(Reply::Status(503));
    site.examine(&of_issuer("")).await.says("issuers", "fail", "503");
    issuer.otherwise(Reply::Dated(httpdate(SystemTime::now() - Duration::from_secs(600))));
    site.examine(&of_issuer("")).await.says("clock", "fail", "s behind this machine's");

    let hook = Receiver::start().await;
    let secret = site.secret("hook", "whsec_c2VzYW1lc2VzYW1lc2VzYW1l");
    let target = |name: &str, port: u16| {
        format!(
            "\n[[notify.targets]]\nname = \"{name}\"\nkind = \"webhook\"\nurl = \"http://127.0.0.1:{port}/hooks/in\"\nsecret_file = \
             \"{}\"\nallow = [\"127.0.0.0/8\"]\n",
            secret.display()
        )
    };
    let nobody =
        format!("[telemetry]\ntraces = \"http://127.0.0.1:1\"\n{}{}", target("siem", hook.port()), target("gone", 1));
    let told = site.examine(&site.and(&nobody)).await;
    told.says("targets", "ok", "target `siem` can be told");
    assert_eq!(hook.next().await.path, "/", "neither the path nor a message is sent");
    told.says("targets", "fail", "target `gone`");
    told.says("traces", "warn", "the collector at http://127.0.0.1:1");
    std::fs::remove_file(&secret).unwrap();
    site.examine(&site.and(&target("siem", hook.port()))).await.says("targets", "fail", "cannot read the secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_lets_us_in_over_tls_or_is_not_used() {
    let (site, ca) = (Site::new(), Ca::new("mail"));
    let secret = site.secret("mail", "countersign\nhunter2\n");
    let authority = site.write("ca.pem", &ca.pem());
    let letters = |scheme: &str, port: u16| {
        site.and(&format!(
            "\n[[notify.targets]]\nname = \"leads\"\nkind = \"email\"\nurl = \"{scheme}://127.0.0.1:{port}\"\nsecret_file = \
             \"{}\"\nca_file = \"{}\"\nsender = \"a@b.example\"\nto = [\"c@b.example\"]\nallow = [\"127.0.0.0/8\"]\n",
            secret.display(),
            authority.display()
        ))
    };
    let mail = MailServer::start(&ca, Way::Tls, &[]).await;
    let well = site.examine(&letters("smtps", mail.port)).await;
    well.says("targets", "ok", "target `leads` can be told");
    well.says("certificates", "ok", "ca_file of target `leads`");
    let clear = MailServer::start(&ca, Way::Clear, &[]).await;
    site.examine(&letters("smtp", clear.port)).await.says("targets", "fail", "target `leads`");
    let other = MailServer::start(&Ca::new("other"), Way::Tls, &[]).await;
    site.examine(&letters("smtps", other.port)).await.says("targets", "fail", "target `leads`");
    site.secret("mail", "hunter2");
    let half = site.examine(&letters("smtps", mail.port)).await;
    half.says("targets", "fail", "user in its first line");
    assert!(!format!("{:?}{}", half.findings, half.said).contains("hunter2"));
}

/// RFC 9110, section 5.6.7.
fn httpdate(at: SystemTime) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let at = jiff::Timestamp::from_second(i64::try_from(since.as_secs()).unwrap()).unwrap();
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
