//! People, machines and policies beyond the demo's: whom the negative cases need.

use std::path::Path;

use countersign::web::dev_issuer::{DevPrincipal, find};

use super::{Options, TestServer};

/// A policy directory of a test's own: the shipped one with some files added or changed.
pub struct PolicyDir(tempfile::TempDir);

impl PolicyDir {
    pub fn empty() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    /// The shipped policies.
    pub fn shipped() -> Self {
        let copy = tempfile::tempdir().expect("a temporary directory");
        for file in std::fs::read_dir(root().join("policies")).expect("the shipped policies") {
            let path = file.expect("a file").path();
            std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).expect("a copy");
        }
        Self(copy)
    }

    /// The shipped policies, and `tests/policies`: an enforcement point that may speak for others and supply entities,
    /// an administrator who may do everything that policies can allow, and more gates.
    pub fn extended() -> Self {
        let text = std::fs::read_to_string(root().join("tests/policies/extended.cedar")).expect("the extension");
        Self::shipped().and(&text)
    }

    pub fn and(self, policies: &str) -> Self {
        let count = std::fs::read_dir(self.0.path()).unwrap().count();
        std::fs::write(self.0.path().join(format!("more-{count}.cedar")), policies).unwrap();
        self
    }

    /// Changes what a shipped file says; the text must be there.
    pub fn but(self, file: &str, text: &str, instead: &str) -> Self {
        let path = self.0.path().join(file);
        let before = std::fs::read_to_string(&path).unwrap();
        assert!(before.contains(text), "{file} does not say {text}");
        std::fs::write(path, before.replacen(text, instead, 1)).unwrap();
        self
    }

    /// Writes or replaces a file of it, as an editor does that does not rename.
    pub fn write(&self, file: &str, text: &str) {
        std::fs::write(self.0.path().join(file), text).unwrap();
    }

    pub fn remove(&self, file: &str) {
        std::fs::remove_file(self.0.path().join(file)).unwrap();
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub async fn serve(&self) -> TestServer {
        TestServer::with(Options { policies: self.path().into(), ..Options::default() }).await
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn like(demo: &str, subject: &'static str, groups: &'static [&'static str]) -> DevPrincipal {
    DevPrincipal { subject, name: subject, groups, ..find(demo).unwrap().clone() }
}

pub fn person(subject: &'static str, groups: &'static [&'static str]) -> DevPrincipal {
    like("frank", subject, groups)
}

pub fn agent(subject: &'static str) -> DevPrincipal {
    like("report-bot", subject, &["agents"])
}

/// The enforcement point of the extended policies.
pub fn gateway() -> DevPrincipal {
    like("ci-pipeline", "gateway", &[])
}
