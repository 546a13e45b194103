//! From what the operator wrote to what a server is made of.

use std::sync::Arc;

use super::sealing::Sealing;
use super::sections::Config;
use super::values::{OnError, StoreKind, Sync};
use crate::domain::ReviewRules;
use crate::grpc::{door, tls};
use crate::identity::LoginSettings;
use crate::notify::Target;
use crate::server::{Encryption, Retention, Setup};
use crate::store::{Clock, RedisSettings, embedded};
use crate::telemetry::TraceSettings;
use crate::vault::Vault;
use crate::{engine, journal, notify, service, web};

impl Config {
    /// What a server is made from, by the machine's clock.
    #[must_use]
    pub fn setup(&self) -> Setup {
        Setup {
            journal: self.journal_settings(),
            sealing: self.sealing(),
            store: self.store_limits(),
            redis: self.redis_settings(),
            policies: self.policy_settings(),
            issuers: self.identity.issuers.clone(),
            encryption: self.encryption(),
            connections: self.connection_limits(),
            web: self.web_settings(),
            limits: self.service_limits(),
            masking: self.masking.clone(),
            notify: self.notify_settings(),
            retention: Retention {
                max_age: self.journal.retention_age.map(super::Span::get),
                max_bytes: self.journal.retention_bytes.map(super::Count::get),
            },
            traces: Arc::default(),
            watch: self.policy.watch.then_some(self.policy.watch_interval.get()),
            clock: Box::new(Clock::system),
        }
    }

    /// Where traces of calls go; nowhere if it is `None`.
    #[must_use]
    pub fn trace_settings(&self) -> Option<TraceSettings> {
        let endpoint = self.telemetry.traces.as_ref()?.to_string();
        Some(TraceSettings { endpoint, sample_ratio: self.telemetry.sample_ratio.get() })
    }

    /// How policies are loaded, by the server and by `policy check` alike.
    #[must_use]
    pub fn policy_settings(&self) -> engine::Settings {
        engine::Settings {
            on_error: match self.policy.on_error {
                OnError::Deny => engine::OnError::FailClosed,
                OnError::Cedar => engine::OnError::Cedar,
            },
            allow_missing_schema: self.policy.allow_missing_schema,
            allow_empty: self.policy.allow_empty,
            allow_unreviewable_gates: self.policy.allow_unreviewable_gates,
            settle: self.policy.settle.get(),
            default_timeout: self.approvals.default_timeout.get(),
            notify_targets: self.notify.targets.iter().map(|target| target.name.as_str().into()).collect(),
            ..engine::Settings::new(&self.policy.dir)
        }
    }

    fn web_settings(&self) -> web::Settings {
        let written = &self.web;
        web::Settings {
            public_url: written.public_url.as_ref().map(ToString::to_string),
            issuer: written.issuer.as_ref().map(|name| name.as_str().to_owned()),
            client_id: written.client_id.as_str().to_owned(),
            client_secret_file: written.client_secret_file.clone(),
            scopes: written.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
            id_token: written.id_token.clone(),
            session_lifetime: written.session_lifetime.get(),
            allow_plaintext: written.allow_plaintext,
            proxies: written.proxies.clone(),
            ..web::Settings::default()
        }
    }

    /// How people log in at the inbox, at the issuer of that name.
    pub(super) fn login(&self, issuer: String) -> LoginSettings {
        let (client_id, id_token) = (self.web.client_id.as_str().to_owned(), self.web.id_token.clone());
        LoginSettings { issuer, client_id, id_token }
    }

    /// Where people are told. Targets that cannot work are refused by [`Config::check`]; here there are none then.
    #[must_use]
    pub fn notify_settings(&self) -> notify::Settings {
        notify::Settings {
            dir: self.notify.dir.clone(),
            targets: Target::read_all(&self.notify.targets).unwrap_or_default(),
            inbox_url: self.notify.inbox_url.as_ref().map(ToString::to_string),
            chat: self.chat.key_file.clone().map(|key_file| notify::ChatSettings {
                dir: self.chat.dir.clone(),
                key_file,
                up_to: self.chat.up_to.into(),
                slack: self.chat.slack.clone(),
            }),
            ..notify::Settings::default()
        }
    }

    fn connection_limits(&self) -> door::Limits {
        door::Limits {
            connections_max: self.grpc.connections_max.as_usize(),
            per_address_max: self.grpc.connections_per_address_max.as_usize(),
            ..door::Limits::default()
        }
    }

    fn encryption(&self) -> Encryption {
        match &self.grpc.tls {
            Some(files) => Encryption::Tls {
                settings: tls::Settings::new(files.clone()),
                certificates: self.identity.certificates.clone(),
            },
            None if self.grpc.allow_plaintext => Encryption::Elsewhere,
            None => Encryption::Loopback,
        }
    }

    /// What seals the journal; read by whoever opens it.
    #[must_use]
    pub fn sealing(&self) -> Sealing {
        Sealing { mode: self.journal.sealing, keys: self.journal.sealing_keys.clone() }
    }

    fn journal_settings(&self) -> journal::Settings {
        let written = &self.journal;
        journal::Settings {
            dir: written.dir.clone(),
            segment_bytes: written.segment_bytes.get(),
            sync: match written.sync {
                Sync::Always => journal::SyncPolicy::Always,
                Sync::Interval => journal::SyncPolicy::Interval(written.sync_interval.get()),
            },
            queue_bytes_max: written.queue_bytes_max.as_usize(),
            reserve_bytes: written.reserve_bytes.get(),
            record_bytes_max: written.record_bytes_max.as_usize(),
            coalesce: written.coalesce.get(),
            quota_bytes: written.quota_bytes.map(super::Count::get),
            // Its keys are read by whoever opens it.
            vault: Vault::default(),
        }
    }

    fn store_limits(&self) -> embedded::Limits {
        embedded::Limits {
            pending_max: self.limits.pending_max.as_usize(),
            pending_per_principal_max: self.limits.pending_per_principal_max.as_usize(),
            openings_per_minute_max: self.limits.openings_per_minute_max.as_usize(),
            idempotency_keys_max: self.limits.idempotency_keys_max.as_usize(),
            idempotency_keys_per_caller_max: self.limits.idempotency_keys_per_caller_max.as_usize(),
            idempotency_retention: self.limits.idempotency_retention.get(),
            settled_retention: self.approvals.settled_retention.get(),
            rejection_stands: self.approvals.rejection_stands.get(),
            ..embedded::Limits::default()
        }
    }

    /// `None` where approvals are in this process.
    #[must_use]
    pub fn redis_settings(&self) -> Option<RedisSettings> {
        let table = self.store.redis.as_ref().filter(|_| self.store.kind == StoreKind::Redis)?;
        // What is wrong was said by `check`. Whoever did not ask gets a store that reaches nobody, never one of its own.
        Some(table.settings(self.store_limits()).unwrap_or_else(|_| RedisSettings::new(Vec::new())))
    }

    fn load_limits(&self) -> service::load::Limits {
        let written = &self.limits;
        let number = |count: super::Count| u32::try_from(count.get()).unwrap_or(u32::MAX);
        service::load::Limits {
            decisions_max: written.decisions_max.as_usize(),
            reviews_max: written.reviews_max.as_usize(),
            audits_max: written.audits_max.as_usize(),
            maskings_max: written.maskings_max.as_usize(),
            administrations_max: written.administrations_max.as_usize(),
            queueing_target: written.queueing_target.get(),
            calls_per_second: written.calls_per_second.map(number),
            calls_burst: written.calls_burst.map(number),
            messages_bytes_max: written.messages_bytes_max.as_usize(),
            memory_share: written.memory_share.get(),
            cgroup: written.cgroup.clone(),
        }
    }

    fn service_limits(&self) -> service::Limits {
        let written = &self.review;
        service::Limits {
            fresh_login: self.web.fresh_login.get(),
            review: ReviewRules {
                links: self.identity.links.clone(),
                membership_max_age: written.membership_max_age.get(),
                low: written.low.clone(),
                medium: written.medium.clone(),
                high: written.high.clone(),
                critical: written.critical.clone(),
            },
            load: self.load_limits(),
            rejection_stands: self.approvals.rejection_stands.get(),
            redeem_within: self.approvals.redeem_within.get(),
            outcome_lease: self.approvals.outcome_lease.get(),
            waits_max: self.limits.waits_max.as_usize(),
            waits_per_caller_max: self.limits.waits_per_caller_max.as_usize(),
            waits_bytes_max: self.limits.waits_bytes_max.as_usize(),
            subscribers_max: self.limits.subscribers_max.as_usize(),
            query_bytes_max: self.limits.query_bytes_max.as_usize(),
            batch_bytes_max: self.limits.batch_bytes_max.as_usize(),
            batch_queries_max: self.limits.batch_queries_max.as_usize(),
            entities_max: self.limits.entities_max.as_usize(),
            put_entities_max: self.limits.put_entities_max.as_usize(),
            ..service::Limits::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_defaults_are_those_of_the_modules() {
        let setup = Config::default().setup();
        let same = |ours: &dyn std::fmt::Debug, theirs: &dyn std::fmt::Debug| {
            assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
        };
        same(&setup.limits, &service::Limits::default());
        same(&setup.store, &embedded::Limits::default());
        same(&setup.journal, &journal::Settings::new("countersign-data"));
        same(&setup.policies, &engine::Settings::new("policies"));
        same(&setup.web, &web::Settings::default());
        same(&setup.retention, &Retention::default());
    }
}
