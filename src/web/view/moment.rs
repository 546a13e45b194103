//! Moments and spans for people. A page is written in UTC; the script says them in the reader's own time.

use std::time::Duration;

use crate::domain::Timestamp;

/// A moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// For machines: `2026-11-23T14:05:09Z`.
    pub iso: String,
    /// For people: `23 Nov 2026, 14:05:09 UTC`.
    pub text: String,
    /// From now: `3 min ago`, `in 12 min`.
    pub relative: String,
}

impl Moment {
    #[must_use]
    pub fn at(moment: Timestamp, now: Timestamp) -> Self {
        let Ok(instant) = jiff::Timestamp::from_microsecond(moment.as_micros()) else {
            return Self { iso: String::new(), text: "never".to_owned(), relative: "never".to_owned() };
        };
        let utc = instant.to_zoned(jiff::tz::TimeZone::UTC);
        Self {
            iso: instant.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            text: utc.strftime("%-d %b %Y, %H:%M:%S UTC").to_string(),
            relative: relative(moment, now),
        }
    }
}

fn relative(moment: Timestamp, now: Timestamp) -> String {
    if moment > now {
        return format!("in {}", span(now.until(moment)));
    }
    match moment.until(now) {
        ago if ago < Duration::from_secs(2) => "just now".to_owned(),
        ago => format!("{} ago", span(ago)),
    }
}

/// A span in its two largest units: `55 s`, `12 min`, `2 h 30 min`, `3 d 4 h`.
#[must_use]
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let two = |large: u64, one: &str, small: u64, other: &str| match small {
        0 => format!("{large} {one}"),
        small => format!("{large} {one} {small} {other}"),
    };
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        for (seconds, text) in
            [(55, "55 s"), (900, "15 min"), (9_000, "2 h 30 min"), (7_200, "2 h"), (273_600, "3 d 4 h")]
        {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_moment_is_before_or_after_now() {
        let now = Timestamp::from_micros(1_800_000_000_000_000);
        let moment = Moment::at(now.before(Duration::from_secs(180)), now);
        assert_eq!((&*moment.iso, &*moment.relative), ("2027-01-15T07:57:00Z", "3 min ago"));
        assert_eq!(moment.text, "15 Jan 2027, 07:57:00 UTC");
        assert_eq!(Moment::at(now.after(Duration::from_secs(60)), now).relative, "in 60 s");
        assert_eq!(Moment::at(Timestamp::MAX, now).text, "never");
    }
}
