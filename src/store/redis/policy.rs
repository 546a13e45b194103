//! A Redis that forgets when memory is short would forget approvals, and whoever asked would be asked to ask again, or worse.
//! It is not used.

use redis::Pipeline;

use super::answer;
use super::node::Node;
use super::trouble::Trouble;

/// # Errors
/// [`Trouble::Evicts`], or [`Trouble::EvictionUnknown`] where the user may neither read the setting nor `INFO`.
pub async fn check(node: &Node) -> Result<(), Trouble> {
    let policy = match by_config(node).await {
        Ok(policy) => policy,
        Err(trouble) if trouble.breaks_the_connection() => return Err(trouble),
        Err(_) => by_info(node).await?,
    };
    match policy.as_deref() {
        Some("noeviction") => Ok(()),
        Some(evicting) => Err(Trouble::Evicts(evicting.to_owned())),
        None => Err(Trouble::EvictionUnknown),
    }
}

async fn by_config(node: &Node) -> Result<Option<String>, Trouble> {
    let mut question = Pipeline::new();
    question.cmd("CONFIG").arg("GET").arg("maxmemory-policy");
    let answer = node.ask(&question).await?.pop().unwrap_or_default();
    Ok(answer::array(answer, "CONFIG GET")?.into_iter().nth(1).and_then(answer::text))
}

/// For a user who may not read the configuration.
async fn by_info(node: &Node) -> Result<Option<String>, Trouble> {
    let mut question = Pipeline::new();
    question.cmd("INFO").arg("memory");
    let answer = node.ask(&question).await.map_err(|trouble| match trouble.breaks_the_connection() {
        true => trouble,
        false => Trouble::EvictionUnknown,
    })?;
    let text = answer.into_iter().next().and_then(answer::text).unwrap_or_default();
    Ok(text.lines().find_map(|line| line.strip_prefix("maxmemory_policy:")).map(str::to_owned))
}
