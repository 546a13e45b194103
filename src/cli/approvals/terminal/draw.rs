//! The screen, at any size from 40 columns and 10 lines on.

use std::fmt::Write as _;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style as Look};
use ratatui::text::Line;
use ratatui::widgets::{List, ListItem, ListState, Paragraph};

use super::inbox::{Inbox, Open, Question};
use super::paint::lines;
use crate::cli::approvals::list::severity;
use crate::cli::approvals::show;
use crate::cli::screen::Style;
use crate::cli::words;
use crate::wire::pb;

const COLUMNS_MIN: u16 = 40;
const LINES_MIN: u16 = 10;
const NEWS_LINES_MAX: usize = 3;

pub fn screen(frame: &mut Frame<'_>, inbox: &mut Inbox, now: jiff::Timestamp, style: Style) {
    let area = frame.area();
    if area.width < COLUMNS_MIN || area.height < LINES_MIN {
        frame.render_widget(Paragraph::new("make the window larger"), area);
        return;
    }
    let told = inbox.news.as_ref().map(|(is_good, text)| {
        let painted = if *is_good { style.green(text) } else { style.red(text) };
        lines(&painted, area.width)
    });
    let told_rows = told.as_ref().map_or(1, Vec::len).min(NEWS_LINES_MAX);
    let rows = |rows: usize| Constraint::Length(u16::try_from(rows).unwrap_or(u16::MAX));
    let [head, body, news, foot] =
        Layout::vertical([rows(1), Constraint::Min(1), rows(told_rows), rows(1)]).areas(area);
    line(frame, &title(inbox, now, style), head);
    if let Some(told) = told {
        frame.render_widget(Paragraph::new(told), news);
    }
    let keys = match &mut inbox.open {
        Some(open) => {
            reading(frame, open, body, style);
            if open.question.is_some() {
                "Enter sends  Esc leaves it"
            } else {
                "j/k Space scroll  a approve  r reject  m show masked (on record)  q back"
            }
        }
        None => {
            listing(frame, inbox, body, now, style);
            "j/k select  Enter read  q leave"
        }
    };
    line(frame, &style.dim(keys), foot);
}

/// Of the list, or of the one that is open: the state, and the time that runs.
fn title(inbox: &Inbox, now: jiff::Timestamp, style: Style) -> String {
    let connection = if inbox.is_offline { style.red("offline") } else { style.green("live") };
    match &inbox.open {
        Some(open) => format!("{}  {connection}", show::standing(&open.approval, now, style)),
        None => format!("{}  {} waiting  {connection}", style.bold("Countersign"), inbox.approvals.len()),
    }
}

/// The first line of a text; what does not fit is for the eyes only, never for a decision.
fn line(frame: &mut Frame<'_>, text: &str, area: Rect) {
    // A text without lines is an empty line.
    let first = lines(text, area.width).into_iter().next().unwrap_or_default();
    frame.render_widget(Paragraph::new(first), area);
}

fn listing(frame: &mut Frame<'_>, inbox: &Inbox, area: Rect, now: jiff::Timestamp, style: Style) {
    if inbox.approvals.is_empty() {
        line(frame, &style.dim("Nothing waits that you may see."), area);
        return;
    }
    let width = area.width.saturating_sub(2);
    let rows = inbox.approvals.iter().map(|approval| {
        // A row always has a line; what does not fit is read in the approval.
        let row = lines(&row(approval, now, style), width).into_iter().next().unwrap_or_default();
        ListItem::new(row)
    });
    let list = List::new(rows).highlight_symbol("> ").highlight_style(Look::new().add_modifier(Modifier::REVERSED));
    let mut state = ListState::default().with_selected(Some(inbox.selected));
    frame.render_stateful_widget(list, area, &mut state);
}

fn row(approval: &pb::Approval, now: jiff::Timestamp, style: Style) -> String {
    let id = |uid: Option<&pb::EntityUid>| uid.map_or_else(|| "-".to_owned(), |uid| words::escaped(&uid.id));
    let who = approval.principal.as_ref();
    let human = who.and_then(|who| who.on_behalf_of.as_ref()).and_then(|human| human.uid.as_ref());
    let human = human.map_or_else(String::new, |uid| format!(" for {}", words::escaped(&uid.id)));
    let severity = severity(approval).to_lowercase();
    let padded = format!("{severity:<8}");
    let painted = if matches!(&*severity, "high" | "critical") { style.red(&padded) } else { style.yellow(&padded) };
    let left = words::left(approval.deadline.as_ref(), now);
    let needed = approval.gates.iter().filter_map(|status| Some((status.approvals, status.gate.as_ref()?.quorum)));
    let (given, quorum) = needed.fold((0, 0), |(given, of), (more, quorum)| (given + more.min(quorum), of + quorum));
    let (action, resource) = (id(approval.action.as_ref()), id(approval.resource.as_ref()));
    let who = id(who.and_then(|who| who.uid.as_ref()));
    format!("{painted} {left:>7} {given}/{quorum}  {} {}{human}", style.bold(&format!("{action} {resource}")), who)
}

fn reading(frame: &mut Frame<'_>, open: &mut Open, area: Rect, style: Style) {
    let asked = open.question.as_ref().map(|question| lines(&confirm(open, question, style), area.width));
    let below = asked.as_ref().map_or(0, Vec::len).min(usize::from(area.height) / 2 + 3);
    let [text, question] =
        Layout::vertical([Constraint::Min(1), Constraint::Length(u16::try_from(below).unwrap_or(0))]).areas(area);
    let all = lines(&show::without_time(&open.approval, style), text.width);
    let height = usize::from(text.height);
    open.height = height;
    open.scroll = open.scroll.min(all.len().saturating_sub(height));
    let page: Vec<String> = all.iter().map(ToString::to_string).collect();
    open.seen.draw(&page, open.scroll, height);
    let shown: Vec<Line<'_>> = all.into_iter().skip(open.scroll).take(height).collect();
    frame.render_widget(Paragraph::new(shown), text);
    if let Some(asked) = asked {
        frame.render_widget(Paragraph::new(asked), question);
    }
}

/// The last look before the vote: what, and the binding that the vote is for.
fn confirm(open: &Open, question: &Question, style: Style) -> String {
    let id = |uid: Option<&pb::EntityUid>| uid.map_or_else(String::new, |uid| words::escaped(&uid.id));
    let what = format!("{} {}", id(open.approval.action.as_ref()), id(open.approval.resource.as_ref()));
    let (title, hint) = match question.verdict {
        pb::Verdict::Approve if open.is_high() => (
            "Countersign exactly this",
            // The server always names it; without a name nothing that is typed is taken.
            format!("type {}", open.object().map(|object| object.to_type()).unwrap_or_default()),
        ),
        pb::Verdict::Approve => ("Countersign exactly this", "type yes".to_owned()),
        pb::Verdict::Reject | pb::Verdict::Unspecified => ("Reject this", "why; whoever asked is told".to_owned()),
    };
    let gates: Vec<_> = open.gates().iter().map(|gate| words::escaped(gate)).collect();
    let mut gates = gates.join(", ");
    for person in open.approval.yours.iter().flat_map(|yours| &yours.stands_in_for) {
        // A text takes everything.
        let _ = write!(gates, ", in the place of {} who is away", words::uid(Some(person)));
    }
    let masked = match open.approval.masked_values {
        0 => String::new(),
        masked => format!("\n{}", style.yellow(&format!("{masked} masked values: you did not see them as they are"))),
    };
    // The end of what is written is what is looked at.
    let written: String = words::escaped(&question.written);
    let binding = words::escaped(&open.approval.binding);
    format!(
        "{}\n{}: {what}\nfor {gates}\nbinding {binding}{masked}\n{} > {written}_",
        "-".repeat(COLUMNS_MIN.into()),
        style.bold(title),
        style.dim(&format!("({hint})"))
    )
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

    use super::*;
    use crate::cli::approvals::show::tests::export;

    fn drawn(inbox: &mut Inbox, columns: u16, rows: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        let now = jiff::Timestamp::from_second(1_700_000_060).unwrap();
        terminal.draw(|frame| screen(frame, inbox, now, Style::Coloured)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn a_list_and_a_page_fit_a_terminal_of_80_by_24_and_what_does_not_is_read_by_scrolling() {
        let mut inbox = Inbox::default();
        inbox.update(vec![export()]);
        let list = drawn(&mut inbox, 80, 24);
        assert!(list.contains("> high         14m 1/2  export customers report-bot for alice"), "{list}");
        let yours = pb::Yours {
            gates: vec!["export-pii".into()],
            logged_in_at: export().opened_at,
            fresh_login: Some(crate::wire::well_known::Duration { seconds: 900, nanos: 0 }),
            ..pb::Yours::default()
        };
        inbox.show(pb::Approval { yours: Some(yours), ..export() }, false);
        let top = drawn(&mut inbox, 80, 12);
        assert!(top.contains("PENDING, 14m left to decide") && !top.contains("binding"), "{top}");
        press(&mut inbox, KeyCode::End);
        assert!(drawn(&mut inbox, 80, 12).contains("binding  00ff"));
        press(&mut inbox, KeyCode::Char('a'));
        let refused = drawn(&mut inbox, 80, 12);
        assert!(refused.contains("lines of it were not on the screen yet"), "the end is not all of it: {refused}");
        for _ in 0..5 {
            press(&mut inbox, KeyCode::PageUp);
            drawn(&mut inbox, 80, 12);
        }
        press(&mut inbox, KeyCode::Char('a'));
        let asked = drawn(&mut inbox, 80, 24);
        assert!(asked.contains("Countersign exactly this: export customers"), "{asked}");
        assert!(asked.contains("for export-pii") && asked.contains("binding 00ff"), "{asked}");
        assert!(asked.contains("(type customers)"), "{asked}");
        assert!(drawn(&mut inbox, 30, 5).contains("make the window larger"));
    }

    fn press(inbox: &mut Inbox, key: KeyCode) {
        let now = jiff::Timestamp::from_second(1_700_000_060).unwrap();
        inbox.press(Some(KeyEvent::new(key, KeyModifiers::NONE)), now);
    }
}
