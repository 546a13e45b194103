//! Parameters as a table: one line for each leaf, with its path and its type. Long values are shortened unless all is asked
//! for; what was left out is counted, so that nobody decides on what was not shown.

use super::text::Text;
use crate::domain::{Attributes, Entity, Value};

/// Characters of one value that are shown at first.
pub const VALUE_CHARS_MAX: usize = 400;

/// How much of long values is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    Beginning,
    Whole,
}

/// One line.
#[derive(Debug, Clone)]
pub struct Line {
    /// Where it stands: `filter.country`.
    pub name: Text,
    pub type_name: &'static str,
    pub value: Text,
    /// How it differs from the last one that was approved.
    pub change: Change,
    key: String,
    raw: String,
}

/// What became of a line since an earlier query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Change {
    /// The same, or nothing to compare with.
    #[default]
    None,
    New,
    Was(Text),
}

impl Change {
    pub fn is_new(&self) -> bool {
        *self == Self::New
    }

    pub fn was(&self) -> Option<&Text> {
        match self {
            Self::Was(text) => Some(text),
            Self::None | Self::New => None,
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct Table {
    pub lines: Vec<Line>,
    /// Characters that are not shown.
    pub left_out: usize,
    pub deceives: bool,
    /// What an earlier query had beside these.
    pub gone: Vec<(Text, Text)>,
}

impl Table {
    /// The fields of a record.
    #[must_use]
    pub fn of(fields: &Attributes, extent: Extent) -> Self {
        let mut table = Self::default();
        table.record("", fields, extent);
        table
    }

    /// Marks what differs from an earlier query, and puts it first; what is missing since then is named. Says whether anything is.
    pub fn compare(&mut self, earlier: &Self) -> bool {
        let mut unmatched: Vec<&Line> = earlier.lines.iter().collect();
        for line in &mut self.lines {
            if let Some(at) = unmatched.iter().position(|old| old.key == line.key && old.raw == line.raw) {
                unmatched.remove(at);
            } else {
                line.change = Change::New;
            }
        }
        for line in self.lines.iter_mut().filter(|line| line.change.is_new()) {
            if let Some(at) = unmatched.iter().position(|old| old.key == line.key) {
                line.change = Change::Was(unmatched.remove(at).value.clone());
            }
        }
        self.gone = unmatched.into_iter().map(|old| (old.name.clone(), old.value.clone())).collect();
        self.lines.sort_by_key(|line| line.change == Change::None);
        !self.gone.is_empty() || self.lines.iter().any(|line| line.change != Change::None)
    }

    /// An entity that came with the query.
    #[must_use]
    pub fn of_entity(entity: &Entity, extent: Extent) -> Self {
        let mut table = Self::of(&entity.attributes, extent);
        for parent in &entity.parents {
            table.push("in", "entity", &parent.to_string(), extent);
        }
        table.record("tag ", &entity.tags, extent);
        table
    }

    fn record(&mut self, path: &str, fields: &Attributes, extent: Extent) {
        for (name, value) in fields {
            let path = match path {
                "" => name.to_string(),
                path if path.ends_with(' ') => format!("{path}{name}"),
                path => format!("{path}.{name}"),
            };
            self.value(&path, value, extent);
        }
    }

    fn value(&mut self, path: &str, value: &Value, extent: Extent) {
        match value {
            Value::Bool(truth) => self.push(path, "yes or no", if *truth { "yes" } else { "no" }, extent),
            Value::Long(number) => self.push(path, "number", &number.to_string(), extent),
            Value::String(text) => self.push(path, "text", text, extent),
            Value::Entity(uid) => self.push_text(path, "entity", &uid.to_string(), Text::line(&plain(uid))),
            Value::Set(members) if members.is_empty() => self.push(path, "set", "", extent),
            Value::Set(members) => members.iter().for_each(|member| self.value(&format!("{path}[]"), member, extent)),
            Value::Record(fields) if fields.is_empty() => self.push(path, "record", "", extent),
            Value::Record(fields) => self.record(path, fields, extent),
            Value::Extension { function, argument } => self.push(path, function.name(), argument, extent),
        }
    }

    fn push(&mut self, path: &str, type_name: &'static str, raw: &str, extent: Extent) {
        let chars_max = match extent {
            Extent::Beginning => VALUE_CHARS_MAX,
            Extent::Whole => usize::MAX,
        };
        self.push_text(path, type_name, raw, Text::cut(raw, chars_max));
    }

    fn push_text(&mut self, path: &str, type_name: &'static str, raw: &str, value: Text) {
        let name = Text::line(path);
        self.left_out += value.left_out;
        self.deceives |= value.deceives || name.deceives;
        let (key, raw) = (path.to_owned(), raw.to_owned());
        self.lines.push(Line { name, type_name, value, change: Change::None, key, raw });
    }
}

fn plain(uid: &crate::domain::EntityUid) -> String {
    format!("{}::\"{}\"", uid.type_name, uid.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_has_a_line_with_its_path_and_type() {
        let inner = Attributes::from([("country".into(), Value::string("DE"))]);
        let fields = Attributes::from([
            ("columns".into(), Value::Set(vec![Value::string("a"), Value::string("b")])),
            ("filter".into(), Value::Record(inner)),
            ("nothing".into(), Value::Set(Vec::new())),
            ("rows".into(), Value::Long(i64::MAX)),
        ]);
        let table = Table::of(&fields, Extent::Beginning);
        let lines: Vec<_> = table.lines.iter().map(|line| (&*line.key, line.type_name, &*line.raw)).collect();
        assert_eq!(
            lines,
            [
                ("columns[]", "text", "a"),
                ("columns[]", "text", "b"),
                ("filter.country", "text", "DE"),
                ("nothing", "set", ""),
                ("rows", "number", "9223372036854775807"),
            ]
        );
    }

    #[test]
    fn what_differs_comes_first_with_what_it_was() {
        let fields = |pairs: &[(&str, &str)]| -> Attributes {
            pairs.iter().map(|(name, value)| ((*name).into(), Value::string(value))).collect()
        };
        let mut table = Table::of(&fields(&[("a", "1"), ("b", "2"), ("c", "3")]), Extent::Whole);
        let earlier = Table::of(&fields(&[("a", "1"), ("b", "0"), ("d", "4")]), Extent::Whole);
        assert!(table.compare(&earlier));
        let lines: Vec<_> = table.lines.iter().map(|line| (&*line.key, line.change.clone())).collect();
        let was = Change::Was(Text::line("0"));
        assert_eq!(lines, [("b", was), ("c", Change::New), ("a", Change::None)]);
        assert_eq!(table.gone, [(Text::line("d"), Text::line("4"))]);
        assert!(
            !Table::of(&fields(&[("x", "1")]), Extent::Whole)
                .compare(&Table::of(&fields(&[("x", "1")]), Extent::Whole))
        );
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let long = Attributes::from([("text".into(), Value::string(&"x".repeat(VALUE_CHARS_MAX + 7)))]);
        assert_eq!(Table::of(&long, Extent::Beginning).left_out, 7);
        assert_eq!(Table::of(&long, Extent::Whole).left_out, 0);
    }
}
