//! Conditions, compiled for evaluation: the one file of the index that names Cedar's core. A policy's scope is checked by
//! the index itself; what is left is its `when` and `unless`, evaluated by Cedar's own evaluator as its authorizer does.
//!
//! Places in the source are left out of the compiled copy: Cedar clones the place of every expression that it evaluates,
//! and with it counts the references to one text that all threads share.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy as cedar;
use cedar_policy_core::ast::{EntityType, EntityUID, Expr, ExprBuilder, ExprKind, Literal, SlotEnv, Value, ValueKind};
use cedar_policy_core::evaluator::{EvaluationError, Evaluator};
use cedar_policy_core::expr_builder::ExprBuilder as _;
use cedar_policy_core::extensions::Extensions;

/// A condition without places; links of one template share it.
pub type Condition = Arc<Expr>;

/// Compiles the conditions of policies, each template's once.
#[derive(Default)]
pub struct Compiler {
    /// By the address of the source: the policies outlive the compiler's use of them.
    shared: HashMap<*const Expr, Condition>,
}

impl Compiler {
    /// `None`: the policy has a scope only.
    pub fn condition(&mut self, policy: &cedar::Policy) -> Option<Condition> {
        let policy = policy.as_ref();
        let source = policy.non_scope_constraints_arc()?;
        let has_slots = source.slots().next().is_some();
        if policy.is_static() || has_slots {
            return Some(must_be_bool(bare(source, policy.env())));
        }
        let compiled = self.shared.entry(Arc::as_ptr(source));
        Some(compiled.or_insert_with(|| must_be_bool(bare(source, policy.env()))).clone())
    }
}

/// The authorizer holds a scope `&&` its condition, which makes a condition that is no boolean an error: so here.
fn must_be_bool(condition: Expr) -> Condition {
    Arc::new(Expr::and(Expr::val(true), condition))
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
        let value = self.evaluator.interpret(condition, &self.no_slots).map_err(Box::new)?;
        // An `&&` yields nothing but a boolean.
        Ok(matches!(value, Value { value: ValueKind::Lit(Literal::Bool(true)), .. }))
    }
}

/// An entity's name without its place.
pub fn bare_uid(uid: &cedar::EntityUid) -> cedar::EntityUid {
    let uid: &EntityUID = uid.as_ref();
    EntityUID::from_components(uid.entity_type().with_loc(None), uid.eid().clone(), None).into()
}

/// A type's name without its place.
pub fn bare_type(name: &cedar::EntityTypeName) -> cedar::EntityTypeName {
    let name: &EntityType = name.as_ref();
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
            let bare = EntityUID::from_components(uid.entity_type().with_loc(None), uid.eid().clone(), None);
            ExprKind::Lit(Literal::EntityUID(Arc::new(bare)))
        }
        ExprKind::Lit(Literal::Bool(_) | Literal::Long(_) | Literal::String(_))
        | ExprKind::Var(_)
        | ExprKind::Unknown(_) => expression.expr_kind().clone(),
    };
    ExprBuilder::new().with_expr_kind(kind)
}
