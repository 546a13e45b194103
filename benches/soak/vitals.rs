//! How a server is, as its machine and its metrics tell.

use std::path::Path;

use super::Failure;
use super::crash::child::Child;

/// What one sample may have more than the first ones, beside a tenth.
const SLACK_MIB: f64 = 6.0;
const SLACK_FILES: usize = 64;
const SLACK_THREADS: usize = 4;

pub struct Vitals {
    pub resident_mib: f64,
    pub files: usize,
    pub threads: usize,
    pub pending: f64,
    /// A counter that is not zero and must be.
    pub violated: Option<String>,
}

impl Vitals {
    pub async fn of(server: &Child) -> Result<Self, Failure> {
        let process = Path::new("/proc").join(server.pid.as_raw_nonzero().to_string());
        let status = std::fs::read_to_string(process.join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        let page = metrics(server).await?;
        let invariants: Vec<_> = page.lines().filter(|line| line.contains("_invariant_violations_total{")).collect();
        if invariants.is_empty() {
            return Err("the metrics say nothing of invariants".into());
        }
        let violated = invariants.into_iter().find(|line| !line.ends_with(" 0"));
        Ok(Self {
            resident_mib: line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0,
            files: std::fs::read_dir(process.join("fd"))?.count(),
            threads: std::fs::read_dir(process.join("task"))?.count(),
            pending: figure(&page, "countersign_approvals_pending")?,
            violated: violated.map(str::to_owned),
        })
    }
}

/// The last quarter beside the second: the first one is for warming up.
pub fn judge(seen: &[Vitals]) -> Result<(), Failure> {
    let quarter = seen.len() / 4;
    let (early, late) = (&seen[quarter..2 * quarter], &seen[seen.len() - quarter..]);
    let memory = |part: &[Vitals]| middle(part.iter().map(|vitals| vitals.resident_mib).collect());
    let (before, after) = (memory(early), memory(late));
    println!("resident, the middle of the second and of the last quarter: {before:.1} and {after:.1} MiB");
    if after > before * 1.1 + SLACK_MIB {
        return Err(format!("memory grows: {before:.1} MiB became {after:.1}").into());
    }
    let most = |part: &[Vitals], of: fn(&Vitals) -> usize| part.iter().map(of).max().unwrap_or_default();
    for (what, of, slack) in [
        ("open files", (|vitals| vitals.files) as fn(&Vitals) -> usize, SLACK_FILES),
        ("threads", |vitals| vitals.threads, SLACK_THREADS),
    ] {
        let (before, after) = (most(early, of), most(late, of));
        println!("{what}, most of them in the second and in the last quarter: {before} and {after}");
        if after > before + slack {
            return Err(format!("{what} grow: {before} became {after}").into());
        }
    }
    Ok(())
}

fn middle(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

async fn metrics(server: &Child) -> Result<String, Failure> {
    let said = server.said();
    let address = said.lines().find_map(|line| line.split_once("metrics are at ")).ok_or("no metrics")?.1;
    let url = address.split_whitespace().next().unwrap_or_default();
    Ok(reqwest::get(url).await?.error_for_status()?.text().await?)
}

fn figure(page: &str, name: &str) -> Result<f64, Failure> {
    let line = page.lines().find(|line| line.starts_with(name)).ok_or_else(|| format!("no {name}"))?;
    Ok(line.rsplit(' ').next().unwrap_or_default().parse()?)
}
