//! `approvals watch` at a real terminal: a pseudo terminal of 80 by 24 that a terminal emulator reads, keys as a keyboard sends
//! them, a real server.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign::wire::pb;

use crate::support::TestServer;
use crate::support::client::{export, string};

/// What would take over a terminal that it reached: a title, a colour, text that runs backwards, and nothing to be seen.
const HOSTILE: &str = "s3://\u{1b}]0;owned\u{7}\u{202e}backwards\u{200b}";

/// The inbox of one person, in a terminal.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    seen: Arc<Mutex<Seen>>,
}

struct Seen {
    screen: vt100::Parser,
    /// Every byte that reached the terminal.
    raw: Vec<u8>,
}

impl Terminal {
    fn open(server: &TestServer, who: &str) -> Self {
        let inbox =
            format!("stty cols 80 rows 24 && exec {} approvals watch --every 200ms", env!("CARGO_BIN_EXE_countersign"));
        let mut child = Command::new("script")
            .args(["-qfec", &inbox, "/dev/null"])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("TERM", "xterm-256color")
            .env("SHELL", "/bin/sh")
            .env("COUNTERSIGN_SERVER", server.url())
            .env("COUNTERSIGN_TOKEN", server.token(who))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`script` of util-linux makes the terminal");
        let (keys, mut out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let seen = Arc::new(Mutex::new(Seen { screen: vt100::Parser::new(24, 80, 0), raw: Vec::new() }));
        let fill = seen.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(read @ 1..) = out.read(&mut bytes) {
                let mut seen = fill.lock().unwrap();
                seen.screen.process(&bytes[..read]);
                seen.raw.extend_from_slice(&bytes[..read]);
            }
        });
        Self { child, keys, seen }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    fn screen(&self) -> String {
        self.seen.lock().unwrap().screen.screen().contents()
    }

    /// Returns the screen once it shows this.
    async fn until(&self, text: &str) -> String {
        for _ in 0..600 {
            let screen = self.screen();
            if screen.contains(text) {
                return screen;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("never shown: {text}\n{}", self.screen());
    }

    async fn ended(mut self) -> (ExitStatus, Vec<u8>) {
        let status = tokio::task::spawn_blocking(move || self.child.wait().unwrap()).await.unwrap();
        let raw = self.seen.lock().unwrap().raw.clone();
        (status, raw)
    }
}

async fn asked(server: &TestServer) -> pb::Approval {
    let mut query = export();
    query.context.insert("destination".into(), string(HOSTILE));
    query.justification = format!("please {HOSTILE}");
    server.client("report-bot").await.authorize(query).await.unwrap().approval.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_reads_and_countersigns_at_a_terminal_and_nothing_of_others_reaches_it() {
    let server = TestServer::start().await;
    let approval = asked(&server).await;
    let mut terminal = Terminal::open(&server, "alice");
    terminal.until("export customers").await;
    terminal.press("\r");
    let page = terminal.until("wants to Action::\"export\"").await;
    assert!(page.contains("\\u{1b}]0;owned\\u{7}\\u{202e}backwards\\u{200b}"), "{page}");
    terminal.press("a");
    terminal.until("lines of it were not on the screen yet").await;
    terminal.press("\u{1b}[F");
    terminal.until("opened").await;
    // Back to the beginning, a page at a time.
    terminal.press(&"\u{1b}[5~".repeat(9));
    terminal.until("wants to").await;
    terminal.press("a");
    let question = terminal.until("Countersign exactly this: export customers").await;
    assert!(question.contains(&format!("binding {}", approval.binding)), "{question}");
    assert!(question.contains("for export-pii"), "{question}");
    terminal.press("custom\r");
    terminal.until("letter by letter").await;
    assert!(server.client("erin").await.get(&approval.id).await.unwrap().reviews.is_empty());
    terminal.press("ers\r");
    terminal.until("your vote counts").await;
    let voted = server.client("erin").await.get(&approval.id).await.unwrap();
    assert_eq!((voted.reviews.len(), voted.reviews[0].verdict()), (1, pb::Verdict::Approve));
    assert_eq!(voted.reviews[0].gates, ["export-pii"]);
    // What others decide is seen without a key.
    server.client("bob").await.approve(&approval).await.unwrap();
    terminal.until("Nothing waits").await;
    terminal.press("q");
    let (status, raw) = terminal.ended().await;
    assert!(status.success());
    let raw = String::from_utf8_lossy(&raw);
    assert!(raw.contains("\u{1b}[?1049h") && raw.contains("\u{1b}[?1049l"), "the terminal is given back");
    for hostile in ["\u{1b}]0;", "\u{7}", "\u{202e}", "\u{200b}"] {
        assert!(!raw.contains(hostile), "{hostile:?} reached the terminal");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_at_a_terminal_says_why_and_a_late_one_is_told_what_really_happened() {
    let server = TestServer::start().await;
    let approval = asked(&server).await;
    let mut terminal = Terminal::open(&server, "alice");
    terminal.until("export customers").await;
    terminal.press("\r");
    terminal.until("wants to").await;
    terminal.press("r");
    terminal.until("Reject this: export customers").await;
    terminal.press("\r");
    terminal.until("needs a comment").await;
    terminal.press("not to a \u{202e}stranger\r");
    terminal.until("your vote counts; it is rejected").await;
    let settled = server.client("erin").await.get(&approval.id).await.unwrap();
    assert_eq!(settled.state(), pb::ApprovalState::Rejected);
    // Another one, which somebody else rejects while it is read.
    let mut query = export();
    query.context.insert("destination".into(), string("elsewhere"));
    let other = server.client("report-bot").await.authorize(query).await.unwrap().approval.unwrap();
    terminal.until("1 waiting").await;
    terminal.press("\r");
    terminal.until("wants to").await;
    server.client("bob").await.reject(&other).await.unwrap();
    terminal.until("this is REJECTED now").await;
    terminal.press("r");
    terminal.until("this is settled").await;
    terminal.press("\u{3}");
    assert!(terminal.ended().await.0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn into_a_pipe_it_writes_lines() {
    let server = TestServer::start().await;
    let approval = asked(&server).await;
    let mut child = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["approvals", "watch", "--every", "200ms"])
        .env_clear()
        .env("COUNTERSIGN_SERVER", server.url())
        .env("COUNTERSIGN_TOKEN", server.token("alice"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let read = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        let mut bytes = [0; 4_096];
        while !text.contains("apr_") {
            let read = out.read(&mut bytes).unwrap();
            assert!(read > 0, "{text}");
            text.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
        text
    });
    let text = read.await.unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(text.contains(&approval.id) && !text.contains('\u{1b}'), "{text}");
}
