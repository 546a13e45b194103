//! Every key there is. The documentation comments are the documentation: `config print` and `docs/configuration.md` are
//! made of them. A duration or size says its unit; a limit has its unit last.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::keys::{KeyPlace, KeySettings};
use super::masking::{DetectorSettings, ProfileSettings, ViewRules};
use super::notify::WebAddress;
use super::section::{Section, section};
use super::store::Redis;
use super::values::{Amount, Count, LogFilter, LogFormat, OnError, Ratio, SealingMode, Span, StoreKind, Sync, Text};
use super::web::PublicUrl;
use crate::domain::{Links, REJECTION_STANDS, StepUp};
use crate::grpc::tls::Files;
use crate::identity::san::CertificateRule;
use crate::identity::{IdTokenRules, IssuerSettings};
use crate::notify::settings::Level;
use crate::notify::{SlackApp, TargetSettings};

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

section! {
    /// The gRPC service, with health and reflection.
    Grpc "grpc" {
        /// Address and port to listen on. Port 0 takes any free one.
        listen: SocketAddr = loopback(7443);
        /// A Unix socket (0660) to listen on as well, such as `/run/countersign/grpc.sock`, for the server's user, root and the
        /// socket's group. Its directory is made if it is missing, and must be nobody else's to write. Always in clear.
        unix: Option<PathBuf> = None;
        /// TLS 1.3: `certificate` and `key` of the server; `client_ca`, whose certificates clients may show, and `client_auth`
        /// (`required`, the default, or `optional`). All but the last are PEM files, read again every 30 s and on SIGHUP.
        /// Not set: in clear, on a loopback address.
        tls: Option<Files> = None, read_again "files: every 30 s and on SIGHUP";
        /// Listen in clear where other machines can reach it: a mesh or tunnel encrypts. Bearer tokens are as good as
        /// passwords.
        allow_plaintext: bool = false;
        /// Connections at the same time; more are closed as they come.
        connections_max: Count = Count::of(16_384);
        /// Connections at the same time from one address (of IPv6, from one /64 network; over `unix`, of one user). Raise it where a proxy or a mesh makes all of
        /// them from its own.
        connections_per_address_max: Count = Count::of(4_096);
    }
}

section! {
    /// The inbox: web pages on which people countersign (docs/inbox.md).
    Web "web" {
        /// Address and port to listen on. Not set: there is no inbox, but with `--dev` at 127.0.0.1:7480.
        listen: Option<SocketAddr> = None;
        /// Where browsers reach it, such as `https://approvals.company.example`: scheme, host and port, nothing behind them.
        /// Not set: at `listen`, on this machine only.
        public_url: Option<PublicUrl> = None;
        /// The `name` of the issuer at whose page people log in. Not set: the only one there is.
        issuer: Option<Text> = None;
        /// The client that the inbox is at the issuer, with the redirect address `<public_url>/login/callback`.
        client_id: Text = Text::of("inbox");
        /// A file with the client's secret. Not set: a public client, which proves itself by PKCE alone.
        client_secret_file: Option<PathBuf> = None;
        /// What is asked for beside `openid`.
        scopes: Vec<Text> = vec![Text::of("profile")];
        /// Where ID tokens say things elsewhere than access tokens do: `id`, `groups` and `required_claims`, as in
        /// `[[identity.issuers]]` and its `principals`.
        id_token: IdTokenRules = IdTokenRules::default();
        /// How long a login is believed. Sessions end with the process as well.
        session_lifetime: Span = Span(Duration::from_secs(8 * 3_600));
        /// To approve at high severity and above, one must have logged in no longer ago. `[review]` may demand more.
        fresh_login: Span = Span(Duration::from_secs(15 * 60));
        /// Listen in clear where other machines can reach it: a proxy encrypts. Sessions are as good as passwords.
        allow_plaintext: bool = false;
        /// Addresses of proxies whose `x-forwarded-for` is believed when logins are counted per address.
        proxies: Vec<IpAddr> = Vec::new();
    }
}

section! {
    /// The development issuer, which `serve --dev` and `demo` start. Loopback only, never part of a deployment.
    Dev "dev" {
        /// Address and port of its login page and its token endpoint. Port 0 takes any free one.
        issuer_listen: SocketAddr = loopback(7444);
    }
}

section! {
    /// The journal: all that happened, and the only thing to back up.
    Journal "journal" {
        /// The directory; made if it is missing (its parent must exist).
        dir: PathBuf = PathBuf::from("countersign-data");
        /// `always`: every answer waits for the disk. `interval`: a plain ALLOW or DENY does not; a lost machine may then lose
        /// so much of the record. What opens, reviews, grants or consumes waits for the disk either way.
        sync: Sync = Sync::Always;
        /// With `interval`: how far the disk may be behind.
        sync_interval: Span = Span(Duration::from_millis(100));
        /// How long a write waits for others to share its sync. More throughput, later answers.
        coalesce: Span = Span(Duration::ZERO);
        /// Bytes of one segment file; at most 1 GiB.
        segment_bytes: Count = Count::of(64 << 20);
        /// Bytes that may wait for the writer; past it callers get RESOURCE_EXHAUSTED.
        queue_bytes_max: Count = Count::of(32 << 20);
        /// Bytes of one record; at most 16 MiB.
        record_bytes_max: Count = Count::of(1 << 20);
        /// Bytes kept free for what must still be written when the disk is full (expiries, votes, redemptions).
        reserve_bytes: Count = Count::of(64 << 20);
        /// Bytes that the journal may take up; then it behaves as on a full disk. Not set: the disk's size.
        quota_bytes: Option<Count> = None;
        /// Whole segments older than this are removed, never one that a live approval needs. Not set: kept for ever.
        retention_age: Option<Span> = None;
        /// The oldest segments are removed while the journal has more bytes than this. Not set: kept for ever.
        retention_bytes: Option<Count> = None;
        /// What seals personal data and secrets in it (docs/journal.md). `keys`: those of `sealing_keys`; without one nothing starts, but
        /// with `--dev`. `kept`: a key that the server makes and keeps in the directory. `off`: nothing; keys open what was sealed.
        sealing: SealingMode = SealingMode::Keys;
        /// Its keys, one `[[journal.sealing_keys]]` table each: `id` and `from` (`file:/path`, `env:NAME`, or a command as a list), 32 random
        /// bytes as base64 or hexadecimal. The first seals, all open: a new key goes first, an old one stays as long as its records.
        sealing_keys: Vec<KeySettings> = Vec::new();
    }
}

section! {
    /// Where approvals are.
    Store "store" {
        /// `embedded`: in this process, which its journal adds up to. `redis`: in a Redis that several replicas share; each keeps a
        /// journal of what it did.
        kind: StoreKind = StoreKind::Embedded;
        /// With `redis`: `urls` of the primary, of the Sentinels (then also `master`, the primary's name), or of some nodes of a Cluster
        /// (then also `cluster = true`); `rediss://` is TLS, with `ca_file` if its CA is not one of the system's. `username`,
        /// `password_file` (and `sentinel_username`, `sentinel_password_file`). `durability`: `replicated` (`replicas`, 1, must have
        /// every change before anybody is told) or `primary` (a failover may lose what was told). `prefix` of every key
        /// (`countersign`), `command_timeout` (`250ms`), `journal_lease` (`5s`: when a silent replica's events are journaled by
        /// another), `settled_retention` (`24h`: how long settled approvals are known), `entities_max_age` (`24h`: how long entities that
        /// were put are decided by while Redis is away). See docs/redis.md.
        redis: Option<Redis> = None, read_again "`password_file`, `ca_file`: for every connection";
    }
}

section! {
    /// The policies.
    Policy "policy" {
        /// The directory of `*.cedar`, `*.cedarschema`, `*.links.json`, `entities.json` and `*.entities.json`.
        dir: PathBuf = PathBuf::from("policies"), read_again "files: when they change, on SIGHUP, by `policy reload`";
        /// `deny`: where a forbid cannot be evaluated the outcome is DENY. `cedar`: it is skipped, as Cedar does, and all else is
        /// as plain Cedar too: no gates, no validation; for conformance runs only.
        on_error: OnError = OnError::Deny;
        /// Start without a schema: nothing is validated then.
        allow_missing_schema: bool = false;
        /// Start without any policy: everything is denied then.
        allow_empty: bool = false;
        /// Load gates whose reviewers no permit lets review: they fire, and nobody can ever open them.
        allow_unreviewable_gates: bool = false;
        /// How long the directory must look the same before it is taken for a whole set. A copy that stalls for longer can be
        /// taken for one: deploy by renaming.
        settle: Span = Span(Duration::from_millis(100));
        /// Load the policies again when the directory changes. `false`: on SIGHUP and `countersign policy reload` only.
        watch: bool = true;
        /// With `watch`: how often the directory is looked at where the system does not tell of changes.
        watch_interval: Span = Span(Duration::from_secs(10));
    }
}

section! {
    /// How long things take that people do.
    Approvals "approvals" {
        /// How long people have where a gate has no `@timeout`.
        default_timeout: Span = Span(Duration::from_secs(15 * 60));
        /// How long a rejection answers exactly the same query, so that nobody is asked until he gives in. `0s`: it can be asked
        /// again at once. At most `settled_retention`.
        rejection_stands: Span = Span(REJECTION_STANDS);
        /// How long an approved action can be redeemed, where the grant is for one use.
        redeem_within: Span = Span(Duration::from_secs(3_600));
        /// How long the enforcement point has to report what became of the action; then it is recorded as unknown.
        outcome_lease: Span = Span(Duration::from_secs(15 * 60));
        /// How long a settled approval stays in memory. Later it is read from the journal.
        settled_retention: Span = Span(Duration::from_secs(3_600));
    }
}

section! {
    /// Limits. Past each the caller gets RESOURCE_EXHAUSTED with its name (INVALID_ARGUMENT for what one message may hold), and
    /// nobody else notices.
    Limits "limits" {
        /// Calls held open by `wait`.
        waits_max: Count = Count::of(200_000);
        /// The same of one caller.
        waits_per_caller_max: Count = Count::of(150_000);
        /// What the queries that wait may take of memory, all together; bytes.
        waits_bytes_max: Count = Count::of(1 << 30);
        /// Streams of `Subscribe` and `Audit`.
        subscribers_max: Count = Count::of(20_000);
        /// Approvals that wait for people.
        pending_max: Count = Count::of(2_000_000);
        /// Approvals that wait for people, of one principal; counted for each caller that asks for it.
        pending_per_principal_max: Count = Count::of(100);
        /// Approvals that one caller opens for one principal within a minute. A query that joins a pending one opens none.
        openings_per_minute_max: Count = Count::of(100);
        /// One query as it is encoded; bytes. A record must hold it with the identities of who asks (`journal.record_bytes_max`).
        query_bytes_max: Count = Count::of(256 << 10);
        /// Queries in one `AuthorizeBatch`.
        batch_queries_max: Count = Count::of(100);
        /// All queries of one `AuthorizeBatch` together; bytes.
        batch_bytes_max: Count = Count::of(1 << 20);
        /// Entities that one query may bring.
        entities_max: Count = Count::of(100);
        /// Entities that the server keeps of those put over the API; 0: nobody puts any.
        put_entities_max: Amount = Amount::of(10_000);
        /// Queries that are worked on at the same time; those that wait for people are not among them. This limit and the four after
        /// it are each for themselves: one kind of calls that is full keeps no other from its places.
        decisions_max: Count = Count::of(4_096);
        /// Calls of people (`Decide`, `GetApproval`, `ListApprovals` and so on) that are worked on at the same time.
        reviews_max: Count = Count::of(256);
        /// Calls of `Subscribe` and `Audit` that begin at the same time.
        audits_max: Count = Count::of(1_024);
        /// Calls of `Mask`, `MaskStream` and `Unmask` that are worked on at the same time.
        maskings_max: Count = Count::of(256);
        /// Calls about policies and entities that are worked on at the same time.
        administrations_max: Count = Count::of(64);
        /// How long calls may wait for a processor, on average. Where they wait longer, some are turned away with UNAVAILABLE until they
        /// do not (docs/overload.md); those of people never.
        queueing_target: Span = Span(Duration::from_millis(50));
        /// Calls and queries of one caller in a second. Not set: as many as it likes.
        calls_per_second: Option<Count> = None;
        /// The same at once after a quiet time. Not set: `calls_per_second`.
        calls_burst: Option<Count> = None;
        /// Bytes of messages larger than 64 KiB that are on their way in, all together: before anybody knows who sends them.
        messages_bytes_max: Count = Count::of(256 << 20);
        /// Of the memory that the control group (the container) may use: where more is used, nothing new is opened that stays.
        memory_share: Ratio = Ratio::percent(85);
        /// The directory of the control group. Not set: that of the process.
        cgroup: Option<PathBuf> = None;
        /// Idempotency keys remembered.
        idempotency_keys_max: Count = Count::of(100_000);
        /// The same of one caller; past it, its own oldest are forgotten early.
        idempotency_keys_per_caller_max: Count = Count::of(20_000);
        /// How long an idempotency key is remembered.
        idempotency_retention: Span = Span(Duration::from_secs(5 * 60));
    }
}

section! {
    /// Who is believed. Without an issuer the server starts only with `--dev`.
    IdentitySection "identity" {
        /// The trusted OIDC issuers, one `[[identity.issuers]]` table each: at least `name`, `issuer` and `audiences`.
        issuers: Vec<IssuerSettings> = Vec::new(), read_again "keys: every `refresh_interval`, and for a key that is not known";
        /// Accounts that are one human (or an agent and who answers for it), a list each: `[["User::\"alice\"",
        /// "User::\"ci/alice\""]]`. They never countersign each other's actions, and their votes count once.
        links: Links = Links::default();
        /// Whom client certificates stand for, one `[[identity.certificates]]` table each: at least `san`, `namespace`, `kind`
        /// and `entity_type`. Needs `client_ca` in `grpc.tls`.
        certificates: Vec<CertificateRule> = Vec::new();
    }
}

section! {
    /// How people must have logged in to countersign, by the gate's `@severity`: tables such as
    /// `{ max_authentication_age = "15m", acr = ["phr"], amr = ["hwk", "mfa"] }`, of which each part may be left out. What is
    /// demanded at one severity is demanded at every higher one as well.
    Review "review" {
        /// For gates of every severity.
        low: StepUp = StepUp::default();
        /// From `@severity("medium")` on.
        medium: StepUp = StepUp::default();
        /// From `@severity("high")` on.
        high: StepUp = StepUp::default();
        /// For `@severity("critical")`.
        critical: StepUp = StepUp::default();
        /// How long the groups that a reviewer's token stated are believed, from its issue on. When a quorum closes, an older
        /// vote counts only if the server's own data name its voter; it can be cast again with a fresh token.
        membership_max_age: Span = Span(Duration::from_secs(8 * 3_600));
    }
}

section! {
    /// Personal data and secrets: found and taken out by `Mask`, and by `@mask` of policies (docs/masking.md).
    Masking "masking" {
        /// Named rules for `Mask`, one `[[masking.profiles]]` table each: `name`, `rules` as in `@mask`, and `lenient = true` where
        /// what cannot be searched is to be withheld instead of the call failing. `everything` is always there.
        profiles: Vec<ProfileSettings> = Vec::new();
        /// What is done to personal data and secrets wherever queries are shown: lists, reviewers' pages, answers, `Audit` and
        /// `Subscribe`. As in `@mask`. Who may see an approval unmasked is policy (`reveal`).
        views: ViewRules = ViewRules::default();
        /// The longest that a call of `Mask`, a piece of `MaskStream` or one view of a query may be searched. Then a call fails, and
        /// of a view what was not searched is withheld: nothing leaves unmasked.
        timeout: Span = Span(Duration::from_secs(10));
        /// What is found beside what is built in, one `[[masking.detectors]]` table each: a `kind` (`X_...` of your own, or one that
        /// is built in) with `patterns` (syntax of the regex crate), `words` and names of `fields`.
        detectors: Vec<DetectorSettings> = Vec::new();
        /// Where the key of pseudonyms lies: 32 random bytes as base64 or hexadecimal, in `file:/path`, `env:NAME`, or what a
        /// command prints: `["program", "argument"]`, such as that of a key management service. Another key makes other pseudonyms.
        pseudonym_key: Option<KeyPlace> = None;
        /// Where the key of `format` lies, as for pseudonyms. Another key makes other values.
        format_key: Option<KeyPlace> = None;
        /// The keys of sealed tokens, one `[[masking.sealing_keys]]` table each: `id` and `from`, as for pseudonyms. The first seals, all
        /// open: a new key goes first, an old one stays for as long as its tokens are to be opened.
        sealing_keys: Vec<KeySettings> = Vec::new();
    }
}

section! {
    /// Where people are told that they are needed (docs/notify.md). Late or twice is possible, lost is not; no approval waits.
    Notify "notify" {
        /// Where the outbox keeps its place for each target, of this journal; made if it is missing. Back it up with the journal.
        dir: PathBuf = PathBuf::from("countersign-notify");
        /// The start of the links in messages, such as `https://countersign.example`. Not set: messages have no link.
        inbox_url: Option<WebAddress> = None;
        /// The targets, one `[[notify.targets]]` table each: at least `name`, `kind` (`webhook`, `slack`, `teams` or `email`) and
        /// `secret_file`. A gate names its own in `@notify`; of the others each is told `from` a severity on. `buttons = true` on Slack, and on
        /// Teams with a `bot`: parameters are shown there, and people decide there what `[chat]` lets them.
        targets: Vec<TargetSettings> = Vec::new(), read_again "`secret_file`, `ca_file`: for every message";
    }
}

section! {
    /// Deciding by buttons in chat (docs/notify.md). A click proves an account that was linked after a login here, and no login.
    Chat "chat" {
        /// Where links between accounts and people are kept, sealed; made if it is missing. Replicas share it.
        dir: PathBuf = PathBuf::from("countersign-chat");
        /// A file with the Base64 of 32 random bytes, the same at every replica: it seals the ids of buttons, and links. Needed
        /// where a target has `buttons = true`.
        key_file: Option<PathBuf> = None;
        /// The highest severity that has buttons: `low` or `medium`. What is higher is decided in the inbox.
        up_to: Level = Level::Medium;
        /// The Slack app: `workspace`, the id (`T...`) of the one workspace whose accounts may decide, and `signing_secret_file`.
        slack: Option<SlackApp> = None, read_again "`signing_secret_file`: for every click";
    }
}

section! {
    /// What the server counts, for Prometheus (docs/metrics.md), and traces of its calls, for a collector (docs/traces.md).
    Telemetry "telemetry" {
        /// Address and port of `/metrics`. Whoever reaches it reads numbers, and nobody's names or data. Not set: there is none.
        metrics: Option<SocketAddr> = None;
        /// The collector that takes traces by OTLP/gRPC, such as `http://collector:4317` or `https://..`. Not set: nothing is traced.
        traces: Option<WebAddress> = None;
        /// How many calls are traced, of those about which the caller did not decide: 0 none, 1 all. A `traceparent` decides by its
        /// `sampled` flag.
        sample_ratio: Ratio = Ratio::percent(1);
    }
}

section! {
    /// What the server says about itself, on standard error.
    Log "log" {
        /// `json`: a line each, for machines. `pretty`: for people. `auto`: pretty on a terminal, else json.
        format: LogFormat = LogFormat::Auto;
        /// `error`, `warn`, `info`, `debug` or `trace`, also by module: `info,countersign::journal=debug`.
        level: LogFilter = LogFilter::info();
    }
}

/// Everything the operator decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    pub grpc: Grpc,
    pub web: Web,
    pub dev: Dev,
    pub journal: Journal,
    pub store: Store,
    pub policy: Policy,
    pub approvals: Approvals,
    pub limits: Limits,
    pub identity: IdentitySection,
    pub review: Review,
    pub masking: Masking,
    pub notify: Notify,
    pub chat: Chat,
    pub telemetry: Telemetry,
    pub log: Log,
}

impl Config {
    /// The sections, in the order of the documentation.
    #[must_use]
    pub fn sections(&self) -> [&dyn Section; 15] {
        [
            &self.grpc,
            &self.web,
            &self.identity,
            &self.review,
            &self.notify,
            &self.chat,
            &self.policy,
            &self.approvals,
            &self.masking,
            &self.journal,
            &self.store,
            &self.limits,
            &self.telemetry,
            &self.log,
            &self.dev,
        ]
    }

    pub(super) fn section_mut(&mut self, name: &str) -> Option<&mut dyn Section> {
        let sections: [&mut dyn Section; 15] = [
            &mut self.grpc,
            &mut self.web,
            &mut self.identity,
            &mut self.review,
            &mut self.notify,
            &mut self.chat,
            &mut self.policy,
            &mut self.approvals,
            &mut self.masking,
            &mut self.journal,
            &mut self.store,
            &mut self.limits,
            &mut self.telemetry,
            &mut self.log,
            &mut self.dev,
        ];
        sections.into_iter().find(|section| section.name() == name)
    }

    /// Every key with the value it has.
    #[must_use]
    pub fn entries(&self) -> Vec<super::Entry> {
        self.sections().iter().flat_map(|section| section.entries()).collect()
    }

    /// Sets a key by its full name; `None` if there is no such key.
    pub(super) fn set(&mut self, key: &str, raw: &serde_json::Value) -> Option<Result<(), String>> {
        let (section, key) = key.split_once('.')?;
        self.section_mut(section)?.set(key, raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_that_could_have_been_written() {
        let defaults = Config::default();
        let mut again = Config::default();
        for entry in defaults.entries().into_iter().filter(|entry| !entry.value.is_null()) {
            assert_eq!(again.set(&entry.key, &entry.value), Some(Ok(())), "{}", entry.key);
        }
        assert_eq!(again, defaults);
    }

    #[test]
    fn every_key_and_section_is_documented() {
        for section in Config::default().sections() {
            assert!(!section.about().join("").trim().is_empty());
            for entry in section.entries() {
                assert!(entry.docs.join("").trim().ends_with(['.', '`']), "{}", entry.key);
            }
        }
    }

    #[test]
    fn defaults_of_the_security_relevant_keys_are_the_strict_ones() {
        let Config { grpc, dev, journal, policy, identity, .. } = Config::default();
        assert!(grpc.listen.ip().is_loopback() && dev.issuer_listen.ip().is_loopback());
        assert_eq!((journal.sync, policy.on_error), (Sync::Always, OnError::Deny));
        assert!(!policy.allow_empty && !policy.allow_missing_schema && identity.issuers.is_empty());
    }
}
