//! Which rows of a page were on the screen. What changes while it is read has to be on it as well: a row is known by what it says,
//! and by how many rows before it say the same.

use std::collections::{HashMap, HashSet};

#[derive(Debug, Default)]
pub struct Seen {
    rows: HashSet<(String, usize)>,
    /// Of the page as it was drawn last; `None`: it never was.
    missing: Option<usize>,
}

impl Seen {
    /// A page of these rows, of which `count` from `first` on were drawn.
    pub fn draw(&mut self, page: &[String], first: usize, count: usize) {
        let mut before: HashMap<&str, usize> = HashMap::new();
        let mut missing = 0;
        for (place, row) in page.iter().enumerate() {
            let same = before.entry(row).or_default();
            let key = (row.clone(), *same);
            *same += 1;
            if place >= first && place - first < count {
                self.rows.insert(key);
            } else if !self.rows.contains(&key) {
                missing += 1;
            }
        }
        self.missing = Some(missing);
    }

    /// How many rows of the page were never drawn; `None`: all of them.
    pub const fn missing(&self) -> Option<usize> {
        self.missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(rows: &[&str]) -> Vec<String> {
        rows.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_row_is_seen_once_it_was_drawn_and_one_that_changes_is_another() {
        let mut seen = Seen::default();
        assert_eq!(seen.missing(), None);
        let rows = page(&["a", "", "b", "", "c"]);
        seen.draw(&rows, 0, 2);
        assert_eq!(seen.missing(), Some(3), "the second empty row is not the first");
        seen.draw(&rows, 3, 2);
        assert_eq!(seen.missing(), Some(1));
        seen.draw(&rows, 2, 1);
        assert_eq!(seen.missing(), Some(0));
        seen.draw(&page(&["a", "", "b", "", "a vote", "c"]), 0, 1);
        assert_eq!(seen.missing(), Some(1), "what came in while it was read");
    }
}
