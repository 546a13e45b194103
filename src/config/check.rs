//! What single values cannot say: whether they work together.

use std::time::Duration;

use super::problem::Problem;
use super::sections::Config;
use super::values::{StoreKind, Sync};
use crate::grpc::unix;
use crate::identity::{Certificates, Verifier};
use crate::notify::Target;
use crate::notify::settings::{Kind, Level};
use crate::store::embedded::Limits;

const SEGMENT_BYTES_MAX: u64 = 1 << 30;
const RECORD_BYTES_MAX: u64 = 16 << 20;
/// What a segment and a record need beside the payload, rounded up.
const FRAMING_BYTES: u64 = 4 << 10;
/// Of `reserve_bytes`, in segments.
const RESERVE_SEGMENTS_MAX: u64 = 64;
const BATCH_BYTES_MAX: u64 = 2 << 20;
const COALESCE_MAX: Duration = Duration::from_secs(1);
const QUEUEING_TARGET_MIN: Duration = Duration::from_millis(5);
const SYNC_INTERVAL_MAX: Duration = Duration::from_secs(60);

impl Config {
    /// Everything that cannot work.
    #[must_use]
    pub fn check(&self) -> Vec<Problem> {
        let journal = &self.journal;
        let segment = journal.segment_bytes.get();
        let record = journal.record_bytes_max.get();
        let interval = journal.sync_interval.get();
        let rules = [
            (segment > SEGMENT_BYTES_MAX, "journal.segment_bytes", "at most 1073741824 (1 GiB)"),
            (record > RECORD_BYTES_MAX, "journal.record_bytes_max", "at most 16777216 (16 MiB)"),
            (
                segment < record.saturating_add(FRAMING_BYTES),
                "journal.segment_bytes",
                "must hold one record of `journal.record_bytes_max`",
            ),
            (
                journal.queue_bytes_max < journal.record_bytes_max,
                "journal.queue_bytes_max",
                "must hold one record of `journal.record_bytes_max`",
            ),
            (
                journal.reserve_bytes.get().div_ceil(segment) > RESERVE_SEGMENTS_MAX,
                "journal.reserve_bytes",
                "at most 64 segments",
            ),
            (
                journal
                    .quota_bytes
                    .is_some_and(|quota| quota.get() < journal.reserve_bytes.get().saturating_add(2 * segment)),
                "journal.quota_bytes",
                "must have room for `journal.reserve_bytes` and two segments",
            ),
            (journal.coalesce.get() > COALESCE_MAX, "journal.coalesce", "at most 1s: every answer waits for it"),
            (
                journal.sync == Sync::Interval && (interval.is_zero() || interval > SYNC_INTERVAL_MAX),
                "journal.sync_interval",
                "more than 0s, at most 1m",
            ),
            (self.masking.timeout.get().is_zero(), "masking.timeout", "more than 0s: nothing could be masked"),
            (
                self.limits.pending_per_principal_max > self.limits.pending_max,
                "limits.pending_per_principal_max",
                "at most `limits.pending_max`",
            ),
            (
                self.limits.query_bytes_max.get() > record / 2,
                "limits.query_bytes_max",
                "at most half of `journal.record_bytes_max`: a record holds the query and who asks",
            ),
            (
                self.limits.batch_bytes_max.get() > BATCH_BYTES_MAX,
                "limits.batch_bytes_max",
                "at most 2097152 (2 MiB): its answers must fit into one message",
            ),
        ];
        let broken = rules
            .into_iter()
            .chain(self.transport_rules())
            .chain(self.load_rules())
            .chain(self.web_rules().into_iter().chain(self.approval_rules()))
            .filter(|(is_broken, ..)| *is_broken);
        let broken = broken.map(|(_, key, message)| Problem::Together { key, message: message.to_owned() });
        let alone = self
            .web_problem()
            .into_iter()
            .chain(self.review_problem())
            .chain(self.issuer_problem())
            .chain(self.certificate_problem())
            .chain(self.store_problem())
            .chain(self.notify_problem())
            .chain(self.chat_problem());
        broken.chain(alone).collect()
    }

    fn load_rules(&self) -> [(bool, &'static str, &'static str); 3] {
        [
            (
                self.limits.calls_burst.is_some() && self.limits.calls_per_second.is_none(),
                "limits.calls_burst",
                "says nothing without `limits.calls_per_second`",
            ),
            (
                self.limits.queueing_target.get() < QUEUEING_TARGET_MIN,
                "limits.queueing_target",
                "at least 5ms: a busy machine would turn calls away that it can answer",
            ),
            (
                !(0.2..=0.95).contains(&self.limits.memory_share.get()),
                "limits.memory_share",
                "from 0.2 to 0.95: below the server never works, above it is ended before it can tell",
            ),
        ]
    }

    fn approval_rules(&self) -> [(bool, &'static str, &'static str); 6] {
        [
            (self.approvals.default_timeout.get().is_zero(), "approvals.default_timeout", "more than 0s"),
            (
                self.approvals.redeem_within.get().is_zero(),
                "approvals.redeem_within",
                "more than 0s: no grant could be used",
            ),
            (
                self.approvals.rejection_stands.get() > self.settled_retention(),
                "approvals.rejection_stands",
                "at most the `settled_retention` of the store: later, the rejection is only in the journal",
            ),
            (
                self.limits.openings_per_minute_max.get() == 0,
                "limits.openings_per_minute_max",
                "at least 1: nothing could be asked of people",
            ),
            (self.approvals.outcome_lease.get().is_zero(), "approvals.outcome_lease", "more than 0s"),
            (
                !self.dev.issuer_listen.ip().is_loopback(),
                "dev.issuer_listen",
                "must be a loopback address: whoever reaches it can be anybody",
            ),
        ]
    }

    /// How long settled approvals are at hand.
    fn settled_retention(&self) -> Duration {
        self.redis_settings().map_or(self.approvals.settled_retention.get(), |redis| redis.settled_retention)
    }

    fn web_rules(&self) -> [(bool, &'static str, &'static str); 4] {
        [
            (
                !self.web.allow_plaintext && self.web.listen.is_some_and(|listen| !listen.ip().is_loopback()),
                "web.listen",
                "other machines can reach it, and sessions would cross the network in clear: let a proxy encrypt and say \
                 `web.allow_plaintext = true`",
            ),
            (
                self.web.public_url.is_none() && self.web.listen.is_some_and(|listen| !listen.ip().is_loopback()),
                "web.public_url",
                "must be set where other machines can reach the inbox",
            ),
            (self.web.session_lifetime.get().is_zero(), "web.session_lifetime", "more than 0s"),
            (self.web.fresh_login.get().is_zero(), "web.fresh_login", "more than 0s: nobody could approve"),
        ]
    }

    /// With `--dev` there is one more issuer; what is wrong without it is then said at the start.
    fn web_problem(&self) -> Option<Problem> {
        self.web.listen?;
        let name = match (&self.web.issuer, self.identity.issuers.as_slice()) {
            (Some(name), _) => name.as_str().to_owned(),
            (None, [only]) => only.name.clone(),
            (None, _) => return None,
        };
        let verifier = Verifier::new(self.identity.issuers.clone()).ok()?;
        let error = verifier.for_login(&self.login(name)).err()?;
        Some(Problem::Together { key: "web.issuer", message: error.to_string() })
    }

    fn review_problem(&self) -> Option<Problem> {
        let (key, message) = ("review.membership_max_age", "more than 0s: no vote would count".to_owned());
        self.review.membership_max_age.get().is_zero().then_some(Problem::Together { key, message })
    }

    /// What tokens and certificates travel by.
    fn transport_rules(&self) -> [(bool, &'static str, &'static str); 5] {
        let tls = self.grpc.tls.as_ref();
        let asks_for_certificates = tls.is_some_and(|files| files.client_ca.is_some());
        [
            (
                tls.is_none() && !self.grpc.allow_plaintext && !self.grpc.listen.ip().is_loopback(),
                "grpc.listen",
                "other machines can reach it, and tokens would cross the network in clear: set `grpc.tls`, or \
                 `grpc.allow_plaintext = true` if a mesh or tunnel encrypts",
            ),
            (
                self.grpc.unix.as_ref().is_some_and(|path| path.as_os_str().len() > unix::PATH_BYTES_MAX),
                "grpc.unix",
                "at most 107 bytes: the kernel has no room for more",
            ),
            (tls.is_some() && self.grpc.allow_plaintext, "grpc.allow_plaintext", "not together with `grpc.tls`"),
            (
                tls.is_some_and(|files| files.client_ca.is_none() && files.client_auth.is_some()),
                "grpc.tls",
                "`client_auth` needs `client_ca`",
            ),
            (
                !self.identity.certificates.is_empty() && !asks_for_certificates,
                "identity.certificates",
                "needs `client_ca` in `grpc.tls`: no client would be asked for a certificate",
            ),
        ]
    }

    /// Makes what the server would make of them: what is called good here does not keep it from starting.
    fn issuer_problem(&self) -> Option<Problem> {
        let error = Verifier::new(self.identity.issuers.clone()).err()?;
        Some(Problem::Together { key: "identity.issuers", message: error.to_string() })
    }

    /// INVARIANT: with `kind = "redis"` there are settings, or nothing starts: it never falls back to a store of its own.
    fn store_problem(&self) -> Option<Problem> {
        let message = match (self.store.kind, &self.store.redis) {
            (StoreKind::Embedded, None) => None,
            (StoreKind::Embedded, Some(_)) => Some("only with `store.kind = \"redis\"`".to_owned()),
            (StoreKind::Redis, None) => Some("`store.kind = \"redis\"` needs it: at least `urls`".to_owned()),
            (StoreKind::Redis, Some(table)) => table.settings(Limits::default()).err(),
        };
        message.map(|message| Problem::Together { key: "store.redis", message })
    }

    fn notify_problem(&self) -> Option<Problem> {
        let error = Target::read_all(&self.notify.targets).err()?;
        Some(Problem::Together { key: "notify.targets", message: error.to_string() })
    }

    /// What buttons need is there, or none has any.
    fn chat_problem(&self) -> Option<Problem> {
        let mut buttons = self.notify.targets.iter().filter(|target| target.buttons);
        let has_slack = buttons.clone().any(|target| target.kind == Kind::Slack);
        let has_buttons = buttons.next().is_some();
        let (key, message) = match () {
            () if self.chat.up_to > Level::Medium => {
                ("chat.up_to", "`low` or `medium`: what is higher takes a login and the whole page, in the inbox")
            }
            () if !has_buttons => return None,
            () if has_slack && self.chat.slack.is_none() => {
                ("chat.slack", "needed where a target of Slack has `buttons`: whose clicks are believed")
            }
            () if self.chat.key_file.is_none() => ("chat.key_file", "needed where a target has `buttons`"),
            () if self.notify.inbox_url.is_none() => {
                ("notify.inbox_url", "needed where a target has `buttons`: people link accounts there")
            }
            () if self.web.listen.is_none() => {
                ("web.listen", "needed where a target has `buttons`: clicks arrive there")
            }
            () => return None,
        };
        Some(Problem::Together { key, message: message.to_owned() })
    }

    fn certificate_problem(&self) -> Option<Problem> {
        let error = Certificates::new(&self.identity.certificates, &self.identity.issuers).err()?;
        Some(Problem::Together { key: "identity.certificates", message: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Count, Span};
    use crate::grpc::tls::{ClientAuth, Files};
    use crate::identity::condition::ClaimCondition;
    use crate::identity::san::CertificateRule;
    use crate::identity::settings::Kind;
    use crate::identity::{IssuerSettings, PrincipalRule};

    #[test]
    fn the_defaults_work_together() {
        assert_eq!(Config::default().check(), []);
    }

    fn files(client_ca: Option<&str>, client_auth: Option<ClientAuth>) -> Files {
        Files { certificate: "a".into(), key: "b".into(), client_ca: client_ca.map(Into::into), client_auth }
    }

    fn certificate_rule() -> CertificateRule {
        let rule = r#"{"san":"spiffe://prod/**","namespace":"prod","kind":"workload","entity_type":"Workload"}"#;
        serde_json::from_str(rule).unwrap()
    }

    #[test]
    fn other_machines_are_listened_to_only_encrypted_or_when_told() {
        let mut config = Config::default();
        config.grpc.listen = ([0, 0, 0, 0], 7443).into();
        assert_eq!(config.check().len(), 1);
        config.grpc.allow_plaintext = true;
        assert_eq!(config.check(), []);
        config.grpc.allow_plaintext = false;
        config.grpc.tls = Some(files(Some("c"), None));
        config.identity.certificates = vec![certificate_rule()];
        assert_eq!(config.check(), []);
    }

    fn rule(entity_type: &str, when: Vec<ClaimCondition>) -> PrincipalRule {
        PrincipalRule::new(Kind::Agent, entity_type, when)
    }

    #[test]
    fn an_issuer_that_would_keep_the_server_from_starting_is_named() {
        let check = |change: fn(&mut IssuerSettings)| {
            let mut issuer = IssuerSettings::new("company", "https://login.example", "countersign");
            issuer.user_clients = vec!["inbox".to_owned()];
            change(&mut issuer);
            let mut config = Config::default();
            config.identity.issuers = vec![issuer];
            config.check().iter().map(ToString::to_string).collect::<String>()
        };
        assert_eq!(check(|_| {}), "");
        let no_tls = check(|issuer| "http://login.example".clone_into(&mut issuer.issuer));
        assert!(no_tls.contains("must be https"), "{no_tls}");
        let ours = check(|issuer| issuer.principals = vec![rule("Countersign::Service", Vec::new())]);
        assert!(ours.contains("`Countersign::Service` is not an entity type"), "{ours}");
        let no_test = check(|issuer| issuer.principals = vec![rule("Agent", vec![ClaimCondition::default()])]);
        assert!(no_test.contains("needs exactly one of"), "{no_test}");
    }

    #[test]
    fn what_cannot_work_is_named() {
        let check = |change: fn(&mut Config), key: &str| {
            let mut config = Config::default();
            change(&mut config);
            let named: Vec<_> = config.check().iter().map(ToString::to_string).collect();
            assert!(named.iter().any(|problem| problem.starts_with(&format!("`{key}`"))), "{key}: {named:?}");
        };
        check(|config| config.journal.segment_bytes = Count::of(2 << 30), "journal.segment_bytes");
        check(|config| config.journal.segment_bytes = Count::of(1 << 20), "journal.segment_bytes");
        check(|config| config.journal.record_bytes_max = Count::of(17 << 20), "journal.record_bytes_max");
        check(|config| config.journal.quota_bytes = Some(Count::of(1 << 20)), "journal.quota_bytes");
        check(|config| config.limits.query_bytes_max = Count::of(1 << 20), "limits.query_bytes_max");
        check(|config| config.limits.batch_bytes_max = Count::of(4 << 20), "limits.batch_bytes_max");
        check(|config| config.limits.calls_burst = Some(Count::of(7)), "limits.calls_burst");
        check(|config| config.limits.queueing_target = Span(Duration::ZERO), "limits.queueing_target");
        check(|config| config.limits.memory_share = crate::config::values::Ratio::percent(99), "limits.memory_share");
        check(|config| config.approvals.redeem_within = Span(Duration::ZERO), "approvals.redeem_within");
        check(|config| config.masking.timeout = Span(Duration::ZERO), "masking.timeout");
        check(|config| config.review.membership_max_age = Span(Duration::ZERO), "review.membership_max_age");
        check(|config| config.grpc.listen = ([0, 0, 0, 0], 7443).into(), "grpc.listen");
        check(|config| config.grpc.unix = Some("x".repeat(108).into()), "grpc.unix");
        check(|config| config.grpc.tls = Some(files(None, Some(ClientAuth::Optional))), "grpc.tls");
        check(|config| config.identity.certificates = vec![certificate_rule()], "identity.certificates");
        let told = |config: &mut Config| {
            config.grpc.allow_plaintext = true;
            config.grpc.tls = Some(files(None, None));
        };
        check(told, "grpc.allow_plaintext");
        check(|config| config.web.listen = Some(([0, 0, 0, 0], 7480).into()), "web.listen");
        check(|config| config.web.listen = Some(([0, 0, 0, 0], 7480).into()), "web.public_url");
        check(|config| config.web.fresh_login = Span(Duration::ZERO), "web.fresh_login");
        check(|config| config.dev.issuer_listen = ([0, 0, 0, 0], 7444).into(), "dev.issuer_listen");
    }
}
