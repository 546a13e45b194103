//! Where output goes: standard output for answers, standard error for everything else. Styled only where a person looks.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table};
use serde_json::Value;

use super::failure::Failure;
use super::words::escaped;
use crate::wire::json::{Named, to_json};

/// How answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

/// Emphasis, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Plain,
    Coloured,
}

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Coloured => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        }
    }

    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }
}

/// The process's output.
#[derive(Debug)]
pub struct Screen {
    pub format: Format,
    pub style: Style,
    /// Whether a person sees what is written.
    pub is_terminal: bool,
}

impl Screen {
    #[must_use]
    pub fn of_process(format: Format, no_color: bool) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let wanted = !no_color && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let style = if is_terminal && wanted { Style::Coloured } else { Style::Plain };
        Self { format, style, is_terminal }
    }

    /// Whether somebody is there to be asked.
    #[must_use]
    pub fn can_ask(&self) -> bool {
        self.is_terminal && self.format == Format::Table && io::stdin().is_terminal()
    }

    /// Writes text as it is.
    ///
    /// # Errors
    /// [`Failure::OutputClosed`] if nobody reads any more.
    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }

    pub fn line(&mut self, line: &str) -> Result<(), Failure> {
        self.text(&format!("{line}\n"))
    }

    /// One JSON value on a line.
    pub fn json(&mut self, value: &Value) -> Result<(), Failure> {
        self.line(&value.to_string())
    }

    /// A message, in the format that was asked for.
    pub fn message<M: Named>(&mut self, message: &M, table: impl FnOnce(&M, Style) -> String) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(&to_json(message)),
            Format::Table => {
                let text = table(message, self.style);
                self.line(text.trim_end())
            }
        }
    }

    pub fn table(&mut self, table: &Table) -> Result<(), Failure> {
        let mut table = table.clone();
        if self.is_terminal {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        }
        self.line(&table.trim_fmt())
    }

    /// Something for the person at the terminal that is not the answer.
    #[expect(clippy::unused_self, reason = "whoever writes to the terminal does so through the screen")]
    pub fn note(&self, text: &str) {
        // If standard error is gone there is nobody left to tell.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Asks a question that only `y` answers with yes.
    pub fn confirm(&mut self, question: &str) -> Result<bool, Failure> {
        self.text(&format!("{question} [y/N] "))?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }

    pub fn failure(&self, failure: &Failure) {
        if matches!(failure, Failure::OutputClosed) {
            return;
        }
        let text: Vec<_> = failure.to_string().lines().map(escaped).collect();
        self.note(&format!("error: {}", text.join("\n       ")));
        if let Failure::Call(error) = failure {
            let field = error.field.iter().map(|field| format!("  field: {}", escaped(field)));
            let reason = Some(&error.reason).filter(|reason| !reason.is_empty());
            let reason = reason.map(|reason| format!("  reason: {}", escaped(reason)));
            let metadata = error.metadata.iter().map(|(key, value)| format!("  {}: {}", escaped(key), escaped(value)));
            field.chain(reason).chain(metadata).for_each(|line| self.note(&line));
        }
        if let Some(hint) = failure.hint() {
            self.note(&format!("hint:  {hint}"));
        }
    }
}

/// A table without frames, as other command-line tools draw it.
#[must_use]
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(header.iter().map(|title| title.to_uppercase()).collect::<Vec<_>>());
    table
}
