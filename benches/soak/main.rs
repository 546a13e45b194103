//! Does a server stay as it is? The shipped program under a mix of everything that callers do, right and wrong, for minutes: its memory,
//! files and threads stay flat, nothing that must be zero is not, every answer is the expected one, and its journal is whole.
//!
//! `cargo bench --bench soak [-- SECONDS]` (600). Ends with an error where one of these does not hold. What it showed:
//! `benches/README.md`.
#![allow(clippy::indexing_slicing, clippy::expect_used, reason = "a bench that finds less than it made may end")]

#[path = "../../tests/support/mod.rs"]
#[allow(dead_code, unused_imports, clippy::all, clippy::restriction)]
mod support;

mod callers;
mod crash;
mod vitals;

use std::process::Command;
use std::time::{Duration, Instant};

use self::callers::Callers;
use self::crash::child::{Child, Site};
use self::support::PolicyDir;
use self::vitals::Vitals;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const SECONDS: u64 = 600;
const SAMPLES: u32 = 40;
/// What is kept for a while is kept for a short one, so that the server forgets as much as it learns long before the end.
const FORGETFUL: &str = "\
[approvals]\nsettled_retention = \"10s\"\nrejection_stands = \"5s\"\noutcome_lease = \"5s\"\n\
[limits]\nidempotency_retention = \"10s\"\n\
[journal]\nretention_bytes = 33554432\n\
[telemetry]\nmetrics = \"127.0.0.1:0\"\n";

fn main() -> Result<(), Failure> {
    let seconds = std::env::args().skip(1).find(|argument| argument != "--bench");
    let span = Duration::from_secs(seconds.map_or(Ok(SECONDS), |text| text.parse())?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(soak(span))
}

async fn soak(span: Duration) -> Result<(), Failure> {
    // A rotation that nobody countersigns expires in seconds.
    let policies = PolicyDir::shipped().but("warehouse.cedar", "@timeout(\"1h\")", "@timeout(\"4s\")");
    let policies = policies.but("warehouse.cedar", "@remind(\"10m, 30m\")\n", "");
    let site = Site::new().await.under(policies.path());
    site.append(FORGETFUL);
    let server = Child::start(&site, &[]).await;
    let callers = Callers::start(&site, &server);
    let begun = Instant::now();
    println!("{:>6} {:>9} {:>6} {:>8} {:>10} {:>10}", "second", "MiB", "files", "threads", "answers", "pending");
    let mut seen = Vec::new();
    for _ in 0..SAMPLES {
        tokio::time::sleep(span / SAMPLES).await;
        let now = Vitals::of(&server).await?;
        let (seconds, answers) = (begun.elapsed().as_secs(), callers.answers());
        println!(
            "{seconds:>6} {:>9.1} {:>6} {:>8} {answers:>10} {:>10}",
            now.resident_mib, now.files, now.threads, now.pending
        );
        if let Some(what) = &now.violated {
            return Err(format!("{what} must be zero for ever").into());
        }
        seen.push(now);
    }
    println!("{}", callers.stop().await?);
    vitals::judge(&seen)?;
    server.terminate().await;
    let verify = Command::new(crash::child::program()).args(["audit", "verify"]).arg(site.journal()).output()?;
    print!("{}", String::from_utf8_lossy(&verify.stdout));
    if !verify.status.success() {
        return Err(String::from_utf8_lossy(&verify.stderr).into());
    }
    println!("flat for {} s", span.as_secs());
    Ok(())
}
