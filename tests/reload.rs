//! Policies that change while the server runs: no answer is lost, none is mixed, and a broken set changes nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use countersign::wire::pb;
use pb::record::Fact;
use pb::{ApprovalState, Outcome, ReloadResult};
use tonic::{Code, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;

use crate::support::client::{export, export_by_id, field, query, reason, wait};
use crate::support::{Client, Options, PolicyDir, TestServer};

const FREEZE: &str = r#"@id("freeze") forbid (principal, action == Action::"read", resource);"#;
/// Nothing is waited for longer.
const PATIENCE: Duration = Duration::from_secs(60);

fn read() -> pb::AuthorizeRequest {
    query("read", "Dataset", "weather")
}

async fn watching(policies: &Path, interval: Duration) -> TestServer {
    TestServer::with(Options { policies: policies.into(), watch: Some(interval), ..Options::default() }).await
}

/// What happens from now on.
async fn events(server: &TestServer) -> Streaming<pb::Event> {
    let auditor = server.client("erin").await;
    auditor.stub.clone().subscribe(pb::SubscribeRequest::default()).await.unwrap().into_inner()
}

/// The next record of a reload.
async fn reloaded(events: &mut Streaming<pb::Event>) -> pb::PoliciesReloaded {
    reloaded_at(events).await.1
}

/// The same, with its place in the journal.
async fn reloaded_at(events: &mut Streaming<pb::Event>) -> (u64, pb::PoliciesReloaded) {
    let next = async {
        loop {
            let event = events.message().await.expect("a stream").expect("a server that lives");
            if let Some(pb::Record { sequence, fact: Some(Fact::PoliciesReloaded(reloaded)), .. }) = event.record {
                return (sequence, reloaded);
            }
        }
    };
    tokio::time::timeout(PATIENCE, next).await.expect("a reload")
}

/// The answer to reading, once the server knows of that change: on record is a moment earlier than in force.
async fn read_knowing(client: &Client, at_least_revision: u64) -> pb::AuthorizeResponse {
    loop {
        match client.authorize(pb::AuthorizeRequest { at_least_revision, ..read() }).await {
            Ok(answer) => return answer,
            Err(stale) => assert_eq!(reason(&stale), "policies_stale"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_43_a_broken_set_keeps_the_last_good_one_in_force_and_shows() {
    let policies = PolicyDir::extended();
    let server = policies.serve().await;
    let (admin, agent) = (server.admin().await, server.client("report-bot").await);
    let before = agent.authorize(read()).await.unwrap();
    let mut events = events(&server).await;

    policies.write("broken.cedar", "permit (principal, action");
    let answer = admin.reload().await.unwrap();
    assert_eq!((answer.result(), &answer.policy_digest), (ReloadResult::Refused, &before.policy_digest));
    assert!(answer.problems[0].contains("broken.cedar"), "{:?}", answer.problems);
    let after = agent.authorize(read()).await.unwrap();
    assert_eq!((after.outcome(), &after.policy_digest), (Outcome::Allow, &before.policy_digest));
    let record = reloaded(&mut events).await;
    assert!(record.refused && record.cause() == pb::ReloadCause::Request, "{record:?}");
    assert_ne!(record.policy_digest, record.previous_digest);
    assert_eq!((record.by.unwrap().uid.unwrap().id, record.problems), ("root".to_owned(), answer.problems));
    server.until_health("policies", ServingStatus::NotServing).await;
    assert_eq!(server.health("").await, ServingStatus::Serving, "the last good ones answer");

    policies.remove("broken.cedar");
    let mended = admin.reload().await.unwrap();
    assert_eq!((mended.result(), &mended.policy_digest), (ReloadResult::Unchanged, &before.policy_digest));
    server.until_health("policies", ServingStatus::Serving).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_set_is_in_force_once_the_reload_is_answered_and_on_record_before() {
    let policies = PolicyDir::extended();
    let server = policies.serve().await;
    let (admin, agent) = (server.admin().await, server.client("report-bot").await);
    let before = agent.authorize(read()).await.unwrap();
    policies.write("freeze.cedar", FREEZE);
    let loaded = admin.reload().await.unwrap();
    let after = agent.authorize(read()).await.unwrap();
    assert_eq!((loaded.result(), after.outcome(), &*after.reason), (ReloadResult::Loaded, Outcome::Deny, "forbidden"));
    assert_eq!((&after.policy_digest, after.policy_revision), (&loaded.policy_digest, loaded.policy_revision));
    assert!(before.policy_revision < after.policy_revision && before.policy_digest != after.policy_digest);
    let records = server.client("erin").await.audit(pb::AuditRequest::default()).await.unwrap();
    let record = records.iter().find(|record| record.sequence == loaded.policy_revision).unwrap();
    assert!(matches!(&record.fact, Some(Fact::PoliciesReloaded(reloaded)) if !reloaded.refused), "{record:?}");

    let again = admin.reload().await.unwrap();
    assert_eq!((again.result(), again.policy_revision), (ReloadResult::Unchanged, loaded.policy_revision));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_whom_policy_lets_administer_may_reload() {
    let server = PolicyDir::extended().serve().await;
    for who in ["report-bot", "alice", "erin"] {
        let refused =
            crate::support::Admin::connect(&server.url(), &server.token(who)).await.reload().await.unwrap_err();
        assert_eq!((refused.code(), &*reason(&refused)), (Code::PermissionDenied, "not_permitted"), "{who}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_44_a_file_that_is_written_renamed_or_removed_is_noticed() {
    let policies = PolicyDir::extended();
    let server = watching(policies.path(), Duration::from_secs(3_600)).await;
    let (agent, mut events) = (server.client("report-bot").await, events(&server).await);
    policies.write("freeze.cedar", FREEZE);
    let (at, frozen) = reloaded_at(&mut events).await;
    assert!(!frozen.refused && frozen.cause() == pb::ReloadCause::Watch, "{frozen:?}");
    assert_eq!(read_knowing(&agent, at).await.outcome(), Outcome::Deny);
    policies.write("freeze.cedar", "forbid (prin");
    assert!(reloaded(&mut events).await.refused);
    assert_eq!(agent.authorize(read()).await.unwrap().outcome(), Outcome::Deny, "the last good ones");
    let aside = policies.path().join(".freeze.swp");
    std::fs::write(&aside, format!("{FREEZE} // again")).unwrap();
    std::fs::rename(aside, policies.path().join("freeze.cedar")).unwrap();
    assert!(!reloaded(&mut events).await.refused);
    policies.remove("freeze.cedar");
    let (at, thawed) = reloaded_at(&mut events).await;
    assert!(!thawed.refused);
    assert_eq!(read_knowing(&agent, at).await.outcome(), Outcome::Allow);
}

/// A directory as Kubernetes mounts a ConfigMap: links to files through `..data`, which is swapped in one rename.
fn mount(dir: &Path, generation: &str, from: &PolicyDir) {
    let data = dir.join(format!("..{generation}"));
    std::fs::create_dir(&data).unwrap();
    for file in std::fs::read_dir(from.path()).unwrap() {
        let name = file.unwrap().file_name();
        std::fs::copy(from.path().join(&name), data.join(&name)).unwrap();
        let link = dir.join(&name);
        if link.symlink_metadata().is_err() {
            std::os::unix::fs::symlink(Path::new("..data").join(&name), link).unwrap();
        }
    }
    std::os::unix::fs::symlink(data.file_name().unwrap(), dir.join("..data_tmp")).unwrap();
    std::fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_44_a_swapped_config_map_is_one_change_and_no_half_of_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let plain = PolicyDir::shipped().and("// generation 1");
    mount(dir.path(), "1", &plain);
    let server = watching(dir.path(), Duration::from_secs(3_600)).await;
    let mut events = events(&server).await;
    let frozen = PolicyDir::shipped().and(&format!("{FREEZE} // generation 2"));
    mount(dir.path(), "2", &frozen);
    let (at, record) = reloaded_at(&mut events).await;
    assert!(!record.refused, "{record:?}");
    let answer = read_knowing(&server.client("report-bot").await, at).await;
    assert_eq!((answer.outcome(), &*answer.determining_policies), (Outcome::Deny, &["freeze".to_owned()][..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_the_system_does_not_tell_of_is_found_by_looking() {
    let dir = tempfile::tempdir().unwrap();
    let (plain, frozen) = (PolicyDir::shipped(), PolicyDir::shipped().and(FREEZE));
    // The watch is on what the link led to: nothing ever changes there.
    let link = dir.path().join("policies");
    std::os::unix::fs::symlink(plain.path(), &link).unwrap();
    let server = watching(&link, Duration::from_millis(50)).await;
    let mut events = events(&server).await;
    std::os::unix::fs::symlink(frozen.path(), dir.path().join("next")).unwrap();
    std::fs::rename(dir.path().join("next"), &link).unwrap();
    let (at, record) = reloaded_at(&mut events).await;
    assert!(!record.refused, "{record:?}");
    assert_eq!(read_knowing(&server.client("report-bot").await, at).await.outcome(), Outcome::Deny);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_46_a_server_that_is_behind_says_so_rather_than_answer() {
    let policies = PolicyDir::extended();
    let server = policies.serve().await;
    let (admin, agent) = (server.admin().await, server.client("report-bot").await);
    let now = agent.authorize(read()).await.unwrap().policy_revision;
    let demanding = |at_least_revision| pb::AuthorizeRequest { at_least_revision, ..read() };
    assert_eq!(agent.authorize(demanding(now)).await.unwrap().outcome(), Outcome::Allow);
    let stale = agent.authorize(demanding(now + 1)).await.unwrap_err();
    assert_eq!((stale.code(), &*reason(&stale)), (Code::FailedPrecondition, "policies_stale"));
    assert_eq!(field(&stale), "at_least_revision");
    policies.write("freeze.cedar", FREEZE);
    let loaded = admin.reload().await.unwrap().policy_revision;
    assert_eq!(agent.authorize(demanding(loaded)).await.unwrap().outcome(), Outcome::Deny);
    let server = server.restart().await;
    let agent = server.client("report-bot").await;
    assert_eq!(agent.authorize(demanding(loaded)).await.unwrap().outcome(), Outcome::Deny, "it grows over restarts");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_during_reloads_are_each_of_one_set_and_none_is_lost() {
    const RELOADS: usize = 40;
    let policies = PolicyDir::extended();
    let server = policies.serve().await;
    let admin = server.admin().await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let clients: Vec<Client> = futures_util::future::join_all((0..4).map(|_| server.client("report-bot"))).await;
    let workers: Vec<_> = clients
        .into_iter()
        .map(|client| {
            let stopped = stopped.clone();
            tokio::spawn(async move {
                let mut answers = Vec::new();
                while !*stopped.borrow() {
                    let answer = client.authorize(read()).await.expect("an answer");
                    let outcome = answer.outcome();
                    answers.push((answer.policy_digest, answer.policy_revision, outcome));
                }
                answers
            })
        })
        .collect();
    let mut sets = BTreeMap::new();
    for number in 0..RELOADS {
        let freeze = if number % 2 == 0 { FREEZE } else { "" };
        policies.write("freeze.cedar", &format!("{freeze} // {number}"));
        let loaded = admin.reload().await.unwrap();
        assert_eq!(loaded.result(), ReloadResult::Loaded);
        let outcome = if freeze.is_empty() { Outcome::Allow } else { Outcome::Deny };
        sets.insert(loaded.policy_digest, (loaded.policy_revision, outcome));
    }
    stop.send_replace(true);
    let mut seen = 0;
    for worker in workers {
        let answers = worker.await.unwrap();
        assert!(answers.is_sorted_by_key(|(_, revision, _)| *revision), "never back");
        for (digest, revision, outcome) in answers {
            // The set before the first reload permits.
            let expected = sets.get(&digest).copied().unwrap_or((revision, Outcome::Allow));
            assert_eq!((revision, outcome), expected, "{digest}");
            seen += 1;
        }
    }
    assert!(seen > RELOADS, "{seen} answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_no_longer_ask_is_not_answered_after_a_wait() {
    let policies = PolicyDir::extended();
    let server = policies.serve().await;
    let agent = server.client("report-bot").await;
    let approval = agent.authorize(export()).await.unwrap().approval.unwrap();
    let waiting = pb::AuthorizeRequest { wait: wait(Duration::from_secs(50)), ..export_by_id(&approval.id) };
    let mut waiting = std::pin::pin!(agent.authorize(waiting));
    // It waits: nothing was decided on it yet.
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut waiting).await.is_err());
    policies.write(
        "no-more.cedar",
        r#"forbid (principal == Agent::"report-bot", action == Countersign::Action::"authorize", resource);"#,
    );
    assert_eq!(server.admin().await.reload().await.unwrap().result(), ReloadResult::Loaded);
    server.client("alice").await.approve(&approval).await.unwrap();
    server.client("bob").await.approve(&approval).await.unwrap();
    let refused = waiting.await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::PermissionDenied, "not_permitted"));
    let approval = server.client("erin").await.get(&approval.id).await.unwrap();
    assert_eq!(approval.state(), ApprovalState::Approved, "nothing was used");
}

#[tokio::test(flavor = "multi_thread")]
async fn case_28_a_quorum_raised_while_people_decide_is_asked_for_anew_and_told_at_the_vote() {
    let policies = PolicyDir::extended();
    let server = policies.serve().await;
    let (admin, agent) = (server.admin().await, server.client("report-bot").await);
    let before = agent.authorize(export()).await.unwrap().approval.unwrap();
    let alice = server.client("alice").await;
    let text = std::fs::read_to_string(policies.path().join("warehouse.cedar")).unwrap();
    policies.write("warehouse.cedar", &text.replacen("@quorum(\"2\")", "@quorum(\"3\")", 1));
    assert_eq!(admin.reload().await.unwrap().result(), ReloadResult::Loaded);

    let told = alice.approve(&before).await.unwrap_err();
    assert_eq!((told.code(), &*reason(&told)), (Code::FailedPrecondition, "requirement_raised"));
    let asked = agent.authorize(export_by_id(&before.id)).await.unwrap();
    let after = asked.approval.clone().unwrap();
    assert_eq!(asked.outcome(), Outcome::Pending);
    assert!(after.id != before.id && after.gates[0].gate.as_ref().unwrap().quorum == 3);
    let again = agent.authorize(export()).await.unwrap().approval.unwrap();
    assert_eq!(again.id, after.id, "asked for once");
    for who in ["alice", "bob"] {
        server.client(who).await.approve(&after).await.unwrap();
        assert_eq!(agent.authorize(export_by_id(&after.id)).await.unwrap().outcome(), Outcome::Pending, "{who}");
    }
    let outgrown = alice.reject(&before).await.unwrap();
    assert_eq!(outgrown.state(), ApprovalState::Rejected, "a no counts whatever is required");
}

#[tokio::test(flavor = "multi_thread")]
async fn case_29_a_gate_that_goes_while_another_comes_holds_for_what_is_pending() {
    let policies = PolicyDir::extended();
    let server = policies.serve().await;
    let (admin, agent) = (server.admin().await, server.client("report-bot").await);
    let before = agent.authorize(export()).await.unwrap().approval.unwrap();
    let text = std::fs::read_to_string(policies.path().join("warehouse.cedar")).unwrap();
    policies.write("warehouse.cedar", &text.replacen("when { resource.pii };", "when { false };", 1));
    policies.write(
        "legal.cedar",
        r#"@id("legal") @approval("Legal looks") @reviewers("Group::\"legal\"")
           forbid (principal, action == Action::"export", resource is Dataset);"#,
    );
    assert_eq!(admin.reload().await.unwrap().result(), ReloadResult::Loaded);
    let after = agent.authorize(export()).await.unwrap().approval.unwrap();
    let gates: Vec<_> = after.gates.iter().map(|status| status.gate.as_ref().unwrap().id.clone()).collect();
    assert_eq!((gates, after.id != before.id), (vec!["export-pii".to_owned(), "legal".to_owned()], true));
}
