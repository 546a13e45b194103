//! `countersign policy reload`: the server reads its own policies again.

use crate::cli::failure::Failure;
use crate::cli::remote::Remote;
use crate::cli::screen::Screen;
use crate::cli::words::escaped;
use crate::wire::pb;

pub async fn run(remote: &Remote, screen: &mut Screen) -> Result<(), Failure> {
    let answer = remote.connect().await?.reload_policies(pb::ReloadPoliciesRequest {}).await?;
    screen.message(&answer, |answer, style| {
        let said = match answer.result() {
            pb::ReloadResult::Unchanged => style.green("unchanged"),
            pb::ReloadResult::Loaded => style.green("loaded"),
            pb::ReloadResult::Refused | pb::ReloadResult::Unspecified => style.red("refused"),
        };
        let digest =
            format!("{said}: in force is {}, revision {}", escaped(&answer.policy_digest), answer.policy_revision);
        let problems = answer.problems.iter().map(|problem| escaped(problem));
        problems.chain([digest]).collect::<Vec<_>>().join("\n")
    })?;
    match answer.result() {
        pb::ReloadResult::Unchanged | pb::ReloadResult::Loaded => Ok(()),
        pb::ReloadResult::Refused | pb::ReloadResult::Unspecified => Err(Failure::Failed(
            "the policies in the server's directory are refused; the last good ones are in force".into(),
        )),
    }
}
