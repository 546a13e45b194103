//! Every metric there is, by name. `docs/metrics.md` says what to make of them.

use std::fmt::Result;
use std::sync::atomic::{AtomicU64, Ordering};

use super::page::{Of, Page};
use super::traces::Meters as TraceMeters;
use crate::domain::Outcome;
use crate::grpc::meters::Meters as Connections;
use crate::identity::{self, Verifier};
use crate::journal::Log;
use crate::service::Service;
use crate::service::load::Load;
use crate::service::meters::Meters;
use crate::service::outbox::{Condition, TargetState};
use crate::store::Store;

pub fn about(page: &mut Page<'_>, service: &Service) -> Result {
    page.info("build", "The version of the server.", ("version", env!("CARGO_PKG_VERSION")))?;
    page.info("policy_set", "The policies in force.", ("digest", &service.digest().to_string()))
}

pub fn decisions(page: &mut Page<'_>, meters: &Meters) -> Result {
    let rows = meters
        .decisions()
        .map(|(outcome, reason, count)| ([("outcome", outcome_name(outcome)), ("reason", reason.code())], count));
    page.counters("decisions", "Durable answers to queries.", rows)?;
    page.durations(
        "decision_duration",
        "From the query to its durable answer, without waits for people.",
        &meters.answers,
    )?;
    page.durations("evaluation_duration", "The policies alone, for one answer.", &meters.evaluations)
}

fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Allow => "ALLOW",
        Outcome::Deny => "DENY",
        Outcome::Pending => "PENDING",
    }
}

pub fn approvals(page: &mut Page<'_>, meters: &Meters, store: &dyn Store) -> Result {
    page.gauge("approvals_pending", Of::Things, "Approvals that wait for people.", store.pending())?;
    let steps = meters.steps().map(|(step, count)| ([("step", step)], count));
    page.counters("approval_steps", "What happened to approvals at this server.", steps)?;
    let votes = [("approve", &meters.approving), ("reject", &meters.rejecting)];
    let votes = votes.map(|(verdict, counter)| ([("verdict", verdict)], counter.get()));
    page.counters("reviews", "Votes of people that counted.", votes)?;
    page.durations("expiry_lateness", "From a deadline until it is on record that it passed.", &meters.expiries)?;
    page.durations(
        "wakeup_lateness",
        "From the durable change of an approval until a call that waits for it goes on.",
        &meters.wake_ups,
    )
}

pub fn calls(page: &mut Page<'_>, service: &Service) -> Result {
    let (calls, bytes) = service.waiting();
    page.gauge("waits", Of::Things, "Calls that wait for people.", calls as u64)?;
    page.gauge("waits_held", Of::Bytes, "What queries that wait hold of memory.", bytes as u64)?;
    page.gauge("subscribers", Of::Things, "Streams of the journal's readers.", service.following() as u64)?;
    let refusals = service.meters().refusals().map(|(reason, count)| ([("reason", reason)], count));
    page.counters("refusals", "Calls and items that were not answered, by ErrorInfo.reason.", refusals)
}

pub fn load(page: &mut Page<'_>, load: &Load) -> Result {
    let rows = load.turned_away().map(|(kind, why, count)| ([("kind", kind.name()), ("reason", why.name())], count));
    page.counters("calls_turned_away", "Calls and queries that there was too much to do for.", rows)?;
    let under_way = load.under_way().map(|(kind, taken, _)| ([("kind", kind.name())], taken as f64));
    page.gauges("calls_under_way", Of::Things, "Calls that are worked on, without waits for people.", under_way)?;
    let most = load.under_way().map(|(kind, _, most)| ([("kind", kind.name())], most as f64));
    page.gauges("calls_under_way_limit", Of::Things, "Calls of a kind that may be worked on.", most)?;
    page.ratio(
        "calls_admitted",
        "Which part of decisions, searches and maskings is taken at the moment.",
        load.admitted(),
    )?;
    page.durations("queueing_duration", "From a call's arrival until it has a processor.", &load.meters.queueing)?;
    let (used, limit) = load.memory.usage().unwrap_or_default();
    page.gauge(
        "memory_used",
        Of::Bytes,
        "Memory in use that the kernel cannot take back; 0 where nothing limits it.",
        used,
    )?;
    page.gauge("memory_limit", Of::Bytes, "Memory that the control group may use; 0 where nothing limits it.", limit)?;
    page.gauge(
        "memory_low",
        Of::Things,
        "1 while nothing new is opened for want of memory.",
        u64::from(load.memory.is_low()),
    )
}

pub fn tokens(page: &mut Page<'_>, verifier: &Verifier) -> Result {
    let meters = verifier.meters();
    let how = [("remembered", &meters.remembered), ("examined", &meters.examined)];
    let how = how.map(|(how, counter)| ([("how", how)], counter.get()));
    page.counters("tokens_accepted", "Tokens that were accepted: known from before, or examined.", how)?;
    let refused = identity::refusal::Reason::ALL.iter().zip(meters.refused.all());
    let refused = refused.map(|(reason, count)| ([("reason", reason.code())], count));
    page.counters("tokens_refused", "Tokens that were refused.", refused)?;
    let issuers = verifier.health();
    let issuer = |name| [("issuer", name)];
    let keys = issuers.iter().map(|it| (issuer(&*it.name), it.keys as f64));
    page.gauges("issuer_keys", Of::Things, "Usable keys of an issuer; without any its tokens are refused.", keys)?;
    let ages = issuers.iter().filter_map(|it| Some((issuer(&*it.name), it.age?.as_secs_f64())));
    page.gauges("issuer_keys_age", Of::Seconds, "How long ago an issuer's keys were fetched.", ages)?;
    let fetches = issuers.iter().flat_map(|it| {
        let (fetched, failed) = it.fetches;
        let row = |result, count| ([("issuer", &*it.name), ("result", result)], count);
        [row("fetched", fetched), row("failed", failed)]
    });
    page.counters("issuer_key_fetches", "Attempts to fetch an issuer's keys.", fetches)
}

pub fn policies(page: &mut Page<'_>, service: &Service) -> Result {
    let refused = u64::from(service.refused_policies().is_some());
    page.gauge("policy_set_refused", Of::Things, "1 while the newest set in the directory is a broken one.", refused)?;
    page.gauge("policy_revision", Of::Things, "The revision in force: files and entities.", service.revision())?;
    let counters = service.reload_counters();
    let row = |result, counter: &AtomicU64| ([("result", result)], counter.load(Ordering::Relaxed));
    let rows = [
        row("loaded", &counters.loaded),
        row("refused", &counters.refused),
        row("unchanged", &counters.unchanged),
        row("failed", &counters.failed),
    ];
    page.counters("policy_reloads", "How reloads of the policies ended.", rows)
}

pub fn journal(page: &mut Page<'_>, log: &Log) -> Result {
    let meters = log.journal().meters();
    let (waiting, most) = log.journal().queue_bytes();
    page.counter("journal_records", Of::Things, "Records taken.", meters.records.get())?;
    page.counter("journal_written", Of::Bytes, "Bytes written.", meters.written_bytes.get())?;
    let refused = [("busy", &meters.busy), ("full", &meters.full), ("other", &meters.refused)];
    let refused = refused.map(|(reason, counter)| ([("reason", reason)], counter.get()));
    page.counters("journal_refusals", "Records that the journal did not take.", refused)?;
    page.gauge("journal_sequence", Of::Things, "The newest record that is on disk.", log.durable_through())?;
    page.gauge("journal_queue", Of::Bytes, "What waits for the writer.", waiting as u64)?;
    page.gauge("journal_queue_limit", Of::Bytes, "What may wait for the writer.", most as u64)?;
    page.durations("journal_batch_duration", "To write and sync records that go together.", &meters.batches)?;
    page.durations("journal_sync_duration", "The sync (fdatasync) alone.", &meters.syncs)
}

pub fn store(page: &mut Page<'_>, store: &dyn Store) -> Result {
    let meters = store.meters();
    let up = u64::from(store.trouble().is_none());
    page.gauge("store_up", Of::Things, "1 while approvals can be read and written.", up)?;
    page.durations("store_commit_duration", "Commits, the journal's part included.", &meters.commits)?;
    page.counter("store_conflicts", Of::Things, "Commits that somebody was faster than.", meters.conflicts.get())?;
    page.counter("store_failures", Of::Things, "Commits that could not be made.", meters.failures.get())?;
    let help = "Connections to a shared store that were given up.";
    page.counter("store_connections_lost", Of::Things, help, meters.connections_lost.get())
}

pub fn notifications(page: &mut Page<'_>, targets: &[TargetState]) -> Result {
    let row = |target: &str, result, count| ([("target", target.to_owned()), ("result", result)], count);
    let rows = targets.iter().flat_map(|it| {
        let counts = [("delivered", it.delivered), ("failed", it.failed), ("given_up", it.given_up)];
        counts.map(|(result, count)| row(&it.name, result.to_owned(), count))
    });
    page.counters("notifications", "Deliveries, failed attempts and dead letters of a target.", rows)?;
    let target = |name| [("target", name)];
    let behind = targets.iter().map(|it| (target(it.name.as_str()), it.behind_records as f64));
    page.gauges("notify_behind", Of::Things, "Records that a target was not told of yet.", behind)?;
    let trimmed = targets.iter().map(|it| (target(it.name.as_str()), it.trimmed_records));
    page.counters("notify_trimmed", "Records that retention removed before a target was told.", trimmed)?;
    let disabled = |it: &TargetState| if it.condition == Condition::Disabled { 1.0 } else { 0.0 };
    let disabled = targets.iter().map(|it| (target(it.name.as_str()), disabled(it)));
    page.gauges("notify_disabled", Of::Things, "1 while a target fails so often that it is only probed.", disabled)
}

pub fn connections(page: &mut Page<'_>, meters: &Connections) -> Result {
    page.gauge("connections", Of::Things, "Open connections of gRPC.", meters.open.get())?;
    page.counter("connections_accepted", Of::Things, "Connections taken.", meters.accepted.get())?;
    let help = "Connections that could not be taken: too many open files.";
    page.counter("connections_not_accepted", Of::Things, help, meters.not_accepted.get())?;
    let closed =
        [("no_place", &meters.turned_away), ("never_began", &meters.never_began), ("not_let_in", &meters.not_let_in)];
    let closed = closed.map(|(why, counter)| ([("reason", why)], counter.get()));
    let help = "Connections that were closed: without a place for them, without a beginning of HTTP/2, or of a local user who may not.";
    page.counters("connections_closed", help, closed)?;
    page.durations("tls_handshake_duration", "TLS handshakes that succeeded.", &meters.handshakes)?;
    let failed = [("failed", &meters.handshakes_failed), ("displaced", &meters.handshakes_displaced)];
    let failed = failed.map(|(how, counter)| ([("how", how)], counter.get()));
    page.counters("tls_handshake_failures", "TLS handshakes that failed, or gave way to newer ones.", failed)
}

pub fn spans(page: &mut Page<'_>, meters: &TraceMeters) -> Result {
    let rows = [("exported", &meters.exported), ("failed", &meters.failed), ("dropped", &meters.dropped)];
    let rows = rows.map(|(result, counter)| ([("result", result)], counter.get()));
    page.counters(
        "spans",
        "Spans of traced calls: delivered, not taken by the collector, without room in the queue.",
        rows,
    )?;
    page.gauge("spans_waiting", Of::Things, "Spans that wait to be delivered.", meters.waiting.get())
}

/// What must be zero for ever.
pub fn invariants(page: &mut Page<'_>, meters: &Meters, store: &dyn Store) -> Result {
    let rows = [
        ("allow_before_durable", &meters.violations.allow_before_durable),
        ("granted_without_grant", &meters.violations.granted_without_grant),
        ("contradicting_transition", &store.meters().contradictions),
    ];
    let rows = rows.map(|(invariant, counter)| ([("invariant", invariant)], counter.get()));
    page.counters("invariant_violations", "What must never be, and was refused: a bug. Zero for ever.", rows)
}
