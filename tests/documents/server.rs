//! The server of the documents: `countersign serve --dev`, on free ports, in a directory of its own.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

pub struct DevServer {
    process: Child,
    dir: tempfile::TempDir,
    pub url: String,
    pub issuer: String,
}

impl DevServer {
    /// Returns once it has said where it is.
    pub fn start(program: &str, policies: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        command.args([
            "serve",
            "--dev",
            "--listen",
            "127.0.0.1:0",
            "--web-listen",
            "127.0.0.1:0",
            "--policy-dir",
            policies,
        ]);
        command.current_dir(dir.path()).env_clear().env("COUNTERSIGN__DEV__ISSUER_LISTEN", "127.0.0.1:0");
        let mut process = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map(Result::unwrap);
        let mut after = |words: &str| {
            let line = lines.find(|line| line.contains(words)).expect("the server says where it is");
            line.split(words).nth(1).unwrap().split([' ', ':']).take(3).collect::<Vec<_>>().join(":")
        };
        let url = after("listens on ");
        let issuer = after("DEVELOPMENT issuer on ");
        // What it says later must find a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, dir, url, issuer }
    }

    pub fn journal(&self) -> PathBuf {
        self.dir.path().join("countersign-data")
    }
}

impl Drop for DevServer {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
