//! A token is never written anywhere: neither one that is good nor one that is refused, by nobody, at no level of logging.

use std::path::Path;
use std::time::Duration;

use countersign::domain::Timestamp;
use countersign::grpc::generated::masking_client::MaskingClient;
use countersign::web::dev_issuer::find as find_principal;
use countersign::wire::pb;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::crash::child::{Child, Site};
use crate::notify::Outbox;
use crate::notify::receiver::Receiver;
use crate::support::client::{export, reason, string, vote};
use crate::support::{Client, PolicyDir, sealed};

/// Parts of a token that must not be found: the signature, and the claims.
fn parts(token: &str) -> Vec<String> {
    token.split('.').skip(1).filter(|part| part.len() > 16).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_in_the_journal_or_the_log() {
    let site = Site::new().await;
    let mut server = Child::start_with(&site, &[("COUNTERSIGN__LOG__LEVEL", "trace")]).await;
    let good = [site.token("report-bot"), site.token("alice")];
    let (head, signature) = good[0].rsplit_once('.').unwrap();
    let canary = "Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5";
    let bad = [
        (format!("{head}.{}", signature.chars().rev().collect::<String>()), "a forged signature"),
        (format!("eyJhbGciOiJub25lIn0.{canary}."), "unsigned"),
        (canary.to_owned(), "opaque"),
    ];
    let bot = ready(&server.url, &good[0]).await;
    let approval = bot.authorize(export()).await.unwrap().approval.unwrap();
    Client::connect(&server.url, &good[1]).await.approve(&approval).await.unwrap();
    // As the caller's own, and as a principal's that is forwarded.
    for (token, what) in &bad {
        let refused = Client::connect(&server.url, token).await.authorize(export()).await.unwrap_err();
        assert!(!refused.to_string().contains(token.as_str()), "{what}");
        let forwarded = pb::AuthorizeRequest { subject_token: token.clone(), ..export() };
        let refused = bot.authorize(forwarded).await.unwrap_err();
        assert!(!format!("{refused:?}").contains(token.as_str()), "{what}: {}", reason(&refused));
    }
    bot.authorize(pb::AuthorizeRequest { subject_token: good[1].clone(), ..export() }).await.unwrap();
    drop(bot);
    server.kill().await;
    let said = server.said();
    assert!(said.contains("TRACE") || said.contains("DEBUG"), "the log is not at its most talkative: {said}");
    let mut written = vec![("the log".to_owned(), said.into_bytes())];
    for file in std::fs::read_dir(site.journal()).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            written.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    assert!(written.iter().any(|(_, bytes)| find(bytes, "report-bot")), "nothing was written at all");
    let tokens = good.iter().chain(bad.iter().map(|(token, _)| token));
    for secret in tokens.flat_map(|token| parts(token)).chain([canary.to_owned()]) {
        for (place, bytes) in &written {
            assert!(!find(bytes, &secret), "{place} holds {secret}");
        }
    }
}

/// What is asked and what is masked is data of others: no line of the log has it, whatever became of the call.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_and_what_is_masked_is_in_no_log() {
    let site = Site::new().await;
    let mut server = Child::start_with(&site, &[("COUNTERSIGN__LOG__LEVEL", "trace")]).await;
    let token = site.token("report-bot");
    let bot = ready(&server.url, &token).await;
    let (asked, why, masked) = ("canary-asked@example.com", "canary-why 219-09-9999", "canary-masked@example.com");
    let mut query = pb::AuthorizeRequest { justification: why.into(), ..export() };
    query.context.insert("destination".into(), string(asked));
    bot.authorize(query.clone()).await.unwrap();
    // Refused: the context has a field that nobody declared.
    query.context.insert("undeclared".into(), string(asked));
    bot.authorize(query).await.unwrap_err();
    let channel = tonic::transport::Endpoint::new(server.url.clone()).unwrap().connect().await.unwrap();
    let mut masking = MaskingClient::new(channel);
    let whole = format!(r#"{{"mail": "{masked}"}}"#);
    for json in [whole.clone(), whole.replace('}', "")] {
        let (by, data) =
            (pb::mask_request::By::Profile("everything".into()), pb::mask_request::Data::Json(json.clone()));
        let mut request = tonic::Request::new(pb::MaskRequest { by: Some(by), data: Some(data) });
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let answer = format!("{:?}", masking.mask(request).await);
        assert!(!answer.contains(masked), "{answer}");
        assert_eq!(answer.contains("EMAIL_ADDRESS"), json == whole, "{answer}");
    }
    drop((bot, masking));
    server.kill().await;
    let said = server.said();
    assert!(said.contains("TRACE") || said.contains("DEBUG"), "the log is not at its most talkative: {said}");
    for secret in [asked, why, masked, "219-09-9999"] {
        assert!(!said.contains(secret), "the log holds {secret}");
    }
}

/// One for every field that a caller can fill, so that a leak says where it came from. None of them looks like anything: what
/// masking would find is not the point here.
const PLANTED: [&str; 9] = [
    "canary-context",
    "canary-environment",
    "canary-attribute",
    "canary-justification",
    "canary-comment",
    "canary-key",
    "canary-name",
    "canary-undeclared",
    "canary-withdrawn",
];

#[tokio::test(flavor = "multi_thread")]
async fn case_68_what_is_planted_in_every_field_is_in_no_file_log_metric_message_or_error() {
    let (receiver, outbox) = (Receiver::start().await, Outbox::new());
    let policies = PolicyDir::shipped().and(
        r#"@id("bot-supplies")
        permit (principal in Group::"agents", action == Countersign::Action::"supply_entities",
            resource == Countersign::EntityType::"Dataset");"#,
    );
    let site = crate::notify::site(&receiver, &outbox).await.under(policies.path());
    let variables =
        [("COUNTERSIGN__LOG__LEVEL", "trace,h2=off,hyper=off"), ("COUNTERSIGN__TELEMETRY__METRICS", "127.0.0.1:0")];
    let mut server = Child::start_with(&site, &variables).await;
    let bot = ready(&server.url, &site.token("report-bot")).await;
    let [context, environment, attribute, justification, comment, key, name, undeclared, withdrawn] = PLANTED;
    let mut query = pb::AuthorizeRequest { justification: justification.into(), ..export() };
    query.context.insert("destination".into(), string(context));
    query.environment.insert("session".into(), string(environment));
    query.idempotency_key = key.into();
    let approval = bot.authorize(query.clone()).await.unwrap().approval.unwrap();
    // What is refused says why, and not what: a field that nobody declared, an entity of the wrong shape, another query.
    let mut refusals = Vec::new();
    let mut wrong = query.clone();
    wrong.context.insert("undeclared".into(), string(undeclared));
    refusals.push(bot.authorize(wrong).await.unwrap_err());
    let owner = [("owner".to_owned(), string(attribute))].into();
    let mut wrong = pb::AuthorizeRequest { idempotency_key: String::new(), ..query.clone() };
    wrong.entities.push(pb::Entity { uid: query.resource.clone(), attributes: owner, ..pb::Entity::default() });
    refusals.push(bot.authorize(wrong).await.unwrap_err());
    let mut other = query.clone();
    other.context.insert("destination".into(), string(undeclared));
    refusals.push(bot.authorize(other).await.unwrap_err());
    for refused in refusals {
        let said = format!("{refused:?}");
        assert!(!PLANTED.iter().any(|secret| said.contains(secret)), "an error says {said}");
    }
    let named = [("name".to_owned(), name.into())].into_iter().collect();
    let alice = site.minter.mint(find_principal("alice").unwrap(), wall(), &named);
    let alice = Client::connect(&server.url, &alice).await;
    alice.stub.clone().decide(vote(&approval, pb::Verdict::Approve, comment)).await.unwrap();
    let take_back = pb::CancelApprovalRequest { approval_id: approval.id.clone(), comment: withdrawn.into() };
    bot.stub.clone().cancel_approval(take_back).await.unwrap();
    let told = [receiver.next().await, receiver.next().await, receiver.next().await];
    let metrics = scraped(&server.said()).await;
    drop((bot, alice));
    server.kill().await;
    let mut sinks: Vec<_> = told.iter().map(|told| ("a webhook".to_owned(), told.text().as_bytes().to_vec())).collect();
    sinks.push(("the metrics".to_owned(), metrics));
    sinks.push(("the log".to_owned(), server.said().into_bytes()));
    files(&site.journal(), &mut sinks);
    files(&outbox.dir.path().join("places"), &mut sinks);
    assert!(
        sinks.iter().any(|(place, bytes)| place.ends_with(".seg") && find(bytes, "report-bot")),
        "nothing is there"
    );
    for (place, bytes) in &sinks {
        for secret in PLANTED {
            assert!(!find(bytes, secret), "{place} holds {secret}");
        }
    }
    // And it is there, for whom it is: the journal opens with its key.
    let seen: Vec<String> = opened(&site.journal()).collect();
    for secret in [context, environment, justification, comment, key, name, withdrawn] {
        assert!(seen.iter().any(|record| record.contains(secret)), "{secret} is not on record");
    }
}

/// Every file below a directory, but for the key.
pub fn files(dir: &Path, sinks: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, sinks);
        } else if !path.ends_with(countersign::vault::kept::NAME) {
            sinks.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}

/// The records of a journal, as whoever has the key reads them.
pub fn opened(dir: &Path) -> impl Iterator<Item = String> {
    let (vault, mut records) = (sealed::of_kept(dir), Vec::new());
    countersign::journal::replay(dir, &mut |raw| records.push(format!("{:?}", raw.parse(&vault).unwrap()))).unwrap();
    records.into_iter()
}

/// What a scrape gets.
pub async fn scraped(said: &str) -> Vec<u8> {
    let address = said.split("metrics are at http://").nth(1).unwrap().split('/').next().unwrap();
    let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
    connection.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut page = Vec::new();
    connection.read_to_end(&mut page).await.unwrap();
    assert!(find(&page, "countersign_"), "{}", String::from_utf8_lossy(&page));
    page
}

fn wall() -> Timestamp {
    Timestamp::default().after(std::time::UNIX_EPOCH.elapsed().unwrap())
}

/// A client, once the server has its issuer's keys.
async fn ready(url: &str, token: &str) -> Client {
    let client = Client::connect(url, token).await;
    let asked = timeout(Duration::from_secs(20), async {
        while let Err(refused) = client.stub.clone().list_approvals(pb::ListApprovalsRequest::default()).await {
            assert_eq!(reason(&refused), "jwks_unavailable");
        }
    });
    asked.await.expect("keys in time");
    client
}

pub fn find(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
