//! On which line of a file each key stands. Only for people: what the file means is read elsewhere, and a file that cannot be
//! read here has no lines.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::{DeTable, DeValue};

/// Lines by the full names of keys, from 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines(BTreeMap<String, usize>);

impl Lines {
    #[must_use]
    pub fn of_file(path: &Path) -> Self {
        // Whoever loads the configuration is told what is wrong with the file.
        std::fs::read_to_string(path).map(|text| Self::of_text(&text)).unwrap_or_default()
    }

    fn of_text(text: &str) -> Self {
        let mut lines = Self::default();
        if let Ok(table) = DeTable::parse(text) {
            lines.add("", table.get_ref(), text);
        }
        lines
    }

    fn add(&mut self, path: &str, table: &DeTable<'_>, text: &str) {
        for (name, value) in table {
            let key = if path.is_empty() { name.get_ref().to_string() } else { format!("{path}.{}", name.get_ref()) };
            let before = text.get(..name.span().start).unwrap_or_default();
            if let DeValue::Table(inner) = value.get_ref() {
                self.add(&key, inner, text);
            }
            self.0.insert(key, before.matches('\n').count() + 1);
        }
    }

    /// The line of a key; `None` where it does not stand in the file.
    #[must_use]
    pub fn of(&self, key: &str) -> Option<usize> {
        self.0.get(key).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_however_tables_are_written() {
        let lines = Lines::of_text("a.b = 1\n\n[c]\nd = { e = 2 }\n[[c.f]]\ng = 1\n[[c.f]]\n");
        let at = ["a.b", "c", "c.d", "c.d.e", "c.f", "x"].map(|key| lines.of(key));
        assert_eq!(at, [Some(1), Some(3), Some(4), Some(4), Some(5), None]);
        assert_eq!(Lines::of_text("[broken"), Lines::default());
    }
}
