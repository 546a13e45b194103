//! Everything against the schema, by Cedar's validator, strictly.

use cedar_policy as cedar;
use miette::Diagnostic;

use super::workers::{Failed, each_piece};
use super::{Loader, Tell, of_directory};
use crate::engine::linked::{policy_set, template_set};
use crate::engine::problem::Problem;
use crate::engine::schema::LoadedSchema;
use crate::engine::service_schema;
use crate::engine::source::SourceFile;

/// What the validator found.
#[derive(Default)]
struct Found {
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Loader<'_> {
    /// Adds what is wrong, and returns the warnings.
    pub fn validate(
        &mut self,
        schema: &LoadedSchema,
        files: &[&SourceFile],
        tell: &Tell<'_>,
    ) -> Result<Vec<Problem>, Failed> {
        if let Some(file) = files.first() {
            self.problems.extend(service_schema::problems(schema, &file.path));
        }
        let validator = cedar::Validator::new(schema.cedar.clone());
        let policies: Vec<_> = self.parsed.iter().collect();
        let this = &*self;
        let mut found = each_piece(&policies, tell, |piece| {
            let set = policy_set(piece.iter().copied());
            // What is wrong with a template is found once, below.
            this.judge(&validator, set, |id| !this.templates.contains_key(id))
        })?;
        let templates = template_set(self.templates.values().map(|template| &template.cedar));
        found.push(self.judge(&validator, templates, |_| true));
        let mut warnings = Vec::new();
        for found in found {
            self.problems.extend(found.errors);
            warnings.extend(found.warnings);
        }
        Ok(warnings)
    }

    fn judge(
        &self,
        validator: &cedar::Validator,
        set: Result<cedar::PolicySet, Box<cedar::PolicySetError>>,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Found {
        let set = match set {
            Ok(set) => set,
            Err(error) => {
                return Found { errors: vec![of_directory(self.settings, &error.to_string())], ..Found::default() };
            }
        };
        let result = validator.validate(&set, cedar::ValidationMode::Strict);
        let errors = result.validation_errors().map(|error| (error.policy_id(), error as &dyn Diagnostic));
        let warnings = result.validation_warnings().map(|warning| (warning.policy_id(), warning as &dyn Diagnostic));
        let at_place = |(id, found): (&cedar::PolicyId, &dyn Diagnostic)| self.found(id.as_ref(), found);
        Found {
            errors: errors.filter(|(id, _)| is_wanted(id.as_ref())).map(at_place).collect(),
            warnings: warnings
                .filter(|(id, _)| is_wanted(id.as_ref()))
                .map(at_place)
                .map(Problem::as_warning)
                .collect(),
        }
    }

    /// A finding of Cedar's validator, at its place.
    fn found(&self, id: &str, found: &dyn Diagnostic) -> Problem {
        let text = found.to_string();
        let message = text.strip_prefix(&format!("for policy `{id}`, ")).unwrap_or(&text);
        match self.places.get_key_value(id) {
            Some((id, place)) => place.diagnosed(found, message).in_policy(id),
            None => of_directory(self.settings, message),
        }
    }
}
