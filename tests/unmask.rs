//! The life of a sealed token: made under one key, asked about by whom policy lets ask, countersigned under the next key and
//! after a restart, opened once, and gone with its key. What was opened for whom is on record, and the value is not.

use countersign::config::Masking;
use countersign::config::keys::{KeyPlace, KeySettings};
use countersign::config::masking::ProfileSettings;
use countersign::wire::pb;
use pb::Outcome;
use sha2::{Digest, Sha256};
use tonic::Code;

use crate::masking::{find, mask, may_unmask, profile, unmask, written};
use crate::support::client::{field, string};
use crate::support::{Options, PolicyDir, TestServer, sealed};

const VALUE: &str = "219-09-9999";
const GATE: &str = "@id(\"unmask\") @approval(\"Personal data is opened\") @reviewers(\"User::\\\"dave\\\"\") \
    forbid (principal, action == Countersign::Action::\"unmask\", resource);";

/// Keys by their ids, the first of which seals. A key is as long as it has to be, and its id over and over.
fn keys(dir: &tempfile::TempDir, ids: &[&str]) -> Masking {
    let key = |id: &&str| {
        let path = dir.path().join(id);
        std::fs::write(&path, id.bytes().cycle().take(32).map(|byte| format!("{byte:02x}")).collect::<String>())
            .unwrap();
        KeySettings { id: (*id).into(), from: KeyPlace::File(path.display().to_string()) }
    };
    let seal = ProfileSettings { name: "seal".into(), rules: "US_SSN:seal".into(), lenient: false };
    Masking { profiles: vec![seal], sealing_keys: ids.iter().map(key).collect(), ..Masking::default() }
}

fn under(policies: &PolicyDir, masking: Masking) -> Options {
    Options { policies: policies.path().into(), masking, ..Options::default() }
}

async fn token(server: &TestServer) -> String {
    let masked = mask(server, "report-bot", profile("seal"), &format!("SSN {VALUE}")).await.unwrap();
    masked.strip_prefix("SSN ").unwrap().to_owned()
}

fn outcome(answer: &pb::UnmaskResponse) -> (Outcome, &[String]) {
    (answer.decision.as_ref().unwrap().outcome(), &answer.values)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_opened_after_a_vote_a_restart_and_another_key_and_that_is_on_record() {
    let (policies, dir) = (may_unmask(GATE), tempfile::tempdir().unwrap());
    let server = TestServer::with(under(&policies, keys(&dir, &["old"]))).await;
    let token = token(&server).await;
    assert!(token.starts_with("<US_SSN:s1.old."), "{token}");
    let wanted = pb::UnmaskRequest { tokens: vec![token.clone()], ..pb::UnmaskRequest::default() };
    let pending = unmask(&server, "alice", wanted.clone()).await.unwrap();
    assert_eq!(outcome(&pending), (Outcome::Pending, &[][..]));
    let approval = pending.decision.unwrap().approval.unwrap();

    // Another key seals from now on; the old one opens.
    let server = server.restart_with(under(&policies, keys(&dir, &["new", "old"]))).await;
    assert!(self::token(&server).await.starts_with("<US_SSN:s1.new."));
    let refused = unmask(&server, "alice", wanted.clone()).await.unwrap();
    assert_eq!(outcome(&refused), (Outcome::Pending, &[][..]), "a restart is no vote");
    let dave = server.client("dave").await;
    let seen = dave.get(&approval.id).await.unwrap();
    assert!(!format!("{seen:?}").contains(VALUE), "who votes sees what kind it is, and not what it is");
    dave.approve(&approval).await.unwrap();

    let server = server.restart_with(under(&policies, keys(&dir, &["new", "old"]))).await;
    for who in ["frank", "report-bot"] {
        let denied = unmask(&server, who, wanted.clone()).await.unwrap();
        assert_eq!(outcome(&denied), (Outcome::Deny, &[][..]), "the approval is not for {who}");
    }
    let opened = unmask(&server, "alice", wanted.clone()).await.unwrap();
    assert_eq!(outcome(&opened), (Outcome::Allow, &[VALUE.to_owned()][..]));
    let decision = opened.decision.unwrap();
    let again = unmask(&server, "alice", wanted.clone()).await.unwrap();
    assert_eq!(outcome(&again), (Outcome::Pending, &[][..]), "a vote opens it once");

    // What was opened, for whom, by whose vote.
    let audited = server.client("erin").await.audit(pb::AuditRequest::default()).await.unwrap();
    assert!(!format!("{audited:?}").contains(VALUE));
    let allowed = audited.iter().find_map(|record| match &record.fact {
        Some(pb::record::Fact::Decided(decided)) if decided.decision_id == decision.decision_id => Some(decided),
        _ => None,
    });
    let allowed = allowed.unwrap();
    assert_eq!(allowed.action.as_ref().unwrap().id, "unmask");
    assert_eq!(allowed.principal.as_ref().unwrap().id, "alice");
    assert_eq!(allowed.approval_id, approval.id);
    let kinds = pb::value::Kind::Set(pb::value::Set { values: vec![string("US_SSN")] });
    assert_eq!(allowed.context["kinds"], pb::Value { kind: Some(kinds) });
    let mut digest = Sha256::new();
    digest.update((token.len() as u64).to_be_bytes());
    digest.update(&token);
    let digest: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(allowed.context["tokens"], string(&digest));
    let votes = server.client("erin").await.records_of(&approval.id).await;
    assert!(format!("{votes:?}").contains("dave"));

    // With its key a token is gone, for everybody.
    let server = server.restart_with(under(&policies, keys(&dir, &["new"]))).await;
    let refused = unmask(&server, "alice", wanted).await.unwrap_err();
    assert_eq!((refused.code(), field(&refused).as_str()), (Code::InvalidArgument, "tokens"));
    let (dir, _clock) = server.stop().await;
    assert!(!find(&written(dir.path()), VALUE.as_bytes()));
    // Nor does whoever has the journal's key find it there.
    let (vault, mut records) = (sealed::of_kept(&dir.path().join("journal")), 0);
    countersign::journal::replay(&dir.path().join("journal"), &mut |raw| {
        records += 1;
        assert!(!format!("{:?}", raw.parse(&vault).unwrap()).contains(VALUE));
    })
    .unwrap();
    assert!(records > 5, "{records}");
}
