//! What Prometheus is told: that it is true, that it is well formed, and that nobody who asks can make it grow.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use countersign::wire::pb;
use pb::Outcome;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::{Client, export, export_by_id, query, wait};
use crate::support::{PolicyDir, TestServer};

/// Samples by name and labels, as they are written.
pub type Samples = BTreeMap<String, f64>;

/// One scrape: the head of the answer, and the page.
async fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: metrics\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

pub async fn scrape(server: &TestServer) -> Samples {
    samples(&get(server.metrics, "/metrics").await.1)
}

fn samples(page: &str) -> Samples {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

fn decisions(samples: &Samples, outcome: &str, reason: &str) -> f64 {
    samples[&format!("countersign_decisions_total{{outcome=\"{outcome}\",reason=\"{reason}\"}}")]
}

fn violations(samples: &Samples) -> Vec<(&String, &f64)> {
    samples.iter().filter(|(name, _)| name.starts_with("countersign_invariant_violations_total")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_what_is_counted() {
    let server = TestServer::start().await;
    let agent = server.client("report-bot").await;
    assert_eq!(agent.authorize(query("read", "Dataset", "weather")).await.unwrap().outcome(), Outcome::Allow);
    agent.authorize(query("drop", "Database", "warehouse")).await.unwrap();
    let approval = agent.authorize(export()).await.unwrap().approval.unwrap();
    assert_eq!(scrape(&server).await["countersign_approvals_pending"], 1.0);

    let waiting = tokio::spawn({
        let agent = agent.clone();
        let asked = pb::AuthorizeRequest { wait: wait(Duration::from_secs(55)), ..export_by_id(&approval.id) };
        async move { agent.authorize(asked).await }
    });
    while scrape(&server).await["countersign_waits"] < 1.0 {
        tokio::task::yield_now().await;
    }
    server.client("alice").await.approve(&approval).await.unwrap();
    server.client("bob").await.approve(&approval).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().outcome(), Outcome::Allow);
    agent.approve(&approval).await.unwrap_err();
    Client::connect(&server.url(), "no token").await.authorize(export()).await.unwrap_err();

    let after = scrape(&server).await;
    assert_eq!(decisions(&after, "ALLOW", "permitted"), 1.0);
    assert_eq!(decisions(&after, "DENY", "forbidden"), 1.0);
    // Asked, and asked again to wait.
    assert_eq!(decisions(&after, "PENDING", "approval_required"), 2.0);
    assert_eq!(decisions(&after, "ALLOW", "granted"), 1.0);
    assert_eq!(after["countersign_decision_duration_seconds_count"], 5.0);
    assert!(after["countersign_evaluation_duration_seconds_sum"] > 0.0);
    for (name, wanted) in [
        ("approvals_pending", 0.0),
        ("waits", 0.0),
        ("approval_steps_total{step=\"opened\"}", 1.0),
        ("approval_steps_total{step=\"reviewed\"}", 1.0),
        ("approval_steps_total{step=\"approved\"}", 1.0),
        ("approval_steps_total{step=\"consumed\"}", 1.0),
        ("reviews_total{verdict=\"approve\"}", 2.0),
        ("refusals_total{reason=\"not_human\"}", 1.0),
        ("refusals_total{reason=\"malformed\"}", 1.0),
        ("tokens_refused_total{reason=\"malformed\"}", 1.0),
        // report-bot, alice and bob.
        ("tokens_accepted_total{how=\"examined\"}", 3.0),
        ("tokens_accepted_total{how=\"remembered\"}", 4.0),
        ("store_up", 1.0),
        ("store_failures_total", 0.0),
    ] {
        assert_eq!(after[&format!("countersign_{name}")], wanted, "{name}");
    }
    assert!(after["countersign_wakeup_lateness_seconds_count"] >= 1.0);
    assert!(after["countersign_journal_sync_duration_seconds_count"] >= 1.0);
    assert!(after["countersign_journal_sequence"] >= 6.0);
    assert!(after["countersign_connections"] >= 1.0);
    assert!(violations(&after).len() == 3 && violations(&after).iter().all(|(_, count)| **count == 0.0));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_is_counted_with_how_late_it_was() {
    let server = TestServer::start().await;
    server.client("report-bot").await.authorize(export()).await.unwrap();
    server.advance(Duration::from_secs(24 * 3_600));
    loop {
        let now = scrape(&server).await;
        if now["countersign_approval_steps_total{step=\"expired\"}"] == 1.0 {
            assert_eq!(now["countersign_expiry_lateness_seconds_count"], 1.0);
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_set_shows_and_the_good_one_is_named() {
    let policies = PolicyDir::extended();
    let server = policies.serve().await;
    let digest =
        |now: &Samples| now.keys().find(|name| name.starts_with("countersign_policy_set_info")).unwrap().clone();
    let before = scrape(&server).await;
    policies.write("broken.cedar", "permit (principal, action");
    server.admin().await.reload().await.unwrap();
    let broken = scrape(&server).await;
    assert_eq!((broken["countersign_policy_set_refused"], digest(&broken)), (1.0, digest(&before)));
    assert_eq!(broken["countersign_policy_reloads_total{result=\"refused\"}"], 1.0);

    policies.write("broken.cedar", "permit (principal is Robot, action, resource);");
    policies.remove("broken.cedar");
    server.admin().await.reload().await.unwrap();
    assert_eq!(scrape(&server).await["countersign_policy_set_refused"], 0.0);
}

/// Whoever asks chooses ids, reasons and headers, and none of them is a label.
#[tokio::test(flavor = "multi_thread")]
async fn fault_81_no_caller_makes_a_row() {
    let server = TestServer::start().await;
    let agent = server.client("report-bot").await;
    agent.authorize(query("read", "Dataset", "first")).await.unwrap();
    agent.authorize(query("fly", "Dataset", "first")).await.unwrap_err();
    let before = scrape(&server).await;
    for number in 0..200 {
        agent.authorize(query("read", "Dataset", &format!("mallory-{number}"))).await.unwrap();
        agent.authorize(query(&format!("mallory-{number}"), "Dataset", "first")).await.unwrap_err();
        agent.get(&format!("mallory-{number}")).await.unwrap_err();
    }
    let (_, page) = get(server.metrics, "/metrics").await;
    let after = samples(&page);
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    assert!(!page.contains("mallory") && !page.contains("report-bot"), "{page}");
}

/// OpenMetrics 1.0, sections 5.1 and 5.3, as far as a few lines say; all of it is looked at by tests/clients/metrics.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_open_metrics() {
    let server = TestServer::start().await;
    let (head, page) = get(server.metrics, "/metrics").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    assert!(page.ends_with("# EOF\n") && page.matches("# EOF").count() == 1);
    let mut typed = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("# TYPE ")) {
        let mut words = line.split(' ').skip(2);
        let (name, kind) = (words.next().unwrap(), words.next().unwrap());
        assert!(typed.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} is there twice");
        assert!(page.contains(&format!("# HELP {name} ")), "{name} is not explained");
        assert!(kind != "histogram" || name.ends_with("_seconds"), "{name} says no unit");
        assert!(kind != "histogram" || page.contains(&format!("{name}_bucket{{le=\"+Inf\"}} ")), "{name} is not whole");
    }
    assert!(typed.len() > 40, "{typed:?}");
    let (head, _) = get(server.metrics, "/").await;
    assert!(head.starts_with("http/1.1 404"), "{head}");
    let older = reqwest::Client::new().get(format!("http://{}/metrics", server.metrics));
    let older = older.header("accept", "text/plain;version=0.0.4;q=0.5,*/*;q=0.1").send().await.unwrap();
    assert_eq!(older.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let older = older.text().await.unwrap();
    assert!(!older.contains("# EOF") && older.contains("# TYPE countersign_decisions_total counter\n"), "{older}");
    assert_eq!(samples(&older).keys().collect::<Vec<_>>(), samples(&page).keys().collect::<Vec<_>>());
}
