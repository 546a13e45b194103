//! Slack: one message for an approval, changed on every step, whichever life of the server posted it.

use serde_json::{Value, json};
use tonic_health::pb::health_check_response::ServingStatus;

use super::receiver::{Receiver, Reply};
use super::{Outbox, asked};
use crate::support::{Options, PolicyDir, TestServer};

fn target(outbox: &Outbox, receiver: &Receiver) -> Value {
    let secret_file = outbox.secret("slack.token", "xoxb-1-secret\n");
    json!({"name": "room", "kind": "slack", "url": format!("{}api/", receiver.url()), "secret_file": secret_file,
        "channel": "C1", "from": "low", "allow": ["127.0.0.0/8"]})
}

fn posted(ts: &str) -> Reply {
    Reply::Json(json!({"ok": true, "channel": "C1X", "ts": ts}))
}

fn refused(error: &str) -> Reply {
    Reply::Json(json!({"ok": false, "error": error}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_changed_on_every_step_also_after_a_restart() {
    let (receiver, outbox) = (Receiver::start().await, Outbox::new());
    receiver.script([posted("11.1")]);
    receiver.otherwise(Reply::Json(json!({"ok": true, "channel": "C1X", "ts": "11.1"})));
    let server = outbox.serve(&[target(&outbox, &receiver)]).await;
    let approval = asked(&server).await;
    let first = receiver.next().await;
    assert_eq!((&*first.path, first.header("authorization")), ("/api/chat.postMessage", "Bearer xoxb-1-secret".into()));
    assert_eq!(first.json()["channel"], "C1");
    assert!(!first.text().contains("s3://partner") && !first.text().contains("quarterly"), "{}", first.text());
    while outbox.place("room")["posted"][&approval.id]["ts"] != "11.1" {
        tokio::task::yield_now().await;
    }
    let server = server.restart().await;
    server.client("report-bot").await.cancel(&approval.id).await.unwrap();
    let changed = receiver.next().await;
    let place = (&changed.json()["channel"], &changed.json()["ts"]);
    assert_eq!((&*changed.path, place), ("/api/chat.update", (&json!("C1X"), &json!("11.1"))));
    assert!(changed.text().contains("state: cancelled"), "{}", changed.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_72_a_limit_or_a_wrong_token_is_tried_again_and_a_deleted_message_posted_anew() {
    let (receiver, outbox) = (Receiver::start().await, Outbox::new());
    receiver.script([
        Reply::RetryAfter(0),
        refused("invalid_auth"),
        posted("1.1"),
        refused("message_not_found"),
        posted("2.2"),
    ]);
    receiver.otherwise(posted("9.9"));
    let server = outbox.serve(&[target(&outbox, &receiver)]).await;
    let approval = asked(&server).await;
    for _ in 0..3 {
        assert_eq!(receiver.next().await.path, "/api/chat.postMessage");
    }
    server.client("report-bot").await.cancel(&approval.id).await.unwrap();
    assert_eq!(receiver.next().await.path, "/api/chat.update");
    assert_eq!(receiver.next().await.path, "/api/chat.postMessage");
    while outbox.place("room")["posted"][&approval.id]["ts"] != "2.2" {
        tokio::task::yield_now().await;
    }
    server.until_health("notify.room", ServingStatus::Serving).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_asked_as_well_is_told_below_the_message_and_in_the_channel() {
    let (receiver, outbox) = (Receiver::start().await, Outbox::new());
    receiver.otherwise(posted("11.1"));
    let server = outbox.serve(&[target(&outbox, &receiver)]).await;
    asked(&server).await;
    assert_eq!(receiver.next().await.path, "/api/chat.postMessage");
    while outbox.place("room")["posted"].as_object().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    server.advance(std::time::Duration::from_secs(300));
    assert_eq!(receiver.next().await.path, "/api/chat.update");
    let reply = receiver.next().await;
    assert_eq!((&*reply.path, &reply.json()["thread_ts"]), ("/api/chat.postMessage", &json!("11.1")));
    assert_eq!(reply.json()["reply_broadcast"], true);
    assert!(reply.text().contains("privacy-leads"), "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn case_54_a_room_that_is_gone_stops_neither_another_target_nor_the_clock() {
    let (room, receiver, mut outbox) = (Receiver::start().await, Receiver::start().await, Outbox::new());
    outbox.retry.attempts_max = 1;
    room.otherwise(refused("is_archived"));
    let groups: Vec<String> = (1..=25).map(|number| format!("Group::\\\"team:{number}, <!here>\\\"")).collect();
    let gate = format!(
        "@id(\"many\") @approval(\"why\") @reviewers(\"{}\") @timeout(\"5m\")\n\
         forbid (principal, action == Action::\"read\", resource == Dataset::\"weather\");",
        groups.join(", ")
    );
    let policies = PolicyDir::shipped().and(&gate);
    let notify = outbox.settings(&[target(&outbox, &room), outbox.webhook("siem", &receiver.url())]);
    let server = TestServer::with(Options { policies: policies.path().into(), notify, ..Options::default() }).await;
    let query = crate::support::client::query("read", "Dataset", "weather");
    let agent = server.client("report-bot").await;
    let approval = agent.authorize(query).await.unwrap().approval.unwrap();
    let posted = room.next().await;
    assert!(!posted.text().contains("<!here>"), "a group's name pings nobody: {}", posted.text());
    let told = receiver.next().await.json();
    assert_eq!(told["data"]["gates"][0]["reviewers"].as_array().unwrap().len(), 25);
    let letters = outbox.given_up("room", 1).await;
    assert!(letters[0]["why"].as_str().unwrap().contains("is_archived"), "{letters:?}");
    server.advance(std::time::Duration::from_secs(300));
    assert_eq!(receiver.next().await.json()["data"]["state"], "expired");
    assert_eq!(agent.get(&approval.id).await.unwrap().state(), countersign::wire::pb::ApprovalState::Expired);
}
