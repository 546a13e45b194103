//! `docs/api.md`, made of the comments of `proto/`: `make docs` writes it, and a test sees that it is current.

use std::fmt::Write;
use std::path::Path;

/// In the order in which a reader wants them; a test sees that none is missing.
pub const FILES: [&str; 5] = ["decision_point", "administration", "masking", "query", "record"];

const HEAD: &str = "# API\n\nWritten by `make docs` from the comments of [`proto/countersign/v1`](../proto/countersign/v1); do not edit.\n";

/// The whole page.
pub fn page(protos: &Path) -> std::io::Result<String> {
    let mut page = HEAD.to_owned();
    for name in FILES {
        let text = std::fs::read_to_string(protos.join(format!("{name}.proto")))?;
        let _ = write!(page, "\n## {name}.proto\n\n");
        Reader { page: &mut page, comment: Vec::new(), scopes: Vec::new(), in_table: false }.read(&text);
    }
    Ok(page)
}

struct Reader<'a> {
    page: &'a mut String,
    /// The lines before what they are about.
    comment: Vec<String>,
    /// Names of the messages, enums and services that we are in; empty for a oneof.
    scopes: Vec<String>,
    in_table: bool,
}

impl Reader<'_> {
    fn read(&mut self, text: &str) {
        for line in text.lines() {
            let line = line.trim();
            if let Some(comment) = line.strip_prefix("//") {
                self.comment.push(comment.strip_prefix(' ').unwrap_or(comment).to_owned());
            } else {
                self.declaration(line);
                self.comment.clear();
            }
        }
    }

    fn declaration(&mut self, line: &str) {
        let mut words = line.split([' ', '{', '(']).filter(|word| !word.is_empty());
        match (words.next(), words.next()) {
            // What stands at the top is about the file.
            (Some("syntax"), _) => self.paragraphs(),
            (Some("message" | "enum" | "service"), Some(name)) => self.open(name, line),
            (Some("oneof"), _) => self.scopes.push(String::new()),
            (Some("}"), _) => {
                self.scopes.pop();
                self.in_table = self.in_table && self.scopes.last().is_some_and(String::is_empty);
            }
            (Some("rpc"), _) => self.row(line.trim_start_matches("rpc ").trim_end_matches(';'), ""),
            (Some(_), Some(_)) if line.contains(" = ") && line.ends_with(';') && !self.scopes.is_empty() => {
                self.field(line)
            }
            _ => {}
        }
    }

    fn open(&mut self, name: &str, line: &str) {
        let outer = self.scopes.iter().filter(|scope| !scope.is_empty()).map(String::as_str);
        let full = outer.chain([name]).collect::<Vec<_>>().join(".");
        let _ = write!(self.page, "\n### {full}\n\n");
        self.paragraphs();
        self.in_table = false;
        if !line.ends_with("{}") {
            self.scopes.push(name.to_owned());
        }
    }

    fn field(&mut self, line: &str) {
        let (left, _) = line.split_once(" = ").unwrap_or((line, ""));
        let (kind, name) = left.rsplit_once(' ').unwrap_or(("", left));
        // A oneof's fields: one of them is set.
        let choice = if self.scopes.last().is_some_and(String::is_empty) { " (one of)" } else { "" };
        self.row(name, &format!("{kind}{choice}"));
    }

    fn row(&mut self, name: &str, kind: &str) {
        if !self.in_table {
            self.page.push_str("\n| name | type | meaning |\n|---|---|---|\n");
            self.in_table = true;
        }
        let kind = if kind.is_empty() { String::new() } else { format!("`{kind}`") };
        let meaning = self.comment.iter().filter(|line| !line.is_empty()).map(String::as_str).collect::<Vec<_>>();
        let meaning = meaning.join(" ").replace('|', "\\|");
        let _ = writeln!(self.page, "| `{name}` | {kind} | {meaning} |");
    }

    /// The comment as it is: lines that are indented stand in columns.
    fn paragraphs(&mut self) {
        let comment = std::mem::take(&mut self.comment);
        let mut in_columns = false;
        for line in comment {
            let columns = line.starts_with("  ");
            if columns != in_columns {
                self.page.push_str(if columns { "\n```text\n" } else { "```\n\n" });
                in_columns = columns;
            }
            self.page.push_str(&line);
            self.page.push('\n');
        }
        if in_columns {
            self.page.push_str("```\n");
        }
    }
}

#[allow(dead_code, reason = "the test takes `page` alone")]
fn main() -> std::io::Result<()> {
    print!("{}", page(Path::new("proto/countersign/v1"))?);
    Ok(())
}
