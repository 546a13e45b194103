//! What the page of a form showed, in the form's own words: sealed when the page is made, so that nobody can say of a page that
//! it showed what it did not. For one approval and one session.

use super::inbox::Shared;
use super::request::{Submitted, Visitor};
use super::view::approval::ApprovalPage;
use crate::domain::ApprovalId;

/// The field of the form.
const FIELD: &str = "shown";
const MASKED: &str = "masked";
const AS_IT_IS: &str = "as it is";

/// All of what would be approved was on the page of a form, to the end of every value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// With personal data and secrets masked.
    Masked,
    AsItIs,
}

/// What forms on this page bring along; `None` where it left something out, or nothing can be sealed: then it proves nothing.
pub fn mark(shared: &Shared, visitor: &Visitor, id: ApprovalId, page: &ApprovalPage) -> Option<String> {
    let seen = if page.is_revealed { AS_IT_IS } else { MASKED };
    if page.left_out > 0 {
        return None;
    }
    shared.seal.close(&purpose(visitor, id), seen).ok()
}

/// What the page of this form showed; `None` where it does not prove that it showed all.
pub fn of(shared: &Shared, submitted: &Submitted, id: ApprovalId) -> Option<Seen> {
    let sealed = submitted.one(FIELD)?;
    match &*shared.seal.open(&purpose(&submitted.visitor, id), sealed)? {
        MASKED => Some(Seen::Masked),
        AS_IT_IS => Some(Seen::AsItIs),
        _ => None,
    }
}

fn purpose(visitor: &Visitor, id: ApprovalId) -> String {
    format!("shown {id} {}", visitor.form_token)
}

/// What of it must be seen before this form may count, in a sentence; `None`: it was.
pub fn missing(page: &ApprovalPage, seen: Option<Seen>) -> Option<String> {
    if page.left_out > 0 && seen.is_none() {
        return Some("Only what was shown to its end can be approved: look at all of it first.".to_owned());
    }
    if page.choice.must_reveal && seen != Some(Seen::AsItIs) {
        return Some("At this severity only what was seen as it is can be approved: show it first.".to_owned());
    }
    None
}
