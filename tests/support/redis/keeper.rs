//! Keeps a process that others wrote for as long as a test lives, and no longer.
//!
//! A shell stands between: it starts the program, tells its process id, and waits for the end of its own input. That comes
//! when the test drops it, panics, or is killed without a word, and then the shell kills what it started. So nothing is
//! left behind, and nobody is killed by name.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// Runs the words after its own as a program; what it says goes nowhere (it has a log file).
const SHELL: &str = "\"$@\" >/dev/null 2>&1 </dev/null & echo $!; read -r _; kill -CONT $!; kill -KILL $!";

pub struct Keeper {
    shell: Child,
    pub pid: Pid,
}

impl Keeper {
    /// Starts a program with words and variables.
    pub fn start(program: &str, words: &[String], variables: &[(String, String)]) -> Self {
        let program = find(program);
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SHELL, "keeper", &program]).args(words).envs(variables.iter().cloned());
        let mut shell = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let pid = line.trim().parse().ok().and_then(Pid::from_raw).expect("a process id");
        Self { shell, pid }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    /// Whether the program still runs.
    pub fn is_alive(&self) -> bool {
        rustix::process::test_kill_process(self.pid).is_ok()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // The shell has only to kill and to end.
        let _ = self.shell.wait();
    }
}

/// Where a program is.
///
/// # Panics
/// If it is missing; says what to install.
fn find(program: &str) -> String {
    let places = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/bin", "/opt/homebrew/bin"];
    let found =
        places.iter().map(|place| format!("{place}/{program}")).find(|path| std::path::Path::new(path).exists());
    found.unwrap_or_else(|| panic!("{program} is missing: install what tests/tools names"))
}
