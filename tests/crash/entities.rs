//! Entities are put and deleted while the process dies: what was acknowledged stands in every life after. And SIGHUP, which
//! only a process of its own can be sent.

use std::collections::BTreeMap;

use countersign::wire::pb;
use rustix::process::{Signal, kill_process};

use super::child::{Child, Site};
use crate::support::client::uid;
use crate::support::random::Random;
use crate::support::{Admin, Client, PolicyDir};

const KILLS: usize = 6;
const ALICE_ADMINISTERS: &str =
    r#"permit (principal == User::"alice", action == Countersign::Action::"administer", resource);"#;

fn entity(id: &str, group: u64) -> pb::Entity {
    let parents = vec![uid("Group", &group.to_string())];
    pb::Entity { uid: Some(uid("User", id)), parents, ..pb::Entity::default() }
}

async fn known(admin: &Admin) -> BTreeMap<String, String> {
    let (mut known, mut after) = (BTreeMap::new(), None);
    loop {
        let page = admin.list(pb::ListEntitiesRequest { after, ..Default::default() }).await.unwrap();
        known.extend(page.entities.iter().map(|one| (one.uid.clone().unwrap().id, one.parents[0].id.clone())));
        after = page.next_after;
        if after.is_none() {
            return known;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_loses_no_entity_that_was_acknowledged() {
    let policies = PolicyDir::shipped().and(ALICE_ADMINISTERS);
    let site = Site::new().await.under(policies.path());
    let mut random = Random::new(7);
    // What stands by the acknowledgements; and what was sent last and not acknowledged, which may stand or not.
    let mut expected = BTreeMap::<String, String>::new();
    let mut open: Option<(String, Option<String>)> = None;
    for round in 0..=KILLS {
        let mut child = Child::start(&site, &[]).await;
        let admin = connect(&child.url, &site).await;
        let mut found = known(&admin).await;
        if let Some((id, sent)) = open.take() {
            let (was, is) = (expected.get(&id).cloned(), found.get(&id).cloned());
            assert!(is == was || is == sent, "{id}: {was:?} or {sent:?}, not {is:?}");
            found.remove(&id);
            expected.remove(&id);
            let kept = is.map(|group| (id, group));
            assert_eq!(found, expected, "round {round}");
            expected.extend(kept);
        } else {
            assert_eq!(found, expected, "round {round}");
        }
        let (pid, last) = (child.pid, random.between(5, 40));
        for number in 0.. {
            let id = random.below(20).to_string();
            let group = random.below(1_000);
            let sent = (random.below(4) > 0).then(|| group.to_string());
            if number == last {
                // While the next one is on its way.
                kill_process(pid, Signal::KILL).unwrap();
            }
            let acknowledged = match &sent {
                Some(_) => admin.put(vec![entity(&id, group)]).await.is_ok(),
                None => admin.delete(vec![uid("User", &id)]).await.is_ok(),
            };
            if !acknowledged {
                open = Some((id, sent));
                break;
            }
            match sent {
                Some(group) => drop(expected.insert(id, group)),
                None => drop(expected.remove(&id)),
            }
        }
        child.died().await;
    }
}

/// Answered as soon as the server has its issuer's keys.
async fn connect(url: &str, site: &Site) -> Admin {
    let admin = Admin::connect(url, &site.token("alice")).await;
    while let Err(status) = admin.list(pb::ListEntitiesRequest::default()).await {
        assert_eq!(status.code(), tonic::Code::Unavailable, "{status}");
        tokio::task::yield_now().await;
    }
    admin
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_loads_the_policies_again() {
    let policies = PolicyDir::shipped().and(ALICE_ADMINISTERS);
    let site = Site::new().await.under(policies.path());
    site.set("policy.watch", "false");
    let child = Child::start(&site, &[]).await;
    connect(&child.url, &site).await;
    let auditor = Client::connect(&child.url, &site.token("erin")).await;
    let mut events = auditor.stub.clone().subscribe(pb::SubscribeRequest::default()).await.unwrap().into_inner();
    policies.write("freeze.cedar", r#"@id("freeze") forbid (principal, action == Action::"read", resource);"#);
    kill_process(child.pid, Signal::HUP).unwrap();
    let reloaded = loop {
        let record = events.message().await.unwrap().unwrap().record;
        if let Some(pb::record::Fact::PoliciesReloaded(reloaded)) = record.and_then(|record| record.fact) {
            break reloaded;
        }
    };
    assert_eq!((reloaded.cause(), reloaded.refused), (pb::ReloadCause::Signal, false));
    child.terminate().await;
}
