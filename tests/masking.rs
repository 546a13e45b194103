//! Masking over the API: an ALLOW for masked data only, its obligation carried out, and sealed data opened by those who may.

use std::time::Duration;

use countersign::config::Masking;
use countersign::config::keys::{KeyPlace, KeySettings};
use countersign::config::masking::{DetectorSettings, ProfileSettings};
use countersign::config::values::Span;
use countersign::grpc::generated::masking_client::MaskingClient;
use countersign::wire::pb;
use pb::Outcome;
use tonic::{Code, Request, Status};

use crate::support::actors::PolicyDir;
use crate::support::client::{field, query, reason};
use crate::support::{Options, TestServer};

const TEXT: &str = "Mail jane@example.com, SSN 219-09-9999, or call +1 415 555 2671.";

fn masking(dir: &tempfile::TempDir) -> Masking {
    let path = dir.path().join("key");
    std::fs::write(&path, "0f".repeat(32)).unwrap();
    let key = KeyPlace::File(path.display().to_string());
    let profile = |name: &str, rules: &str| ProfileSettings { name: name.into(), rules: rules.into(), lenient: false };
    Masking {
        profiles: vec![profile("seal", "US_SSN:seal"), profile("chat", "ALL:pseudonym, US_SSN:redact")],
        detectors: vec![DetectorSettings {
            kind: "X_BADGE".into(),
            patterns: vec![r"\bBDG-\d{6}\b".into()],
            words: Vec::new(),
            fields: Vec::new(),
        }],
        pseudonym_key: Some(key.clone()),
        sealing_keys: vec![KeySettings { id: "k1".into(), from: key }],
        ..Masking::default()
    }
}

async fn server(policies: &PolicyDir) -> TestServer {
    let keys = tempfile::tempdir().unwrap();
    TestServer::with(Options { policies: policies.path().into(), masking: masking(&keys), ..Options::default() }).await
}

pub async fn stub(server: &TestServer) -> MaskingClient<tonic::transport::Channel> {
    MaskingClient::new(server.endpoint(None).connect().await.unwrap())
}

pub fn bearing<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

pub async fn mask(server: &TestServer, who: &str, by: pb::mask_request::By, text: &str) -> Result<String, Status> {
    let token = server.token(who);
    let data = Some(pb::mask_request::Data::Text(text.to_owned()));
    let asked = pb::MaskRequest { by: Some(by), data };
    let masked = stub(server).await.mask(bearing(&token, asked)).await?.into_inner();
    match masked.data {
        Some(pb::mask_response::Data::Text(text)) => Ok(text),
        other => panic!("{other:?}"),
    }
}

pub fn profile(name: &str) -> pb::mask_request::By {
    pb::mask_request::By::Profile(name.to_owned())
}

fn read_customers(supported: &[&str]) -> pb::AuthorizeRequest {
    let supported_obligations = supported.iter().map(|kind| (*kind).to_owned()).collect();
    pb::AuthorizeRequest { supported_obligations, ..query("read", "Dataset", "customers") }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_say_that_it_masks_is_denied_what_must_be_masked() {
    let server = server(&PolicyDir::shipped()).await;
    let bot = server.client("report-bot").await;
    for supported in [&[][..], &["advice"], &["Mask"], &["masks"]] {
        let denied = bot.authorize(read_customers(supported)).await.unwrap();
        assert_eq!((denied.outcome(), denied.reason.as_str()), (Outcome::Deny, "unsupported_obligation"));
        assert_eq!(denied.obligations, []);
    }
    let allowed = bot.authorize(read_customers(&["advice", "mask"])).await.unwrap();
    assert_eq!(allowed.outcome(), Outcome::Allow);
    assert_eq!(allowed.obligations.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_obligation_of_a_decision_is_carried_out_for_its_caller_only() {
    let server = server(&PolicyDir::shipped()).await;
    let allowed = server.client("report-bot").await.authorize(read_customers(&["mask"])).await.unwrap();
    let by = pb::mask_request::By::DecisionId(allowed.decision_id);
    let masked = mask(&server, "report-bot", by.clone(), TEXT).await.unwrap();
    assert_eq!(masked, "Mail <EMAIL_ADDRESS>, SSN <US_SSN>, or call +1 415 555 2671.");
    let refused = mask(&server, "alice", by, TEXT).await.unwrap_err();
    assert_eq!((refused.code(), field(&refused).as_str()), (Code::InvalidArgument, "decision_id"));
    assert!(!refused.message().contains("jane"));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_an_obligation_is_found_in_the_journal_for_its_caller_only() {
    let policies = PolicyDir::shipped();
    let server = server(&policies).await;
    let allowed = server.client("report-bot").await.authorize(read_customers(&["mask"])).await.unwrap();
    let by = pb::mask_request::By::DecisionId(allowed.decision_id.clone());
    // The keys of tokens are gone with their directory, and nothing here needs them.
    let server = server.restart_with(Options { policies: policies.path().into(), ..Options::default() }).await;
    let refused = mask(&server, "alice", by.clone(), TEXT).await.unwrap_err();
    assert_eq!((refused.code(), field(&refused).as_str()), (Code::InvalidArgument, "decision_id"));
    for _ in 0..2 {
        let masked = mask(&server, "report-bot", by.clone(), TEXT).await.unwrap();
        assert_eq!(masked, "Mail <EMAIL_ADDRESS>, SSN <US_SSN>, or call +1 415 555 2671.");
    }
    // Another server has never heard of it, and says where to go.
    let other = self::server(&PolicyDir::shipped()).await;
    let refused = mask(&other, "report-bot", by, TEXT).await.unwrap_err();
    assert!(refused.message().contains("send it to the server that decided, or ask this one"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_json_and_rows_are_masked_by_a_profile() {
    let server = server(&PolicyDir::shipped()).await;
    let token = server.token("report-bot");
    let masked =
        mask(&server, "report-bot", profile("everything"), "card 4242 4242 4242 4242 of BDG-204518").await.unwrap();
    assert_eq!(masked, "card <CREDIT_CARD> of <X_BADGE>");
    let json = r#"{ "ssn": "219099999", "n": 12345678901234567890, "note": "{\"email\": \"jane@example.com\"}" }"#;
    let asked =
        pb::MaskRequest { by: Some(profile("everything")), data: Some(pb::mask_request::Data::Json(json.into())) };
    let masked = stub(&server).await.mask(bearing(&token, asked)).await.unwrap().into_inner();
    let expected = r#"{ "ssn": "<US_SSN>", "n": 12345678901234567890, "note": "{\"email\": \"<EMAIL_ADDRESS>\"}" }"#;
    assert_eq!(masked.data, Some(pb::mask_response::Data::Json(expected.into())));
    assert_eq!(masked.masked["US_SSN"], 1);
    let row = |cells: [&str; 2]| pb::Row { cells: cells.map(str::to_owned).to_vec() };
    let rows = pb::Rows { columns: vec!["id".into(), "first_name".into()], rows: vec![row(["7", "Zaphod"])] };
    let asked = pb::MaskRequest { by: Some(profile("everything")), data: Some(pb::mask_request::Data::Rows(rows)) };
    let masked = stub(&server).await.mask(bearing(&token, asked)).await.unwrap().into_inner();
    let Some(pb::mask_response::Data::Rows(rows)) = masked.data else { panic!("rows") };
    assert_eq!(rows.rows, [row(["7", "<PERSON>"])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_69_what_cannot_be_masked_is_refused_as_a_whole() {
    let server = server(&PolicyDir::shipped()).await;
    let token = server.token("report-bot");
    let refused = mask(&server, "report-bot", profile("nobodys"), TEXT).await.unwrap_err();
    assert_eq!((refused.code(), field(&refused).as_str()), (Code::InvalidArgument, "profile"));
    let broken = pb::mask_request::Data::Json(r#"{"email": "jane@example.com", "#.into());
    let asked = pb::MaskRequest { by: Some(profile("everything")), data: Some(broken) };
    let refused = stub(&server).await.mask(bearing(&token, asked)).await.unwrap_err();
    assert_eq!((refused.code(), field(&refused).as_str()), (Code::InvalidArgument, "data"));
    assert!(!format!("{refused:?}").contains("jane"), "{refused:?}");
    let asked =
        pb::MaskRequest { by: Some(profile("everything")), data: Some(pb::mask_request::Data::Text(TEXT.into())) };
    let refused = stub(&server).await.mask(Request::new(asked)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_69_a_stream_that_is_cut_anywhere_is_masked_like_the_whole() {
    let server = server(&PolicyDir::shipped()).await;
    let token = server.token("report-bot");
    let text = format!("{TEXT} Gr\u{fc}\u{df}e \u{1f980}\n").repeat(20);
    let whole = mask(&server, "report-bot", profile("chat"), &text).await.unwrap();
    let first = pb::MaskStreamRequest {
        by: Some(pb::mask_stream_request::By::Profile("chat".into())),
        format: pb::MaskFormat::Text.into(),
        chunk: Vec::new(),
    };
    let rest = text
        .as_bytes()
        .chunks(7)
        .map(|chunk| pb::MaskStreamRequest { chunk: chunk.into(), ..pb::MaskStreamRequest::default() });
    let pieces: Vec<_> = std::iter::once(first).chain(rest).collect();
    let sent = bearing(&token, tokio_stream::iter(pieces));
    let mut stream = stub(&server).await.mask_stream(sent).await.unwrap().into_inner();
    let (mut masked, mut counted) = (String::new(), 0);
    while let Some(part) = stream.message().await.unwrap() {
        masked.push_str(&part.chunk);
        counted += part.masked.values().sum::<u64>();
    }
    assert_eq!(masked, whole);
    assert_eq!(counted, 60);
}

async fn streamed(server: &TestServer, profile: &str, text: &str) -> (String, Result<(), Status>) {
    let first = pb::MaskStreamRequest {
        by: Some(pb::mask_stream_request::By::Profile(profile.into())),
        format: pb::MaskFormat::Text.into(),
        chunk: text.into(),
    };
    let sent = bearing(&server.token("report-bot"), tokio_stream::iter([first]));
    let mut stream = match stub(server).await.mask_stream(sent).await {
        Ok(stream) => stream.into_inner(),
        Err(refused) => return (String::new(), Err(refused)),
    };
    let mut masked = String::new();
    loop {
        match stream.message().await {
            Ok(Some(part)) => masked.push_str(&part.chunk),
            Ok(None) => return (masked, Ok(())),
            Err(refused) => return (masked, Err(refused)),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_searched_in_time_is_refused_as_a_whole_or_withheld() {
    let (policies, keys) = (PolicyDir::shipped(), tempfile::tempdir().unwrap());
    let mut masking = masking(&keys);
    masking.timeout = Span(Duration::ZERO);
    let rules = "ALL".to_owned();
    masking.profiles.push(ProfileSettings { name: "lenient".into(), rules, lenient: true });
    let server = TestServer::with(Options { policies: policies.path().into(), masking, ..Options::default() }).await;
    let token = server.token("report-bot");
    let row = pb::Row { cells: vec!["219-09-9999".into()] };
    let data = [
        pb::mask_request::Data::Text("nothing in it".into()),
        pb::mask_request::Data::Text(TEXT.into()),
        pb::mask_request::Data::Json(r#"{"ssn": "219-09-9999"}"#.into()),
        pb::mask_request::Data::Rows(pb::Rows { columns: vec!["ssn".into()], rows: vec![row] }),
    ];
    let asked = data.map(|data| pb::MaskRequest { by: Some(profile("everything")), data: Some(data) });
    for asked in asked {
        let refused = stub(&server).await.mask(bearing(&token, asked)).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::DeadlineExceeded, "masking_timeout"));
        assert!(refused.message().contains("masking.timeout") && refused.message().contains("MaskStream"));
        assert!(!format!("{refused:?}").contains("219"), "{refused:?}");
    }
    let (out, ended) = streamed(&server, "everything", &format!("{TEXT}\n{TEXT}")).await;
    assert_eq!((&*out, ended.map_err(|refused| refused.code())), ("", Err(Code::DeadlineExceeded)));
    // A profile that withholds instead lets nothing through either.
    assert_eq!(mask(&server, "report-bot", profile("lenient"), TEXT).await.unwrap(), "<REDACTED>");
    assert_eq!(streamed(&server, "lenient", TEXT).await.0, "<REDACTED>");
    // Nor is anything of a query shown.
    let mut query = crate::support::client::export();
    query.justification = "because it is needed".into();
    let approval = server.client("report-bot").await.authorize(query).await.unwrap().approval.unwrap();
    assert_eq!(approval.justification, "<REDACTED>");
}

/// Alice may unmask; what she opens must be countersigned by the data protection officer where `gate` says so.
pub fn may_unmask(gate: &str) -> PolicyDir {
    let permit = "@id(\"alice-unmasks\") permit (principal == User::\"alice\", action == Countersign::Action::\"unmask\", resource);";
    PolicyDir::shipped().and(&format!("{permit}\n{gate}"))
}

async fn sealed(server: &TestServer) -> String {
    let masked = mask(server, "report-bot", profile("seal"), "SSN 219-09-9999").await.unwrap();
    masked.strip_prefix("SSN ").unwrap().to_owned()
}

pub async fn unmask(server: &TestServer, who: &str, wanted: pb::UnmaskRequest) -> Result<pb::UnmaskResponse, Status> {
    let token = server.token(who);
    stub(server).await.unmask(bearing(&token, wanted)).await.map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_whom_policy_lets_unmask_opens_a_token_and_it_is_on_record_without_the_value() {
    let server = server(&may_unmask("")).await;
    let wanted = pb::UnmaskRequest { tokens: vec![sealed(&server).await], ..pb::UnmaskRequest::default() };
    let opened = unmask(&server, "alice", wanted.clone()).await.unwrap();
    assert_eq!((opened.decision.unwrap().outcome(), opened.values), (Outcome::Allow, vec!["219-09-9999".to_owned()]));
    for who in ["frank", "report-bot"] {
        let denied = unmask(&server, who, wanted.clone()).await.unwrap();
        assert_eq!((denied.decision.unwrap().reason, denied.values), ("not_permitted".to_owned(), Vec::new()));
    }
    let forged = pb::UnmaskRequest { tokens: vec!["<US_SSN:s1.k1.AAAA>".into()], ..wanted };
    let refused = unmask(&server, "alice", forged).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "invalid_argument"));
    let (dir, _clock) = server.stop().await;
    let journal = written(dir.path());
    assert!(find(&journal, b"unmask") && find(&journal, b"alice"));
    assert!(!find(&journal, b"219-09-9999") && !find(&journal, b"219099999"));
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_can_itself_be_gated_for_exactly_these_tokens() {
    let gate = "@id(\"unmask\") @approval(\"Personal data is opened\") @reviewers(\"User::\\\"dave\\\"\") \
        forbid (principal, action == Countersign::Action::\"unmask\", resource);";
    let server = server(&may_unmask(gate)).await;
    let wanted = pb::UnmaskRequest { tokens: vec![sealed(&server).await], ..pb::UnmaskRequest::default() };
    let pending = unmask(&server, "alice", wanted.clone()).await.unwrap();
    let decision = pending.decision.unwrap();
    assert_eq!((decision.outcome(), pending.values), (Outcome::Pending, Vec::new()));
    server.client("dave").await.approve(&decision.approval.unwrap()).await.unwrap();
    let other = pb::UnmaskRequest { tokens: vec![sealed(&server).await], ..pb::UnmaskRequest::default() };
    let pending = unmask(&server, "alice", other).await.unwrap();
    assert_eq!((pending.decision.unwrap().outcome(), pending.values), (Outcome::Pending, Vec::new()));
    let opened = unmask(&server, "alice", wanted).await.unwrap();
    assert_eq!((opened.decision.unwrap().outcome(), opened.values), (Outcome::Allow, vec!["219-09-9999".to_owned()]));
}

pub fn written(dir: &std::path::Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        bytes.extend(if path.is_dir() { written(&path) } else { std::fs::read(&path).unwrap() });
    }
    bytes
}

pub fn find(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}
