//! Does it stay fast and small when there is much of everything? Ten million records, a million approvals pending, a
//! hundred thousand calls that wait, ten thousand subscribers that never read.
//!
//! `cargo bench --bench scale -- append | find [RECORDS] | pending [APPROVALS] | due | waits [CALLS] | subscribers [STREAMS]`
//! Files go to `COUNTERSIGN_BENCH_DIR`, else to `target`. What it showed: `benches/README.md`.

use std::path::PathBuf;

mod edge;
mod journal;
mod many;
mod stage;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    if std::env::var(edge::ROLE).is_ok() {
        return runtime()?.block_on(edge::serve());
    }
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number = |default: usize| arguments.get(1).map_or(Ok(default), |text| text.parse());
    runtime()?.block_on(async {
        match arguments.first().map(String::as_str) {
            Some("append") => journal::append().await,
            Some("find") => journal::find(number(10_000_000)?),
            Some("pending") => many::pending(number(1_000_000)?).await,
            Some("due") => many::due().await,
            Some("waits") => edge::waits(number(100_000)?).await,
            Some("subscribers") => edge::subscribers(number(10_000)?).await,
            _ => Err("say append, find, pending, due, waits or subscribers".into()),
        }
    })
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let stack = countersign::server::WORKER_STACK_BYTES;
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_stack_size(stack).enable_all().build()
}

fn directory() -> std::io::Result<tempfile::TempDir> {
    tempfile::tempdir_in(std::env::var_os("COUNTERSIGN_BENCH_DIR").map_or_else(|| "target".into(), PathBuf::from))
}

/// Memory of a process that is really there, in bytes.
fn resident_bytes(pid: u32) -> Result<u64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
