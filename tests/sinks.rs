//! Every place where something of a query could come to rest or leave: what is planted in each field is looked for in all of
//! them. A server with a store in Redis, a webhook, Slack, e-mail, metrics, and the most talkative log.

use countersign::wire::pb;

use crate::canary::{files, find, opened, scraped};
use crate::cluster::fleet::{Fleet, Store};
use crate::notify::email::{MailServer, Way};
use crate::notify::receiver::{Receiver, Reply};
use crate::notify::{Outbox, SECRET};
use crate::support::client::{export, string, vote};
use crate::support::pki::Ca;
use crate::support::redis::{Redis, Spec};

/// One for every field, so that a leak says where it came from. They look like personal data, and of each its domain may be shown.
const PLANTED: [&str; 8] = [
    "canary-context@a.example",
    "canary-environment@b.example",
    "canary-justification@c.example",
    "canary-comment@d.example",
    "canary-key@e.example",
    "canary-undeclared@f.example",
    "canary-attribute@g.example",
    "canary-withdrawn@h.example",
];

/// The part that nobody may see.
fn secrets() -> impl Iterator<Item = &'static str> {
    PLANTED.iter().map(|planted| planted.split('@').next().unwrap())
}

fn sections(outbox: &Outbox, [webhook, slack]: [&Receiver; 2], mail: &MailServer, ca: &Ca) -> String {
    let allow = "from = \"low\"\nallow = [\"127.0.0.0/8\"]\n";
    let secret = |name: &str, text: &str| outbox.secret(name, text).display().to_string();
    format!(
        "[log]\nlevel = \"trace,h2=off,hyper=off\"\n[telemetry]\nmetrics = \"127.0.0.1:0\"\n[notify]\ndir = \"{}\"\n\
         [[notify.targets]]\nname = \"siem\"\nkind = \"webhook\"\nurl = \"{}\"\nsecret_file = \"{}\"\n{allow}\
         [[notify.targets]]\nname = \"room\"\nkind = \"slack\"\nurl = \"{}api/\"\nsecret_file = \"{}\"\nchannel = \"C1\"\n{allow}\
         [[notify.targets]]\nname = \"leads\"\nkind = \"email\"\nurl = \"smtps://127.0.0.1:{}\"\nsecret_file = \"{}\"\n\
         ca_file = \"{}\"\nsender = \"Countersign <c@company.example>\"\nto = [\"leads@company.example\"]\n{allow}",
        outbox.dir.path().join("places").display(),
        webhook.url(),
        secret("webhook.secret", SECRET),
        slack.url(),
        secret("slack.token", "xoxb-1-secret\n"),
        mail.port,
        secret("mail.secret", "countersign\nhunter2\n"),
        secret("ca.pem", &ca.pem()),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn case_68_what_is_planted_in_every_field_is_in_nothing_that_is_kept_shared_or_sent() {
    // Everything that is ever written to it stays in a file, in clear, and in order.
    let spec = Spec::default().set("appendonly", "yes").set("aof-use-rdb-preamble", "no").set("appendfsync", "always");
    let redis = Redis::with(&spec).await;
    let (webhook, slack, outbox, ca) =
        (Receiver::start().await, Receiver::start().await, Outbox::new(), Ca::new("mail"));
    slack.otherwise(Reply::Json(serde_json::json!({"ok": true, "channel": "C1X", "ts": "11.1"})));
    let mut mail = MailServer::start(&ca, Way::Tls, &[]).await;
    let store = Store::alone(&redis.url());
    let mut fleet = Fleet::prepare(1, &store, &sections(&outbox, [&webhook, &slack], &mail, &ca)).await;
    fleet.start_one(0, &[]).await;
    fleet.ready().await;

    let [context, environment, justification, comment, key, undeclared, attribute, withdrawn] = PLANTED;
    let bot = fleet.client(0, "report-bot").await;
    let mut query = pb::AuthorizeRequest { justification: justification.into(), ..export() };
    query.context.insert("destination".into(), string(context));
    query.environment.insert("session".into(), string(environment));
    query.idempotency_key = key.into();
    let approval = bot.authorize(query.clone()).await.unwrap().approval.unwrap();
    let mut told = vec![("the answer", format!("{approval:?}"))];
    let mut wrong = pb::AuthorizeRequest { idempotency_key: String::new(), ..query.clone() };
    wrong.context.insert("undeclared".into(), string(undeclared));
    told.push(("an error", format!("{:?}", bot.authorize(wrong).await.unwrap_err())));
    let owner = [("owner".to_owned(), string(attribute))].into();
    let mut wrong = pb::AuthorizeRequest { idempotency_key: String::new(), ..query };
    wrong.entities.push(pb::Entity { uid: wrong.resource.clone(), attributes: owner, ..pb::Entity::default() });
    told.push(("an error", format!("{:?}", bot.authorize(wrong).await.unwrap_err())));
    let alice = fleet.client(0, "alice").await;
    alice.stub.clone().decide(vote(&approval, pb::Verdict::Approve, comment)).await.unwrap();
    let listed = alice.stub.clone().list_approvals(pb::ListApprovalsRequest::default()).await.unwrap();
    told.push(("a list", format!("{listed:?}")));
    told.push(("an approval", format!("{:?}", alice.get(&approval.id).await.unwrap())));
    let take_back = pb::CancelApprovalRequest { approval_id: approval.id.clone(), comment: withdrawn.into() };
    bot.stub.clone().cancel_approval(take_back).await.unwrap();
    let audited = fleet.client(0, "erin").await.audit(pb::AuditRequest::default()).await.unwrap();
    told.push(("the audit", format!("{audited:?}")));

    // Opened, reviewed, cancelled; a message that is posted and changed twice; a letter.
    let mut sinks: Vec<(String, Vec<u8>)> = Vec::new();
    for _ in 0..3 {
        sinks.push(("a webhook".into(), webhook.next().await.text().into()));
        sinks.push(("a message in Slack".into(), slack.next().await.text().into()));
    }
    sinks.push(("a letter".into(), mail.sessions.recv().await.unwrap().letter.replace("=\r\n", "").into()));
    sinks.extend(told.into_iter().map(|(place, text)| (place.to_owned(), text.into_bytes())));
    sinks.push(("the metrics".into(), scraped(&fleet.server(0).said()).await));
    let journal = fleet.journal(0);
    drop((bot, alice));
    let said = fleet.server(0).said();
    assert!(said.contains("TRACE"), "the log is not at its most talkative");
    sinks.push(("the log".into(), said.into()));
    let ended = fleet.end().await;
    files(&journal, &mut sinks);
    files(&outbox.dir.path().join("places"), &mut sinks);
    let before = sinks.len();
    files(redis.dir(), &mut sinks);
    assert!(sinks[before..].iter().any(|(_, bytes)| find(bytes, &approval.id)), "nothing of it is in Redis");
    for (place, bytes) in &sinks {
        for secret in secrets() {
            assert!(!find(bytes, secret), "{place} holds {secret}");
        }
    }
    // And it is there, for whom it is.
    let seen: Vec<String> = opened(&journal).collect();
    for planted in [context, environment, justification, comment, key, withdrawn] {
        assert!(seen.iter().any(|record| record.contains(planted)), "{planted} is not on record");
    }
    drop(ended);
}
