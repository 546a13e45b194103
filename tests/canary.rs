//! A token is never written anywhere: neither one that is good nor one that is refused, by nobody, at no level of logging.

use std::time::Duration;

use countersign::grpc::generated::masking_client::MaskingClient;
use countersign::wire::pb;
use tokio::time::timeout;

use crate::crash::child::{Child, Site};
use crate::support::Client;
use crate::support::client::{export, reason, string};

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

fn find(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
