//! Text that arrives in pieces. Where it is cut for searching depends on the text alone, never on the pieces, so that the output
//! is the same however it arrives: after each line, after a whole private key, and in a line without end where no value stands.
//!
//! A value that a line break divides is not found, a private key excepted. Memory: one segment and its context.

use super::MaskError;
use super::context::BEFORE_BYTES;
use super::detect::credentials::{PEM_BEGIN, PEM_END};
use super::masker::{Counts, Masker, Mode, Profile};
use super::token::REDACTED;

/// Longest line, or private key, that is searched at once, in bytes: also how much is held back at most.
pub const SEGMENT_BYTES_MAX: usize = 64 * 1024;
/// A line that goes on is cut this far from the end of what is known of it, in bytes: what begins before can be seen whole.
const LOOKAHEAD_BYTES: usize = 4 * 1024;

pub struct TextStream<'m> {
    masker: &'m Masker,
    profile: &'m Profile,
    /// The end of what was written, as it was written.
    before: String,
    pending: Vec<u8>,
    /// How many of the pending bytes hold no line break.
    searched: usize,
    state: State,
    scratch: String,
    counts: Counts,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Text,
    /// A value that is longer than a segment: dropped to the next space.
    InValue,
    /// A private key that is: dropped to its closing mark.
    InKey,
}

/// One piece to be searched: how long it is, and how far one can see.
struct Segment {
    bytes: usize,
    seen: usize,
    then: State,
}

impl<'m> TextStream<'m> {
    #[must_use]
    pub fn new(masker: &'m Masker, profile: &'m Profile) -> Self {
        Self::after(masker, profile, "")
    }

    pub(super) fn after(masker: &'m Masker, profile: &'m Profile, context: &str) -> Self {
        let (before, pending) = (context.to_owned(), Vec::new());
        Self {
            masker,
            profile,
            before,
            pending,
            searched: 0,
            state: State::Text,
            scratch: String::new(),
            counts: Counts::new(),
        }
    }

    /// Takes the next piece, and writes what is settled.
    ///
    /// # Errors
    /// Why it cannot be masked; the stream is of no use then.
    pub fn push(&mut self, piece: &[u8], out: &mut String) -> Result<(), MaskError> {
        for part in piece.chunks(SEGMENT_BYTES_MAX) {
            self.pending.extend_from_slice(part);
            self.advance(false, out)?;
        }
        Ok(())
    }

    /// Writes the rest.
    ///
    /// # Errors
    /// As for [`TextStream::push`].
    pub fn finish(mut self, out: &mut String) -> Result<Counts, MaskError> {
        self.advance(true, out)?;
        Ok(self.counts)
    }

    fn advance(&mut self, is_end: bool, out: &mut String) -> Result<(), MaskError> {
        let pending = std::mem::take(&mut self.pending);
        let mut at = 0;
        while let Some(rest) = pending.get(at..).filter(|rest| !rest.is_empty()) {
            let taken = match self.state {
                State::Text => self.segment(rest, is_end, out)?,
                State::InValue | State::InKey => self.drop_some(rest, is_end),
            };
            let Some(taken) = taken else { break };
            self.searched = 0;
            at += taken;
        }
        self.pending = pending;
        self.pending.drain(..at);
        Ok(())
    }

    /// Masks the next segment, if its end is known; how many bytes it was.
    fn segment(&mut self, rest: &[u8], is_end: bool, out: &mut String) -> Result<Option<usize>, MaskError> {
        let Some(segment) = self.next_segment(rest, is_end)? else { return Ok(None) };
        let (bytes, ahead) =
            rest.get(..segment.seen).and_then(|seen| seen.split_at_checked(segment.bytes)).ok_or(MaskError::Engine)?;
        let masked = match (std::str::from_utf8(bytes), segment.then) {
            // What goes on beyond what can be held is withheld as a whole.
            (Ok(_), State::InValue | State::InKey) => Ok(format!("<{REDACTED}>")),
            (Ok(text), State::Text) => {
                let parts = [&*self.before, text, valid_prefix(ahead)];
                let masked = self.masker.settle(self.profile, parts, &mut self.scratch, &mut self.counts);
                if masked == Ok(None) {
                    remember(&mut self.before, text);
                    out.push_str(text);
                    return Ok(Some(segment.bytes));
                }
                masked.map(Option::unwrap_or_default)
            }
            (Err(_), _) => Err(MaskError::NotText),
        };
        let masked = match (masked, self.profile.mode) {
            (Ok(masked), _) => masked,
            (Err(error), Mode::Strict) => return Err(error),
            (Err(_), Mode::Lenient) if bytes.ends_with(b"\n") => format!("<{REDACTED}>\n"),
            (Err(_), Mode::Lenient) => format!("<{REDACTED}>"),
        };
        remember(&mut self.before, &masked);
        out.push_str(&masked);
        self.state = segment.then;
        Ok(Some(segment.bytes))
    }

    fn next_segment(&mut self, rest: &[u8], is_end: bool) -> Result<Option<Segment>, MaskError> {
        let window = rest.get(..SEGMENT_BYTES_MAX).unwrap_or(rest);
        let line = window.iter().skip(self.searched).position(|byte| *byte == b'\n').map(|at| self.searched + at + 1);
        let whole = |bytes| Segment { bytes, seen: bytes, then: State::Text };
        let is_full = window.len() == SEGMENT_BYTES_MAX;
        let end = match line {
            Some(line) => match key_end(window, line) {
                KeyEnd::None => return Ok(Some(whole(line))),
                KeyEnd::At(end) => return Ok(Some(whole(end))),
                KeyEnd::Unknown => None,
            },
            None => {
                self.searched = window.len();
                Some(())
            }
        };
        match (end, is_full) {
            (_, false) if is_end => Ok(Some(whole(window.len()))),
            (_, false) => {
                self.searched = if end.is_none() { 0 } else { self.searched };
                Ok(None)
            }
            (None, true) => Ok(Some(Segment { bytes: window.len(), seen: window.len(), then: State::InKey })),
            (Some(()), true) => self.cut(window).map(Some),
        }
    }

    /// Where a line without end is cut: between words, where no value stands.
    fn cut(&self, window: &[u8]) -> Result<Segment, MaskError> {
        let text = valid_prefix(window);
        if text.len() + 4 < window.len() {
            return Ok(Segment { bytes: window.len(), seen: window.len(), then: State::Text });
        }
        let mut target = text.len().saturating_sub(LOOKAHEAD_BYTES);
        while !text.is_char_boundary(target) {
            target -= 1;
        }
        let near = text.get(target.saturating_sub(LOOKAHEAD_BYTES)..target);
        let space = near.and_then(|near| near.rfind(' ')).map(|at| target.saturating_sub(LOOKAHEAD_BYTES) + at + 1);
        let mut cut = space.unwrap_or(target);
        let whole = [&*self.before, text].concat();
        for finding in self.masker.find(self.profile, &whole, self.before.len())? {
            let (start, end) = (finding.span.start - self.before.len(), finding.span.end - self.before.len());
            if start < cut && cut < end {
                // One that takes up most of what can be held is not waited for.
                cut = if start >= text.len() / 2 { start } else { end };
            }
        }
        let then = if cut == text.len() { State::InValue } else { State::Text };
        Ok(Segment { bytes: cut, seen: text.len(), then })
    }

    /// Drops what belongs to a value that was withheld.
    fn drop_some(&mut self, rest: &[u8], is_end: bool) -> Option<usize> {
        let end = match self.state {
            State::InValue => rest.iter().position(|byte| byte.is_ascii_whitespace() || b"\"'<>,;".contains(byte)),
            State::InKey | State::Text => find(rest, PEM_END.as_bytes()).map(|at| at + PEM_END.len()),
        };
        if end.is_some() {
            self.state = State::Text;
        }
        // A closing mark may be cut: its beginning waits for the rest.
        let keep = if is_end || self.state == State::InValue { 0 } else { PEM_END.len() };
        end.or_else(|| rest.len().checked_sub(keep).filter(|dropped| *dropped > 0))
    }
}

/// Keeps the end of what was written, as far back as words count.
fn remember(before: &mut String, written: &str) {
    if written.len() >= BEFORE_BYTES {
        before.clear();
    }
    let mut from = written.len().saturating_sub(BEFORE_BYTES);
    while !written.is_char_boundary(from) {
        from += 1;
    }
    before.push_str(written.get(from..).unwrap_or_default());
    let mut from = before.len().saturating_sub(BEFORE_BYTES);
    while !before.is_char_boundary(from) {
        from += 1;
    }
    before.drain(..from);
}

enum KeyEnd {
    /// No private key is open at the end of the line.
    None,
    /// The end of the mark that closes it, or of the line if that is later.
    At(usize),
    Unknown,
}

/// Where the private key that begins in the first line ends.
fn key_end(window: &[u8], line: usize) -> KeyEnd {
    let first = window.get(..line).unwrap_or_default();
    let Some(begin) = find(first, PEM_BEGIN.as_bytes())
        .filter(|begin| find(first.get(*begin..).unwrap_or_default(), b"PRIVATE KEY").is_some())
    else {
        return KeyEnd::None;
    };
    let rest = window.get(begin..).unwrap_or_default();
    let closing = find(rest, PEM_END.as_bytes()).map(|at| begin + at + PEM_END.len());
    let dashes =
        closing.and_then(|at| find(window.get(at..).unwrap_or_default(), b"-----").map(|dashes| at + dashes + 5));
    dashes.map_or(KeyEnd::Unknown, |end| KeyEnd::At(end.max(line)))
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// As much as is whole: a code point at the end may be cut.
fn valid_prefix(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            bytes.get(..error.valid_up_to()).and_then(|valid| std::str::from_utf8(valid).ok()).unwrap_or_default()
        }
    }
}
