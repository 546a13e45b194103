//! Filters and cursors of the journal's readers.

use std::str::FromStr;

use crate::journal::{Filter, Order, Search};
use crate::service::follow::{Cursor, Place, Start};
use crate::service::{Limits, Refusal};
use crate::wire::approval::parse_timestamp;
use crate::wire::{pb, value};

use super::request::{approval_id, malformed};

pub fn filter(filter: Option<pb::Filter>) -> Result<Filter, Refusal> {
    let Some(filter) = filter else { return Ok(Filter::default()) };
    let outcome = |number| {
        pb::Outcome::parse(number).ok_or_else(|| Refusal::invalid("filter.outcomes", "expected ALLOW, DENY or PENDING"))
    };
    Ok(Filter {
        principal: value::optional_uid("filter.principal", filter.principal).map_err(malformed)?,
        action: value::optional_uid("filter.action", filter.action).map_err(malformed)?,
        resource: value::optional_uid("filter.resource", filter.resource).map_err(malformed)?,
        approval: (!filter.approval_id.is_empty())
            .then(|| approval_id("filter.approval_id", &filter.approval_id))
            .transpose()?,
        outcomes: filter.outcomes.into_iter().map(outcome).collect::<Result<_, _>>()?,
        reviewer: None,
    })
}

/// A place in the journal of one replica.
pub fn cursor(text: &str) -> Result<Option<Cursor>, Refusal> {
    parsed(text)
}

fn parsed<T: FromStr>(text: &str) -> Result<Option<T>, Refusal> {
    let parse = || text.parse().map_err(|_| Refusal::invalid("cursor", "not a cursor of this service"));
    (!text.is_empty()).then(parse).transpose()
}

pub fn start(request: &pb::SubscribeRequest) -> Result<Start, Refusal> {
    match (parsed::<Place>(&request.cursor)?, request.from_beginning) {
        (Some(_), true) => Err(Refusal::invalid("from_beginning", "not together with `cursor`")),
        (Some(place), false) => Ok(Start::After(place)),
        (None, true) => Ok(Start::Beginning),
        (None, false) => Ok(Start::Now),
    }
}

pub fn search(request: pb::AuditRequest, limits: &Limits) -> Result<Search, Refusal> {
    let order = match pb::Order::try_from(request.order) {
        Ok(pb::Order::Unspecified | pb::Order::OldestFirst) => Order::OldestFirst,
        Ok(pb::Order::NewestFirst) => Order::NewestFirst,
        Err(_) => return Err(Refusal::invalid("order", "expected ORDER_OLDEST_FIRST or ORDER_NEWEST_FIRST")),
    };
    let limit = match usize::try_from(request.limit).unwrap_or(usize::MAX) {
        0 => limits.audit_records_default,
        limit if limit <= limits.audit_records_max => limit,
        _ => return Err(Refusal::invalid("limit", format!("more than {}", limits.audit_records_max))),
    };
    let whole = Search { order, limit, ..Search::whole(filter(request.filter)?) };
    Ok(Search {
        from: request.from.map_or(whole.from, parse_timestamp),
        until: request.until.map_or(whole.until, parse_timestamp),
        ..whole
    })
}
