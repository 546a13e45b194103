//! The one file that names Cedar's core, which is pinned because it promises nothing from version to version: entities that
//! need not be closed again on every query, conditions evaluated without a policy set around them, names without places.
//!
//! Cedar keeps with every name and expression its place in the source, and clones it whenever it evaluates one: a count on
//! one text that all threads share. What is kept for evaluation is kept without ("bare").

mod looked_at;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use cedar_policy as cedar;
use cedar_policy_core::ast::{self, Expr, ExprBuilder, ExprKind, Literal, SlotEnv, Value, ValueKind};
use cedar_policy_core::entities::{Entities, NoEntitiesSchema, TCComputation};
use cedar_policy_core::evaluator::{EvaluationError, Evaluator};
use cedar_policy_core::expr_builder::ExprBuilder as _;
use cedar_policy_core::extensions::Extensions;

use super::convert::domain_uid;
use crate::domain::{EntityUid, ExtensionFunction};

/// An entity with all its ancestors, shared by the queries that need it.
#[derive(Debug, Clone)]
pub struct Closed(Arc<ast::Entity>);

impl Closed {
    pub fn new(entity: &cedar::Entity) -> Self {
        Self(Arc::new(entity.as_ref().clone()))
    }

    /// With further parents: the groups of a token, and what these are in.
    pub fn with_ancestors(
        self,
        parents: impl IntoIterator<Item = cedar::EntityUid>,
        indirect: impl IntoIterator<Item = cedar::EntityUid>,
    ) -> Self {
        let mut entity = Arc::unwrap_or_clone(self.0);
        parents.into_iter().for_each(|parent| entity.add_parent(parent.into()));
        indirect.into_iter().for_each(|ancestor| entity.add_indirect_ancestor(ancestor.into()));
        Self(Arc::new(entity))
    }

    /// With its parents as they are, and these beyond them instead of what was known.
    pub fn closed_by(&self, indirect: impl IntoIterator<Item = cedar::EntityUid>) -> Self {
        let mut entity = ast::Entity::clone(&self.0);
        entity.remove_all_indirect_ancestors();
        indirect.into_iter().for_each(|ancestor| entity.add_indirect_ancestor(ancestor.into()));
        Self(Arc::new(entity))
    }

    pub fn uid(&self) -> cedar::EntityUid {
        self.0.uid().clone().into()
    }

    pub fn parents(&self) -> impl Iterator<Item = cedar::EntityUid> {
        self.0.parents().cloned().map(Into::into)
    }

    pub fn ancestors(&self) -> impl Iterator<Item = cedar::EntityUid> {
        self.0.ancestors().cloned().map(Into::into)
    }

    fn is_in(&self, uid: &cedar::EntityUid) -> bool {
        let uid: &ast::EntityUID = uid.as_ref();
        self.0.ancestors().any(|ancestor| ancestor == uid)
    }
}

/// The store. A principal knows its own ancestors; should something be *in* a principal, it does not know the groups that
/// the principal's token adds, and all of it is closed again. `None` where Cedar refuses them.
pub fn store(entities: Vec<Closed>, principals: &[cedar::EntityUid]) -> Option<cedar::Entities> {
    let in_a_principal = |entity: &Closed| principals.iter().any(|principal| entity.is_in(principal));
    if entities.iter().any(in_a_principal) {
        return computed(entities);
    }
    assemble(entities, TCComputation::AssumeAlreadyComputed)
}

/// A store with further entities. It was made by [`store`] for these principals, or else by [`computed`]. `None` where
/// Cedar refuses them.
pub fn grown(
    entities: &cedar::Entities,
    more: Vec<Closed>,
    principals: Option<&[cedar::EntityUid]>,
) -> Option<cedar::Entities> {
    let present: &Entities = entities.as_ref();
    let all = present.iter().map(|entity| Closed(Arc::new(entity.clone()))).chain(more).collect();
    match principals {
        Some(principals) => store(all, principals),
        None => computed(all),
    }
}

/// The store of entities that need not know their ancestors. `None` where Cedar refuses them: where they form a cycle.
pub fn computed(entities: Vec<Closed>) -> Option<cedar::Entities> {
    let entities = entities.into_iter().map(|Closed(entity)| Arc::unwrap_or_clone(entity).into());
    cedar::Entities::from_entities(entities, None).ok()
}

fn assemble(entities: Vec<Closed>, closure: TCComputation) -> Option<cedar::Entities> {
    let entities = entities.into_iter().map(|Closed(entity)| entity);
    let store = Entities::new().add_entities(entities, None::<&NoEntitiesSchema>, closure, Extensions::all_available());
    store.ok().map(Into::into)
}

/// A condition without places. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Condition {
    expression: Arc<Expr>,
    looked_at: Arc<[EntityUid]>,
}

impl Condition {
    fn new(expression: Expr) -> Self {
        let looked_at = looked_at::looked_at(&expression).iter().map(domain_uid).collect();
        Self { expression: Arc::new(expression), looked_at }
    }

    /// The entities that it names and looks at: it can be evaluated without others that it names.
    pub fn looked_at(&self) -> &[EntityUid] {
        &self.looked_at
    }
}

/// Compiles the conditions of policies, equal ones once: sets of many policies repeat few conditions, so that those in use
/// stay in the processor's cache.
#[derive(Default)]
pub struct Compiler {
    conditions: HashMap<Arc<Expr>, Condition>,
}

impl Compiler {
    /// `None`: the policy has a scope only.
    pub fn condition(&mut self, policy: &cedar::Policy) -> Option<Condition> {
        let policy = policy.as_ref();
        let expression = must_be_bool(bare(policy.non_scope_constraints()?, policy.env()));
        if let Some(known) = self.conditions.get(&expression) {
            return Some(known.clone());
        }
        let condition = Condition::new(expression);
        self.conditions.insert(condition.expression.clone(), condition.clone());
        Some(condition)
    }
}

/// The authorizer holds a scope `&&` its condition, which makes a condition that is no boolean an error: so here.
fn must_be_bool(condition: Expr) -> Expr {
    Expr::and(Expr::val(true), condition)
}

/// One query's evaluator.
pub struct Judge<'e> {
    evaluator: Evaluator<'e>,
    no_slots: SlotEnv,
}

impl<'e> Judge<'e> {
    pub fn new(request: &cedar::Request, entities: &'e cedar::Entities) -> Self {
        let evaluator = Evaluator::new(request.as_ref().clone(), entities.as_ref(), Extensions::all_available());
        Self { evaluator, no_slots: SlotEnv::new() }
    }

    /// Whether a condition holds.
    ///
    /// # Errors
    /// Cedar's, as its authorizer would report it.
    pub fn holds(&self, condition: &Condition) -> Result<bool, Box<EvaluationError>> {
        let value = self.evaluator.interpret(&condition.expression, &self.no_slots).map_err(Box::new)?;
        // An `&&` yields nothing but a boolean.
        Ok(matches!(value, Value { value: ValueKind::Lit(Literal::Bool(true)), .. }))
    }
}

/// A call of a constructor, as Cedar's own [`cedar::RestrictedExpression`] makes it; there it parses the function's name on
/// every call, which takes longer than the rest of a small context. `None` for a function that Cedar does not have.
pub fn constructor_call(function: ExtensionFunction, argument: &str) -> Option<cedar::RestrictedExpression> {
    static NAMES: LazyLock<HashMap<ExtensionFunction, ast::Name>> = LazyLock::new(|| {
        let parsed =
            ExtensionFunction::ALL.map(|function| (function, ast::Name::parse_unqualified_name(function.name())));
        parsed.into_iter().filter_map(|(function, name)| Some((function, name.ok()?))).collect()
    });
    let name = NAMES.get(&function)?.clone();
    Some(ast::RestrictedExpr::call_extension_fn(name, [ast::RestrictedExpr::val(argument)]).into())
}

/// An entity's name without its place.
pub fn bare_uid(uid: &cedar::EntityUid) -> cedar::EntityUid {
    let uid: &ast::EntityUID = uid.as_ref();
    ast::EntityUID::from_components(uid.entity_type().with_loc(None), uid.eid().clone(), None).into()
}

/// A type's name without its place.
pub fn bare_type(name: &cedar::EntityTypeName) -> cedar::EntityTypeName {
    let name: &ast::EntityType = name.as_ref();
    name.with_loc(None).into()
}

/// The expression without places, its slots filled.
fn bare(expression: &Expr, slots: &SlotEnv) -> Expr {
    let boxed = |inner: &Arc<Expr>| Arc::new(bare(inner, slots));
    let listed = |inner: &Arc<Vec<Expr>>| Arc::new(inner.iter().map(|one| bare(one, slots)).collect::<Vec<_>>());
    let kind = match expression.expr_kind() {
        ExprKind::Slot(slot) => match slots.get(slot) {
            Some(uid) => ExprKind::Lit(Literal::EntityUID(Arc::new(uid.clone()))),
            // Stays a slot, which Cedar refuses to evaluate.
            None => ExprKind::Slot(*slot),
        },
        ExprKind::If { test_expr, then_expr, else_expr } => {
            ExprKind::If { test_expr: boxed(test_expr), then_expr: boxed(then_expr), else_expr: boxed(else_expr) }
        }
        ExprKind::And { left, right } => ExprKind::And { left: boxed(left), right: boxed(right) },
        ExprKind::Or { left, right } => ExprKind::Or { left: boxed(left), right: boxed(right) },
        ExprKind::UnaryApp { op, arg } => ExprKind::UnaryApp { op: *op, arg: boxed(arg) },
        ExprKind::BinaryApp { op, arg1, arg2 } => ExprKind::BinaryApp { op: *op, arg1: boxed(arg1), arg2: boxed(arg2) },
        ExprKind::ExtensionFunctionApp { fn_name, args } => {
            ExprKind::ExtensionFunctionApp { fn_name: fn_name.clone(), args: listed(args) }
        }
        ExprKind::GetAttr { expr, attr } => ExprKind::GetAttr { expr: boxed(expr), attr: attr.clone() },
        ExprKind::HasAttr { expr, attr } => ExprKind::HasAttr { expr: boxed(expr), attr: attr.clone() },
        ExprKind::ExtHasAttr { expr, attrs } => ExprKind::ExtHasAttr { expr: boxed(expr), attrs: attrs.clone() },
        ExprKind::Like { expr, pattern } => ExprKind::Like { expr: boxed(expr), pattern: pattern.clone() },
        ExprKind::Is { expr, entity_type } => {
            ExprKind::Is { expr: boxed(expr), entity_type: entity_type.with_loc(None) }
        }
        ExprKind::Set(items) => ExprKind::Set(listed(items)),
        ExprKind::Record(fields) => {
            let fields = fields.iter().map(|(name, field)| (name.clone(), bare(field, slots)));
            ExprKind::Record(Arc::new(fields.collect()))
        }
        ExprKind::Lit(Literal::EntityUID(uid)) => {
            let bare = ast::EntityUID::from_components(uid.entity_type().with_loc(None), uid.eid().clone(), None);
            ExprKind::Lit(Literal::EntityUID(Arc::new(bare)))
        }
        ExprKind::Lit(Literal::Bool(_) | Literal::Long(_) | Literal::String(_))
        | ExprKind::Var(_)
        | ExprKind::Unknown(_) => expression.expr_kind().clone(),
    };
    ExprBuilder::new().with_expr_kind(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constructors_call_is_the_one_that_cedar_makes() {
        use cedar::RestrictedExpression as Expression;
        for (function, expected) in [
            (ExtensionFunction::Ip, Expression::new_ip("10.0.0.1")),
            (ExtensionFunction::Decimal, Expression::new_decimal("1.5")),
            (ExtensionFunction::Datetime, Expression::new_datetime("2026-01-01")),
            (ExtensionFunction::Duration, Expression::new_duration("1h")),
        ] {
            let expected: &ast::RestrictedExpr = expected.as_ref();
            let argument = expected.to_string().split('"').nth(1).unwrap().to_owned();
            assert_eq!(constructor_call(function, &argument).unwrap().as_ref(), expected);
        }
    }

    #[test]
    fn equal_conditions_are_kept_once_and_no_others() {
        let mut compiler = Compiler::default();
        let mut compiled = |text: &str| {
            let text = format!("permit (principal, action, resource == {text};");
            compiler.condition(&cedar::Policy::parse(None, text).unwrap())
        };
        let shared = |a: &Condition, b: &Condition| Arc::ptr_eq(&a.expression, &b.expression);
        let first = compiled("U::\"a\") when { resource.n == 1 }").unwrap();
        assert!(shared(&first, &compiled("U::\"b\")\n when {resource.n==1}").unwrap()));
        assert!(!shared(&first, &compiled("U::\"b\") when { resource.n == 2 }").unwrap()));
        assert!(!shared(&first, &compiled("U::\"b\") unless { resource.n == 1 }").unwrap()));
        assert!(compiled("U::\"b\")").is_none());
    }

    #[test]
    fn what_is_compiled_keeps_no_place() {
        let text = "permit (principal, action, resource) when { if principal has a.b then [1, {c: -principal.d}].contains(context.e)
            else principal is U && resource in U::\"x\" || ip(context.f).isLoopback() && \"g\" like \"h*\" || !(resource.i < 1) };";
        let policy = cedar::Policy::parse(None, text).unwrap();
        let compiled = Compiler::default().condition(&policy).unwrap();
        let places = |expression: &Expr| expression.subexpressions().filter(|one| one.source_loc().is_some()).count();
        assert!(places(policy.as_ref().non_scope_constraints().unwrap()) > 20);
        assert_eq!(places(&compiled.expression), 0);
        let ExprKind::And { right, .. } = compiled.expression.expr_kind() else { panic!("{compiled:?}") };
        assert_eq!(right.as_ref(), policy.as_ref().non_scope_constraints().unwrap());
    }
}
