//! What the engine is told before it reads a policy. Every default is the stricter choice.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How policies are loaded and evaluated.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The directory that holds `*.cedar`, `*.cedarschema`, `*.links.json`, `entities.json` and `*.entities.json`.
    pub dir: PathBuf,
    pub on_error: OnError,
    /// Load without any `*.cedarschema`: nothing is validated then, neither policies nor queries.
    pub allow_missing_schema: bool,
    /// Load without any policy: everything is denied then, the service's own actions included.
    pub allow_empty: bool,
    /// Load gates whose reviewers no permit lets review: they are never opened.
    pub allow_unreviewable_gates: bool,
    /// How long the directory must look the same before it is taken for a whole set.
    pub settle: Duration,
    /// A gate's timeout where it has no `@timeout`.
    pub default_timeout: Duration,
    /// The targets that `@notify` may name; empty: none is configured, and it may name any.
    pub notify_targets: Vec<Arc<str>>,
    pub limits: Limits,
}

/// What a policy that cannot be evaluated does to the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// A forbid or gate that might have said no says no.
    FailClosed,
    /// It is skipped, and all else is as in a plain Cedar tool (docs/adr/0012): annotations mean nothing, so that a gate is
    /// a forbid, ids are `policy<n>`, nothing is validated, there is no `context.server`, and what guards the service
    /// itself stands apart, in [`GUARDS_FILE`]. For conformance runs: a skipped forbid opens the door.
    Cedar,
}

/// Under [`OnError::Cedar`]: the file at the top of the directory whose policies guard the service, and nothing else.
pub const GUARDS_FILE: &str = "service.cedar";

/// Bounds on what is read, so that no text can exhaust memory or a stack.
#[derive(Debug, Clone)]
pub struct Limits {
    pub file_bytes_max: usize,
    pub total_bytes_max: usize,
    pub files_max: usize,
    /// Directories within directories.
    pub directory_depth_max: usize,
    /// Policies, templates and links together.
    pub policies_max: usize,
    /// The action, principal type and resource type of every question that the schema allows: validation of a policy
    /// looks at each.
    pub request_types_max: usize,
    /// The fields of a schema, each common type written out where it is named.
    pub schema_fields_max: usize,
    /// All schema files together.
    pub schema_bytes_max: usize,
    /// The longest way up through entities, entity types or action groups.
    pub hierarchy_depth_max: usize,
    /// The ancestors of all of them together: a set of entities is kept closed over its hierarchy.
    pub ancestors_total_max: usize,
    /// Brackets of any sort within one another.
    pub bracket_depth_max: usize,
    /// How deep one expression may be, operators included: 256 evaluates on a stack of 2 MiB in any build.
    pub expression_depth_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes_max: 16 << 20,
            total_bytes_max: 256 << 20,
            files_max: 10_000,
            directory_depth_max: 16,
            policies_max: 250_000,
            request_types_max: 20_000,
            schema_fields_max: 250_000,
            schema_bytes_max: 4 << 20,
            hierarchy_depth_max: 64,
            ancestors_total_max: 4_000_000,
            bracket_depth_max: 64,
            expression_depth_max: 256,
        }
    }
}

impl Settings {
    /// The defaults, for the policies in `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            on_error: OnError::FailClosed,
            allow_missing_schema: false,
            allow_empty: false,
            allow_unreviewable_gates: false,
            settle: Duration::from_millis(100),
            default_timeout: Duration::from_secs(15 * 60),
            notify_targets: Vec::new(),
            limits: Limits::default(),
        }
    }
}
