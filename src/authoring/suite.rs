//! The YAML of a file of tests. Strict: a member that is not known is a mistake, not a comment. `docs/authoring.md` has it
//! with examples.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value as Json;
use serde_saphyr::Spanned;

/// Ends the name of a file of tests; the loader of policies does not look at it.
pub const FILE_END: &str = ".test.yaml";

/// Largest file.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Directories within directories.
const DEPTH_MAX: usize = 16;

/// A file of tests, read.
#[derive(Debug)]
pub struct Suite {
    /// As problems name it.
    pub path: PathBuf,
    pub file: File,
}

/// Why there are no tests to run.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}: {message}", path.display())]
    Whole { path: PathBuf, message: String },
    #[error("{}:{line}: {message}", path.display())]
    At { path: PathBuf, line: u64, message: String },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// When the first question of every test is asked.
    pub now: Option<String>,
    /// Who plays in these tests, by the name that the tests use.
    #[serde(default)]
    pub principals: BTreeMap<String, Person>,
    /// More of the server's own data, for these tests; an entity of entities.json is replaced.
    #[serde(default)]
    pub entities: Vec<Json>,
    #[serde(default)]
    pub tests: Vec<Spanned<Test>>,
    /// Questions of the service about itself.
    #[serde(default)]
    pub service: Vec<Spanned<ServiceTest>>,
}

/// What a token would say of somebody.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    pub uid: String,
    #[serde(default)]
    pub groups: Vec<String>,
    /// The name of whom it acts for.
    pub on_behalf_of: Option<String>,
    /// Where the type's name does not say it: `user`, `agent` or `workload`.
    pub kind: Option<Kind>,
    /// How the person has logged in, in the issuer's words (`acr`, `amr`), just before every vote.
    pub acr: Option<String>,
    #[serde(default)]
    pub amr: Vec<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    User,
    Agent,
    Workload,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    pub name: String,
    pub query: Question,
    pub expect: Expected,
    #[serde(default)]
    pub then: Vec<Spanned<Step>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    pub principal: String,
    /// The enforcement point that asks, with the principal's token; the principal itself if nobody is named.
    pub caller: Option<String>,
    /// The caller only names the principal (`authorize_as`): nothing of it is proved, so it has no groups.
    #[serde(default)]
    pub asserted: bool,
    pub action: String,
    pub resource: String,
    #[serde(default)]
    pub context: BTreeMap<String, Json>,
    #[serde(default)]
    pub environment: BTreeMap<String, Json>,
    /// What the caller sends along.
    #[serde(default)]
    pub entities: Vec<Json>,
    pub justification: Option<String>,
}

/// What should be seen; what is not said is not looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    pub outcome: Option<Answer>,
    pub reason: Option<String>,
    /// The rules that made the verdict; exactly these.
    pub determining: Option<Vec<String>>,
    /// The gates that fired; exactly these.
    pub gates: Option<Vec<String>>,
    /// The `@mask`s that come with an ALLOW; exactly these.
    pub mask: Option<Vec<String>>,
    /// The `@advice` that comes with an ALLOW; exactly this.
    pub advice: Option<Vec<String>>,
    /// The state of the approval, such as `pending` or `expired`.
    pub state: Option<String>,
    /// Who may do what with the approval now: `review: [alice]`.
    #[serde(default)]
    pub may: BTreeMap<Deed, Vec<String>>,
    #[serde(default)]
    pub may_not: BTreeMap<Deed, Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Answer {
    Allow,
    Deny,
    Pending,
    /// Not even answered: the caller may not ask, or asks what makes no sense.
    Refused,
}

/// What somebody can do with an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    Review,
    Cancel,
    Revoke,
    ReadApproval,
    Reveal,
    ViewReviewers,
}

/// Something that happens after the first question, and what is seen then.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// How long after the first question; as before if it is not said.
    pub at: Option<String>,
    pub approve: Option<String>,
    pub reject: Option<String>,
    pub cancel: Option<String>,
    pub revoke: Option<String>,
    /// Lets it pass alone, by `@break_glass`.
    pub break_glass: Option<String>,
    /// Says of a broken glass that he looked at it.
    pub examine: Option<String>,
    /// With a vote: only for these gates.
    #[serde(default)]
    pub gates: Vec<String>,
    /// The deed is refused with this code.
    pub refused: Option<String>,
    /// Ask without naming the approval.
    #[serde(default)]
    pub anew: bool,
    /// An outcome or reason here asks the same query again.
    #[serde(default)]
    pub expect: Expected,
}

/// What somebody may do to the service itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceTest {
    pub name: String,
    pub caller: String,
    /// Such as `audit`, `authorize_as Agent::bot` or `supply_entities Dataset`.
    #[serde(default)]
    pub may: Vec<String>,
    #[serde(default)]
    pub may_not: Vec<String>,
}

impl Step {
    /// What is done, and by whom; a step that makes sense has one at the most.
    pub fn deeds(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("approve", &self.approve),
            ("reject", &self.reject),
            ("cancel", &self.cancel),
            ("revoke", &self.revoke),
            ("break_glass", &self.break_glass),
            ("examine", &self.examine),
        ];
        all.into_iter().filter_map(|(deed, who)| Some((deed, who.as_deref()?)))
    }
}

impl Suite {
    /// Reads one file.
    ///
    /// # Errors
    /// With the line.
    pub fn read(path: &Path) -> Result<Self, SuiteError> {
        let unreadable = |source| SuiteError::Unreadable { path: path.to_owned(), source };
        if std::fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
            let message = format!("is larger than {FILE_BYTES_MAX} bytes");
            return Err(SuiteError::Whole { path: path.to_owned(), message });
        }
        Self::parse(path, &std::fs::read_to_string(path).map_err(unreadable)?)
    }

    /// The same for text that is already in memory.
    ///
    /// # Errors
    /// With the line.
    pub fn parse(path: &Path, text: &str) -> Result<Self, SuiteError> {
        let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
        let file = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let (path, line) = (path.to_owned(), error.location().map(|place| place.line()));
            let message = error.to_string();
            // The place is said once, in front.
            let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
            match line {
                Some(line) => SuiteError::At { path, line, message },
                None => SuiteError::Whole { path, message },
            }
        })?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Every file of tests below a directory, in the order of their names.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn read_all(dir: &Path) -> Result<Vec<Self>, SuiteError> {
        let mut found = Vec::new();
        collect(dir, DEPTH_MAX, &mut found)?;
        found.sort();
        found.iter().map(|path| Self::read(path)).collect()
    }
}

fn collect(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), SuiteError> {
    let unreadable = |source| SuiteError::Unreadable { path: dir.to_owned(), source };
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() && depth > 0 {
            collect(&path, depth - 1, found)?;
        } else if name.ends_with(FILE_END) {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Suite::parse(Path::new("a.test.yaml"), text).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_is_unknown_is_refused_with_its_line() {
        let test = "tests:\n  - name: a\n    query: { principal: bot, action: read, resource: 'D::d' }\n";
        assert_eq!(refused(&format!("{test}    expect: {{ outcome: ALLOW }}\n")), "");
        let cases = [
            (format!("{test}    expect: {{ outcome: ALOW }}\n"), "a.test.yaml:4: ", "ALOW"),
            (format!("{test}    expect: {{ outcom: ALLOW }}\n"), "a.test.yaml:4: ", "outcom"),
            (format!("{test}    expect: {{}}\n    expects: {{}}\n"), "a.test.yaml:5: ", "expects"),
            ("people: {}\n".to_owned(), "a.test.yaml:1: ", "people"),
            (format!("{test}    expect: {{}}\n    name: again\n"), "a.test.yaml:5: ", "name"),
            (format!("{test}    expect: {{ may: {{ revue: [a] }} }}\n"), "a.test.yaml:4: ", "revue"),
        ];
        for (text, place, word) in cases {
            let found = refused(&text);
            assert!(found.starts_with(place) && found.contains(word), "{found}");
            assert!(!found.contains('\n') && !found.contains(" at line "), "{found}");
        }
    }
}
