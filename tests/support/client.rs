//! A client of the generated stubs, with the shortest words for what tests do.

use std::collections::BTreeMap;
use std::time::Duration;

use countersign::grpc::generated::administration_client::AdministrationClient;
use countersign::grpc::generated::decision_point_client::DecisionPointClient;
use countersign::wire::pb;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_types::StatusExt;

pub type Stub = DecisionPointClient<InterceptedService<Channel, Bearer>>;

/// The headers of every call.
#[derive(Clone)]
pub struct Bearer {
    authorization: Option<MetadataValue<tonic::metadata::Ascii>>,
    trace_parent: Option<MetadataValue<tonic::metadata::Ascii>>,
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let headers = [("authorization", &self.authorization), ("traceparent", &self.trace_parent)];
        for (name, value) in headers {
            value.clone().map(|value| request.metadata_mut().insert(name, value));
        }
        Ok(request)
    }
}

#[derive(Clone)]
pub struct Client {
    pub stub: Stub,
}

impl Client {
    pub async fn connect(url: &str, token: &str) -> Self {
        Self::try_connect(url, token).await.expect("a connection")
    }

    /// For servers that may be gone.
    pub async fn try_connect(url: &str, token: &str) -> Result<Self, tonic::transport::Error> {
        let channel = Endpoint::new(url.to_owned())?.connect().await?;
        Ok(Self::over(channel, Some(token)))
    }

    /// Over a connection of the test's own, with a token or none.
    pub fn over(channel: Channel, token: Option<&str>) -> Self {
        Self::with_header(channel, token.map(|token| format!("Bearer {token}")))
    }

    pub fn with_header(channel: Channel, authorization: Option<String>) -> Self {
        Self::with_headers(channel, authorization, None)
    }

    /// `trace_parent`: the trace that its calls are part of.
    pub fn with_headers(channel: Channel, authorization: Option<String>, trace_parent: Option<&str>) -> Self {
        let authorization = authorization.map(|value| value.parse().unwrap());
        let bearer = Bearer { authorization, trace_parent: trace_parent.map(|value| value.parse().unwrap()) };
        Self { stub: DecisionPointClient::with_interceptor(channel, bearer) }
    }

    pub async fn authorize(&self, query: pb::AuthorizeRequest) -> Result<pb::AuthorizeResponse, Status> {
        self.stub.clone().authorize(query).await.map(tonic::Response::into_inner)
    }

    pub async fn approve(&self, approval: &pb::Approval) -> Result<pb::Approval, Status> {
        self.vote(approval, pb::Verdict::Approve).await
    }

    pub async fn reject(&self, approval: &pb::Approval) -> Result<pb::Approval, Status> {
        self.vote(approval, pb::Verdict::Reject).await
    }

    async fn vote(&self, approval: &pb::Approval, verdict: pb::Verdict) -> Result<pb::Approval, Status> {
        self.stub.clone().decide(vote(approval, verdict, "")).await.map(tonic::Response::into_inner)
    }

    pub async fn get(&self, id: &str) -> Result<pb::Approval, Status> {
        let request = pb::GetApprovalRequest { approval_id: id.into(), reveal: false };
        self.stub.clone().get_approval(request).await.map(tonic::Response::into_inner)
    }

    pub async fn cancel(&self, id: &str) -> Result<pb::Approval, Status> {
        let request = pb::CancelApprovalRequest { approval_id: id.into(), comment: String::new() };
        self.stub.clone().cancel_approval(request).await.map(tonic::Response::into_inner)
    }

    pub async fn revoke(&self, id: &str) -> Result<pb::Approval, Status> {
        let request = pb::RevokeApprovalRequest { approval_id: id.into(), comment: String::new() };
        self.stub.clone().revoke_approval(request).await.map(tonic::Response::into_inner)
    }

    pub async fn report(&self, approval: &str, decision: &str, report: pb::Report) -> Result<pb::Approval, Status> {
        let request = pb::ReportOutcomeRequest {
            approval_id: approval.into(),
            decision_id: decision.into(),
            report: report.into(),
        };
        self.stub.clone().report_outcome(request).await.map(tonic::Response::into_inner)
    }

    pub async fn audit(&self, request: pb::AuditRequest) -> Result<Vec<pb::Record>, Status> {
        let mut stream = self.stub.clone().audit(request).await?.into_inner();
        let mut records = Vec::new();
        while let Some(answer) = stream.message().await? {
            records.extend(answer.record);
        }
        Ok(records)
    }

    /// All records of one approval, oldest first.
    pub async fn records_of(&self, approval: &str) -> Vec<pb::Record> {
        let filter = pb::Filter { approval_id: approval.into(), ..pb::Filter::default() };
        self.audit(pb::AuditRequest { filter: Some(filter), ..pb::AuditRequest::default() }).await.expect("records")
    }
}

/// A client of the administration.
#[derive(Clone)]
pub struct Admin {
    stub: AdministrationClient<InterceptedService<Channel, Bearer>>,
}

impl Admin {
    pub async fn connect(url: &str, token: &str) -> Self {
        Self::try_connect(url, token).await.expect("a connection")
    }

    pub async fn try_connect(url: &str, token: &str) -> Result<Self, tonic::transport::Error> {
        let channel = Endpoint::new(url.to_owned())?.connect().await?;
        let bearer = Bearer { authorization: Some(format!("Bearer {token}").parse().unwrap()), trace_parent: None };
        Ok(Self { stub: AdministrationClient::with_interceptor(channel, bearer) })
    }

    pub async fn reload(&self) -> Result<pb::ReloadPoliciesResponse, Status> {
        self.stub.clone().reload_policies(pb::ReloadPoliciesRequest {}).await.map(tonic::Response::into_inner)
    }

    pub async fn put(&self, entities: Vec<pb::Entity>) -> Result<pb::PutEntitiesResponse, Status> {
        self.stub.clone().put_entities(pb::PutEntitiesRequest { entities }).await.map(tonic::Response::into_inner)
    }

    pub async fn delete(&self, uids: Vec<pb::EntityUid>) -> Result<pb::DeleteEntitiesResponse, Status> {
        self.stub.clone().delete_entities(pb::DeleteEntitiesRequest { uids }).await.map(tonic::Response::into_inner)
    }

    pub async fn list(&self, request: pb::ListEntitiesRequest) -> Result<pb::ListEntitiesResponse, Status> {
        self.stub.clone().list_entities(request).await.map(tonic::Response::into_inner)
    }

    pub async fn end_sessions(&self, principal: Option<pb::EntityUid>) -> Result<pb::EndSessionsResponse, Status> {
        self.stub.clone().end_sessions(pb::EndSessionsRequest { principal }).await.map(tonic::Response::into_inner)
    }

    /// The ids of everything that was put.
    pub async fn ids(&self) -> Vec<String> {
        let (mut ids, mut after) = (Vec::new(), None);
        loop {
            let page = self.list(pb::ListEntitiesRequest { after, ..Default::default() }).await.expect("a page");
            ids.extend(page.entities.into_iter().map(|entity| entity.uid.unwrap().id));
            after = page.next_after;
            if after.is_none() {
                return ids;
            }
        }
    }
}

pub fn uid(type_name: &str, id: &str) -> pb::EntityUid {
    pb::EntityUid { r#type: type_name.into(), id: id.into() }
}

pub fn string(text: &str) -> pb::Value {
    pb::Value { kind: Some(pb::value::Kind::String(text.into())) }
}

pub fn long(number: i64) -> pb::Value {
    pb::Value { kind: Some(pb::value::Kind::Long(number)) }
}

/// `action` on `resource`, as the caller itself, without context.
pub fn query(action: &str, resource_type: &str, resource: &str) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest {
        action: Some(uid("Action", action)),
        resource: Some(uid(resource_type, resource)),
        ..pb::AuthorizeRequest::default()
    }
}

/// A vote on exactly what was shown.
pub fn vote(approval: &pb::Approval, verdict: pb::Verdict, comment: &str) -> pb::DecideRequest {
    pb::DecideRequest {
        approval_id: approval.id.clone(),
        verdict: verdict.into(),
        comment: comment.into(),
        binding: approval.binding.clone(),
        ..pb::DecideRequest::default()
    }
}

/// The export that two people must countersign.
pub fn export() -> pb::AuthorizeRequest {
    pb::AuthorizeRequest {
        context: BTreeMap::from([("destination".into(), string("s3://partner")), ("rows".into(), long(1_000))]),
        justification: "quarterly report".into(),
        ..query("export", "Dataset", "customers")
    }
}

/// The same, asked again by id.
pub fn export_by_id(approval: &str) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest { approval_id: approval.into(), ..export() }
}

pub fn wait(span: Duration) -> Option<prost_types::Duration> {
    Some(span.try_into().unwrap())
}

/// The stable reason of an error.
pub fn reason(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.unwrap_or_else(|| panic!("every error carries ErrorInfo: {status:?}")).reason
}

/// The field that an error names.
pub fn field(status: &Status) -> String {
    let violations = status.get_details_bad_request().expect("a field violation").field_violations;
    violations.first().expect("a violation").field.clone()
}
