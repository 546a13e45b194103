//! Policies to a set of them, their templates included: Cedar takes a linked policy into a set only by linking it there.

use cedar_policy as cedar;

/// Templates alone, to be linked or validated.
///
/// # Errors
/// Cedar's, where two have one id.
pub(super) fn template_set<'t>(
    templates: impl IntoIterator<Item = &'t cedar::Template>,
) -> Result<cedar::PolicySet, Box<cedar::PolicySetError>> {
    let mut set = cedar::PolicySet::new();
    for template in templates {
        set.add_template(template.clone())?;
    }
    Ok(set)
}

/// # Errors
/// Cedar's, where two policies have one id.
pub(super) fn policy_set<'p>(
    policies: impl IntoIterator<Item = &'p cedar::Policy>,
) -> Result<cedar::PolicySet, Box<cedar::PolicySetError>> {
    let mut set = cedar::PolicySet::new();
    for policy in policies {
        let (Some(template), Some(values)) = (policy.template_id(), policy.template_links()) else {
            set.add(policy.clone())?;
            continue;
        };
        if set.template(template).is_none() {
            set.add_template(policy.as_ref().template().clone().into())?;
        }
        set.link(template.clone(), policy.id().clone(), values)?;
    }
    Ok(set)
}
