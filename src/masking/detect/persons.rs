//! Names of people, by what stands before them: a salutation, a word for a role, or a given name that many people have.
//!
//! No dictionary knows all names, and no model is asked: a name that nothing announces is not found.

use std::ops::Range;

use crate::domain::DataKind;
use crate::masking::finding::{Confidence, Finding, Layer};

/// Longest name, in words.
const NAME_WORDS_MAX: usize = 5;

/// What precedes a name and nothing else.
pub const SALUTATIONS: &[&str] = &[
    "mr",
    "mrs",
    "ms",
    "miss",
    "dr",
    "prof",
    "professor",
    "sir",
    "madam",
    "herr",
    "herrn",
    "frau",
    "m.",
    "mme",
    "mlle",
    "monsieur",
    "madame",
    "se\u{f1}or",
    "se\u{f1}ora",
    "sr",
    "sra",
    "srta",
    "don",
    "do\u{f1}a",
    "signor",
    "signora",
    "sig",
    "dott",
    "senhor",
    "senhora",
    "dhr",
    "mevrouw",
    "mevr",
    "pan",
    "pani",
    "dear",
    "hi",
    "hello",
    "hallo",
    "liebe",
    "lieber",
    "cher",
    "ch\u{e8}re",
    "estimado",
    "estimada",
    "caro",
    "cara",
    "gentile",
    "beste",
    "szanowny",
    "szanowna",
];

/// After these a name may stand; it must look like one.
pub const ROLES: &[&str] = &[
    "my name is",
    "name is",
    "name:",
    "i am",
    "i'm",
    "named",
    "called",
    "patient",
    "customer",
    "client",
    "employee",
    "cardholder",
    "passenger",
    "applicant",
    "beneficiary",
    "contact",
    "attn",
    "attention",
    "signed by",
    "signed",
    "sincerely,",
    "regards,",
    "cheers,",
    "account holder",
    "holder",
    "spouse",
    "tenant:",
    "recipient",
    "sender",
    "caller",
    "resident",
    "witness",
    "plaintiff",
    "defendant",
    "cc:",
    "ich hei\u{df}e",
    "mein name ist",
    "kunde",
    "kundin",
    "patientin",
    "mitarbeiter",
    "je m'appelle",
    "nom:",
    "me llamo",
    "mi nombre es",
    "nombre:",
    "mi chiamo",
    "nome:",
    "meu nome \u{e9}",
    "mijn naam is",
    "nazywam si\u{119}",
    "spoke with",
    "speak to",
    "speak with",
    "met with",
    "meeting with",
    "call from",
    "assigned to",
    "reported by",
    "requested by",
    "approved by",
    "owner:",
    "author:",
    "user:",
    "manager:",
    "nurse",
    "doctor",
    "agent",
];

/// Given names that are common somewhere. With a capitalised word behind them they make a name. Separated by spaces.
pub const GIVEN_NAMES: &str = "
    james mary john patricia robert jennifer michael linda william elizabeth david barbara richard susan joseph \
    jessica thomas sarah charles karen christopher lisa daniel nancy matthew betty anthony margaret mark sandra \
    donald ashley steven kimberly paul emily andrew donna joshua michelle kenneth carol kevin amanda brian dorothy \
    george melissa edward deborah ronald stephanie timothy rebecca jason laura jeffrey sharon ryan cynthia jacob \
    kathleen gary amy nicholas angela eric shirley jonathan anna stephen brenda larry pamela justin emma scott \
    nicole brandon helen benjamin samantha samuel katherine gregory christine frank debra alexander rachel raymond \
    carolyn patrick janet jack catherine dennis maria jerry heather tyler diane aaron ruth jose julie adam olivia \
    nathan joyce henry virginia douglas victoria zachary kelly peter lauren kyle christina ethan joan walter evelyn \
    noah judith jeremy megan christian andrea keith cheryl roger hannah terry jacqueline gerald martha harold \
    gloria sean teresa austin ann carl sara arthur madison lawrence frances dylan kathryn jesse janice jordan jean \
    bryan abigail billy alice joe julia bruce judy gabriel sophia logan grace albert denise willie amber alan doris \
    juan marilyn wayne danielle elijah beverly randy isabella roy theresa vincent diana ralph natalie eugene \
    brittany russell charlotte bobby marie mason kayla philip alexis louis lori bob jane oliver harry amelia freya \
    isla ella liam lucy simon fiona nigel graham ian hans klaus wolfgang j\u{fc}rgen j\u{f6}rg stefan andreas \
    sabine monika petra ursula heike claudia anja katrin uwe dieter karl heinz markus matthias sebastian florian \
    tobias lukas leon jonas max lena lea mia johanna pierre michel jacques philippe nathalie isabelle sylvie \
    fran\u{e7}ois fran\u{e7}oise laurent camille chlo\u{e9} l\u{e9}a louise antoine julien nicolas mathieu \
    c\u{e9}line am\u{e9}lie carlos javier antonio manuel francisco miguel pedro pablo luis jorge alejandro carmen \
    isabel luc\u{ed}a lucia sof\u{ed}a sofia elena marta cristina pilar giovanni giuseppe marco luca francesco \
    alessandro matteo giulia chiara francesca valentina paolo jo\u{e3}o joao tiago rafael beatriz ana mariana \
    fernanda piotr krzysztof andrzej jan tomasz pawe\u{142} agnieszka katarzyna ma\u{142}gorzata ewa zofia pieter \
    johan sanne daan femke bram lars erik anders karin ingrid astrid sven mikael mikko matti juhani aino liisa \
    rahul amit priya anjali sanjay rajesh vikram sunita deepak neha arjun wei ming li mei yuki hiroshi kenji \
    mohammed mohamed muhammad ahmed fatima ali omar aisha hassan ibrahim ivan dmitri olga natasha sergei tatiana \
";

/// Capitalised words that begin no name: how groups are addressed, and how sentences begin.
const NO_NAMES: &[&str] = &[
    "sir",
    "madam",
    "team",
    "all",
    "customer",
    "customers",
    "colleagues",
    "friend",
    "friends",
    "everyone",
    "there",
    "folks",
    "user",
    "users",
    "world",
    "the",
    "this",
    "that",
    "these",
    "our",
    "your",
    "we",
    "it",
    "he",
    "she",
    "they",
    "please",
    "thank",
    "thanks",
    "valued",
    "support",
    "damen",
    "herren",
    "service",
    "services",
    "account",
    "number",
    "id",
    "email",
    "phone",
    "address",
    "date",
    "street",
    "inc",
    "llc",
    "ltd",
    "gmbh",
    "corp",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "api",
    "ssn",
    "dob",
    "iban",
    "vat",
    "nhs",
    "jwt",
    "url",
    "http",
    "https",
    "ok",
    "error",
    "info",
    "warning",
    "debug",
    "null",
    "none",
    "true",
    "false",
    "not",
    "new",
    "in",
    "on",
    "at",
    "is",
    "was",
    "to",
    "and",
    "or",
    "but",
    "if",
    "for",
    "from",
    "with",
    "by",
    "of",
    "my",
    "his",
    "her",
    "their",
    "university",
    "hospital",
    "bank",
    "council",
    "city",
];

/// Small words within names.
const PARTICLES: &[&str] = &[
    "van", "von", "de", "der", "den", "del", "della", "di", "da", "dos", "das", "la", "le", "bin", "ibn", "al", "el",
    "zu", "af", "ter", "ten", "y",
];

/// The name after the salutation or role that ends at `end`.
pub fn after_word(text: &str, end: usize, is_salutation: bool) -> Option<Finding> {
    let rest = text.get(end..)?;
    let gap = rest.bytes().take(3).take_while(|byte| b" .:,\n".contains(byte)).count();
    if gap == 0 && !text.get(..end)?.ends_with(['.', ':']) {
        return None;
    }
    let (span, words) = name_at(text, end + gap)?;
    match (is_salutation, words) {
        (true, _) => Some(finding(span, 80, "after a salutation")),
        (false, 2..) => Some(finding(span, 75, "after a word for a role")),
        (false, _) => None,
    }
}

/// The name that begins with the given name at `start`, if more of it follows.
pub fn from_given_name(text: &str, start: usize) -> Option<Finding> {
    let (span, words) = name_at(text, start)?;
    (words >= 2).then(|| finding(span, 65, "a common given name and another"))
}

fn finding(span: Range<usize>, confidence: Confidence, why: &'static str) -> Finding {
    Finding { kind: DataKind::PERSON, span, confidence, why, layer: Layer::Plain }
}

/// Capitalised words from `start`, with particles and initials between; how many of them are full words.
fn name_at(text: &str, start: usize) -> Option<(Range<usize>, usize)> {
    let (mut end, mut at, mut full) = (start, start, 0);
    for _ in 0..NAME_WORDS_MAX {
        let word = word_at(text, at)?;
        let lower = word.to_lowercase();
        let capital = word.chars().next().is_some_and(char::is_uppercase);
        let is_initial = capital && word.chars().count() == 1;
        let is_title = SALUTATIONS.contains(&lower.trim_end_matches('.')) && capital && full == 0;
        let shouted =
            word.chars().count() > 3 && word.chars().filter(|letter| letter.is_alphabetic()).all(char::is_uppercase);
        let continues = if is_initial || is_title {
            true
        } else if capital && !shouted && !NO_NAMES.contains(&&*lower) {
            full += 1;
            end = at + word.len();
            true
        } else {
            full > 0 && PARTICLES.contains(&&*lower)
        };
        if !continues {
            break;
        }
        at += word.len();
        at += usize::from((is_initial || is_title) && text.get(at..).is_some_and(|rest| rest.starts_with('.')));
        match text.get(at..).and_then(|rest| rest.chars().next()) {
            Some(' ') => at += 1,
            _ => break,
        }
    }
    (full > 0).then_some((start..end, full))
}

/// Letters from `at`, with apostrophes and hyphens within.
fn word_at(text: &str, at: usize) -> Option<&str> {
    let rest = text.get(at..)?;
    let is_part = |letter: char| letter.is_alphabetic() || "'\u{2019}-".contains(letter);
    let length =
        rest.char_indices().find(|(place, letter)| !is_part(*letter) || *place > 40).map_or(rest.len(), |(end, _)| end);
    let word = rest.get(..length)?;
    let word = word
        .strip_suffix("'s")
        .or_else(|| word.strip_suffix("\u{2019}s"))
        .unwrap_or(word)
        .trim_end_matches(['\'', '-', '\u{2019}']);
    Some(word).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_its_capitalised_words_with_what_joins_them() {
        for (text, expected) in [
            ("Dr. Maria van der Berg called", Some("Maria van der Berg")),
            ("Mr. J. R. Tolkien's book", Some("J. R. Tolkien")),
            ("Dear Customer,", None),
            ("Dear Ms. Smith,", Some("Ms. Smith")),
            ("Mrs O'Neill-Carter.", Some("O'Neill-Carter")),
            ("dr of medicine", None),
        ] {
            let end = text.find([' ', '.']).unwrap();
            let found = after_word(text, end, true).map(|found| &text[found.span]);
            assert_eq!(found, expected, "{text}");
        }
        assert!(from_given_name("Alice went home", 0).is_none());
        assert!(from_given_name("Alice Jones went home", 0).is_some());
    }
}
