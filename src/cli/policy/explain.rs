//! `policy explain`: why the policies answer a query as they do, and who could countersign it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::test::one_line;
use super::{Place, settings};
use crate::authoring::Suite;
use crate::authoring::run::{Explained, Sets};
use crate::authoring::suite::{Person, Question};
use crate::cli::failure::Failure;
use crate::cli::screen::{Format, Screen};
use crate::cli::words::escaped;
use crate::domain::explanation::Failure as Unmet;
use crate::domain::{Cited, EntityUid, Gate, GrantTerms, Lack, NearMiss};

/// Most members of a reviewers' group that are listed.
const MEMBERS_MAX: usize = 20;

#[derive(Debug, Args)]
pub struct Explain {
    /// Who wants to act, such as Agent::report-bot
    #[arg(long, required_unless_present = "query")]
    principal: Option<String>,
    /// A group of the principal's token, such as agents; may be repeated
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// For whom the principal acts, such as User::alice
    #[arg(long, value_name = "PRINCIPAL")]
    on_behalf_of: Option<String>,
    /// What, such as export
    #[arg(long, required_unless_present = "query")]
    action: Option<String>,
    /// On what, such as Dataset::customers
    #[arg(long, required_unless_present = "query")]
    resource: Option<String>,
    /// The parameters of the action, as JSON
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = fields)]
    context: BTreeMap<String, Value>,
    /// Volatile facts, as JSON
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = fields)]
    environment: BTreeMap<String, Value>,
    /// A file of tests: explains each of its queries instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["principal", "action", "resource"])]
    query: Option<PathBuf>,
    /// With --query: only tests whose name holds this
    #[arg(long, value_name = "TEXT", requires = "query")]
    filter: Option<String>,
    /// The directory of the policies; as configured if not named
    #[command(flatten)]
    place: Place,
}

type Fields = BTreeMap<String, Value>;

fn fields(text: &str) -> Result<Fields, String> {
    serde_json::from_str(text).map_err(|error| format!("expected fields as JSON: {error}"))
}

impl Explain {
    pub fn run(self, screen: &mut Screen) -> Result<(), Failure> {
        let config = self.place.config()?;
        let sets = Sets::load(settings(&config, self.filter.clone()))?;
        let explained = match &self.query {
            Some(file) => sets.explain(&Suite::read(file)?),
            None => sets.explain_one(&self.people(), &self.question()).map(|one| vec![one]),
        };
        let explained = explained.map_err(Failure::Usage)?;
        if explained.is_empty() {
            return Err(Failure::Failed("there is no such query in the file".into()));
        }
        for (position, one) in explained.iter().enumerate() {
            match screen.format {
                Format::Json => screen.json(&as_json(one, &sets))?,
                Format::Table => {
                    let gap = if position == 0 { "" } else { "\n" };
                    screen.text(&format!("{gap}{}", as_text(one, &sets, screen)))?;
                }
            }
        }
        Ok(())
    }

    fn people(&self) -> BTreeMap<String, Person> {
        let person = |uid: &String, groups: &[String], on_behalf_of: Option<&String>| Person {
            uid: uid.clone(),
            groups: groups.to_vec(),
            on_behalf_of: on_behalf_of.cloned(),
            ..Person::default()
        };
        let principal = self.principal.iter().map(|uid| {
            let person = person(uid, &self.groups, self.on_behalf_of.as_ref());
            (uid.clone(), person)
        });
        principal.collect()
    }

    fn question(&self) -> Question {
        Question {
            principal: self.principal.clone().unwrap_or_default(),
            caller: None,
            asserted: false,
            action: self.action.clone().unwrap_or_default(),
            resource: self.resource.clone().unwrap_or_default(),
            context: self.context.clone(),
            environment: self.environment.clone(),
            entities: Vec::new(),
            // Whether one is required is told; to be asked for it would explain nothing.
            justification: Some("explained".to_owned()),
        }
    }
}

fn as_text(one: &Explained, sets: &Sets, screen: &Screen) -> String {
    let style = screen.style;
    let query = &one.query;
    let person = query.on_behalf_of.as_ref().map(|person| format!(" for {person}")).unwrap_or_default();
    let mut lines = vec![format!("{}{person} {} {}", query.principal, query.action, query.resource)];
    let outcome = style.bold(one.seen.outcome.name());
    let message = one.seen.message.as_ref().map(|message| format!(": {}", escaped(message))).unwrap_or_default();
    lines.push(format!("{outcome}  {}{message}", one.seen.reason));
    let why = &one.explanation;
    section(&mut lines, "Determined by", &why.determining, screen);
    section(&mut lines, "Gates that fired", &why.gates, screen);
    for gate in &one.gates {
        lines.push(String::new());
        lines.push(format!("Who could countersign `{}`", gate.id));
        lines.extend(countersigners(gate, one, sets).iter().map(|line| format!("  {line}")));
    }
    if !why.near_misses.is_empty() {
        lines.push("\nPermits that came near".to_owned());
        for miss in &why.near_misses {
            let place = style.dim(&format!("{}:{}", escaped(&miss.cited.file), miss.cited.line));
            lines.push(format!("  {}  {place}", miss.cited.policy));
            lines.push(format!("    {}", lack(miss)));
        }
    }
    if !one.seen.errors.is_empty() {
        lines.push(format!("\nCould not be evaluated: {}", escaped(&one.seen.errors.join(", "))));
    }
    lines.join("\n") + "\n"
}

fn section(lines: &mut Vec<String>, title: &str, cited: &[Cited], screen: &Screen) {
    if cited.is_empty() {
        return;
    }
    lines.push(format!("\n{title}"));
    for one in cited {
        let place = screen.style.dim(&format!("{}:{}", escaped(&one.file), one.line));
        lines.push(format!("  {}  {place}", one.policy));
        // The text is Cedar already: its own escapes stay as they are.
        let shown = one.source.lines().map(|line| escaped(line).replace("\\\\", "\\"));
        lines.extend(shown.map(|line| format!("    {line}")));
    }
}

fn lack(miss: &NearMiss) -> String {
    match &miss.lack {
        Lack::Principal => "its scope is for other principals".to_owned(),
        Lack::Resource => "its scope is for other resources".to_owned(),
        Lack::Clause(unmet) => {
            let what = match unmet.failure {
                Unmet::Error => "could not be evaluated",
                Unmet::Unmet if unmet.kind == crate::domain::ClauseKind::Unless => "was true",
                Unmet::Unmet => "was false",
            };
            let (kind, number, line) = (unmet.kind.name(), unmet.number, unmet.line);
            format!("clause {number} (`{kind}`, line {line}) {what}: {}", one_line(&unmet.text))
        }
    }
}

fn countersigners(gate: &Gate, one: &Explained, sets: &Sets) -> Vec<String> {
    let names = |uids: &[EntityUid]| uids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let span = |span| crate::config::Span(span).to_string();
    let quorum = match gate.quorum.get() {
        1 => "one person".to_owned(),
        humans => format!("{humans} people"),
    };
    let mut lines = vec![format!("{quorum} of {}, within {}", names(&gate.reviewers), span(gate.timeout))];
    for step in &gate.escalations {
        lines.push(format!("after {} also {}", span(step.after), names(&step.reviewers)));
    }
    if !gate.reminders.is_empty() {
        let after: Vec<_> = gate.reminders.iter().map(|after| span(*after)).collect();
        lines.push(format!("reminded after {}", after.join(", ")));
    }
    if !gate.break_glass.is_empty() {
        lines.push(format!("or one alone, with a reason, by breaking the glass: {}", names(&gate.break_glass)));
    }
    let members = sets.snapshot.people_in(&gate.reviewers, MEMBERS_MAX);
    lines.push(match members.is_empty() {
        true => "members: none in entities.json; tokens may say more".to_owned(),
        false => format!("members in entities.json: {}; tokens may say more", names(&members)),
    });
    let parties = one.excluded(gate);
    if !parties.is_empty() {
        lines.push(format!("never: {}, whose own action it is; nor any agent or workload", names(&parties)));
    }
    lines.push(match gate.grant {
        GrantTerms::Once => "good for one use".to_owned(),
        GrantTerms::For(how_long) => format!("good for {}", span(how_long)),
    });
    lines
}

fn as_json(one: &Explained, sets: &Sets) -> Value {
    let cited = |cited: &Cited| json!({"policy": *cited.policy.0, "file": *cited.file, "line": cited.line, "source": *cited.source});
    let list = |all: &[Cited]| all.iter().map(cited).collect::<Vec<_>>();
    let names = |uids: &[EntityUid]| uids.iter().map(ToString::to_string).collect::<Vec<_>>();
    let near = |miss: &NearMiss| json!({"policy": cited(&miss.cited), "lacks": lack(miss)});
    let gate = |gate: &Gate| {
        json!({
            "gate": *gate.id.0,
            "reviewers": names(&gate.reviewers),
            "quorum": gate.quorum.get(),
            "timeout_seconds": gate.timeout.as_secs(),
            "escalations": gate.escalations.iter().map(|step| json!({
                "after_seconds": step.after.as_secs(), "reviewers": names(&step.reviewers),
            })).collect::<Vec<_>>(),
            "reminders_seconds": gate.reminders.iter().map(std::time::Duration::as_secs).collect::<Vec<_>>(),
            "break_glass": names(&gate.break_glass),
            "known_members": names(&sets.snapshot.people_in(&gate.reviewers, MEMBERS_MAX)),
            "excluded": names(&one.excluded(gate)),
        })
    };
    json!({
        "outcome": one.seen.outcome.name(),
        "reason": one.seen.reason,
        "message": one.seen.message,
        "determining": list(&one.explanation.determining),
        "gates": list(&one.explanation.gates),
        "countersigners": one.gates.iter().map(gate).collect::<Vec<_>>(),
        "near_misses": one.explanation.near_misses.iter().map(near).collect::<Vec<_>>(),
        "errors": one.seen.errors,
    })
}
