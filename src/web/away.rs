//! Out of office: who stands in for the reader, and for whom he stands in.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};

use super::inbox::Shared;
use super::login::Destination;
use super::request::{Submitted, Visitor};
use super::view::moment::Moment;
use super::view::page::{Chrome, Tab, respond};
use super::view::text::Text;
use crate::domain::{Absence, EntityUid, Timestamp};
use crate::service::away::Leave;

/// The page's address.
pub const PAGE: &str = "/away";

#[derive(Template)]
#[template(path = "away.html")]
struct AwayPage {
    chrome: Chrome,
    form_token: String,
    own: Option<Row>,
    /// Who is away, where the reader stands in.
    others: Vec<Row>,
    /// A login that is fresh enough to lend a right.
    login: Option<String>,
    /// What was written, and why it did not do.
    to: String,
    until: String,
    wrong: Option<String>,
}

struct Row {
    person: Text,
    stands_in: Text,
    from: Moment,
    until: Moment,
}

pub async fn show(State(shared): State<Arc<Shared>>, visitor: Visitor) -> Response {
    page(&shared, &visitor, StatusCode::OK, |_| {})
}

pub async fn start(State(shared): State<Arc<Shared>>, submitted: Submitted) -> Response {
    let visitor = &submitted.visitor;
    let (to, until) = (submitted.text("to").unwrap_or_default(), submitted.text("until").unwrap_or_default());
    let wrong = match (to.is_empty(), midnight(&until)) {
        (true, _) => "Say who stands in.".to_owned(),
        (false, None) => "Say until when, as a date.".to_owned(),
        (false, Some(midnight)) => {
            // Colleagues are of the type that one is of oneself.
            let to = EntityUid::new(&visitor.caller.identity().uid.type_name, &to);
            let leave = Leave { person: None, to, from: None, until: midnight };
            match shared.service.start_absence(&visitor.caller, leave).await {
                Ok(_) => return Redirect::to(PAGE).into_response(),
                Err(refusal) => visitor.refuse(&shared, "away", None, &refusal).text,
            }
        }
    };
    page(&shared, visitor, StatusCode::UNPROCESSABLE_ENTITY, |page| {
        (page.to, page.until, page.wrong) = (to, until, Some(wrong));
    })
}

pub async fn end(State(shared): State<Arc<Shared>>, submitted: Submitted) -> Response {
    let visitor = &submitted.visitor;
    match shared.service.end_absence(&visitor.caller, None).await {
        Ok(_) => Redirect::to(PAGE).into_response(),
        Err(refusal) => visitor.refuse(&shared, "away", None, &refusal).page(visitor),
    }
}

fn page(shared: &Shared, visitor: &Visitor, status: StatusCode, change: impl FnOnce(&mut AwayPage)) -> Response {
    let absences = match shared.service.absences(&visitor.caller) {
        Ok(absences) => absences,
        Err(refusal) => return visitor.refuse(shared, "away", None, &refusal).page(visitor),
    };
    let (now, uid) = (shared.service.now(), &visitor.caller.identity().uid);
    let row = |absence: &Absence| Row {
        person: Text::line(&absence.of.uid.id),
        stands_in: Text::line(&absence.to.id),
        from: Moment::at(absence.from, now),
        until: Moment::at(absence.until, now),
    };
    let mut page = AwayPage {
        chrome: Chrome::new("Out of office", Tab::None, Some(visitor)),
        form_token: visitor.form_token.clone(),
        own: absences.iter().find(|absence| absence.of.uid == *uid).map(row),
        others: absences.iter().filter(|absence| absence.to == *uid).map(row).collect(),
        login: (!visitor.is_fresh(shared)).then(|| Destination::parse(PAGE).login_again()),
        to: String::new(),
        until: String::new(),
        wrong: None,
    };
    change(&mut page);
    respond(status, &page)
}

/// The beginning of that day, UTC.
fn midnight(date: &str) -> Option<Timestamp> {
    let date: jiff::civil::Date = date.parse().ok()?;
    let moment = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    Some(Timestamp::from_micros(moment.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_the_beginning_of_its_day() {
        assert_eq!(midnight("1970-01-02"), Some(Timestamp::from_micros(86_400_000_000)));
        for wrong in ["", "tomorrow", "1970-02-30", "02.01.1970"] {
            assert_eq!(midnight(wrong), None, "{wrong}");
        }
    }
}
