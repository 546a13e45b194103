//! Numbers that states give to people, country by country, with their check digits.

mod americas;
mod asia_pacific;
mod europe;

use crate::masking::shape::Shape;

pub const SHAPES: &[&[Shape]] = &[americas::SHAPES, europe::SHAPES, asia_pacific::SHAPES];

/// A day of a month that can be.
fn is_day(day: u32, month: u32) -> bool {
    (1..=12).contains(&month) && (1..=31).contains(&day)
}

/// The number that two neighbouring digits write.
fn pair(digits: &[u32], at: usize) -> u32 {
    digits.get(at..at + 2).map_or(0, |pair| pair.iter().fold(0, |value, digit| value * 10 + digit))
}
