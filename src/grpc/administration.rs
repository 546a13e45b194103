//! One short handler for each rpc of the administration.

use std::ops::Bound;

use tonic::{Request, Response, Status};

use super::Edge;
use super::generated::administration_server::{Administration, SERVICE_NAME};
use super::request::malformed;
use super::trace::Method;
use crate::domain::{Entity, EntityUid};
use crate::service::entities::Listing;
use crate::service::policies::{Reload, Reloaded};
use crate::service::{Limits, Refusal};
use crate::wire::value::{ValueParser, optional_uid, parse_uid, required_uid};
use crate::wire::{self, pb};

/// One page of entities: well below the largest message.
const PAGE_BYTES_MAX: usize = 3 << 20;

const fn method(name: &'static str) -> Method {
    Method { service: SERVICE_NAME, name }
}

#[tonic::async_trait]
impl Administration for Edge {
    async fn reload_policies(
        &self,
        request: Request<pb::ReloadPoliciesRequest>,
    ) -> Result<Response<pb::ReloadPoliciesResponse>, Status> {
        self.handle(method("ReloadPolicies"), request, async |service, caller, _| {
            Ok(reloaded(&service.reload_for(&caller).await?))
        })
        .await
    }

    async fn put_entities(
        &self,
        request: Request<pb::PutEntitiesRequest>,
    ) -> Result<Response<pb::PutEntitiesResponse>, Status> {
        self.handle(method("PutEntities"), request, async |service, caller, wanted| {
            let changed = service.put_entities(&caller, entities(wanted.entities)?).await?;
            Ok(pb::PutEntitiesResponse { policy_revision: changed.revision, changed: count(changed.count) })
        })
        .await
    }

    async fn delete_entities(
        &self,
        request: Request<pb::DeleteEntitiesRequest>,
    ) -> Result<Response<pb::DeleteEntitiesResponse>, Status> {
        self.handle(method("DeleteEntities"), request, async |service, caller, wanted| {
            let changed = service.delete_entities(&caller, uids(wanted.uids)?).await?;
            Ok(pb::DeleteEntitiesResponse { policy_revision: changed.revision, deleted: count(changed.count) })
        })
        .await
    }

    async fn list_entities(
        &self,
        request: Request<pb::ListEntitiesRequest>,
    ) -> Result<Response<pb::ListEntitiesResponse>, Status> {
        self.handle(method("ListEntities"), request, async |service, caller, wanted| {
            page(&service.entities(&caller)?, wanted, service.limits())
        })
        .await
    }

    async fn end_sessions(
        &self,
        request: Request<pb::EndSessionsRequest>,
    ) -> Result<Response<pb::EndSessionsResponse>, Status> {
        self.handle(method("EndSessions"), request, async |service, caller, wanted| {
            let person = required_uid("principal", wanted.principal).map_err(malformed)?;
            Ok(pb::EndSessionsResponse { policy_revision: service.end_sessions(&caller, person).await? })
        })
        .await
    }
}

fn reloaded(reloaded: &Reloaded) -> pb::ReloadPoliciesResponse {
    let (result, problems) = match &reloaded.result {
        Reload::Unchanged => (pb::ReloadResult::Unchanged, Vec::new()),
        Reload::Loaded { .. } => (pb::ReloadResult::Loaded, Vec::new()),
        Reload::Refused(refused) => {
            (pb::ReloadResult::Refused, refused.problems.iter().map(ToString::to_string).collect())
        }
    };
    pb::ReloadPoliciesResponse {
        result: result.into(),
        policy_digest: reloaded.digest.to_string(),
        policy_revision: reloaded.revision,
        problems,
    }
}

/// Each entity is as large as a query's may be together.
fn entities(entities: Vec<pb::Entity>) -> Result<Vec<Entity>, Refusal> {
    let numbered = entities.into_iter().enumerate();
    numbered
        .map(|(position, entity)| {
            let parsed = ValueParser::default().entity(entity);
            parsed.map_err(|wrong| malformed(wrong.within(format_args!("entities[{position}]"))))
        })
        .collect()
}

fn uids(uids: Vec<pb::EntityUid>) -> Result<Vec<EntityUid>, Refusal> {
    let numbered = uids.into_iter().enumerate();
    numbered
        .map(|(position, uid)| {
            parse_uid(uid).map_err(|wrong| malformed(wrong.within(format_args!("uids[{position}]"))))
        })
        .collect()
}

fn page(
    listing: &Listing,
    wanted: pb::ListEntitiesRequest,
    limits: &Limits,
) -> Result<pb::ListEntitiesResponse, Refusal> {
    let size = match usize::try_from(wanted.page_size).unwrap_or(usize::MAX) {
        0 => limits.page_size_default,
        size if size <= limits.page_size_max => size,
        _ => return Err(Refusal::invalid("page_size", format!("more than {}", limits.page_size_max))),
    };
    let after = optional_uid("after", wanted.after).map_err(malformed)?;
    let start = after.map_or(Bound::Unbounded, Bound::Excluded);
    let all = listing.data.range::<EntityUid, _>((start, Bound::Unbounded));
    let of_type = |uid: &EntityUid| wanted.r#type.is_empty() || *uid.type_name == *wanted.r#type;
    let mut page = pb::ListEntitiesResponse { policy_revision: listing.revision, ..Default::default() };
    let (mut bytes, mut last) = (0, None);
    for (uid, entity) in all.filter(|(uid, _)| of_type(uid)) {
        let entity = pb::Entity::from(&**entity);
        bytes += wire::encoded_bytes(&entity);
        if page.entities.len() == size || (bytes > PAGE_BYTES_MAX && last.is_some()) {
            page.next_after = last;
            break;
        }
        last = Some(uid.into());
        page.entities.push(entity);
    }
    Ok(page)
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
