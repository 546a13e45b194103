//! Files of policies to policies and templates, with what their annotations make of them.

use std::sync::Arc;

use cedar_policy as cedar;

use super::workers::{Failed, each_piece};
use super::{Loader, Place, Tell};
use crate::domain::{EntityUid, Gate, PolicyId};
use crate::engine::annotation::{Role, Site};
use crate::engine::convert::{Types, domain_uid};
use crate::engine::facts::is_service_type;
use crate::engine::problem::Problem;
use crate::engine::scan::{self, Statement};
use crate::engine::service_schema::unmasks;
use crate::engine::settings::{GUARDS_FILE, OnError};
use crate::engine::snapshot::{PolicyEntry, PolicyKind};
use crate::engine::source::SourceFile;

/// A statement that awaits its parser.
pub struct Pending<'f> {
    file: &'f SourceFile,
    statement: Statement<'f>,
    /// Its name by its place, for where it has no other.
    position: Arc<str>,
}

/// A template and what its links will be.
#[derive(Debug)]
pub struct Template {
    pub cedar: cedar::Template,
    pub kind: PolicyKind,
    pub role: Role,
    /// As it is written; shared by its links.
    pub text: Arc<str>,
}

enum Parsed {
    Policy(cedar::Policy),
    Template(cedar::Template),
}

impl Parsed {
    fn of(pending: &Pending<'_>) -> Result<Self, Box<cedar::ParseErrors>> {
        let id = Some(cedar::PolicyId::new(&pending.position));
        let text = pending.statement.text;
        if pending.statement.is_template {
            cedar::Template::parse(id, text).map(Self::Template).map_err(Box::new)
        } else {
            cedar::Policy::parse(id, text).map(Self::Policy).map_err(Box::new)
        }
    }

    fn effect(&self) -> cedar::Effect {
        match self {
            Self::Policy(policy) => policy.effect(),
            Self::Template(template) => template.effect(),
        }
    }

    fn annotations(&self) -> Vec<(&str, &str)> {
        match self {
            Self::Policy(policy) => policy.annotations().collect(),
            Self::Template(template) => template.annotations().collect(),
        }
    }

    fn actions(&self) -> Vec<cedar::EntityUid> {
        let constraint = match self {
            Self::Policy(policy) => policy.action_constraint(),
            Self::Template(template) => template.action_constraint(),
        };
        match constraint {
            cedar::ActionConstraint::Any => Vec::new(),
            cedar::ActionConstraint::Eq(action) => vec![action],
            cedar::ActionConstraint::In(actions) => actions,
        }
    }
}

impl<'f> Loader<'f> {
    /// All statements of all files, parsed and kept.
    pub fn statements(
        &mut self,
        files: &[&'f SourceFile],
        types: Option<&Types>,
        tell: &Tell<'_>,
    ) -> Result<(), Failed> {
        let pending: Vec<_> = files.iter().flat_map(|file| self.pending(file)).collect();
        if pending.len() > self.settings.limits.policies_max {
            self.too_many();
            return Ok(());
        }
        let parsed = each_piece(&pending, tell, |piece| piece.iter().map(Parsed::of).collect::<Vec<_>>())?;
        let mut plain = 0;
        for (pending, parsed) in pending.iter().zip(parsed.into_iter().flatten()) {
            match parsed {
                Ok(parsed) => self.statement(pending, parsed, types, &mut plain),
                Err(errors) => self.problems.extend(syntax(pending, &errors)),
            }
        }
        Ok(())
    }

    fn pending(&mut self, file: &'f SourceFile) -> Vec<Pending<'f>> {
        match scan::statements(&file.text, &self.settings.limits) {
            Ok(found) => {
                let named = found.into_iter().enumerate();
                let pending = |(number, statement): (usize, Statement<'f>)| {
                    let position = format!("{}.{}", file.stem(), number + 1).into();
                    Pending { file, statement, position }
                };
                named.map(pending).collect()
            }
            Err(refused) => {
                let problem = Problem::in_file(&file.path, refused.message).at_line(refused.line);
                self.problems.push(problem.marking(&file.text, refused.span));
                Vec::new()
            }
        }
    }

    fn statement(&mut self, pending: &Pending<'f>, parsed: Parsed, types: Option<&Types>, plain: &mut usize) {
        let annotations = parsed.annotations();
        let is_guard = self.is_guard(pending);
        let id: Arc<str> = match self.settings.on_error {
            OnError::FailClosed => annotations
                .iter()
                .find(|(name, _)| *name == "id")
                .map_or_else(|| pending.position.clone(), |(_, id)| (*id).into()),
            OnError::Cedar if is_guard => pending.position.clone(),
            OnError::Cedar => format!("policy{plain}").into(),
        };
        // As a plain tool counts, which is not given the guards.
        *plain += usize::from(!is_guard);
        let site = Site {
            effect: parsed.effect(),
            annotations: annotations.into_iter().collect(),
            id: &id,
            file: pending.file,
            statement: &pending.statement,
            types,
            targets: &self.settings.notify_targets,
        };
        let role = match self.settings.on_error {
            OnError::FailClosed => site.role(self.settings.default_timeout, &mut self.problems),
            OnError::Cedar => Some(Role::Rule(Vec::new())),
        };
        let Some(role) = role else { return };
        if let Some(problem) = locks_the_service(&site, &role, &parsed) {
            return self.problems.push(problem);
        }
        let kind = kind(site.effect, &role);
        self.keep(pending, &id, kind, role, parsed);
    }

    fn keep(&mut self, pending: &Pending<'f>, id: &Arc<str>, kind: PolicyKind, role: Role, parsed: Parsed) {
        let statement = &pending.statement;
        let mark = statement.marks.iter().find(|mark| mark.name == "id");
        let marked = mark.map_or_else(|| statement.head(), |mark| mark.span.clone());
        let place = Place { file: pending.file, span: statement.span(), line: statement.line, is_text: true };
        if !self.takes_name(id, place, marked) {
            return;
        }
        let cedar_id = cedar::PolicyId::new(id);
        match parsed {
            Parsed::Template(_) if self.is_guard(pending) => {
                let message = format!("`{GUARDS_FILE}` takes no templates under `policy.on_error = \"cedar\"`");
                let problem = Problem::in_file(&pending.file.path, message).at_line(statement.line);
                self.problems.push(problem.marking(&pending.file.text, statement.head()));
            }
            Parsed::Template(template) => {
                let cedar = if **id == *pending.position { template } else { template.new_id(cedar_id) };
                self.templates.insert(id.clone(), Template { cedar, kind, role, text: statement.text.into() });
            }
            Parsed::Policy(policy) => {
                let policy = if **id == *pending.position { policy } else { policy.new_id(cedar_id) };
                let file = pending.file.path.clone();
                self.list(
                    PolicyEntry { id: id.clone(), kind, file, line: statement.line, template: None },
                    role,
                    statement.text.into(),
                );
                let into = if self.is_guard(pending) { &mut self.guards } else { &mut self.parsed };
                into.push(policy);
            }
        }
    }

    /// Whether it guards the service and does nothing else.
    fn is_guard(&self, pending: &Pending<'_>) -> bool {
        self.settings.on_error == OnError::Cedar && pending.file.name == GUARDS_FILE
    }
}

fn kind(effect: cedar::Effect, role: &Role) -> PolicyKind {
    match (effect, role) {
        (_, Role::Gate(_)) => PolicyKind::Gate,
        (cedar::Effect::Permit, Role::Rule(_)) => PolicyKind::Permit,
        (cedar::Effect::Forbid, Role::Rule(_)) => PolicyKind::Forbid,
    }
}

fn syntax(pending: &Pending<'_>, errors: &cedar::ParseErrors) -> Vec<Problem> {
    let statement = &pending.statement;
    let place = Place { file: pending.file, span: statement.span(), line: statement.line, is_text: true };
    let problem =
        |error: &cedar::ParseError| place.diagnosed(error, &format!("syntax: {error}")).in_policy(&pending.position);
    errors.iter().map(problem).collect()
}

/// A gate before one of the service's own actions would need itself to be opened; gates never apply there. `unmask` is asked for
/// like any other action.
fn locks_the_service(site: &Site<'_>, role: &Role, parsed: &Parsed) -> Option<Problem> {
    let Role::Gate(Gate { text, id: PolicyId(_), .. }) = role else { return None };
    let is_guard = |action: &EntityUid| is_service_type(&action.type_name) && !unmasks(action);
    let own = parsed.actions().iter().map(domain_uid).find(is_guard)?;
    let message = format!("a gate cannot guard the service itself (`{own}`); use a forbid");
    Some(site.problem("approval", text, message))
}
