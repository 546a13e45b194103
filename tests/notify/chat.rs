//! Deciding by buttons in Slack: who may, what is proved, and what a click never does. Slack is a receiver on a real socket;
//! what it sends is signed as Slack signs it.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use countersign::domain::{Severity, StepUp};
use countersign::notify::{ChatSettings, Settings, SlackApp};
use countersign::service::chat::Chat;
use countersign::store::ManualClock;
use countersign::wire::pb;
use serde_json::{Value, json};

use super::receiver::{Receiver, Reply};
use super::{Outbox, rooms};
use crate::support::browser::Browser;
use crate::support::{Options, PolicyDir, TestServer};

const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
/// Agents with a person's token, which says nothing of the agent's groups.
const DELEGATES: &str = "@id(\"d1\") permit (principal is Agent, action == Action::\"export\", resource);\n\
                         @id(\"d2\") permit (principal is Agent, action == Countersign::Action::\"authorize\", \
                         resource == Countersign::Service::\"countersign\");";

/// A channel with buttons, and a server that tells it.
struct Room {
    slack: Receiver,
    outbox: Outbox,
    policies: PolicyDir,
    clock: ManualClock,
    server: TestServer,
    http: reqwest::Client,
    requests: u32,
}

fn settings(outbox: &Outbox, slack: &Receiver) -> Settings {
    let token = outbox.secret("slack.token", "xoxb-1-secret\n");
    let target = json!({"name": "room", "kind": "slack", "url": format!("{}api/", slack.url()), "secret_file": token,
        "channel": "C1", "from": "low", "allow": ["127.0.0.0/8"], "buttons": true});
    let chat = ChatSettings {
        dir: outbox.dir.path().join("chat"),
        key_file: outbox.secret("chat.key", &STANDARD.encode([7; 32])),
        up_to: Severity::Medium,
        slack: Some(SlackApp {
            workspace: "T1".to_owned(),
            signing_secret_file: outbox.secret("slack.signing", &format!("{SECRET}\n")),
        }),
    };
    Settings { chat: Some(chat), ..outbox.settings(&[target]) }
}

impl Room {
    async fn open() -> Self {
        let (slack, outbox) = (Receiver::start().await, Outbox::new());
        slack.otherwise(Reply::Json(json!({"ok": true, "channel": "C1", "ts": "11.1"})));
        let clock = rooms::clock();
        let policies = PolicyDir::shipped().and(rooms::GATE).and(DELEGATES);
        let options = rooms::options(&policies, settings(&outbox, &slack));
        let server = TestServer::on(tempfile::tempdir().unwrap(), clock.clone(), options).await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { slack, outbox, policies, clock, server, http, requests: 0 }
    }

    fn options(&self) -> Options {
        rooms::options(&self.policies, settings(&self.outbox, &self.slack))
    }

    async fn restarted(self, options: Options) -> Self {
        let Self { slack, outbox, policies, clock, server, http, requests } = self;
        let server = server.restart_with(options).await;
        Self { slack, outbox, policies, clock, server, http, requests }
    }

    fn inbox(&self) -> &str {
        self.server.inbox.as_ref().unwrap()
    }

    async fn browser(&self, who: &str) -> Browser {
        Browser::new(self.inbox()).login(who).await
    }

    /// The next call of this method that was not looked at yet.
    async fn until(&self, method: &str) -> Value {
        self.slack.until(&format!("/api/{method}")).await.json()
    }

    /// Somebody wants to send the weather there; the message and the approval.
    async fn asked(&mut self, destination: &str) -> (pb::Approval, Value) {
        let approval = rooms::asked(&self.server, destination).await;
        // After a restart an earlier message may be sent again.
        loop {
            let message = self.until("chat.postMessage").await;
            if message.to_string().contains(&approval.id) {
                return (approval, message);
            }
        }
    }

    async fn send(&mut self, payload: &Value) -> u16 {
        let body = reqwest::Url::parse_with_params("http://form", [("payload", payload.to_string())]).unwrap();
        self.send_body(body.query().unwrap().to_owned()).await
    }

    /// As Slack would, a second after the last time.
    async fn send_body(&mut self, body: String) -> u16 {
        self.requests += 1;
        let at = self.clock.wall().as_seconds() - i64::from(self.requests);
        let signature = signature(SECRET, &at.to_string(), &body);
        self.post(&at.to_string(), &signature, &body).await
    }

    async fn post(&self, at: &str, signature: &str, body: &str) -> u16 {
        let request = self.http.post(format!("{}/slack/interactions", self.inbox()));
        let request = request
            .header("x-slack-request-timestamp", at)
            .header("x-slack-signature", signature)
            .header("content-type", "application/x-www-form-urlencoded");
        request.body(body.to_owned()).send().await.unwrap().status().as_u16()
    }

    /// Presses a button; what is whispered back.
    async fn press(&mut self, user: &str, button: &str) -> Value {
        assert_eq!(self.send(&click(user, button)).await, 200);
        self.until("chat.postEphemeral").await
    }

    /// Links the account as a person would.
    async fn link(&mut self, user: &str, who: &str) {
        let code = rooms::link_code(&self.server, who).await;
        assert_eq!(self.send(&submit(user, "countersign_code", "room", &code)).await, 200);
        let said = self.until("chat.postEphemeral").await;
        assert!(said["text"].as_str().unwrap().starts_with("This account is linked"), "{said}");
    }

    async fn now(&self, approval: &pb::Approval) -> pb::Approval {
        self.server.client("alice").await.get(&approval.id).await.unwrap()
    }
}

fn signature(secret: &str, at: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("v0:{at}:{body}").as_bytes());
    format!("v0={}", tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn click(user: &str, button: &str) -> Value {
    json!({"type": "block_actions", "user": {"id": user, "team_id": "T1"}, "team": {"id": "T1"}, "trigger_id": "13.37",
        "actions": [{"action_id": "countersign_approve", "value": button}]})
}

fn submit(user: &str, form: &str, metadata: &str, written: &str) -> Value {
    json!({"type": "view_submission", "user": {"id": user, "team_id": "T1"}, "team": {"id": "T1"},
        "view": {"callback_id": form, "private_metadata": metadata,
            "state": {"values": {"text": {"text": {"type": "plain_text_input", "value": written}}}}}})
}

/// The ids of a message's buttons: approve, reject.
fn buttons(message: &Value) -> Option<[String; 2]> {
    let blocks = message["blocks"].as_array().unwrap();
    let actions = blocks.iter().find(|block| block["type"] == "actions")?;
    Some([0, 1].map(|number| actions["elements"][number]["value"].as_str().unwrap().to_owned()))
}

fn said(whisper: &Value) -> &str {
    assert_eq!(whisper["channel"], "C1");
    whisper["text"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_74_two_linked_people_decide_by_button_and_the_record_says_how() {
    let mut room = Room::open().await;
    let (approval, message) = room.asked("s3://partner").await;
    let [approve, _] = buttons(&message).expect("buttons");
    let text = message.to_string();
    assert!(text.contains("destination: \\\"s3://partner\\\"") && text.contains(&approval.binding), "{text}");
    assert!(approve.len() < 2_000 && !approve.contains(&approval.id[4..]), "{approve}");
    // Nobody knows the account: it is told how to be linked, and nothing is decided.
    let whisper = room.press("UALICE", &approve).await;
    assert!(said(&whisper).contains("linked with nobody") && whisper["user"] == "UALICE", "{whisper}");
    assert!(whisper.to_string().contains("https://inbox.example/link"), "{whisper}");
    assert!(room.now(&approval).await.reviews.is_empty());
    room.link("UALICE", "alice").await;
    room.link("UBOB", "bob").await;
    assert_eq!(said(&room.press("UALICE", &approve).await), "Your vote counts. It is pending now.");
    let [again, _] = buttons(&room.until("chat.update").await).expect("buttons for the second");
    assert_ne!(again, approve);
    assert_eq!(said(&room.press("UBOB", &again).await), "Your vote counts. It is approved now.");
    assert_eq!(buttons(&room.until("chat.update").await), None, "nothing to decide any more");
    let reviews = room.now(&approval).await.reviews;
    assert_eq!(reviews.len(), 2);
    let alice = reviews[0].reviewer.as_ref().unwrap();
    let credential = alice.credential.as_ref().unwrap();
    assert_eq!((alice.proof_method(), alice.authenticated_at_micros), (pb::ProofMethod::Chat, 0));
    assert_eq!((&*alice.uid.as_ref().unwrap().id, &*credential.client), ("alice", "slack:T1/UALICE"));
    assert!(credential.token_id.starts_with("linked at 20"), "{}", credential.token_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_46_what_is_not_signed_by_slack_lately_and_for_the_first_time_decides_nothing() {
    let mut room = Room::open().await;
    room.link("UALICE", "alice").await;
    let (approval, message) = room.asked("s3://partner").await;
    let [approve, _] = buttons(&message).unwrap();
    let form = |payload: String| {
        let url = reqwest::Url::parse_with_params("http://form", [("payload", payload)]).unwrap();
        url.query().unwrap().to_owned()
    };
    let body = form(click("UALICE", &approve).to_string());
    let now = room.clock.wall().as_seconds();
    let at = |seconds: i64| (now + seconds).to_string();
    let (here, old, early) = (at(0), at(-301), at(301));
    let good = signature(SECRET, &here, &body);
    // The same, written by another hand: what was signed is bytes.
    let rewritten = form(serde_json::to_string_pretty(&click("UALICE", &approve)).unwrap());
    for (what, at, signature, body) in [
        ("nothing", "", String::new(), &body),
        ("unsigned", &*here, String::new(), &body),
        ("by others", &*here, signature("another secret of nobody", &here, &body), &body),
        ("of another time", &*old, good.clone(), &body),
        ("old", &*old, signature(SECRET, &old, &body), &body),
        ("early", &*early, signature(SECRET, &early, &body), &body),
        ("rewritten", &*here, good.clone(), &rewritten),
        ("without a key", &*here, signature("", &here, &body), &body),
    ] {
        assert_eq!(room.post(at, &signature, body).await, 401, "{what}");
    }
    assert!(room.now(&approval).await.reviews.is_empty());
    assert_eq!(room.post(&here, &good, &body).await, 200);
    assert_eq!(said(&room.until("chat.postEphemeral").await), "Your vote counts. It is pending now.");
    assert_eq!(room.post(&here, &good, &body).await, 401, "replayed");
    let large = "x".repeat(600 << 10);
    assert_eq!(room.post(&here, &signature(SECRET, &here, &large), &large).await, 413);
    assert_eq!(room.now(&approval).await.reviews.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_3_a_button_is_good_once_and_a_repeated_click_is_one_vote() {
    let mut room = Room::open().await;
    room.link("UALICE", "alice").await;
    room.link("UBOB", "bob").await;
    let (approval, message) = room.asked("s3://partner").await;
    let [approve, reject] = buttons(&message).unwrap();
    room.press("UALICE", &approve).await;
    assert_eq!(said(&room.press("UALICE", &approve).await), "Your vote counts. It is pending now.", "the same vote");
    // Bob looks at a message that is not how things are any more.
    let late = room.press("UBOB", &approve).await;
    assert!(said(&late).contains("it changed since this message was written"), "{late}");
    assert_eq!(room.send(&submit("UBOB", "countersign_comment", &reject, "no")).await, 200);
    assert!(said(&room.until("chat.postEphemeral").await).contains("it changed"), "the other button as well");
    let now = room.now(&approval).await;
    assert_eq!((now.reviews.len(), now.state()), (1, pb::ApprovalState::Pending));
}

#[tokio::test(flavor = "multi_thread")]
async fn case_52_a_button_works_after_a_restart_and_a_stale_one_tells_what_really_happened() {
    let mut room = Room::open().await;
    room.link("UALICE", "alice").await;
    let (approval, message) = room.asked("s3://partner").await;
    let [approve, _] = buttons(&message).unwrap();
    let options = room.options();
    let mut room = room.restarted(options).await;
    assert_eq!(said(&room.press("UALICE", &approve).await), "Your vote counts. It is pending now.");
    let [again, _] = loop {
        if let Some(ids) = buttons(&room.until("chat.update").await) {
            break ids;
        }
    };
    // Bob rejects elsewhere, before her screen shows it.
    room.link("UBOB", "bob").await;
    room.server.client("bob").await.reject(&approval).await.unwrap();
    let stale = room.press("UALICE", &again).await;
    assert!(said(&stale).contains("Your vote counts. It is rejected now."), "{stale}");
    assert_eq!(room.now(&approval).await.state(), pb::ApprovalState::Rejected);
    let (expired, message) = room.asked("s3://other").await;
    let [approve, _] = buttons(&message).unwrap();
    // All votes are too late from the deadline on, and the login is not what is wrong with them.
    room.clock.advance(Duration::from_secs(7 * 3_600));
    room.server.client("report-bot").await.cancel(&expired.id).await.unwrap();
    let late = room.press("UALICE", &approve).await;
    assert!(said(&late).contains("the approval is already cancelled"), "{late}");
}

#[tokio::test(flavor = "multi_thread")]
async fn case_33_nobody_countersigns_their_own_from_a_linked_account() {
    let mut room = Room::open().await;
    room.link("UALICE", "alice").await;
    let agent = room.server.delegated("report-bot", "alice").await;
    let approval = agent.authorize(rooms::weather("s3://partner")).await.unwrap().approval.unwrap();
    let [approve, _] = buttons(&room.until("chat.postMessage").await).unwrap();
    let own = room.press("UALICE", &approve).await;
    assert!(said(&own).contains("nobody countersigns an action of their own"), "{own}");
    let bob = room.server.client("bob").await;
    assert!(bob.get(&approval.id).await.unwrap().reviews.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_74_whoever_may_not_review_decides_nothing_by_a_click() {
    let mut room = Room::open().await;
    room.link("UFRANK", "frank").await;
    let (approval, message) = room.asked("s3://partner").await;
    let [approve, reject] = buttons(&message).unwrap();
    let refused = room.press("UFRANK", &approve).await;
    assert!(said(&refused).starts_with("Nothing was decided"), "{refused}");
    assert_eq!(room.send(&submit("UFRANK", "countersign_comment", &reject, "no")).await, 200);
    assert!(said(&room.until("chat.postEphemeral").await).starts_with("Nothing was decided"));
    assert_eq!(room.now(&approval).await.state(), pb::ApprovalState::Pending);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_severe_masked_or_too_long_is_decided_in_the_inbox_and_shows_nothing() {
    let mut room = Room::open().await;
    let agent = room.server.client("report-bot").await;
    agent.authorize(crate::support::client::export()).await.unwrap();
    let high = room.until("chat.postMessage").await;
    let why = |message: &Value, why: &str| {
        assert_eq!(buttons(message), None, "{message}");
        assert!(message.to_string().contains(&format!("Decided in the inbox only: {why}")), "{message}");
    };
    why(&high, "its severity is too high for a click");
    assert!(!high.to_string().contains("s3://partner"), "{high}");
    let (_, masked) = room.asked("jane@example.com").await;
    why(&masked, "some of it is masked");
    assert!(!masked.to_string().contains("example.com\\\""), "{masked}");
    let (_, alike) = room.asked("s3://p\u{430}rtner").await;
    why(&alike, "it has letters that could be taken for others");
    assert!(!alike.to_string().contains("rtner"), "{alike}");
    let (_, long) = room.asked(&format!("s3://{}", "long/".repeat(700))).await;
    why(&long, "it is too long for a message");
    assert!(!long.to_string().contains("long/"), "{long}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_click_is_no_login_whatever_a_severity_demands_of_one() {
    let mut room = Room::open().await;
    room.link("UALICE", "alice").await;
    let (approval, message) = room.asked("s3://partner").await;
    let [approve, _] = buttons(&message).unwrap();
    let mut options = room.options();
    options.limits.review.low =
        StepUp { max_authentication_age: Some(Duration::from_secs(3_600)), ..StepUp::default() };
    let mut room = room.restarted(options).await;
    // She has just logged in, and could vote in the inbox.
    let refused = room.press("UALICE", &approve).await;
    assert!(said(&refused).contains("log in again"), "{refused}");
    let (_, message) = room.asked("s3://other").await;
    assert!(message.to_string().contains("it takes a fresh or stronger login"), "{message}");
    assert!(room.now(&approval).await.reviews.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_asks_why_and_the_requester_is_told() {
    let mut room = Room::open().await;
    room.link("UALICE", "alice").await;
    let (approval, message) = room.asked("s3://partner").await;
    let [_, reject] = buttons(&message).unwrap();
    assert_eq!(room.send(&click("UALICE", &reject)).await, 200);
    let opened = room.until("views.open").await;
    let view = &opened["view"];
    assert_eq!((&opened["trigger_id"], &view["private_metadata"]), (&json!("13.37"), &json!(reject)));
    assert!(room.now(&approval).await.reviews.is_empty(), "opening a form decides nothing");
    assert_eq!(room.send(&submit("UALICE", "countersign_comment", &reject, "  ")).await, 200);
    assert_eq!(room.send(&submit("UALICE", "countersign_comment", &reject, "not to them")).await, 200);
    assert_eq!(said(&room.until("chat.postEphemeral").await), "Your vote counts. It is rejected now.");
    let now = room.now(&approval).await;
    assert_eq!((now.state(), &*now.reviews[0].comment), (pb::ApprovalState::Rejected, "not to them"));
}

#[tokio::test(flavor = "multi_thread")]
async fn case_37_a_link_ends_with_its_person_and_sleeps_when_the_login_grows_old() {
    let mut room = Room::open().await;
    room.link("UALICE", "alice").await;
    let (approval, message) = room.asked("s3://partner").await;
    let [approve, _] = buttons(&message).unwrap();
    let mut foreign = click("UALICE", &approve);
    (foreign["user"]["team_id"], foreign["team"]["id"]) = (json!("T2"), json!("T2"));
    assert_eq!(room.send(&foreign).await, 200);
    assert!(said(&room.until("chat.postEphemeral").await).contains("linked with nobody"));
    room.clock.advance(Duration::from_secs(8 * 3_600 + 60));
    let old = room.press("UALICE", &approve).await;
    assert!(said(&old).contains("sign in at the inbox once more"), "{old}");
    assert!(room.server.client("bob").await.get(&approval.id).await.unwrap().reviews.is_empty());
    let mut room = Room::open().await;
    room.link("UALICE", "alice").await;
    let (approval, message) = room.asked("s3://partner").await;
    let [approve, _] = buttons(&message).unwrap();
    let mut alice = room.browser("alice").await;
    let page = alice.get("/link").await;
    assert!(page.says("slack:T1/UALICE"), "{}", page.body);
    let token = page.hidden("form_token");
    let ended = alice.post("/link/end", &[("form_token", &token), ("account", "slack:T1/UALICE")]).await;
    assert_eq!((ended.status, &*ended.location()), (303, "/link"));
    assert!(said(&room.press("UALICE", &approve).await).contains("linked with nobody"));
    assert!(room.now(&approval).await.reviews.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn case_37_whom_only_an_issuer_knows_that_is_trusted_no_more_decides_nothing_by_a_click() {
    let mut room = Room::open().await;
    room.link("UALICE", "alice").await;
    let (approval, message) = room.asked("s3://partner").await;
    let [approve, _] = buttons(&message).unwrap();
    let Room { slack, outbox, policies, clock, server, http, requests } = room;
    let server = server.restart_under_another_issuer().await;
    let mut room = Room { slack, outbox, policies, clock, server, http, requests };
    let gone = room.press("UALICE", &approve).await;
    assert!(said(&gone).contains("not said by anybody trusted here any more"), "{gone}");
    assert!(room.server.client("bob").await.get(&approval.id).await.unwrap().reviews.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn case_48_nobody_is_linked_by_a_form_from_elsewhere_or_a_code_that_was_used() {
    let mut room = Room::open().await;
    let mut alice = room.browser("alice").await;
    let token = alice.get("/link").await.hidden("form_token");
    let from_elsewhere = [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")];
    let foreign = alice.post_from("/link/code", &[("form_token", &token)], &from_elsewhere).await;
    assert_eq!(foreign.status, 403);
    let tokenless = alice.post("/link/code", &[]).await;
    assert_eq!(tokenless.status, 403);
    let code = rooms::code(&alice.post("/link/code", &[("form_token", &token)]).await.body);
    let enter = |user: &str, code: &str| submit(user, "countersign_code", "room", code);
    let mut abroad = enter("UALICE", &code);
    (abroad["user"]["team_id"], abroad["team"]["id"]) = (json!("T2"), json!("T2"));
    assert_eq!(room.send(&abroad).await, 200);
    assert!(said(&room.until("chat.postEphemeral").await).starts_with("Nothing was linked"));
    for (user, code, linked) in [("UMALLORY", "guess", false), ("UALICE", &*code, true), ("UMALLORY", &*code, false)] {
        assert_eq!(room.send(&enter(user, code)).await, 200);
        let whisper = room.until("chat.postEphemeral").await;
        assert_eq!(said(&whisper).starts_with("This account is linked"), linked, "{whisper}");
    }
    let stranger = Browser::new(room.inbox()).get("/link").await;
    assert_eq!((stranger.status, &*stranger.location()), (303, "/login?to=%2Flink"));
}

#[tokio::test(flavor = "multi_thread")]
async fn case_54_a_button_that_was_forged_or_is_of_another_key_is_nobodys() {
    let mut room = Room::open().await;
    room.link("UALICE", "alice").await;
    let (approval, message) = room.asked("s3://partner").await;
    let [approve, _] = buttons(&message).unwrap();
    for forged in ["", "approve", &approval.id, &approve[..approve.len() - 1], &approve.to_uppercase()] {
        assert_eq!(room.send(&click("UALICE", forged)).await, 200);
        assert_eq!(room.send(&submit("UALICE", "countersign_comment", forged, "no")).await, 200);
    }
    // Told after all of them: nothing was whispered for those, and none of them decided anything.
    assert_eq!(said(&room.press("UALICE", &approve).await), "Your vote counts. It is pending now.");
    assert_eq!(room.now(&approval).await.reviews.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_46_without_every_secret_there_are_no_buttons_and_no_start() {
    let (slack, outbox) = (Receiver::start().await, Outbox::new());
    let good = settings(&outbox, &slack);
    let error = |settings: &Settings| Chat::open(settings).err().map(|error| error.to_string()).unwrap_or_default();
    assert_eq!(error(&good), "");
    let with = |change: &dyn Fn(&mut ChatSettings)| {
        let mut changed = good.clone();
        change(changed.chat.as_mut().unwrap());
        error(&changed)
    };
    assert!(error(&Settings { chat: None, ..good.clone() }).contains("the target `room` has buttons"));
    assert!(error(&Settings { inbox_url: None, ..good.clone() }).contains("`notify.inbox_url`"));
    assert!(with(&|chat| chat.slack = None).contains("the target `room` has buttons"));
    let (empty, none) = (outbox.secret("empty", "\n"), outbox.dir.path().join("none"));
    for file in [empty, none] {
        assert!(with(&|chat| chat.key_file = file.clone()).contains("`chat.key_file`"));
        let secret = |chat: &mut ChatSettings| chat.slack.as_mut().unwrap().signing_secret_file = file.clone();
        assert!(with(&secret).contains("signing_secret_file"));
    }
}
