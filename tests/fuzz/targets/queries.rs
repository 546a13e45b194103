//! Any bytes as an `AuthorizeRequest`: what is taken for a query is bound, and says the same when it is said again.
#![no_main]

use countersign::domain::{Binding, Query};
use countersign::grpc::fuzzing::ask;
use countersign::service::Limits;
use countersign::service::authorize::AskedPrincipal;
use countersign::wire::pb;
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|bytes: &[u8]| {
    let Ok(request) = pb::AuthorizeRequest::decode(bytes) else { return };
    let Some(query) = query(request.clone()) else { return };
    let again = pb::AuthorizeRequest {
        principal: Some((&query.principal).into()),
        action: Some((&query.action).into()),
        resource: Some((&query.resource).into()),
        context: countersign::wire::value::attributes(&query.context),
        environment: countersign::wire::value::attributes(&query.environment),
        entities: query.entities.iter().map(Into::into).collect(),
        subject_token: String::new(),
        ..request
    };
    let again = self::query(again).expect("it was a query a moment ago");
    assert_eq!(again, query);
    assert_eq!(Binding::of(&again), Binding::of(&query));
});

fn query(request: pb::AuthorizeRequest) -> Option<Query> {
    let ask = ask(request, &Limits::default()).ok()?;
    let principal = match ask.principal {
        AskedPrincipal::Named(uid) => uid,
        AskedPrincipal::Caller | AskedPrincipal::Token(_) => countersign::domain::EntityUid::new("User", "caller"),
    };
    Some(Query {
        principal,
        on_behalf_of: None,
        action: ask.action,
        resource: ask.resource,
        context: ask.context,
        environment: ask.environment,
        entities: ask.entities,
    })
}
