//! The words around a value: those before it that tell what it is, and those that tell that it is something harmless.

/// How far back words are looked for, in bytes. Together with what a value itself may take, this is all a finding depends on.
pub const BEFORE_BYTES: usize = 80;

/// How far ahead, in bytes.
const AFTER_BYTES: usize = 24;

/// What numbers are counted as that are nobody's: directly before a number they outweigh its looks.
const HARMLESS: &[&str] = &[
    "order",
    "invoice",
    "version",
    "build",
    "commit",
    "sha",
    "sha1",
    "sha256",
    "md5",
    "uuid",
    "guid",
    "tracking",
    "isbn",
    "issn",
    "ean",
    "sku",
    "ticket",
    "timestamp",
    "epoch",
    "offset",
    "rev",
    "revision",
    "release",
    "part",
    "serial",
    "checksum",
    "hash",
    "digest",
    "trace",
    "span",
    "batch",
    "lot",
    "upc",
    "gtin",
    "firmware",
    "bytes",
    "size",
    "rows",
    "port",
    "pid",
    "v",
    "ver",
    "bestellung",
    "rechnung",
    "rechnungsnummer",
    "commande",
    "facture",
    "pedido",
    "factura",
    "ordine",
    "fattura",
    "id",
    "request",
    "correlation",
    "chapter",
    "section",
    "clause",
    "figure",
    "table",
];

/// The text before `at`, as far back as words count.
pub fn before(text: &str, at: usize) -> &str {
    let mut from = at.saturating_sub(BEFORE_BYTES);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text.get(from..at).unwrap_or_default()
}

fn after(text: &str, at: usize) -> &str {
    let mut to = at.saturating_add(AFTER_BYTES).min(text.len());
    while !text.is_char_boundary(to) {
        to -= 1;
    }
    text.get(at..to).unwrap_or_default()
}

/// The words before a place, read once for all that begins there.
pub struct Near {
    before: String,
}

impl Near {
    pub fn at(text: &str, start: usize) -> Self {
        Self { before: before(text, start).to_lowercase() }
    }

    /// Whether one of the words (lower case) stands near enough, before or just after `end`.
    pub fn supports(&self, words: &[&str], text: &str, end: usize) -> bool {
        let line = self.before.rsplit_once('\n').map_or(&*self.before, |(_, line)| line);
        // The line above counts as well where this one begins with the value: `SSN:` and then the number.
        let near = if line.trim().is_empty() { &*self.before } else { line };
        if words.iter().any(|word| has_word(near, word)) {
            return true;
        }
        let after = after(text, end);
        let after = after.split('\n').next().unwrap_or_default().to_lowercase();
        !after.is_empty() && words.iter().any(|word| has_word(&after, word))
    }

    /// Whether the last word before says that it is a number of something harmless.
    pub fn is_harmless(&self) -> bool {
        const EMPTY: [&str; 10] = ["no", "number", "nr", "num", "is", "the", "n", "numero", "num\u{e9}ro", "nummer"];
        let words = self.before.rsplit(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
        words.filter(|word| !EMPTY.contains(word)).take(1).any(|word| HARMLESS.contains(&word))
    }
}

/// A word as such, or as a part of `snake_case` and `kebab-case`.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, found)| {
        let is_letter = |letter: Option<char>| letter.is_some_and(char::is_alphabetic);
        let ahead = text.get(at + found.len()..).unwrap_or_default();
        let plural = ahead.strip_prefix('s').unwrap_or(ahead);
        let behind = text.get(..at).unwrap_or_default();
        !is_letter(behind.chars().next_back()) && !is_letter(plural.chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_count_as_words_near_the_value_and_on_its_line() {
        let supported = |text: &str| {
            let at = text.find('#').unwrap();
            Near::at(text, at).supports(&["ssn"], text, at + 1)
        };
        for text in ["my SSN is #", "ssn:#", "user_ssn=#", "SSN:\n#", "# (ssn)", "SSNs: #"] {
            assert!(supported(text), "{text}");
        }
        for text in ["lessness #", "ssn: none\nother: #", &format!("ssn {} #", "x".repeat(BEFORE_BYTES)), "#\nssn"] {
            assert!(!supported(text), "{text}");
        }
    }

    #[test]
    fn the_number_of_an_order_is_harmless() {
        for text in ["order #", "Order no. #", "version: #", "sha256:#"] {
            assert!(Near::at(text, text.len() - 1).is_harmless(), "{text}");
        }
        for text in ["order by phone #", "#", "card #"] {
            assert!(!Near::at(text, text.len() - 1).is_harmless(), "{text}");
        }
    }
}
