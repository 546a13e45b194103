//! Every limit of the service, by name. Past one of them the caller gets RESOURCE_EXHAUSTED or INVALID_ARGUMENT that
//! names it, and nobody else notices.

use std::time::Duration;

use super::load;
use crate::domain::{REJECTION_STANDS, ReviewRules};

#[derive(Debug, Clone)]
pub struct Limits {
    /// What is demanded of reviewers and their logins.
    pub review: ReviewRules,
    /// How much is taken on.
    pub load: load::Limits,
    /// How long the same query is answered by its rejection, without asking people again.
    pub rejection_stands: Duration,
    /// How long a grant for one use can be redeemed.
    pub redeem_within: Duration,
    /// How long after its use a grant's outcome can be reported before it counts as unknown.
    pub outcome_lease: Duration,
    /// How long ago one may have logged in to approve at high severity and above, where people are asked by us: in the inbox and on
    /// a terminal.
    pub fresh_login: Duration,
    /// The longest that one call may wait; clients ask again.
    pub wait_max: Duration,
    /// Calls that wait at the same time.
    pub waits_max: usize,
    /// The same of one caller, so that none keeps all others from waiting.
    pub waits_per_caller_max: usize,
    /// What the queries that wait hold of memory, all together.
    pub waits_bytes_max: usize,
    /// Streams of `Subscribe` and `Audit` at the same time.
    pub subscribers_max: usize,
    /// Silence on a subscription after which a heartbeat says where it is.
    pub heartbeat: Duration,
    /// One query, as it is encoded; a record must hold it with the identities of who asks.
    pub query_bytes_max: usize,
    pub batch_queries_max: usize,
    /// All queries of a batch together; an answer that cannot be sent would be lost after it took effect.
    pub batch_bytes_max: usize,
    /// Queries of one `AuthorizeStream` under way at the same time.
    pub stream_queries_max: usize,
    pub entities_max: usize,
    /// Entities put over the API that the server keeps.
    pub put_entities_max: usize,
    /// In one call.
    pub put_entities_per_call_max: usize,
    pub put_entity_bytes_max: usize,
    pub justification_chars_max: usize,
    pub comment_chars_max: usize,
    pub idempotency_key_chars_max: usize,
    pub page_size_max: usize,
    pub page_size_default: usize,
    pub audit_records_max: usize,
    pub audit_records_default: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            review: ReviewRules::default(),
            load: load::Limits::default(),
            rejection_stands: REJECTION_STANDS,
            redeem_within: Duration::from_secs(3_600),
            outcome_lease: Duration::from_secs(900),
            fresh_login: Duration::from_secs(15 * 60),
            wait_max: Duration::from_secs(55),
            waits_max: 200_000,
            waits_per_caller_max: 150_000,
            waits_bytes_max: 1 << 30,
            subscribers_max: 20_000,
            heartbeat: Duration::from_secs(15),
            query_bytes_max: 256 << 10,
            batch_queries_max: 100,
            batch_bytes_max: 1 << 20,
            stream_queries_max: 256,
            entities_max: 100,
            put_entities_max: 10_000,
            put_entities_per_call_max: 1_000,
            put_entity_bytes_max: 64 << 10,
            justification_chars_max: 2_000,
            comment_chars_max: 2_000,
            idempotency_key_chars_max: 128,
            page_size_max: 200,
            page_size_default: 50,
            audit_records_max: 10_000,
            audit_records_default: 1_000,
        }
    }
}
