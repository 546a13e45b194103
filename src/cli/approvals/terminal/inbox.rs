//! What is on the screen, and what keys do with it. Nothing here draws or asks anybody.
//!
//! The same care as in the web inbox: only what was shown row by row is approved, and only for the gates that the reader was told
//! are his; from high severity on nothing of it may be masked, the login must be fresh, the object's id is typed, and a rejection
//! says why. Whether a vote counts is the server's word.

use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::seen::Seen;
use crate::cli::failure::Failure;
use crate::cli::words;
use crate::domain::EntityUid;
use crate::wire::pb;

/// Characters of a comment.
const WRITTEN_CHARS_MAX: usize = 500;

#[derive(Default)]
pub struct Inbox {
    pub approvals: Vec<pb::Approval>,
    pub selected: usize,
    pub open: Option<Open>,
    /// What has just happened, and whether it is good.
    pub news: Option<(bool, String)>,
    pub is_offline: bool,
}

/// The approval that is read.
pub struct Open {
    pub approval: pb::Approval,
    pub is_revealed: bool,
    pub scroll: usize,
    /// Rows of it on the screen at once, as it was drawn last.
    pub height: usize,
    pub seen: Seen,
    pub question: Option<Question>,
}

/// The last step before a vote.
pub struct Question {
    pub verdict: pb::Verdict,
    /// An id typed to approve, or a comment.
    pub written: String,
}

/// What a key asks of the server.
#[derive(Debug, PartialEq)]
pub enum Wish {
    Nothing,
    Leave,
    Show { id: String, reveal: bool },
    Decide(pb::DecideRequest),
}

impl Inbox {
    /// What waits now. The one that was selected stays so, wherever it is.
    pub fn update(&mut self, approvals: Vec<pb::Approval>) {
        let selected = self.approvals.get(self.selected).map(|approval| approval.id.clone());
        self.is_offline = false;
        self.approvals = approvals;
        let same = selected.and_then(|id| self.approvals.iter().position(|approval| approval.id == id));
        self.selected = same.unwrap_or(self.selected).min(self.approvals.len().saturating_sub(1));
        let open = self.open.as_ref().map(|open| open.approval.id.clone());
        if let Some(now) = self.approvals.iter().find(|approval| Some(&approval.id) == open.as_ref()).cloned() {
            self.follow(&now);
        }
    }

    /// How far the one that is open has come. What was shown of its query stays as it was shown.
    pub fn follow(&mut self, now: &pb::Approval) {
        let Some(open) = self.open.as_mut().filter(|open| open.approval.id == now.id) else { return };
        if open.approval.state != now.state {
            self.news = Some((false, format!("this is {} now", words::state(now.state))));
            open.question = None;
        }
        open.approval = pb::Approval {
            context: std::mem::take(&mut open.approval.context),
            entities: std::mem::take(&mut open.approval.entities),
            justification: std::mem::take(&mut open.approval.justification),
            canonical_query: std::mem::take(&mut open.approval.canonical_query),
            binding: std::mem::take(&mut open.approval.binding),
            masked_values: open.approval.masked_values,
            yours: open.approval.yours.take(),
            ..now.clone()
        };
    }

    /// The one that is open, where it no longer is among what waits.
    pub fn settled_elsewhere(&self) -> Option<String> {
        let open = &self.open.as_ref()?.approval;
        let is_listed = self.approvals.iter().any(|approval| approval.id == open.id);
        (!is_listed && open.state == i32::from(pb::ApprovalState::Pending)).then(|| open.id.clone())
    }

    pub fn show(&mut self, approval: pb::Approval, is_revealed: bool) {
        let seen = Seen::default();
        self.open = Some(Open { approval, is_revealed, scroll: 0, height: 0, seen, question: None });
    }

    pub fn decided(&mut self, approval: pb::Approval) {
        let state = words::state(approval.state).to_lowercase();
        self.news = Some((true, format!("your vote counts; it is {state}")));
        self.open = None;
    }

    pub fn tell(&mut self, failure: &Failure) {
        let said = words::escaped(&failure.to_string());
        let advice = failure.login_hint().map_or_else(String::new, |hint| format!("; {hint}"));
        self.news = Some((false, format!("{said}{advice}")));
        if let Some(open) = &mut self.open {
            open.question = None;
        }
    }

    pub fn offline(&mut self, failure: &Failure) {
        self.is_offline = true;
        self.news = Some((false, words::escaped(&failure.to_string())));
    }

    /// What a key does at `now`; `None`: the screen changed its size.
    pub fn press(&mut self, key: Option<KeyEvent>, now: jiff::Timestamp) -> Wish {
        let Some(key) = key else { return Wish::Nothing };
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if matches!(key.code, KeyCode::Char('c' | 'd')) { Wish::Leave } else { Wish::Nothing };
        }
        self.news = None;
        match &mut self.open {
            Some(open) if open.question.is_some() => asked(open, key.code, now, &mut self.news),
            Some(_) => self.reading(key.code, now),
            None => self.listing(key.code),
        }
    }

    fn listing(&mut self, key: KeyCode) -> Wish {
        let last = self.approvals.len().saturating_sub(1);
        match key {
            KeyCode::Char('j') | KeyCode::Down => self.selected = (self.selected + 1).min(last),
            KeyCode::Char('k') | KeyCode::Up => self.selected = self.selected.saturating_sub(1),
            KeyCode::Home => self.selected = 0,
            KeyCode::End => self.selected = last,
            KeyCode::Enter => {
                let id = self.approvals.get(self.selected).map(|approval| approval.id.clone());
                return id.map_or(Wish::Nothing, |id| Wish::Show { id, reveal: false });
            }
            KeyCode::Char('q') | KeyCode::Esc => return Wish::Leave,
            _ => {}
        }
        Wish::Nothing
    }

    fn reading(&mut self, key: KeyCode, now: jiff::Timestamp) -> Wish {
        let Some(open) = &mut self.open else { return Wish::Nothing };
        match key {
            KeyCode::Char('j') | KeyCode::Down => open.scroll = open.scroll.saturating_add(1),
            KeyCode::Char('k') | KeyCode::Up => open.scroll = open.scroll.saturating_sub(1),
            KeyCode::Char(' ') | KeyCode::PageDown => open.scroll = open.scroll.saturating_add(open.step()),
            KeyCode::PageUp => open.scroll = open.scroll.saturating_sub(open.step()),
            KeyCode::Home => open.scroll = 0,
            KeyCode::End => open.scroll = usize::MAX,
            KeyCode::Char('q' | 'h') | KeyCode::Esc | KeyCode::Backspace => self.open = None,
            KeyCode::Char('m') if !open.is_revealed => {
                return Wish::Show { id: open.approval.id.clone(), reveal: true };
            }
            KeyCode::Char('a') => self.ask(pb::Verdict::Approve, now),
            KeyCode::Char('r') => self.ask(pb::Verdict::Reject, now),
            _ => {}
        }
        Wish::Nothing
    }

    fn ask(&mut self, verdict: pb::Verdict, now: jiff::Timestamp) {
        let Some(open) = &mut self.open else { return };
        match open.refused(verdict, now) {
            Some(why) => self.news = Some((false, why)),
            None => open.question = Some(Question { verdict, written: String::new() }),
        }
    }
}

impl Open {
    /// Why this cannot be decided here now, and what to do about it.
    fn refused(&self, verdict: pb::Verdict, now: jiff::Timestamp) -> Option<String> {
        if self.approval.state != i32::from(pb::ApprovalState::Pending) {
            return Some("this is settled".to_owned());
        }
        let Some(yours) = self.approval.yours.as_ref().filter(|yours| !yours.gates.is_empty()) else {
            return Some("none of its gates is yours to decide, or you have decided them".to_owned());
        };
        if !yours.log_in_again.is_empty() {
            return Some(format!("{}; {LOG_IN}", words::escaped(&yours.log_in_again)));
        }
        (verdict == pb::Verdict::Approve).then(|| self.unfit_to_approve(now)).flatten()
    }

    fn unfit_to_approve(&self, now: jiff::Timestamp) -> Option<String> {
        match self.seen.missing() {
            Some(0) => {}
            Some(rows) => {
                return Some(format!("{rows} lines of it were not on the screen yet: scroll with j or Space"));
            }
            None => return Some("it was not on the screen yet".to_owned()),
        }
        if !self.is_high() {
            return None;
        }
        if self.approval.masked_values > 0 {
            return Some("at this severity nobody approves what is masked: m shows it, on record".to_owned());
        }
        let most = self.fresh_login();
        (!self.is_login_fresh(most, now)).then(|| {
            format!("at this severity a login of the last {} minutes is needed; {LOG_IN}", most.as_secs() / 60)
        })
    }

    fn is_login_fresh(&self, most: Duration, now: jiff::Timestamp) -> bool {
        let at = self.approval.yours.as_ref().and_then(|yours| yours.logged_in_at.as_ref());
        let age = at.and_then(words::instant).map(|at| now.duration_since(at));
        age.is_some_and(|age| age.as_secs() < most.as_secs().cast_signed())
    }

    /// How long ago one may have logged in, as the server has it. One that does not say is believed to take no login.
    fn fresh_login(&self) -> Duration {
        let said = self.approval.yours.as_ref().and_then(|yours| yours.fresh_login);
        // No time at all: then no login is fresh.
        said.and_then(|span| Duration::try_from(span).ok()).unwrap_or_default()
    }

    /// A page further, with a row of the last one.
    fn step(&self) -> usize {
        self.height.saturating_sub(1).max(1)
    }

    /// The gates that a vote is for.
    pub fn gates(&self) -> &[String] {
        self.approval.yours.as_ref().map_or(&[], |yours| &yours.gates)
    }

    pub fn is_high(&self) -> bool {
        let severities = self.approval.gates.iter().filter_map(|status| status.gate.as_ref()).map(|gate| gate.severity);
        severities.max().is_none_or(|severity| severity >= i32::from(pb::Severity::High))
    }

    /// What it is about; the server always names it.
    pub fn object(&self) -> Option<EntityUid> {
        self.approval.resource.as_ref().map(|uid| EntityUid::new(&uid.r#type, &uid.id))
    }
}

/// What to do where a login is not good enough.
const LOG_IN: &str = "log in at your issuer, start again with that token, or decide in the web inbox";

/// A key while the last question stands.
fn asked(open: &mut Open, key: KeyCode, now: jiff::Timestamp, news: &mut Option<(bool, String)>) -> Wish {
    let Some(question) = &mut open.question else { return Wish::Nothing };
    let verdict = question.verdict;
    match key {
        KeyCode::Esc => open.question = None,
        KeyCode::Backspace => drop(question.written.pop()),
        KeyCode::Char(next) if question.written.chars().count() < WRITTEN_CHARS_MAX => question.written.push(next),
        // Votes of others may have come in meanwhile: what is not read yet is read first.
        KeyCode::Enter => match open.refused(verdict, now).or_else(|| missing(open).map(str::to_owned)) {
            Some(missing) => *news = Some((false, missing)),
            None => return decide(open),
        },
        _ => {}
    }
    Wish::Nothing
}

fn missing(open: &Open) -> Option<&'static str> {
    let question = open.question.as_ref()?;
    let written = question.written.trim();
    match question.verdict {
        pb::Verdict::Approve if open.is_high() => {
            let is_typed = open.object().is_some_and(|object| object.is_typed(written));
            (!is_typed).then_some("type what it is about, letter by letter")
        }
        pb::Verdict::Approve => (written != "yes").then_some("type yes, or leave with Esc"),
        pb::Verdict::Reject | pb::Verdict::Unspecified => {
            (open.is_high() && written.is_empty()).then_some("say why: at this severity a rejection needs a comment")
        }
    }
}

/// INVARIANT: the vote is for the binding of what was on the screen, and for the gates that were.
fn decide(open: &Open) -> Wish {
    let Some(question) = &open.question else { return Wish::Nothing };
    let comment = match question.verdict {
        pb::Verdict::Reject => question.written.trim().to_owned(),
        pb::Verdict::Approve | pb::Verdict::Unspecified => String::new(),
    };
    Wish::Decide(pb::DecideRequest {
        approval_id: open.approval.id.clone(),
        verdict: question.verdict.into(),
        comment,
        binding: open.approval.binding.clone(),
        gates: open.gates().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::approvals::show::tests::export;
    use crate::wire::well_known;

    fn press(inbox: &mut Inbox, key: KeyCode) -> Wish {
        inbox.press(Some(KeyEvent::new(key, KeyModifiers::NONE)), at(60))
    }

    fn at(seconds: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    /// As bob sees it, who logged in at the time it was opened.
    fn to_decide() -> pb::Approval {
        let logged_in_at = Some(well_known::Timestamp { seconds: 1_700_000_000, nanos: 0 });
        let fresh_login = Some(well_known::Duration { seconds: 15 * 60, nanos: 0 });
        let yours = pb::Yours { gates: vec!["export-pii".into()], logged_in_at, fresh_login, ..pb::Yours::default() };
        pb::Approval { yours: Some(yours), ..export() }
    }

    /// As if all of it had been drawn.
    fn read(inbox: &mut Inbox) {
        inbox.open.as_mut().unwrap().seen.draw(&["all".into()], 0, 1);
    }

    fn refusal(inbox: &mut Inbox) -> String {
        assert!(inbox.open.as_ref().unwrap().question.is_none());
        inbox.news.take().unwrap().1
    }

    fn write(inbox: &mut Inbox, text: &str) -> Wish {
        for next in text.chars() {
            assert_eq!(press(inbox, KeyCode::Char(next)), Wish::Nothing);
        }
        press(inbox, KeyCode::Enter)
    }

    fn reading() -> Inbox {
        let mut inbox = Inbox::default();
        inbox.update(vec![export()]);
        let wish = press(&mut inbox, KeyCode::Enter);
        assert_eq!(wish, Wish::Show { id: "apr_01".into(), reveal: false });
        inbox.show(to_decide(), false);
        inbox
    }

    #[test]
    fn a_vote_is_for_the_binding_that_was_read_to_its_end_and_for_the_object_that_was_typed() {
        let mut inbox = reading();
        press(&mut inbox, KeyCode::Char('a'));
        assert!(refusal(&mut inbox).contains("not on the screen yet"));
        let rows: Vec<String> = ["first", "second", "third"].map(String::from).into();
        let seen = &mut inbox.open.as_mut().unwrap().seen;
        seen.draw(&rows, 0, 1);
        seen.draw(&rows, 2, 1);
        press(&mut inbox, KeyCode::Char('a'));
        assert!(refusal(&mut inbox).contains("1 lines of it"), "the end was shown, the middle was not");
        read(&mut inbox);
        press(&mut inbox, KeyCode::Char('a'));
        for wrong in ["", "y", "customer"] {
            assert_eq!(write(&mut inbox, wrong), Wish::Nothing, "{wrong}");
            assert!(inbox.news.as_ref().unwrap().1.contains("letter by letter"));
            inbox.open.as_mut().unwrap().question.as_mut().unwrap().written.clear();
        }
        let Wish::Decide(vote) = write(&mut inbox, "customers") else { panic!("a vote") };
        assert_eq!((vote.verdict(), &*vote.binding, &*vote.approval_id), (pb::Verdict::Approve, "00ff", "apr_01"));
        assert_eq!(vote.gates, ["export-pii"], "no other gate, whatever else he may review");
    }

    #[test]
    fn what_is_masked_is_not_approved_where_much_is_at_stake() {
        let mut inbox = reading();
        let masked = |severity: pb::Severity| {
            let mut approval = pb::Approval { masked_values: 2, ..to_decide() };
            approval.gates[0].gate.as_mut().unwrap().severity = severity.into();
            approval
        };
        inbox.show(masked(pb::Severity::High), false);
        read(&mut inbox);
        press(&mut inbox, KeyCode::Char('a'));
        assert!(refusal(&mut inbox).contains("m shows it"));
        inbox.show(masked(pb::Severity::Medium), false);
        read(&mut inbox);
        press(&mut inbox, KeyCode::Char('a'));
        assert!(inbox.open.as_ref().unwrap().question.is_some());
    }

    #[test]
    fn an_old_login_approves_nothing_where_much_is_at_stake_and_its_owner_is_told_what_to_do() {
        let mut inbox = reading();
        read(&mut inbox);
        let approve = KeyEvent::new(KeyCode::Char('a'), KeyModifiers::NONE);
        inbox.press(Some(approve), at(15 * 60));
        assert!(refusal(&mut inbox).contains("log in at your issuer"));
        inbox.press(Some(approve), at(15 * 60 - 1));
        assert!(inbox.open.as_mut().unwrap().question.take().is_some());
        inbox.open.as_mut().unwrap().approval.yours.as_mut().unwrap().logged_in_at = None;
        inbox.press(Some(approve), at(0));
        assert!(refusal(&mut inbox).contains("log in at your issuer"), "unknown is no");
        inbox.open.as_mut().unwrap().approval.yours = to_decide().yours;
        inbox.open.as_mut().unwrap().approval.yours.as_mut().unwrap().fresh_login = None;
        inbox.press(Some(approve), at(1));
        assert!(refusal(&mut inbox).contains("log in at your issuer"), "unknown is no");
        inbox.open.as_mut().unwrap().approval.yours.as_mut().unwrap().log_in_again = "by passkey".into();
        press(&mut inbox, KeyCode::Char('r'));
        assert!(refusal(&mut inbox).starts_with("by passkey; log in"), "what the server demands, also to reject");
        inbox.open.as_mut().unwrap().approval.yours = None;
        press(&mut inbox, KeyCode::Char('r'));
        assert!(refusal(&mut inbox).contains("none of its gates"));
    }

    #[test]
    fn an_object_without_an_id_is_typed_by_its_type() {
        let mut inbox = reading();
        let resource = Some(pb::EntityUid { r#type: "Dataset".into(), id: String::new() });
        inbox.show(pb::Approval { resource, ..to_decide() }, false);
        read(&mut inbox);
        press(&mut inbox, KeyCode::Char('a'));
        assert_eq!(write(&mut inbox, ""), Wish::Nothing, "nothing is not a name");
        assert!(matches!(write(&mut inbox, "Dataset"), Wish::Decide(_)));
    }

    #[test]
    fn a_rejection_says_why_and_a_question_can_be_left() {
        let mut inbox = reading();
        press(&mut inbox, KeyCode::Char('r'));
        assert_eq!(write(&mut inbox, ""), Wish::Nothing);
        press(&mut inbox, KeyCode::Esc);
        assert!(inbox.open.as_ref().unwrap().question.is_none());
        press(&mut inbox, KeyCode::Char('r'));
        let Wish::Decide(vote) = write(&mut inbox, "too much") else { panic!("a vote") };
        assert_eq!((vote.verdict(), &*vote.comment), (pb::Verdict::Reject, "too much"));
    }

    #[test]
    fn what_changes_meanwhile_changes_how_far_it_is_and_never_what_was_read() {
        let mut inbox = reading();
        let mut other = pb::Approval { binding: "beef".into(), justification: "other".into(), ..export() };
        other.context.clear();
        other.state = pb::ApprovalState::Expired.into();
        inbox.open.as_mut().unwrap().question = Some(Question { verdict: pb::Verdict::Reject, written: String::new() });
        inbox.update(vec![other]);
        let open = inbox.open.as_ref().unwrap();
        assert_eq!((&*open.approval.binding, &open.approval.context), ("00ff", &export().context));
        assert!(open.question.is_none() && open.approval.state() == pb::ApprovalState::Expired);
    }

    #[test]
    fn the_selected_one_stays_so_when_others_come_and_go() {
        let named = |id: &str| pb::Approval { id: id.into(), ..export() };
        let mut inbox = Inbox::default();
        inbox.update(vec![named("a"), named("b")]);
        press(&mut inbox, KeyCode::Char('j'));
        inbox.update(vec![named("new"), named("a"), named("b")]);
        assert_eq!(inbox.selected, 2);
        inbox.update(vec![]);
        assert_eq!((inbox.selected, press(&mut inbox, KeyCode::Enter)), (0, Wish::Nothing));
        assert_eq!(press(&mut inbox, KeyCode::Char('q')), Wish::Leave);
    }
}
