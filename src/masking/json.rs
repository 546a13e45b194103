//! JSON that arrives in pieces (RFC 8259). Only strings and numbers are ever rewritten; order, spaces, repeated keys and the
//! digits of numbers stay. The name of a field says what its value may be. What is not JSON is refused, not guessed at.

use super::MaskError;
use super::masker::{Counts, Masker, Profile, add};

/// Longest string, in bytes as it is written: also how much is held back at most.
pub const STRING_BYTES_MAX: usize = 1024 * 1024;
/// Longest number.
const NUMBER_BYTES_MAX: usize = 4_096;
/// How deep objects and arrays may stand in each other.
pub const LEVELS_MAX: usize = 128;
/// How deep JSON may stand in strings of JSON and still be read as such.
const NESTED_MAX: u8 = 3;

/// What may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    /// Or the end of an array that has just begun.
    FirstValue,
    Key,
    /// Or the end of an object that has just begun.
    FirstKey,
    Colon,
    CommaOrEnd,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Object,
    Array,
}

enum Part {
    None,
    String {
        escaped: bool,
    },
    /// A number, `true`, `false` or `null`.
    Word,
}

pub struct JsonStream<'m> {
    masker: &'m Masker,
    profile: &'m Profile,
    nested: u8,
    levels: Vec<Level>,
    expect: Expect,
    /// The names of the fields around, one for each object.
    keys: Vec<String>,
    part: Part,
    held: Vec<u8>,
    at: u64,
    any: bool,
    counts: Counts,
}

impl<'m> JsonStream<'m> {
    #[must_use]
    pub fn new(masker: &'m Masker, profile: &'m Profile) -> Self {
        Self::nested(masker, profile, NESTED_MAX)
    }

    fn nested(masker: &'m Masker, profile: &'m Profile, nested: u8) -> Self {
        let (levels, keys, held) = (Vec::new(), Vec::new(), Vec::new());
        let (expect, part, counts) = (Expect::Value, Part::None, Counts::new());
        Self { masker, profile, nested, levels, expect, keys, part, held, at: 0, any: false, counts }
    }

    /// Takes the next piece, and writes what is settled.
    ///
    /// # Errors
    /// Why it cannot be masked; the stream is of no use then.
    pub fn push(&mut self, piece: &[u8], out: &mut String) -> Result<(), MaskError> {
        for byte in piece {
            self.at += 1;
            self.byte(*byte, out)?;
        }
        Ok(())
    }

    /// Writes the rest.
    ///
    /// # Errors
    /// As for [`JsonStream::push`], and for JSON that breaks off.
    pub fn finish(mut self, out: &mut String) -> Result<Counts, MaskError> {
        if matches!(self.part, Part::Word) {
            self.word(out)?;
        }
        let is_whole = self.levels.is_empty() && matches!(self.part, Part::None) && self.any;
        if is_whole { Ok(self.counts) } else { Err(self.broken()) }
    }

    fn broken(&self) -> MaskError {
        MaskError::NotJson(self.at)
    }

    fn byte(&mut self, byte: u8, out: &mut String) -> Result<(), MaskError> {
        match self.part {
            Part::String { escaped } => self.in_string(byte, escaped, out),
            Part::Word if byte.is_ascii_alphanumeric() || b"+-.".contains(&byte) => self.hold(byte, NUMBER_BYTES_MAX),
            Part::Word => {
                self.word(out)?;
                self.between(byte, out)
            }
            Part::None => self.between(byte, out),
        }
    }

    fn hold(&mut self, byte: u8, bytes_max: usize) -> Result<(), MaskError> {
        if self.held.len() >= bytes_max {
            return Err(MaskError::TooLong(bytes_max));
        }
        self.held.push(byte);
        Ok(())
    }

    fn in_string(&mut self, byte: u8, escaped: bool, out: &mut String) -> Result<(), MaskError> {
        self.hold(byte, STRING_BYTES_MAX)?;
        if byte == b'"' && !escaped {
            return self.string(out);
        }
        self.part = Part::String { escaped: byte == b'\\' && !escaped };
        Ok(())
    }

    fn between(&mut self, byte: u8, out: &mut String) -> Result<(), MaskError> {
        let is_value = matches!(self.expect, Expect::Value | Expect::FirstValue);
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {}
            b'{' if is_value => self.open(Level::Object, Expect::FirstKey)?,
            b'[' if is_value => self.open(Level::Array, Expect::FirstValue)?,
            b'}' if self.ends(Level::Object) => self.close(),
            b']' if self.ends(Level::Array) => self.close(),
            b':' if self.expect == Expect::Colon => self.expect = Expect::Value,
            b',' if self.expect == Expect::CommaOrEnd => {
                self.expect = if self.levels.last() == Some(&Level::Object) { Expect::Key } else { Expect::Value };
            }
            b'"' if is_value || matches!(self.expect, Expect::Key | Expect::FirstKey) => {
                self.part = Part::String { escaped: false };
                return self.hold(byte, STRING_BYTES_MAX);
            }
            b'-' | b'0'..=b'9' | b'a'..=b'z' if is_value => {
                self.part = Part::Word;
                return self.hold(byte, NUMBER_BYTES_MAX);
            }
            _ => return Err(self.broken()),
        }
        out.push(char::from(byte));
        Ok(())
    }

    fn open(&mut self, level: Level, expect: Expect) -> Result<(), MaskError> {
        if self.levels.len() >= LEVELS_MAX {
            return Err(MaskError::TooDeep(LEVELS_MAX));
        }
        self.levels.push(level);
        if level == Level::Object {
            self.keys.push(String::new());
        }
        self.expect = expect;
        self.any = true;
        Ok(())
    }

    fn ends(&self, level: Level) -> bool {
        let first = if level == Level::Object { Expect::FirstKey } else { Expect::FirstValue };
        self.levels.last() == Some(&level) && (self.expect == Expect::CommaOrEnd || self.expect == first)
    }

    fn close(&mut self) {
        if self.levels.pop() == Some(Level::Object) {
            self.keys.pop();
        }
        self.value_done();
    }

    /// Another value may follow one that stands at the top: lines of JSON.
    fn value_done(&mut self) {
        self.any = true;
        self.expect = if self.levels.is_empty() { Expect::Value } else { Expect::CommaOrEnd };
    }

    fn string(&mut self, out: &mut String) -> Result<(), MaskError> {
        let held = std::mem::take(&mut self.held);
        self.part = Part::None;
        let written = std::str::from_utf8(&held).map_err(|_| MaskError::NotText)?;
        let value: String = serde_json::from_str(written).map_err(|_| self.broken())?;
        let masked = match self.expect {
            Expect::Key | Expect::FirstKey => {
                self.expect = Expect::Colon;
                let (masked, counts) = self.masker.text(self.profile, &value)?;
                add(&mut self.counts, &counts);
                // As it is written from now on, so that masking again sees the same name.
                if let Some(key) = self.keys.last_mut() {
                    key.clone_from(&masked);
                }
                masked
            }
            Expect::Value | Expect::FirstValue | Expect::Colon | Expect::CommaOrEnd => {
                self.value_done();
                self.value(&value)?
            }
        };
        self.write(written, &value, &masked, out)
    }

    fn word(&mut self, out: &mut String) -> Result<(), MaskError> {
        let held = std::mem::take(&mut self.held);
        self.part = Part::None;
        let word = String::from_utf8(held).map_err(|_| MaskError::NotText)?;
        serde_json::from_str::<serde::de::IgnoredAny>(&word).map_err(|_| self.broken())?;
        self.value_done();
        let masked = if word.starts_with(char::is_alphabetic) { word.clone() } else { self.value(&word)? };
        self.write(&word, &word, &masked, out)
    }

    /// A number that was masked becomes a string.
    fn write(&self, written: &str, value: &str, masked: &str, out: &mut String) -> Result<(), MaskError> {
        if masked == value {
            out.push_str(written);
        } else {
            out.push_str(&serde_json::to_string(masked).map_err(|_| self.broken())?);
        }
        Ok(())
    }

    fn value(&mut self, value: &str) -> Result<String, MaskError> {
        let name = self.keys.last().map_or("", String::as_str);
        let nested =
            nested_json(value).filter(|_| self.nested > 0 && self.masker.rule_of_field(self.profile, name).is_none());
        let (masked, counts) = match nested {
            Some(json) => {
                let mut inner = JsonStream::nested(self.masker, self.profile, self.nested - 1);
                let mut masked = String::with_capacity(json.len());
                // JSON within JSON that is none is text like any other.
                match inner.push(json.as_bytes(), &mut masked).and_then(|()| inner.finish(&mut masked)) {
                    Ok(counts) => (masked, counts),
                    Err(_) => self.masker.field(self.profile, name, value)?,
                }
            }
            None => self.masker.field(self.profile, name, value)?,
        };
        add(&mut self.counts, &counts);
        Ok(masked)
    }
}

fn nested_json(value: &str) -> Option<&str> {
    value.trim_start().starts_with(['{', '[']).then_some(value)
}
