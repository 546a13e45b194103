//! How large a hierarchy is before Cedar closes it: a set of entities, entity types or action groups is kept with all
//! ancestors of each, so a chain of a hundred thousand groups would be five thousand million pairs.

use std::collections::HashMap;
use std::ops::Range;

use serde::Deserialize;
use serde_json::Value as Json;

use super::settings::Limits;

/// Who is directly in what.
#[derive(Debug, Default)]
pub struct Hierarchy {
    places: HashMap<String, usize>,
    parents: Vec<Vec<usize>>,
}

impl Hierarchy {
    fn place(&mut self, name: String) -> usize {
        let next = self.parents.len();
        let place = *self.places.entry(name).or_insert(next);
        if place == next {
            self.parents.push(Vec::new());
        }
        place
    }

    pub fn add(&mut self, child: String, parents: impl IntoIterator<Item = String>) {
        let child = self.place(child);
        for parent in parents {
            let parent = self.place(parent);
            self.parents.get_mut(child).into_iter().for_each(|of| of.push(parent));
        }
    }

    /// # Errors
    /// Says which limit it exceeds. Whoever is in himself is Cedar's to report.
    pub fn check(&self, limits: &Limits) -> Result<(), String> {
        let mut seen_by = vec![usize::MAX; self.parents.len()];
        let mut steps = 0_usize;
        for start in 0..self.parents.len() {
            let (mut level, mut depth) = (vec![start], 0);
            while !level.is_empty() {
                if depth > limits.hierarchy_depth_max {
                    return Err(format!("the hierarchy is deeper than {}", limits.hierarchy_depth_max));
                }
                let mut above = Vec::new();
                for parent in level.iter().filter_map(|at| self.parents.get(*at)).flatten() {
                    steps += 1;
                    let seen = seen_by.get_mut(*parent).filter(|seen| **seen != start);
                    seen.into_iter().for_each(|seen| {
                        *seen = start;
                        above.push(*parent);
                    });
                }
                if steps > limits.ancestors_total_max {
                    return Err(format!("the hierarchy has more than {} ancestors", limits.ancestors_total_max));
                }
                (level, depth) = (above, depth + 1);
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Member {
    uid: Json,
    #[serde(default)]
    parents: Vec<Json>,
}

/// The hierarchy of entities in Cedar's JSON. What cannot be read is left out: Cedar will refuse it.
pub fn of_entities(text: &str, elements: &[Range<usize>]) -> Hierarchy {
    let mut found = Hierarchy::default();
    for element in elements.iter().filter_map(|span| text.get(span.clone())) {
        let Ok(member) = serde_json::from_str::<Member>(element) else { continue };
        found.add(name(&member.uid), member.parents.iter().map(name));
    }
    found
}

/// `{"type": .., "id": ..}`, or that under `__entity`.
fn name(uid: &Json) -> String {
    let uid = uid.get("__entity").unwrap_or(uid);
    format!("{}::{}", uid["type"], uid["id"])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(length: usize) -> Hierarchy {
        let mut chain = Hierarchy::default();
        (0..length).for_each(|at| chain.add(at.to_string(), [(at + 1).to_string()]));
        chain
    }

    #[test]
    fn depth_is_refused_one_past_the_limit() {
        let limits = Limits { hierarchy_depth_max: 8, ..Limits::default() };
        assert_eq!(chain(8).check(&limits), Ok(()));
        assert_eq!(chain(9).check(&limits), Err("the hierarchy is deeper than 8".to_owned()));
        assert!(chain(200_000).check(&Limits::default()).is_err(), "and quickly");
    }

    #[test]
    fn ancestors_are_counted_before_they_are_made() {
        let limits = Limits { ancestors_total_max: 36, ..Limits::default() };
        assert_eq!(chain(8).check(&limits), Ok(()));
        assert_eq!(chain(9).check(&limits), Err("the hierarchy has more than 36 ancestors".to_owned()));
    }

    #[test]
    fn a_circle_is_not_ours_to_judge() {
        let mut circle = chain(3);
        circle.add("3".to_owned(), ["0".to_owned()]);
        assert_eq!(circle.check(&Limits::default()), Ok(()));
    }

    #[test]
    fn entities_are_read_in_every_form_of_their_names() {
        let text = r#"[{"uid":{"type":"A","id":"a"},"attrs":{},"parents":[{"__entity":{"type":"A","id":"b"}}]},
            {"uid":{"__entity":{"type":"A","id":"b"}},"attrs":{},"parents":[{"type":"A","id":"c"}]}]"#;
        let elements = super::super::json_text::elements(text).unwrap();
        let limits = Limits { hierarchy_depth_max: 1, ..Limits::default() };
        assert!(of_entities(text, &elements).check(&limits).is_err());
    }
}
