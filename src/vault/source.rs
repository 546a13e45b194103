//! Where keys come from: a file, an environment variable, or a command, which is how any key management service (KMS) is
//! asked: its own command line unwraps the key and prints it. What it may be asked for is an affair of that service.
//!
//! Keys are fetched once, at the start. What is fetched is never shown, not even where it is wrong.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::KEY_BYTES;

/// A key as text is short; what is longer is something else.
const TEXT_BYTES_MAX: u64 = 4 << 10;
/// A start waits no longer for a key.
const COMMAND_WAIT: Duration = Duration::from_secs(30);
const COMMAND_POLL: Duration = Duration::from_millis(10);

/// Something that has a key: the world outside.
pub trait KeySource {
    /// For messages: where it is, never what it is.
    fn place(&self) -> String;
    /// The key, as base64 or hexadecimal digits. Blocking.
    ///
    /// # Errors
    /// Why it cannot be had, without any part of it.
    fn fetch(&self) -> Result<String, String>;
}

/// A file that holds the key and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile(pub PathBuf);

/// An environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyVariable(pub String);

/// A program and its arguments, which prints the key. No shell comes between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyCommand(pub Vec<String>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key {place} cannot be read: {reason}")]
pub struct SourceError {
    pub place: String,
    pub reason: String,
}

/// The bytes of a key.
///
/// # Errors
/// Why it cannot be had, or that it is no key.
pub fn read(source: &dyn KeySource) -> Result<Vec<u8>, SourceError> {
    let failed = |reason| SourceError { place: source.place(), reason };
    let text = source.fetch().map_err(failed)?;
    parse(text.trim()).ok_or_else(|| failed(format!("expected {KEY_BYTES} bytes as base64 or hexadecimal")))
}

fn parse(text: &str) -> Option<Vec<u8>> {
    let hex = |place: usize| text.get(place..place + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
    if text.len() == 2 * KEY_BYTES {
        return (0..KEY_BYTES).map(|place| hex(2 * place)).collect();
    }
    STANDARD.decode(text).ok().filter(|bytes| bytes.len() == KEY_BYTES)
}

impl KeySource for KeyFile {
    fn place(&self) -> String {
        format!("file:{}", self.0.display())
    }

    fn fetch(&self) -> Result<String, String> {
        let mut text = String::new();
        let file = std::fs::File::open(&self.0).map_err(|error| error.to_string())?;
        file.take(TEXT_BYTES_MAX).read_to_string(&mut text).map_err(|error| error.to_string())?;
        Ok(text)
    }
}

impl KeySource for KeyVariable {
    fn place(&self) -> String {
        format!("env:{}", self.0)
    }

    fn fetch(&self) -> Result<String, String> {
        std::env::var(&self.0).map_err(|error| match error {
            std::env::VarError::NotPresent => "the variable is not set".to_owned(),
            std::env::VarError::NotUnicode(_) => "the variable is not text".to_owned(),
        })
    }
}

impl KeySource for KeyCommand {
    fn place(&self) -> String {
        // Arguments may say more than is good for a log.
        format!("of the command `{}`", self.0.first().map_or("", String::as_str))
    }

    fn fetch(&self) -> Result<String, String> {
        let (program, arguments) = self.0.split_first().ok_or("there is no command")?;
        let mut command = Command::new(program);
        // What it complains of belongs into our own log; what it prints does not.
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().map_err(|error| format!("it does not start: {error}"))?;
        let printed = child.stdout.take().ok_or("it has no output")?;
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            printed.take(TEXT_BYTES_MAX).read_to_string(&mut text).map(|_| text)
        });
        ended(&mut child)?;
        let text = reading.join().map_err(|_| "its output cannot be read")?;
        text.map_err(|_| "its output is not text".to_owned())
    }
}

/// Waits for it, and ends it where it takes too long.
fn ended(child: &mut Child) -> Result<(), String> {
    let until = Instant::now() + COMMAND_WAIT;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("it failed ({status})")),
            Ok(None) if Instant::now() < until => std::thread::sleep(COMMAND_POLL),
            Ok(None) => {
                // It is ours; whether it is gone already does not matter.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("it took longer than {} s", COMMAND_WAIT.as_secs()));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> KeyCommand {
        KeyCommand(["sh", "-c", script].map(str::to_owned).to_vec())
    }

    #[test]
    fn a_command_is_asked_for_the_key_and_a_key_is_never_in_a_message() {
        let digits = "0f".repeat(KEY_BYTES);
        assert_eq!(read(&shell(&format!("echo {digits}"))).unwrap(), [15; KEY_BYTES]);
        let base64 = STANDARD.encode([7; KEY_BYTES]);
        assert_eq!(read(&shell(&format!("printf %s {base64}"))).unwrap(), [7; KEY_BYTES]);
        for (script, reason) in [
            ("echo sesame-sesame; exit 3", "it failed (exit status: 3)"),
            ("echo sesame-sesame", "expected 32 bytes as base64 or hexadecimal"),
            ("true", "expected 32 bytes"),
            ("head -c 4000 /dev/zero | tr '\\0' s", "expected 32 bytes"),
        ] {
            let said = read(&shell(script)).unwrap_err().to_string();
            assert!(said.contains(reason), "{script}: {said}");
            assert!(!said.contains("sesame"), "{said}");
        }
        let missing = read(&KeyCommand(vec!["/no/such/program".into()])).unwrap_err().to_string();
        assert!(
            missing.starts_with("key of the command `/no/such/program` cannot be read: it does not start"),
            "{missing}"
        );
    }
}
