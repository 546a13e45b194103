//! Streams: many queries over one call, and the journal as it grows.

use std::panic::AssertUnwindSafe;

use futures_util::{Stream, StreamExt, stream};
use tonic::{Status, Streaming};

use super::about::About;
use super::call::refused;
use super::status::status;
use super::unbroken::unbroken;
use super::{answer, request, uniform};
use crate::service::authorize::Ask;
use crate::service::follow::{Audit, Follower};
use crate::service::load::Kind;
use crate::service::{Caller, Limits, Refusal, Service};
use crate::wire::pb;

/// One query of a batch or a stream. What is wrong with it is its own answer, and on record like any other refusal.
pub async fn item(
    service: &Service,
    caller: &Caller,
    query: pb::AuthorizeRequest,
    parse: fn(pb::AuthorizeRequest, &Limits) -> Result<Ask, Refusal>,
) -> pb::AuthorizeResult {
    let approval = query.approval();
    let answered = match parse(query, service.limits()) {
        Ok(ask) => unbroken(service.authorize(caller, ask)).await,
        Err(refusal) => Err(refusal),
    };
    if let Err(refusal) = &answered {
        service.note_refusal(refusal, || refused("Authorize", Some(caller), approval, caller.request_id(), refusal));
    }
    answer::result(answered, service.now())
}

/// The answers to a stream of queries, as they are ready. Ends when the client is done, or when its token is.
pub fn answers(
    service: Service,
    caller: Caller,
    queries: Streaming<pb::AuthorizeStreamRequest>,
) -> impl Stream<Item = Result<pb::AuthorizeStreamResponse, Status>> + Send + 'static {
    let under_way_max = service.limits().stream_queries_max;
    let over = {
        let (service, caller) = (service.clone(), caller.clone());
        async move { service.until_over(&caller).await }
    };
    let ending = {
        let (service, caller) = (service.clone(), caller.clone());
        stream::once(async move { service.over(&caller) }).filter_map(async |over| over.map(|why| Err(status(&why))))
    };
    // What is under way is still answered; waits see the end by themselves.
    let answers = queries.take_until(over).map(move |query| {
        let (service, caller) = (service.clone(), caller.clone());
        async move {
            let query = query.map_err(|broken| uniform::explained(&broken))?;
            if let Some(why) = service.over(&caller) {
                return Err(status(&why));
            }
            let asked = query.query.unwrap_or_default();
            let result = match service.load().charge(Kind::Decisions, &caller, 1) {
                Ok(()) => item(&service, &caller, asked, request::ask).await,
                Err(refusal) => {
                    service.count_turned_away(&refusal);
                    answer::result(Err(refusal), service.now())
                }
            };
            Ok(pb::AuthorizeStreamResponse { correlation_id: query.correlation_id, result: Some(result) })
        }
    });
    until_error(answers.buffer_unordered(under_way_max).chain(ending))
}

/// The journal from a place on, as it grows.
pub fn events(follower: Follower) -> impl Stream<Item = Result<pb::Event, Status>> + Send + 'static {
    let events = stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await;
        Some((event.map(|event| answer::event(&event)).map_err(|refusal| status(&refusal)), follower))
    });
    until_error(events)
}

/// The past, as fast as the client takes it.
pub fn records(audit: Audit) -> impl Stream<Item = Result<pb::AuditResponse, Status>> + Send + 'static {
    let answers = stream::unfold(audit, |mut audit| async move {
        let answer = match audit.next().await {
            Ok(found) => {
                let (cursor, record) = found?;
                Ok(pb::AuditResponse { record: Some((&record).into()), cursor: cursor.to_string() })
            }
            Err(refusal) => Err(status(&refusal)),
        };
        Some((answer, audit))
    });
    until_error(answers)
}

/// The stream up to and including its first error, which a panic is as well.
pub(super) fn until_error<T: Send + 'static>(
    items: impl Stream<Item = Result<T, Status>> + Send + 'static,
) -> impl Stream<Item = Result<T, Status>> + Send + 'static {
    let broken = |_| Err(status(&Refusal::Internal("a stream panicked".into())));
    let items = AssertUnwindSafe(items).catch_unwind().map(move |caught| caught.unwrap_or_else(broken));
    items.scan(false, |failed, item| {
        let go_on = !*failed;
        *failed = item.is_err();
        std::future::ready(go_on.then_some(item))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn fault_80_a_panic_within_a_stream_ends_it_with_an_internal_error() {
        let items = stream::iter([1, 0, 2]).map(|number| Ok(10 / number));
        let seen: Vec<_> = until_error(items).map(|item| item.map_err(|status| status.code())).collect().await;
        assert_eq!(seen, [Ok(10), Err(tonic::Code::Internal)]);
    }
}
