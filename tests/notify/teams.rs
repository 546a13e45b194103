//! Deciding by buttons in Teams: who may, what is proved, and what a click never does. Microsoft is a receiver on a real socket:
//! where the bot logs in, the keys of the Bot Connector, and the channel; what it sends is signed as the connector signs it.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use countersign::domain::Severity;
use countersign::notify::{ChatSettings, Settings};
use countersign::service::chat::Chat;
use countersign::store::ManualClock;
use countersign::wire::pb;
use serde_json::{Value, json};

use super::receiver::{Receiver, Reply, Request};
use super::{Outbox, rooms};
use crate::support::{PolicyDir, TestServer};

const APP: &str = "00000000-aaaa-4bbb-8ccc-000000000001";
const TENANT: &str = "00000000-aaaa-4bbb-8ccc-00000000000a";
const CHANNEL: &str = "19:c1@thread.tacv2";
const ACTIVITIES: &str = "/emea/v3/conversations/19:c1@thread.tacv2/activities";

/// The Bot Connector's key.
struct Signer(RsaKeyPair);

impl Signer {
    fn new() -> Self {
        Self(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    fn keys(&self) -> Value {
        let public = RsaPublicKeyComponents::<Vec<u8>>::from(self.0.public_key());
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"keys": [{"kty": "RSA", "use": "sig", "kid": "k1", "n": encode(&public.n), "e": encode(&public.e),
            "endorsements": ["msteams"]}]})
    }

    fn token(&self, claims: &Value) -> String {
        let header = json!({"alg": "RS256", "kid": "k1", "typ": "JWT", "x5t": "k1"});
        let signed = [header, claims.clone()].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// A channel with buttons, and a server that tells it.
struct Room {
    teams: Receiver,
    signer: Signer,
    clock: ManualClock,
    server: TestServer,
    http: reqwest::Client,
    _policies: PolicyDir,
    _outbox: Outbox,
}

fn settings(outbox: &Outbox, teams: &Receiver) -> Settings {
    let secret = outbox.secret("bot.secret", "b0t-secret\n");
    let bot = json!({"app_id": APP, "tenant": TENANT, "login_url": format!("{}login", teams.url()),
        "keys_url": format!("{}keys", teams.url()), "allow_insecure_http_loopback": true});
    let target = json!({"name": "room", "kind": "teams", "url": format!("{}emea/", teams.url()), "secret_file": secret,
        "channel": CHANNEL, "from": "low", "allow": ["127.0.0.0/8"], "buttons": true, "bot": bot});
    let chat = ChatSettings {
        dir: outbox.dir.path().join("chat"),
        key_file: outbox.secret("chat.key", &STANDARD.encode([7; 32])),
        up_to: Severity::Medium,
        slack: None,
    };
    Settings { chat: Some(chat), ..outbox.settings(&[target]) }
}

impl Room {
    async fn open() -> Self {
        let (teams, outbox, signer) = (Receiver::start().await, Outbox::new(), Signer::new());
        teams.always("/keys", Reply::Json(signer.keys()));
        teams.always(
            "/login",
            Reply::Json(json!({"token_type": "Bearer", "expires_in": 3_600, "access_token": "t0ken"})),
        );
        teams.otherwise(Reply::Json(json!({"id": "17"})));
        let policies = PolicyDir::shipped().and(rooms::GATE);
        let (options, clock) = (rooms::options(&policies, settings(&outbox, &teams)), rooms::clock());
        let server = TestServer::on(tempfile::tempdir().unwrap(), clock.clone(), options).await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { teams, signer, clock, server, http, _policies: policies, _outbox: outbox }
    }

    /// Somebody wants to send the weather there; the approval and its card.
    async fn asked(&self, destination: &str) -> (pb::Approval, Value) {
        let approval = rooms::asked(&self.server, destination).await;
        (approval, card(&self.teams.until(ACTIVITIES).await))
    }

    fn claims(&self) -> Value {
        let now = self.clock.wall().as_seconds();
        json!({"iss": "https://api.botframework.com", "aud": APP, "nbf": now - 10, "exp": now + 600,
            "serviceurl": format!("{}emea/", self.teams.url())})
    }

    fn click(&self, user: &str, verb: &str, data: &Value) -> Value {
        json!({"type": "invoke", "name": "adaptiveCard/action", "channelId": "msteams",
            "serviceUrl": format!("{}emea/", self.teams.url()), "from": {"id": format!("29:{user}"), "aadObjectId": user},
            "conversation": {"id": format!("{CHANNEL};messageid=17"), "tenantId": TENANT},
            "channelData": {"tenant": {"id": TENANT}},
            "value": {"action": {"type": "Action.Execute", "verb": verb, "data": data}, "trigger": "manual"}})
    }

    async fn post(&self, token: &str, activity: &Value) -> reqwest::Response {
        let address = format!("{}/teams/messages", self.server.inbox.as_ref().unwrap());
        let request = self.http.post(address).header("authorization", format!("Bearer {token}"));
        request.header("content-type", "application/json").body(activity.to_string()).send().await.unwrap()
    }

    /// What Teams shows to whoever clicked.
    async fn execute(&self, user: &str, verb: &str, data: &Value) -> String {
        let response = self.post(&self.signer.token(&self.claims()), &self.click(user, verb, data)).await;
        assert_eq!(response.status(), 200);
        let answer: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(
            (&answer["statusCode"], &answer["type"]),
            (&json!(200), &json!("application/vnd.microsoft.activity.message"))
        );
        answer["value"].as_str().unwrap().to_owned()
    }

    async fn press(&self, user: &str, button: &str) -> String {
        self.execute(user, "approve", &json!({"button": button})).await
    }

    /// Links the account as a person would.
    async fn link(&self, user: &str, who: &str) {
        let code = rooms::link_code(&self.server, who).await;
        let said = self.execute(user, "link", &json!({"code": code})).await;
        assert!(said.starts_with("This account is linked"), "{said}");
    }

    async fn now(&self, approval: &pb::Approval) -> pb::Approval {
        self.server.client("alice").await.get(&approval.id).await.unwrap()
    }
}

fn card(request: &Request) -> Value {
    let activity = request.json();
    assert_eq!((&activity["type"], request.header("authorization")), (&json!("message"), "Bearer t0ken".to_owned()));
    assert_eq!(activity["attachments"][0]["contentType"], "application/vnd.microsoft.card.adaptive");
    activity["attachments"][0]["content"].clone()
}

/// The ids of a card's buttons: approve, reject.
fn buttons(card: &Value) -> Option<[String; 2]> {
    let actions = card["actions"].as_array().unwrap();
    let id = |action: &Value| Some(action["data"]["button"].as_str()?.to_owned());
    let reject = actions.iter().find_map(|action| id(action.pointer("/card/actions/0")?));
    Some([actions.iter().find_map(id)?, reject?])
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_74_two_linked_people_decide_by_a_card_which_changes_for_all() {
    let room = Room::open().await;
    let (approval, opened) = room.asked("s3://partner").await;
    let login = room.teams.until("/login").await;
    assert!(login.text().contains("client_secret=b0t-secret") && login.text().contains(&format!("client_id={APP}")));
    let [approve, _] = buttons(&opened).expect("buttons");
    let text = opened.to_string();
    assert!(text.contains("destination: \\\"s3://partner\\\"") && text.contains(&approval.binding), "{text}");
    let unlinked = room.press("u-alice", &approve).await;
    assert!(unlinked.contains("linked with nobody") && unlinked.contains("https://inbox.example/link"), "{unlinked}");
    assert!(room.now(&approval).await.reviews.is_empty());
    room.link("u-alice", "alice").await;
    room.link("u-bob", "bob").await;
    assert_eq!(room.press("u-alice", &approve).await, "Your vote counts. It is pending now.");
    let message = format!("{ACTIVITIES}/17");
    let [again, _] = buttons(&card(&room.teams.until(&message).await)).expect("buttons for the second");
    assert_ne!(again, approve);
    let stale = room.press("u-bob", &approve).await;
    assert!(stale.contains("it changed since this message was written"), "{stale}");
    assert_eq!(room.press("u-bob", &again).await, "Your vote counts. It is approved now.");
    assert_eq!(buttons(&card(&room.teams.until(&message).await)), None, "nothing to decide any more");
    let reviews = room.now(&approval).await.reviews;
    assert_eq!(reviews.len(), 2);
    let alice = reviews[0].reviewer.as_ref().unwrap();
    let credential = alice.credential.as_ref().unwrap();
    assert_eq!((alice.proof_method(), alice.authenticated_at_micros), (pb::ProofMethod::Chat, 0));
    assert_eq!((&*alice.uid.as_ref().unwrap().id, &*credential.client), ("alice", &*format!("teams:{TENANT}/u-alice")));
    assert!(!room.teams.passed_over("/login"), "one login while its token is good");
}

#[tokio::test(flavor = "multi_thread")]
async fn case_55_a_forged_or_foreign_request_decides_nothing_and_is_on_record() {
    let room = Room::open().await;
    room.link("u-alice", "alice").await;
    let (approval, opened) = room.asked("s3://partner").await;
    let [approve, _] = buttons(&opened).unwrap();
    let click = room.click("u-alice", "approve", &json!({"button": approve}));
    let (good, other) = (room.signer.token(&room.claims()), Signer::new());
    let claims = |name: &str, value: Value| {
        let mut claims = room.claims();
        claims[name] = value;
        room.signer.token(&claims)
    };
    let activity = |path: &str, value: Value| {
        let mut activity = click.clone();
        *activity.pointer_mut(path).unwrap() = value;
        activity
    };
    let of_nowhere = "https://evil.example/emea/";
    let foreign = |tenant: &str| {
        let mut activity = activity("/conversation/tenantId", json!(tenant));
        activity["channelData"]["tenant"]["id"] = json!(tenant);
        activity
    };
    for (what, token, activity) in [
        ("no token", String::new(), click.clone()),
        ("signed by another", other.token(&room.claims()), click.clone()),
        ("another issuer", claims("iss", json!("https://sts.windows.net/")), click.clone()),
        ("another bot", claims("aud", json!("00000000-aaaa-4bbb-8ccc-000000000002")), click.clone()),
        ("over", claims("exp", json!(room.clock.wall().as_seconds() - 301)), click.clone()),
        ("another service", claims("serviceurl", json!(of_nowhere)), click.clone()),
        (
            "another service, wholly",
            claims("serviceurl", json!(of_nowhere)),
            activity("/serviceUrl", json!(of_nowhere)),
        ),
        ("another channel", good.clone(), activity("/channelId", json!("webchat"))),
        ("another tenant", good.clone(), foreign("00000000-aaaa-4bbb-8ccc-00000000000b")),
        (
            "two tenants",
            good.clone(),
            activity("/channelData/tenant/id", json!("00000000-aaaa-4bbb-8ccc-00000000000b")),
        ),
        ("another conversation", good.clone(), activity("/conversation/id", json!("19:c2@thread.tacv2;messageid=17"))),
    ] {
        assert_eq!(room.post(&token, &activity).await.status(), 401, "{what}");
    }
    for nothing in [json!({"type": "message", "text": "/approve"}), json!({"type": "invoke"})] {
        let mut said = click.clone();
        said.as_object_mut().unwrap().remove("value");
        said.as_object_mut().unwrap().extend(nothing.as_object().unwrap().clone());
        assert_eq!(room.post(&good, &said).await.status(), 200, "heard, and nothing follows");
    }
    assert!(room.now(&approval).await.reviews.is_empty());
    assert_eq!(room.press("u-alice", &approve).await, "Your vote counts. It is pending now.");
    // Whatever is sent again is the same vote.
    assert_eq!(room.press("u-alice", &approve).await, "Your vote counts. It is pending now.");
    assert_eq!(room.now(&approval).await.reviews.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_says_why_and_who_may_not_review_decides_nothing() {
    let room = Room::open().await;
    room.link("u-frank", "frank").await;
    room.link("u-alice", "alice").await;
    let (approval, opened) = room.asked("s3://partner").await;
    let [approve, reject] = buttons(&opened).unwrap();
    assert!(room.press("u-frank", &approve).await.starts_with("Nothing was decided"));
    for comment in [json!({"button": reject}), json!({"button": reject, "comment": "  "})] {
        let silent = room.execute("u-alice", "reject", &comment).await;
        assert!(silent.contains("say why"), "{silent}");
    }
    let said = room.execute("u-alice", "reject", &json!({"button": reject, "comment": "not to them"})).await;
    assert_eq!(said, "Your vote counts. It is rejected now.");
    let now = room.now(&approval).await;
    assert_eq!((now.state(), &*now.reviews[0].comment), (pb::ApprovalState::Rejected, "not to them"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_severe_is_decided_in_the_inbox_and_a_deleted_message_is_posted_anew() {
    let room = Room::open().await;
    let agent = room.server.client("report-bot").await;
    agent.authorize(crate::support::client::export()).await.unwrap();
    let high = card(&room.teams.until(ACTIVITIES).await);
    assert_eq!(buttons(&high), None);
    let text = high.to_string();
    assert!(
        text.contains("Decided in the inbox only: its severity is too high") && !text.contains("s3://partner"),
        "{text}"
    );
    let (approval, _) = room.asked("s3://partner").await;
    room.teams.always(&format!("{ACTIVITIES}/17"), Reply::Status(404));
    room.server.client("alice").await.approve(&approval).await.unwrap();
    assert!(buttons(&card(&room.teams.until(ACTIVITIES).await)).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_bots_or_keys_in_clear_are_refused() {
    let (teams, outbox) = (Receiver::start().await, Outbox::new());
    let good = settings(&outbox, &teams);
    let error = |change: &dyn Fn(&mut Settings)| {
        let mut changed = good.clone();
        change(&mut changed);
        Chat::open(&changed).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(error(&|_| ()), "");
    let two = error(&|settings| {
        let mut other = settings.targets[0].clone();
        other.name = "other".to_owned();
        other.bot.as_mut().unwrap().settings.app_id = "00000000-aaaa-4bbb-8ccc-000000000003".to_owned();
        settings.targets.push(other);
    });
    assert!(two.contains("different bots"), "{two}");
    let clear =
        error(&|settings| settings.targets[0].bot.as_mut().unwrap().settings.allow_insecure_http_loopback = false);
    assert!(clear.contains("`bot.keys_url`") && clear.contains("https"), "{clear}");
}
