//! One approval, for whoever has to decide it. The order of the page is the order of its fields: what would be done comes
//! first, from the query alone; the agent's own words come after the facts and are called what they are.

use askama::Template;

use super::chain::{self, Link};
use super::gate::{GateShown, grant};
use super::moment::Moment;
use super::page::Chrome;
use super::row::{Left, Row, outcome, standing, who};
use super::sentence::Sentence;
use super::text::Text;
use super::value::{Extent, Table};
use crate::domain::{ApprovalState, Glass, Review, Severity, Timestamp, Verdict, binding};
use crate::service::history::History;
use crate::service::inspect::{Inspection, Mine};
use crate::service::veil::Veil;

/// Characters of what people and agents wrote; longer is refused at the edges already.
const PROSE_CHARS_MAX: usize = 4_000;

#[derive(Template)]
#[template(path = "approval.html")]
pub struct ApprovalPage {
    pub chrome: Chrome,
    /// What has just happened.
    pub news: Option<News>,
    pub id: String,
    pub version: u64,
    pub sentence: Sentence,
    pub state: &'static str,
    pub standing: &'static str,
    pub outcome: Text,
    pub gates: Vec<GateShown>,
    pub parameters: Table,
    pub entities: Vec<(Text, Table)>,
    pub environment: Table,
    /// Characters that are not shown, of everything that would be approved.
    pub left_out: usize,
    pub deceives: bool,
    /// Names and values that are masked.
    pub masked: usize,
    /// They are shown as they are, which is on record.
    pub is_revealed: bool,
    pub may_reveal: bool,
    pub form_token: String,
    /// What its forms say of what it showed, where it showed all.
    pub shown: Option<String>,
    pub chain: Vec<Link>,
    pub justification: Option<Text>,
    pub history: Option<HistoryShown>,
    pub opened: Moment,
    pub deadline: Moment,
    pub left: Option<Left>,
    pub grant: String,
    pub reviews: Vec<ReviewShown>,
    pub canonical: Text,
    pub canonical_raw: String,
    pub binding: String,
    pub choice: Choice,
    pub is_outgrown: bool,
    pub glass: Option<GlassShown>,
    /// Targets of notifications that were not told of it, or not yet.
    pub undelivered: Vec<Text>,
}

/// A glass that was broken.
#[derive(Debug, Clone)]
pub struct GlassShown {
    pub who: Text,
    pub reason: Text,
    pub at: Moment,
    pub looks: Vec<ReviewShown>,
    pub is_open: bool,
}

/// A message above the page.
#[derive(Debug, Clone)]
pub struct News {
    /// `good`, `bad` or `plain`.
    pub tone: &'static str,
    pub title: String,
    pub text: String,
}

/// What came of similar actions.
#[derive(Debug, Clone)]
pub struct HistoryShown {
    pub approved: usize,
    pub rejected: usize,
    pub other: usize,
    pub rejected_before: usize,
    pub similar: Vec<Row>,
    pub is_cut: bool,
    /// The approval that the parameters are compared with, and whether they differ from its own.
    pub compared: Option<(String, bool)>,
}

/// One vote.
#[derive(Debug, Clone)]
pub struct ReviewShown {
    pub who: Text,
    pub verdict: &'static str,
    pub at: Moment,
    pub comment: Option<Text>,
}

/// What the reader can do.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    pub can_approve: bool,
    /// Who is away, where the vote would be in the place of others.
    pub in_place_of: Vec<Text>,
    pub can_reject: bool,
    /// Why he can do neither.
    pub why_not: String,
    /// A login that is good enough, and why the present one is not.
    pub login_again: Option<(String, String)>,
    /// All must be shown before it can be approved.
    pub must_show_all: bool,
    /// As must be what is masked, where much is at stake and the reader may see it.
    pub must_reveal: bool,
    /// What must be typed to approve.
    pub object: Option<Text>,
    pub object_raw: String,
    pub comment_required: bool,
    /// The gates that the vote is for.
    pub gates: Vec<String>,
    /// What was written before the form came back.
    pub comment: String,
    /// What must be typed to break the glass, where the reader may.
    pub break_glass: Option<Text>,
    /// A login that is good enough for that, and why the present one is not.
    pub break_login: Option<(String, String)>,
    /// Whether he may say that he looked at a broken one.
    pub examine: bool,
}

/// What it takes to decide, beyond what the inspection says.
pub struct Terms<'a> {
    /// How long ago one may have logged in to approve at high severity.
    pub fresh_login: std::time::Duration,
    /// Where one logs in again for this.
    pub login: String,
    pub reader: &'a crate::domain::Identity,
}

impl ApprovalPage {
    #[must_use]
    pub fn of(inspection: &Inspection, extent: Extent, terms: &Terms<'_>, chrome: Chrome) -> Self {
        let Inspection { approval, veil, now, .. } = inspection;
        let (opening, now) = (&*approval.opening, *now);
        let query = &*opening.query;
        let parameters = Table::of(&query.context, extent, veil);
        let veiled = veil.approval(approval);
        let seen = &veiled.approval().opening.query;
        let entities: Vec<(Text, Table)> = query
            .entities
            .iter()
            .zip(&seen.entities)
            .map(|(entity, seen)| (Text::line(&seen.uid.to_string()), Table::of_entity(entity, extent, veil)))
            .collect();
        let environment = Table::of(&query.environment, extent, veil);
        let sentence = Sentence::of(opening);
        let form_token = chrome.person.as_ref().map(|(_, token)| token.clone()).unwrap_or_default();
        let masked = veiled.masked;
        let canonical_raw = binding::canonical(seen);
        let left_out = parameters.left_out + entities.iter().map(|(_, table)| table.left_out).sum::<usize>();
        let deceives = sentence.deceives()
            || parameters.deceives
            || entities.iter().any(|(name, table)| name.deceives || table.deceives);
        Self {
            chrome,
            news: None,
            id: opening.id.to_string(),
            version: approval.version,
            state: inspection.state.name(),
            standing: standing(approval, &inspection.state),
            outcome: outcome(approval, &inspection.state, &inspection.voters, now),
            gates: inspection.gates.iter().map(|gate| GateShown::of(gate, opening, now)).collect(),
            chain: chain::links(opening, now),
            justification: opening.justification.as_deref().map(|text| written(text, inspection)),
            history: None,
            opened: Moment::at(opening.opened_at, now),
            deadline: Moment::at(opening.deadline, now),
            left: Left::of(approval, now),
            grant: grant(opening.requirement.gates(), opening.requirement.grant()),
            reviews: reviews(inspection),
            canonical: Text::line(&canonical_raw),
            binding: opening.binding.to_string(),
            choice: choice(inspection, left_out, masked, terms),
            is_outgrown: inspection.is_outgrown,
            undelivered: Vec::new(),
            glass: approval.glass.as_deref().map(|glass| shown(glass, inspection)),
            sentence,
            parameters,
            entities,
            environment,
            left_out,
            deceives,
            masked,
            is_revealed: veil.is_lifted(),
            may_reveal: inspection.may_reveal,
            form_token,
            shown: None,
            canonical_raw,
        }
    }
}

impl ApprovalPage {
    /// Adds what was before, and marks in the parameters what is new since the last that was approved.
    pub fn add_history(&mut self, history: &History, extent: Extent, veil: &Veil, now: Timestamp) {
        let compared = history.last_approved.as_ref().map(|last| {
            let earlier = Table::of(&last.opening.query.context, extent, veil);
            (last.id().to_string(), self.parameters.compare(&earlier))
        });
        self.history = Some(HistoryShown {
            approved: history.approved,
            rejected: history.rejected,
            other: history.other,
            rejected_before: history.rejected_before,
            similar: history.similar.iter().map(|(approval, voters)| Row::of(approval, voters, now)).collect(),
            is_cut: history.is_cut,
            compared,
        });
    }
}

fn reviews(inspection: &Inspection) -> Vec<ReviewShown> {
    let words = ["approved", "rejected"];
    inspection.approval.reviews.iter().map(|review| review_shown(review, words, inspection)).collect()
}

fn review_shown(review: &Review, [yes, no]: [&'static str; 2], inspection: &Inspection) -> ReviewShown {
    ReviewShown {
        who: Text::line(&voter(review, inspection)),
        verdict: match review.verdict {
            Verdict::Approve => yes,
            Verdict::Reject => no,
        },
        at: Moment::at(review.at, inspection.now),
        comment: review.comment.as_deref().map(|comment| written(comment, inspection)),
    }
}

/// Who voted, and in whose place.
fn voter(review: &Review, inspection: &Inspection) -> String {
    let mut text = who(&review.reviewer, &inspection.voters);
    for stood_in in &review.stands_in {
        text = format!("{text}, in the place of {}", who(&stood_in.of, &inspection.voters));
    }
    text
}

/// What somebody wrote, as the reader may see it.
fn written(text: &str, inspection: &Inspection) -> Text {
    Text::prose(&inspection.veil.text("", text).text, PROSE_CHARS_MAX)
}

fn shown(glass: &Glass, inspection: &Inspection) -> GlassShown {
    let words = ["says it was right", "says it was not right"];
    GlassShown {
        who: Text::line(&who(&glass.broken.by, &inspection.voters)),
        reason: written(&glass.broken.reason, inspection),
        at: Moment::at(glass.broken.at, inspection.now),
        looks: glass.examinations.iter().map(|look| review_shown(look, words, inspection)).collect(),
        is_open: glass.is_open(),
    }
}

fn choice(inspection: &Inspection, left_out: usize, masked: usize, terms: &Terms<'_>) -> Choice {
    let glass = &inspection.glass;
    let resource = &inspection.approval.opening.query.resource;
    let shortfall = glass.break_step_up.as_ref();
    Choice {
        break_glass: (glass.may_break && shortfall.is_none() && left_out == 0).then(|| Text::line(&resource.to_type())),
        break_login: shortfall
            .map(|(shortfall, _)| (terms.login.clone(), super::super::problem::sentence(shortfall.message()))),
        examine: glass.may_examine,
        ..vote_choice(inspection, left_out, masked, terms)
    }
}

fn vote_choice(inspection: &Inspection, left_out: usize, masked: usize, terms: &Terms<'_>) -> Choice {
    if !inspection.is_open_to_vote() {
        return Choice { why_not: why_not(inspection), ..Choice::default() };
    }
    let severity = inspection.severity();
    let is_high = severity >= Severity::High;
    let by_rule =
        inspection.step_up.as_ref().map(|(shortfall, _)| super::super::problem::sentence(shortfall.message()));
    let stale = stale_login(inspection, terms).filter(|_| is_high);
    let needs_login = by_rule.clone().or(stale);
    let resource = &inspection.approval.opening.query.resource;
    let must_reveal = is_high && masked > 0 && inspection.may_reveal;
    Choice {
        in_place_of: inspection.stands_in_for().iter().map(|person| Text::line(&person.id)).collect(),
        can_approve: needs_login.is_none() && left_out == 0 && !must_reveal && !inspection.is_outgrown,
        must_reveal,
        can_reject: by_rule.is_none(),
        login_again: needs_login.map(|why| (terms.login.clone(), why)),
        must_show_all: left_out > 0,
        object: is_high.then(|| Text::line(&resource.to_type())),
        object_raw: if is_high { resource.to_type() } else { String::new() },
        comment_required: is_high,
        gates: inspection.open_gates().map(|gate| gate.id.0.to_string()).collect(),
        ..Choice::default()
    }
}

/// Whether a login is too long ago to approve at high severity, and the words for it.
#[must_use]
pub fn stale_login(inspection: &Inspection, terms: &Terms<'_>) -> Option<String> {
    (!terms.reader.proof.is_fresh(terms.fresh_login, inspection.now)).then(|| {
        let age = chain::login_age(terms.reader, inspection.now);
        format!("At this severity a fresh login is needed; yours was {age}.")
    })
}

fn why_not(inspection: &Inspection) -> String {
    if inspection.state != ApprovalState::Pending {
        return format!("This is settled: {}.", standing(&inspection.approval, &inspection.state));
    }
    let is = |wanted: Mine| inspection.gates.iter().any(|gate| gate.mine == wanted);
    let reason = if is(Mine::Own) {
        "You are a party to this action: nobody countersigns their own."
    } else if is(Mine::Voted(Verdict::Approve)) {
        "You have approved this. It waits for others."
    } else {
        "You may see this, but you are not among its reviewers."
    };
    reason.to_owned()
}
