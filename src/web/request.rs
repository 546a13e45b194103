//! Who asks, and what a form may do: a page is for somebody who is logged in; a form besides comes from one of our own pages,
//! with the token of the session that showed it.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Form, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Redirect, Response};
use uuid::Uuid;

use super::cookie::Cookie;
use super::inbox::Shared;
use super::listen::Peer;
use super::login::Destination;
use super::problem::Problem;
use super::seal;
use super::session::Session;
use crate::domain::{ApprovalId, Refused};
use crate::service::{Caller, Refusal, RequestId};

/// Somebody who is logged in.
pub struct Visitor {
    pub caller: Caller,
    /// What the forms on the page must bring.
    pub form_token: String,
    pub session_id: String,
}

impl Visitor {
    /// Whose session the browser has.
    pub fn of(shared: &Shared, headers: &HeaderMap) -> Option<Self> {
        let id = shared.cookies.read(Cookie::Session, headers)?;
        let Session { caller, form_token, .. } = shared.session(id)?;
        Some(Self { caller: caller.with_request_id(request_id()), form_token, session_id: id.to_owned() })
    }

    /// How the person is called.
    pub fn name(&self) -> &str {
        let identity = self.caller.identity();
        identity.display_name.as_deref().unwrap_or(&identity.uid.id)
    }

    /// Whether the login is fresh enough for what an open browser alone must not do.
    pub fn is_fresh(&self, shared: &Shared) -> bool {
        self.caller.identity().proof.is_fresh(shared.service.fresh_login(), shared.service.wall())
    }

    /// Puts a refusal on record, as every edge does, and makes a page of it.
    pub fn refuse(&self, shared: &Shared, page: &str, approval: Option<ApprovalId>, refusal: &Refusal) -> Problem {
        shared.service.record_refusal(Refused {
            method: format!("inbox/{page}").into(),
            reason: refusal.reason().into(),
            field: refusal.field().map(Into::into),
            caller: Some(self.caller.identity().clone()),
            approval,
            request_id: self.caller.request_id().0.clone(),
        });
        Problem::of(refusal)
    }
}

impl FromRequestParts<Arc<Shared>> for Visitor {
    type Rejection = Response;

    /// Who is not logged in is sent to do so, and learns nothing of what there is.
    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Response> {
        if let Some(visitor) = Self::of(shared, &parts.headers) {
            return Ok(visitor);
        }
        let wanted = parts.uri.path_and_query().map_or("/", |wanted| wanted.as_str());
        Err(match parts.method {
            Method::GET => Redirect::to(&Destination::parse(wanted).login()).into_response(),
            _ => Problem::session_over(parts.uri.path()).into_response(),
        })
    }
}

/// A form, sent by somebody who is logged in from a page that was shown to him.
pub struct Submitted {
    pub visitor: Visitor,
    fields: Vec<(String, String)>,
}

impl FromRequest<Arc<Shared>> for Submitted {
    type Rejection = Response;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let is_from_us = shared.is_from_us(&parts.headers);
        let visitor = Visitor::from_request_parts(&mut parts, shared).await?;
        let form = Form::<Vec<(String, String)>>::from_request(Request::from_parts(parts, body), &()).await;
        let Form(fields) = form.map_err(|_| Problem::unreadable().into_response())?;
        let submitted = Self { visitor, fields };
        // INVARIANT: nothing is changed by a form that another site made.
        let token = submitted.one("form_token").unwrap_or_default();
        if !is_from_us || !seal::same(token, &submitted.visitor.form_token) {
            return Err(Problem::foreign_form().into_response());
        }
        Ok(submitted)
    }
}

impl Submitted {
    /// A field that is there exactly once.
    pub fn one(&self, name: &str) -> Option<&str> {
        match &*self.all(name) {
            [only] => Some(only),
            [..] => None,
        }
    }

    /// Every value of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(field, _)| field == name).map(|(_, value)| &**value).collect()
    }

    /// A text that was written, if one was. Browsers end lines with two characters.
    pub fn text(&self, name: &str) -> Option<String> {
        let text = self.one(name)?.replace("\r\n", "\n");
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }
}

/// Names one request in records and logs.
pub fn request_id() -> RequestId {
    RequestId(Uuid::now_v7().simple().to_string().into())
}

/// The address that a request comes from. What a proxy says of it is believed of those that are named as such.
pub fn address(shared: &Shared, peer: Peer, headers: &HeaderMap) -> IpAddr {
    let proxies = &shared.settings.proxies;
    let said = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let said: Vec<&str> = said.flat_map(|value| value.split(',')).map(str::trim).collect();
    let mut address = peer.0.to_canonical();
    // From the nearest on: each hop is believed by the one before it.
    for hop in said.into_iter().rev() {
        match hop.parse::<IpAddr>() {
            Ok(behind) if proxies.contains(&address) => address = behind.to_canonical(),
            Ok(_) | Err(_) => break,
        }
    }
    address
}
