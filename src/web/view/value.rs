//! Parameters as a table: one line for each leaf, with its path and its type. Long values are shortened unless all is asked
//! for; what was left out is counted, so that nobody decides on what was not shown.

use super::text::Text;
use crate::domain::{Attributes, Entity, EntityUid, Value};
use crate::service::veil::Veil;

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
    /// Names and values that are masked.
    pub masked: usize,
    /// What an earlier query had beside these.
    pub gone: Vec<(Text, Text)>,
}

impl Table {
    /// The fields of a record.
    #[must_use]
    pub fn of(fields: &Attributes, extent: Extent, veil: &Veil) -> Self {
        let mut table = Self::default();
        let mut writer = Writer { table: &mut table, extent, veil };
        writer.record("", "", "", fields);
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
    pub fn of_entity(entity: &Entity, extent: Extent, veil: &Veil) -> Self {
        let mut table = Self::default();
        let mut writer = Writer { table: &mut table, extent, veil };
        writer.record("", "", "", &entity.attributes);
        for parent in &entity.parents {
            writer.entity("in", "in", ["", ""], parent);
        }
        writer.record("tag ", "tag ", "", &entity.tags);
        table
    }
}

/// Writes the lines of a table. Each has its path twice: as it is, to compare by, and as it is shown.
struct Writer<'t> {
    table: &'t mut Table,
    extent: Extent,
    veil: &'t Veil,
}

impl Writer<'_> {
    fn record(&mut self, path: &str, shown: &str, outer: &str, fields: &Attributes) {
        let joined = |path: &str, name: &str| match path {
            "" => name.to_owned(),
            path if path.ends_with(' ') => format!("{path}{name}"),
            path => format!("{path}.{name}"),
        };
        for (name, value) in fields {
            let veiled = self.veil.text("", name);
            self.table.masked += usize::from(veiled.is_masked);
            self.value(&joined(path, name), &joined(shown, &veiled.text), [outer, name], value);
        }
    }

    /// `names`: of the record around it and its own.
    fn value(&mut self, path: &str, shown: &str, names: [&str; 2], value: &Value) {
        let mut leaf = |type_name, raw: &str| self.leaf(path, shown, names, type_name, raw);
        match value {
            Value::Bool(truth) => self.push(path, shown, "yes or no", if *truth { "yes" } else { "no" }),
            Value::Long(number) => leaf("number", &number.to_string()),
            Value::String(text) => leaf("text", text),
            Value::Entity(uid) => self.entity(path, shown, names, uid),
            Value::Set(members) if members.is_empty() => self.push(path, shown, "set", ""),
            Value::Set(members) => {
                let (path, shown) = (format!("{path}[]"), format!("{shown}[]"));
                members.iter().for_each(|member| self.value(&path, &shown, names, member));
            }
            Value::Record(fields) if fields.is_empty() => self.push(path, shown, "record", ""),
            Value::Record(fields) => self.record(path, shown, names[1], fields),
            Value::Extension { function, argument } => leaf(function.name(), argument),
        }
    }

    /// A value that may have to be masked, for what it is or for the name it has.
    fn leaf(&mut self, path: &str, shown: &str, [outer, name]: [&str; 2], type_name: &'static str, raw: &str) {
        let veiled = self.veil.within(outer, name, raw);
        self.table.masked += usize::from(veiled.is_masked);
        let value = Text::cut(&veiled.text, self.chars_max());
        self.line(path, shown, type_name, raw, value);
    }

    fn entity(&mut self, path: &str, shown: &str, [outer, name]: [&str; 2], uid: &EntityUid) {
        let veiled = self.veil.within(outer, name, &uid.id);
        self.table.masked += usize::from(veiled.is_masked);
        let value = Text::line(&format!("{}::\"{}\"", uid.type_name, veiled.text));
        self.line(path, shown, "entity", &uid.to_string(), value);
    }

    fn push(&mut self, path: &str, shown: &str, type_name: &'static str, raw: &str) {
        self.line(path, shown, type_name, raw, Text::cut(raw, self.chars_max()));
    }

    fn line(&mut self, path: &str, shown: &str, type_name: &'static str, raw: &str, value: Text) {
        let name = Text::line(shown);
        self.table.left_out += value.left_out;
        self.table.deceives |= value.deceives || name.deceives;
        let (key, raw) = (path.to_owned(), raw.to_owned());
        self.table.lines.push(Line { name, type_name, value, change: Change::None, key, raw });
    }

    fn chars_max(&self) -> usize {
        match self.extent {
            Extent::Beginning => VALUE_CHARS_MAX,
            Extent::Whole => usize::MAX,
        }
    }
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
        let table = Table::of(&fields, Extent::Beginning, &Veil::lifted());
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
        let mut table = Table::of(&fields(&[("a", "1"), ("b", "2"), ("c", "3")]), Extent::Whole, &Veil::lifted());
        let earlier = Table::of(&fields(&[("a", "1"), ("b", "0"), ("d", "4")]), Extent::Whole, &Veil::lifted());
        assert!(table.compare(&earlier));
        let lines: Vec<_> = table.lines.iter().map(|line| (&*line.key, line.change.clone())).collect();
        let was = Change::Was(Text::line("0"));
        assert_eq!(lines, [("b", was), ("c", Change::New), ("a", Change::None)]);
        assert_eq!(table.gone, [(Text::line("d"), Text::line("4"))]);
        assert!(!Table::of(&fields(&[("x", "1")]), Extent::Whole, &Veil::lifted()).compare(&Table::of(
            &fields(&[("x", "1")]),
            Extent::Whole,
            &Veil::lifted()
        )));
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let long = Attributes::from([("text".into(), Value::string(&"x".repeat(VALUE_CHARS_MAX + 7)))]);
        assert_eq!(Table::of(&long, Extent::Beginning, &Veil::lifted()).left_out, 7);
        assert_eq!(Table::of(&long, Extent::Whole, &Veil::lifted()).left_out, 0);
    }
}
