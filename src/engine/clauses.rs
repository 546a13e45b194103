//! A policy's `when` and `unless` clauses, one by one, and the operands of their `&&`: for those who want to know which of
//! them held. Decisions never come from here; Cedar takes them on the whole policy.
//!
//! Cedar keeps the clauses of a policy as one expression: `c1 && (c2 && c3)`, an `unless` as a negation. This takes it
//! apart again, with the policy's text to say how many clauses there were. (Cedar's public API shows conditions only as
//! JSON, without places; so this file names the pinned core, beside [`super::cedar_core`].)
//!
//! The text is read again for this: what is kept for evaluation has neither places nor clauses. Read it with room
//! ([`super::stack`]).

use std::sync::Arc;

use cedar_policy as cedar;
use cedar_policy_core::ast::{Expr, ExprKind, UnaryOp};
use cedar_policy_core::parser::parse_policy_or_template;

use super::scan;
use crate::domain::ClauseKind;

/// One clause.
#[derive(Debug)]
pub(super) struct Clause {
    pub kind: ClauseKind,
    /// What stands between the braces.
    pub body: Part,
    /// The operands of its `&&`, in the order of evaluation; the body itself where there is none.
    pub operands: Vec<Part>,
}

/// A piece of a condition.
#[derive(Debug)]
pub(super) struct Part {
    pub text: Arc<str>,
    /// Lines after the policy's first.
    pub line_offset: u32,
    expression: cedar::Expression,
}

impl Part {
    /// What it is for a request; `None` if it cannot be evaluated.
    pub fn holds(&self, request: &cedar::Request, entities: &cedar::Entities) -> Option<bool> {
        match cedar::eval_expression(request, entities, &self.expression) {
            Ok(cedar::EvalResult::Bool(value)) => Some(value),
            Ok(_) | Err(_) => None,
        }
    }
}

/// The clauses of one policy's or template's text, in order. Where the text does not say how the condition falls apart, all
/// of it is one clause.
pub(super) fn clauses(text: &str) -> Vec<Clause> {
    // Loaded once already, so that it parses.
    let Ok(policy) = parse_policy_or_template(None, text) else { return Vec::new() };
    let Some(condition) = policy.non_scope_constraints_arc() else { return Vec::new() };
    let split = apart(condition, &scan::clauses(text));
    split.unwrap_or_else(|| vec![clause(ClauseKind::When, condition)])
}

/// Whether a policy without clauses names no principal and no resource, nor a group of them.
pub(super) fn is_open(text: &str) -> bool {
    use cedar_policy_core::ast::PrincipalOrResourceConstraint as Constraint;
    let Ok(policy) = parse_policy_or_template(None, text) else { return false };
    let parts = [policy.principal_constraint().as_inner(), policy.resource_constraint().as_inner()];
    let is_wide = parts.iter().all(|part| matches!(part, Constraint::Any | Constraint::Is(_)));
    is_wide && policy.non_scope_constraints().is_none()
}

fn apart(condition: &Arc<Expr>, kinds: &[ClauseKind]) -> Option<Vec<Clause>> {
    let mut clauses = Vec::new();
    let mut rest = condition.clone();
    for (position, &kind) in kinds.iter().enumerate() {
        let is_last = position + 1 == kinds.len();
        let (this, after) = match rest.expr_kind() {
            _ if is_last => (rest.clone(), None),
            ExprKind::And { left, right } => (left.clone(), Some(right.clone())),
            _ => return None,
        };
        let body = match (kind, this.expr_kind()) {
            (ClauseKind::When, _) => this.clone(),
            (ClauseKind::Unless, ExprKind::UnaryApp { op: UnaryOp::Not, arg }) => arg.clone(),
            (ClauseKind::Unless, _) => return None,
        };
        clauses.push(clause(kind, &body));
        match after {
            Some(after) => rest = after,
            None => return Some(clauses),
        }
    }
    None
}

fn clause(kind: ClauseKind, body: &Arc<Expr>) -> Clause {
    Clause { kind, body: part(body), operands: operands(body).iter().map(part).collect() }
}

/// `(a && b) && (c && d)` as a, b, c, d: the order in which they are evaluated, each only if all before it held.
fn operands(body: &Arc<Expr>) -> Vec<Arc<Expr>> {
    let mut found = Vec::new();
    let mut open = vec![body.clone()];
    while let Some(next) = open.pop() {
        match next.expr_kind() {
            ExprKind::And { left, right } => open.extend([right.clone(), left.clone()]),
            _ => found.push(next),
        }
    }
    found
}

fn part(expression: &Arc<Expr>) -> Part {
    let place = expression.source_loc();
    let text = place.and_then(|place| place.snippet()).map_or_else(|| expression.to_string(), str::to_owned);
    let before = place.and_then(|place| place.src.get(..place.start()));
    let lines = before.map_or(0, |before| before.matches('\n').count());
    Part {
        text: text.trim().into(),
        line_offset: u32::try_from(lines).unwrap_or(u32::MAX),
        expression: expression.as_ref().clone().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(policy: &str) -> Vec<(ClauseKind, String, u32, Vec<String>)> {
        let told = |clause: Clause| {
            let operands = clause.operands.iter().map(|part| part.text.to_string()).collect();
            (clause.kind, clause.body.text.to_string(), clause.body.line_offset, operands)
        };
        clauses(policy).into_iter().map(told).collect()
    }

    #[test]
    fn clauses_come_apart_in_order_with_their_lines() {
        let policy = "@when(\"x\")\npermit (principal, action, resource)\nwhen { 1 < 2 && (context.c && false) }\nunless { context.a // when {\n  || !context.b }\nwhen {\n  if true then false else true\n};";
        let expected = [
            (ClauseKind::When, "1 < 2 && (context.c && false)", 2, vec!["1 < 2", "context.c", "false"]),
            (
                ClauseKind::Unless,
                "context.a // when {\n  || !context.b",
                3,
                vec!["context.a // when {\n  || !context.b"],
            ),
            (ClauseKind::When, "if true then false else true", 6, vec!["if true then false else true"]),
        ];
        let expected = expected.map(|(kind, body, line, operands)| {
            (kind, body.to_owned(), line, operands.into_iter().map(str::to_owned).collect())
        });
        assert_eq!(told(policy), expected);
        assert!(told("permit (principal, action, resource);").is_empty());
    }

    #[test]
    fn a_long_chain_comes_apart_without_recursion() {
        let chain = vec!["context.a"; 250].join(" && ");
        let found = told(&format!("permit (principal, action, resource) when {{ {chain} }};"));
        assert_eq!(found[0].3.len(), 250);
    }
}
