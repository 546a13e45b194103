//! Which entities a condition looks at by their names: those whose attributes, tags or ancestors its value may depend on. An
//! entity that it only compares with something, or asks whether something is in it, it does not look at.

use cedar_policy as cedar;
use cedar_policy_core::ast::{BinaryOp, EntityUID, Expr, ExprKind, Literal};

/// Each once, in the order of their names. Says rather too many than too few: a name whose use is not one of the harmless
/// ones counts.
pub(super) fn looked_at(condition: &Expr) -> Vec<cedar::EntityUid> {
    let mut found = Vec::new();
    collect(condition, &mut found);
    found.sort_unstable();
    found.dedup();
    found.into_iter().map(|uid| uid.clone().into()).collect()
}

fn collect<'e>(expression: &'e Expr, found: &mut Vec<&'e EntityUID>) {
    match expression.expr_kind() {
        ExprKind::Lit(Literal::EntityUID(uid)) => found.push(uid),
        ExprKind::BinaryApp {
            op: BinaryOp::Eq | BinaryOp::Contains | BinaryOp::ContainsAll | BinaryOp::ContainsAny,
            arg1,
            arg2,
        } => {
            compared(arg1, found);
            compared(arg2, found);
        }
        ExprKind::BinaryApp { op: BinaryOp::In, arg1, arg2 } => {
            collect(arg1, found);
            compared(arg2, found);
        }
        ExprKind::BinaryApp { arg1, arg2, .. } => {
            collect(arg1, found);
            collect(arg2, found);
        }
        // Its type is in its name.
        ExprKind::Is { expr, .. } => compared(expr, found),
        ExprKind::If { test_expr, then_expr, else_expr } => {
            [test_expr, then_expr, else_expr].into_iter().for_each(|part| collect(part, found));
        }
        ExprKind::And { left, right } | ExprKind::Or { left, right } => {
            collect(left, found);
            collect(right, found);
        }
        ExprKind::UnaryApp { arg, .. } => collect(arg, found),
        ExprKind::GetAttr { expr, .. }
        | ExprKind::HasAttr { expr, .. }
        | ExprKind::ExtHasAttr { expr, .. }
        | ExprKind::Like { expr, .. } => collect(expr, found),
        ExprKind::ExtensionFunctionApp { args: parts, .. } | ExprKind::Set(parts) => {
            parts.iter().for_each(|part| collect(part, found));
        }
        ExprKind::Record(fields) => fields.values().for_each(|field| collect(field, found)),
        ExprKind::Lit(Literal::Bool(_) | Literal::Long(_) | Literal::String(_))
        | ExprKind::Var(_)
        | ExprKind::Slot(_)
        | ExprKind::Unknown(_) => {}
    }
}

/// What is used by its name alone: an entity, or a set written out.
fn compared<'e>(expression: &'e Expr, found: &mut Vec<&'e EntityUID>) {
    match expression.expr_kind() {
        ExprKind::Lit(_) => {}
        ExprKind::Set(items) => items.iter().for_each(|item| compared(item, found)),
        _ => collect(expression, found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compared_is_not_looked_at_and_all_else_is() {
        for (condition, expected) in [
            ("principal == U::\"a\" && resource.owner != U::\"b\"", ""),
            ("principal in U::\"a\" || principal in [U::\"b\", U::\"c\"]", ""),
            ("[U::\"a\", U::\"b\"].contains(principal) && U::\"a\" is U && context.all.containsAny([U::\"b\"])", ""),
            ("U::\"a\" in principal", "U::\"a\""),
            ("U::\"a\" in U::\"b\"", "U::\"a\""),
            ("U::\"b\".open && U::\"a\" has level && U::\"b\".open", "U::\"a\" U::\"b\""),
            (
                "U::\"a\" has level.deep || U::\"b\".hasTag(\"t\") || U::\"c\".getTag(\"t\") == 1",
                "U::\"a\" U::\"b\" U::\"c\"",
            ),
            ("(if context.x then U::\"a\" else principal).open", "U::\"a\""),
            ("(if context.x then U::\"a\" else principal) == U::\"b\"", "U::\"a\""),
            ("principal == (if U::\"a\".open then principal else resource)", "U::\"a\""),
            ("{of: U::\"a\"}.of.open && !(U::\"b\".open)", "U::\"a\" U::\"b\""),
            ("[U::\"a\".manager].contains(principal)", "U::\"a\""),
            ("principal in [U::\"a\".group]", "U::\"a\""),
            (
                "U::\"a\".name like \"x*\" || -U::\"b\".level < 1 || ip(U::\"c\".from).isLoopback()",
                "U::\"a\" U::\"b\" U::\"c\"",
            ),
        ] {
            let policy = format!("permit (principal in U::\"scope\", action, resource) when {{ {condition} }};");
            let policy = cedar::Policy::parse(None, policy).unwrap();
            let policy: &cedar_policy_core::ast::Policy = policy.as_ref();
            let found = looked_at(policy.non_scope_constraints().unwrap());
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found.join(" "), expected, "{condition}");
        }
    }
}
