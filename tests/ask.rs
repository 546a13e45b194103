//! `countersign ask` where it guards a step of a script: whatever becomes of its way to the server, the step runs for ALLOW alone.

use std::process::{self, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::canary::ready;
use crate::crash::child::{Child, Site, program};
use crate::metrics::scrape_program;

const PATIENCE: Duration = Duration::from_secs(60);

/// The question, to be asked there.
fn ask(url: &str, token: &str, arguments: &[&str]) -> process::Child {
    let mut command = Command::new(program());
    command.arg("ask").args(arguments).env_clear().env("COUNTERSIGN_SERVER", url).env("COUNTERSIGN_TOKEN", token);
    command.envs(std::env::var_os("TWIN").map(|switch| ("TWIN", switch)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// The exit code, and everything said.
async fn ended(asking: process::Child) -> (Option<i32>, String) {
    let asking = tokio::task::spawn_blocking(move || asking.wait_with_output());
    let output = timeout(PATIENCE, asking).await.expect("an end").unwrap().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// Somebody at the server's place who speaks another language.
async fn stranger() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1_024]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nALLOW").await;
        }
    });
    url
}

const EXPORT: [&str; 6] = [
    "export",
    "Dataset::customers",
    "--context",
    r#"{"destination": "s3://partner", "rows": 1000}"#,
    "--justification",
    "quarterly report",
];

#[tokio::test(flavor = "multi_thread")]
async fn fault_69_whoever_is_cut_off_from_the_server_does_not_act() {
    let site = Site::new().await;
    site.append("[telemetry]\nmetrics = \"127.0.0.1:0\"\n");
    let mut server = Child::start(&site, &[]).await;
    let token = site.token("report-bot");
    ready(&server.url, &token).await;
    let reading = ["read", "Dataset::weather"];
    let (code, said) = ended(ask(&server.url, &token, &reading)).await;
    assert!(code == Some(0) && said.contains("ALLOW"), "{code:?} {said}");

    // While it waits for people the server is gone, without a word.
    let waiting = ask(&server.url, &token, &[&EXPORT[..], &["--wait"]].concat());
    while scrape_program(&server.said()).await["countersign_waits"] < 1.0 {
        tokio::task::yield_now().await;
    }
    server.kill().await;
    let (code, said) = ended(waiting).await;
    assert!(code.is_some_and(|code| code > 0) && !said.contains("ALLOW"), "{code:?} {said}");
    // Then nobody is there, or somebody else.
    for url in [server.url.clone(), stranger().await] {
        let (code, said) = ended(ask(&url, &token, &reading)).await;
        assert!(code.is_some_and(|code| code > 0) && !said.contains("ALLOW"), "{url}: {code:?} {said}");
    }
}
