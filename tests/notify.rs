//! Notifications to receivers on real sockets: what arrives, under which id, what is tried again, and where nothing is sent.

#[path = "notify/chat.rs"]
mod chat;
#[path = "notify/email.rs"]
pub mod email;
#[path = "notify/receiver.rs"]
pub mod receiver;
#[path = "notify/rooms.rs"]
mod rooms;
#[path = "notify/slack.rs"]
mod slack;
#[path = "notify/teams.rs"]
mod teams;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use countersign::notify::{Retry, Settings, Target, TargetSettings};
use countersign::wire::pb;
use serde_json::{Value, json};
use tonic_health::pb::health_check_response::ServingStatus;

use self::receiver::{Receiver, Reply};
use crate::crash::child::{Child, Site};
use crate::support::client::{Client, export, long};
use crate::support::{Options, PolicyDir, TestServer};

pub const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// What the outbox keeps, and the secrets.
pub struct Outbox {
    pub dir: tempfile::TempDir,
    retry: Retry,
}

impl Outbox {
    pub fn new() -> Self {
        // Tests wait for what happens, never for a length of time.
        let first = Duration::from_millis(1);
        let retry = Retry { first, longest: 10 * first, probe: 10 * first, attempts_max: u32::MAX, ..Retry::default() };
        Self { dir: tempfile::tempdir().unwrap(), retry }
    }

    pub fn secret(&self, name: &str, text: &str) -> PathBuf {
        let file = self.dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    }

    /// A webhook that is told of everything and may be on this machine.
    fn webhook(&self, name: &str, url: &str) -> Value {
        let secret_file = self.secret("webhook.secret", SECRET);
        json!({"name": name, "kind": "webhook", "url": url, "secret_file": secret_file, "from": "low", "allow": ["127.0.0.0/8"]})
    }

    fn settings(&self, targets: &[Value]) -> Settings {
        let read = |target: &Value| serde_json::from_value::<TargetSettings>(target.clone()).unwrap();
        let targets = Target::read_all(&targets.iter().map(read).collect::<Vec<_>>()).unwrap();
        let inbox_url = Some("https://inbox.example/".to_owned());
        Settings { dir: self.dir.path().join("places"), targets, inbox_url, retry: self.retry.clone(), chat: None }
    }

    async fn serve(&self, targets: &[Value]) -> TestServer {
        TestServer::with(Options { notify: self.settings(targets), ..Options::default() }).await
    }

    fn place(&self, target: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.dir.path().join(format!("places/{target}.json"))).unwrap()).unwrap()
    }

    /// Returns once the outbox has written down so many dead letters.
    async fn given_up(&self, target: &str, count: usize) -> Vec<Value> {
        loop {
            let letters = self.place(target)["undelivered"].as_array().unwrap().clone();
            if letters.len() >= count {
                return letters;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// The agent asks for what people must countersign.
async fn asked(server: &TestServer) -> pb::Approval {
    let answer = server.client("report-bot").await.authorize(export()).await.unwrap();
    answer.approval.expect("an approval")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_told_of_every_step_without_the_parameters() {
    let (receiver, outbox) = (Receiver::start().await, Outbox::new());
    let server = outbox.serve(&[outbox.webhook("siem", &receiver.url())]).await;
    let approval = asked(&server).await;
    let opened = receiver.next().await;
    assert_eq!(opened.header("content-type"), "application/cloudevents+json; charset=utf-8");
    let event = opened.json();
    assert_eq!((&event["specversion"], &event["type"]), (&json!("1.0"), &json!("countersign.approval.opened.v1")));
    assert_eq!((&event["id"], &event["subject"]), (&json!(opened.header("webhook-id")), &json!(approval.id)));
    let data = &event["data"];
    assert_eq!((&data["principal"], &data["state"]), (&json!("Agent::\"report-bot\""), &json!("pending")));
    assert_eq!(data["link"], format!("https://inbox.example/approvals/{}", approval.id));
    assert!(!opened.text().contains("s3://partner") && !opened.text().contains("quarterly"), "{}", opened.text());
    server.client("alice").await.approve(&approval).await.unwrap();
    server.client("bob").await.approve(&approval).await.unwrap();
    let states = [receiver.next().await, receiver.next().await].map(|told| told.json()["type"].clone());
    assert_eq!(states, [json!("countersign.approval.reviewed.v1"), json!("countersign.approval.approved.v1")]);
    assert!(receiver.ids().iter().all(|id| id.starts_with("evt_")), "{:?}", receiver.ids());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_of_an_approval_is_part_of_the_trace_of_the_call_that_opened_it() {
    let (receiver, outbox) = (Receiver::start().await, Outbox::new());
    let server = outbox.serve(&[outbox.webhook("siem", &receiver.url())]).await;
    let token = format!("Bearer {}", server.token("report-bot"));
    let channel = tonic::transport::Endpoint::new(server.url()).unwrap().connect().await.unwrap();
    let sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let not_sampled = "00-0af7651916cd43dd8448eb211c80319d-b7ad6b7169203331-00";
    let asked = [(sampled, sampled, 1), (not_sampled, "", 2), ("00-0-", "", 3)];
    for (trace, told, rows) in asked {
        let agent = Client::with_headers(channel.clone(), Some(token.clone()), Some(trace));
        let mut query = export();
        query.context.insert("rows".into(), long(rows));
        let approval = agent.authorize(query).await.unwrap().approval.expect("an approval");
        server.client("alice").await.approve(&approval).await.unwrap();
        for step in ["opened", "reviewed"] {
            let got = receiver.next().await;
            assert_eq!(got.json()["type"], format!("countersign.approval.{step}.v1"));
            assert_eq!(got.header("traceparent"), told, "{trace}");
            assert_eq!(got.json()["traceparent"].as_str().unwrap_or_default(), told, "{trace}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_72_what_fails_is_sent_again_under_the_same_id_and_not_before_it_was_asked_for() {
    let (receiver, outbox) = (Receiver::start().await, Outbox::new());
    receiver.script([Reply::Status(500), Reply::RetryAfter(1), Reply::Status(200)]);
    let server = outbox.serve(&[outbox.webhook("siem", &receiver.url())]).await;
    asked(&server).await;
    let first = receiver.next().await;
    let second = receiver.next().await;
    let since = Instant::now();
    let third = receiver.next().await;
    assert!(since.elapsed() >= Duration::from_millis(900), "the endpoint asked for a second: {:?}", since.elapsed());
    let id = first.header("webhook-id");
    assert_eq!((second.header("webhook-id"), third.header("webhook-id")), (id.clone(), id));
    server.until_health("notify.siem", ServingStatus::Serving).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_72_news_is_given_up_at_the_deadline_and_what_follows_is_told() {
    let (receiver, outbox) = (Receiver::start().await, Outbox::new());
    receiver.otherwise(Reply::Status(503));
    let server = outbox.serve(&[outbox.webhook("siem", &receiver.url())]).await;
    let approval = asked(&server).await;
    assert_eq!(receiver.next().await.json()["type"], "countersign.approval.opened.v1");
    server.until_health("notify", ServingStatus::NotServing).await;
    server.advance(Duration::from_secs(15 * 60));
    let letters = outbox.given_up("siem", 1).await;
    let told = (&letters[0]["approval_id"], &letters[0]["event"], &letters[0]["why"]);
    assert_eq!(told, (&json!(approval.id), &json!("opened"), &json!("too old to be news")));
    receiver.otherwise(Reply::Status(200));
    while receiver.next().await.json()["type"] != "countersign.approval.expired.v1" {}
    server.until_health("notify", ServingStatus::Serving).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_72_after_the_last_attempt_a_message_is_a_dead_letter_and_so_is_one_that_is_refused() {
    let (receiver, mut outbox) = (Receiver::start().await, Outbox::new());
    outbox.retry.attempts_max = 3;
    receiver.script([Reply::Status(500), Reply::Status(500), Reply::Status(500), Reply::Status(422)]);
    let server = outbox.serve(&[outbox.webhook("siem", &receiver.url())]).await;
    let approval = asked(&server).await;
    server.client("report-bot").await.cancel(&approval.id).await.unwrap();
    let letters = outbox.given_up("siem", 2).await;
    let whys: Vec<_> = letters.iter().map(|letter| letter["why"].as_str().unwrap()).collect();
    assert_eq!(whys, ["the endpoint answered 500", "the endpoint answered 422"]);
    assert_eq!(receiver.ids().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_57_fault_73_a_redirect_is_not_followed() {
    let (receiver, elsewhere, mut outbox) = (Receiver::start().await, Receiver::start().await, Outbox::new());
    outbox.retry.attempts_max = 2;
    receiver.otherwise(Reply::Redirect(elsewhere.url()));
    let server = outbox.serve(&[outbox.webhook("siem", &receiver.url())]).await;
    asked(&server).await;
    let letters = outbox.given_up("siem", 1).await;
    assert_eq!(letters[0]["why"], "the endpoint answered 307");
    assert_eq!((receiver.ids().len(), elsewhere.ids().len()), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn case_57_fault_73_an_address_that_was_not_allowed_is_never_connected_to() {
    let (receiver, mut outbox) = (Receiver::start().await, Outbox::new());
    outbox.retry.attempts_max = 2;
    let port = receiver.port();
    let spellings = ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0177.0.0.1", "[::ffff:127.0.0.1]", "127.1"];
    let targets = spellings.iter().enumerate().map(|(number, host)| {
        let mut target = outbox.webhook(&format!("t{number}"), &format!("http://{host}:{port}/"));
        // Something else may be reached.
        target["allow"] = json!(["10.0.0.0/8"]);
        target
    });
    let targets: Vec<Value> = targets.collect();
    let server = outbox.serve(&targets).await;
    asked(&server).await;
    for (number, spelling) in spellings.iter().enumerate() {
        let why = outbox.given_up(&format!("t{number}"), 1).await[0]["why"].as_str().unwrap().to_owned();
        assert!(why.contains("is not on the public internet"), "{spelling}: {why}");
    }
    assert_eq!(receiver.ids().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_73_an_endpoint_that_never_answers_holds_up_nobody_else() {
    let (silent, receiver, outbox) = (Receiver::start().await, Receiver::start().await, Outbox::new());
    silent.otherwise(Reply::Never);
    let server = outbox.serve(&[outbox.webhook("a", &silent.url()), outbox.webhook("b", &receiver.url())]).await;
    let approval = asked(&server).await;
    silent.next().await;
    server.client("report-bot").await.cancel(&approval.id).await.unwrap();
    let types = [receiver.next().await, receiver.next().await].map(|told| told.json()["data"]["state"].clone());
    assert_eq!(types, [json!("pending"), json!("cancelled")]);
    assert_eq!(silent.ids().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_keeps_failing_counts_as_disabled_until_it_answers() {
    let (receiver, mut outbox) = (Receiver::start().await, Outbox::new());
    (outbox.retry.failures_max, outbox.retry.probe) = (3, Duration::from_millis(20));
    receiver.otherwise(Reply::Status(404));
    let server = outbox.serve(&[outbox.webhook("siem", &receiver.url())]).await;
    asked(&server).await;
    for _ in 0..5 {
        receiver.next().await;
    }
    server.until_health("notify.siem", ServingStatus::NotServing).await;
    receiver.otherwise(Reply::Status(204));
    server.until_health("notify.siem", ServingStatus::Serving).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_says_who_is_told_and_names_only_targets_that_there_are() {
    let (named, usual, outbox) = (Receiver::start().await, Receiver::start().await, Outbox::new());
    let mut privacy = outbox.webhook("privacy", &named.url());
    privacy.as_object_mut().unwrap().remove("from");
    let targets = [privacy, outbox.webhook("usual", &usual.url())];
    let gate = |notify: &str| {
        format!(
            "@id(\"told\") @approval(\"why\") @reviewers(\"User::\\\"frank\\\"\") {notify}\n\
             forbid (principal, action == Action::\"read\", resource == Dataset::\"weather\");"
        )
    };
    let policies = PolicyDir::shipped().and(&gate("@notify(\"privacy\")"));
    let options = Options { policies: policies.path().into(), notify: outbox.settings(&targets), ..Options::default() };
    let server = TestServer::with(options).await;
    let agent = server.client("report-bot").await;
    agent.authorize(crate::support::client::query("read", "Dataset", "weather")).await.unwrap();
    assert_eq!(named.next().await.json()["data"]["gates"][0]["id"], "told");
    asked(&server).await;
    assert_eq!(usual.next().await.json()["data"]["resource"], "Dataset::\"customers\"");
    assert_eq!((named.ids().len(), usual.ids().len()), (1, 1));
    let unknown = PolicyDir::shipped().and(&gate("@notify(\"privaci\")"));
    let mut settings = countersign::engine::Settings::new(unknown.path());
    assert!(countersign::engine::PolicySnapshot::load(&settings).is_ok(), "nothing is configured here");
    settings.notify_targets = vec!["privacy".into(), "usual".into()];
    let refused = countersign::engine::PolicySnapshot::load(&settings).unwrap_err().to_string();
    assert!(refused.contains("no `[[notify.targets]]` is named `privaci`; did you mean `privacy`?"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn escalations_and_reminders_are_recorded_and_told_once_each_when_they_are_due() {
    let (receiver, outbox) = (Receiver::start().await, Outbox::new());
    let gate = "@id(\"patient\") @approval(\"why\") @reviewers(\"User::\\\"frank\\\"\") @timeout(\"1h\")\n\
                @remind(\"2m, 4m, 20m\") @escalate(\"after 3m: User::\\\"alice\\\"; after 10m: User::\\\"bob\\\"\")\n\
                forbid (principal, action == Action::\"read\", resource == Dataset::\"weather\");";
    let policies = PolicyDir::shipped().and(gate);
    let notify = outbox.settings(&[outbox.webhook("siem", &receiver.url())]);
    let options = Options { policies: policies.path().into(), notify, ..Options::default() };
    let server = TestServer::with(options.clone()).await;
    let agent = server.client("report-bot").await;
    let asked = agent.authorize(crate::support::client::query("read", "Dataset", "weather")).await.unwrap();
    let asked = asked.approval.unwrap();
    let told = |state: Value| (state["type"].clone(), state["data"]["gates"][0]["reviewers"].clone());
    let kind = |name: &str| json!(format!("countersign.approval.{name}.v1"));
    let frank = "User::\"frank\"";
    assert_eq!(told(receiver.next().await.json()), (kind("opened"), json!([frank])));
    server.advance(Duration::from_secs(120));
    assert_eq!(told(receiver.next().await.json()), (kind("reminded"), json!([frank])));
    server.advance(Duration::from_secs(60));
    let first = receiver.next().await;
    assert_eq!(told(first.json()), (kind("escalated"), json!([frank, "User::\"alice\""])));
    // A server that was away tells what is news, and nothing twice: the reminder at 4m is older than the escalation at 10m.
    let (dir, clock) = server.stop().await;
    clock.advance(Duration::from_secs(8 * 60));
    let server = TestServer::on(dir, clock, options).await;
    let all = json!([frank, "User::\"alice\"", "User::\"bob\""]);
    let mut second = receiver.next().await;
    while second.header("webhook-id") == first.header("webhook-id") {
        // It stopped before it had written down that this was told.
        second = receiver.next().await;
    }
    assert_eq!(told(second.json()), (kind("escalated"), all));
    // They never decide, and who is late to write them down changes nothing for a vote.
    server.advance(Duration::from_secs(10 * 60));
    server.client("bob").await.approve(&asked).await.unwrap();
    let rest = [receiver.next().await.json()["type"].clone(), receiver.next().await.json()["type"].clone()];
    assert_eq!(rest, [kind("reminded"), kind("approved")]);
    let history = crate::cases::history(&server, &asked.id).await;
    assert_eq!(history, ["opened", "reminded", "escalated", "escalated", "reminded", "approved"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_glass_is_told_everywhere_whatever_the_gate_says() {
    let (receiver, outbox) = (Receiver::start().await, Outbox::new());
    let mut elsewhere = outbox.webhook("elsewhere", &receiver.url());
    elsewhere.as_object_mut().unwrap().remove("from");
    let gate = "@id(\"glassy\") @approval(\"why\") @reviewers(\"Group::\\\"privacy\\\"\") @break_glass(\"User::\\\"dave\\\"\")\n\
                forbid (principal, action == Action::\"read\", resource == Dataset::\"weather\");";
    let policies = PolicyDir::shipped().and(gate);
    let notify = outbox.settings(&[elsewhere]);
    let server = TestServer::with(Options { policies: policies.path().into(), notify, ..Options::default() }).await;
    let query = crate::support::client::query("read", "Dataset", "weather");
    let asked = server.client("report-bot").await.authorize(query).await.unwrap().approval.unwrap();
    let (approval_id, binding) = (asked.id.clone(), asked.binding.clone());
    let blow = pb::BreakGlassRequest {
        approval_id,
        binding,
        reason: "the <!channel> \u{202e} burns, says jane@example.com".into(),
    };
    server.client("dave").await.stub.clone().break_glass(blow).await.unwrap();
    let told = receiver.next().await.json();
    assert_eq!(
        (&told["type"], &told["data"]["state"]),
        (&json!("countersign.approval.broken_glass.v1"), &json!("approved"))
    );
    let words = told["data"]["broken_glass"].as_str().unwrap();
    assert!(words.starts_with("User::\"dave\" broke the glass") && words.contains("\\u{202e} burns"), "{words}");
    assert!(words.contains("***@example.com") && !words.contains("jane"), "{words}");
    assert!(words.contains("two others have to look at it"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn case_54_fault_72_the_inbox_says_where_nobody_was_told() {
    let (receiver, mut outbox) = (Receiver::start().await, Outbox::new());
    outbox.retry.attempts_max = 1;
    receiver.otherwise(Reply::Status(503));
    let notify = outbox.settings(&[outbox.webhook("privacy-room", &receiver.url())]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let clock = countersign::store::ManualClock::starting_at(countersign::domain::Timestamp::default().after(now));
    let options = Options { notify, inbox: Some(countersign::web::Settings::default()), ..Options::default() };
    let server = TestServer::on(tempfile::tempdir().unwrap(), clock, options).await;
    let approval = asked(&server).await;
    outbox.given_up("privacy-room", 1).await;
    let mut alice = crate::support::browser::Browser::new(server.inbox.as_ref().unwrap()).login("alice").await;
    let page = alice.get(&format!("/approvals/{}", approval.id)).await;
    assert!(page.says("Not delivered to <strong><bdi>privacy-room</bdi></strong>") && page.says("id=\"approve\""));
}

/// The server as a process, which tells one webhook.
pub async fn site(receiver: &Receiver, outbox: &Outbox) -> Site {
    let site = Site::new().await;
    let (places, secret) = (outbox.dir.path().join("places"), outbox.secret("webhook.secret", SECRET));
    let rest = format!(
        "\"{}\"\n[[notify.targets]]\nname = \"siem\"\nkind = \"webhook\"\nurl = \"{}\"\nsecret_file = \"{}\"\n\
         from = \"low\"\nallow = [\"127.0.0.0/8\"]\n",
        places.display(),
        receiver.url(),
        secret.display()
    );
    site.set("notify.dir", &rest);
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_19_what_a_kill_9_interrupts_is_sent_again_under_the_same_id() {
    let (receiver, outbox) = (Receiver::start().await, Outbox::new());
    let site = site(&receiver, &outbox).await;
    receiver.script([Reply::Never]);
    let mut child = Child::start(&site, &[]).await;
    let agent = Client::connect(&child.url, &site.token("report-bot")).await;
    let approval = agent.authorize(export()).await.unwrap().approval.unwrap();
    let interrupted = receiver.next().await;
    child.kill().await;
    let child = Child::start(&site, &[]).await;
    let agent = Client::connect(&child.url, &site.token("report-bot")).await;
    agent.cancel(&approval.id).await.unwrap();
    let again = receiver.next().await;
    assert_eq!(again.header("webhook-id"), interrupted.header("webhook-id"));
    assert_eq!(again.text(), interrupted.text());
    assert_eq!(receiver.next().await.json()["data"]["state"], "cancelled");
    child.terminate().await;
    let ids = receiver.ids();
    assert_eq!((ids.len(), ids[0] == ids[1], ids[1] == ids[2]), (3, true, false));
}
