//! Text with labels: templates, locales and formats, filled in from a seed. Numbers carry right check digits, computed here
//! and not by the detectors. Half of the names are in no list of ours. The hard negatives are what looks like personal data and
//! is none: order numbers, versions, hashes, times, UUIDs.

use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

pub struct Sample {
    pub text: String,
    /// Kinds by name (Presidio's where it has one) and bytes of the text.
    pub labels: Vec<(&'static str, Range<usize>)>,
}

/// Numbers from a seed (SplitMix64): the same corpus everywhere.
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }

    fn digits(&mut self, count: usize) -> Vec<u32> {
        (0..count).map(|_| self.below(10) as u32).collect()
    }

    fn letters_of(&mut self, alphabet: &str, count: usize) -> String {
        (0..count).map(|_| char::from(alphabet.as_bytes()[self.below(alphabet.len() as u64) as usize])).collect()
    }
}

const LOWER_HEX: &str = "0123456789abcdef";
const ALPHANUMERIC: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const CAPITALS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

const GIVEN: &[&str] = &[
    "James",
    "Maria",
    "Robert",
    "Linda",
    "Sarah",
    "Thomas",
    "Elena",
    "Pierre",
    "Hans",
    "Sofia",
    "Xiomara",
    "Thandiwe",
    "Ois\u{ed}n",
    "Bartholomew",
    "Ngozi",
    "Takeshi",
    "Saoirse",
    "Eitan",
    "Wilhelmina",
    "Anneliese",
    "Gwendolyn",
    "Ottavia",
    "Ignatius",
    "Marisol",
];
const FAMILY: &[&str] = &[
    "Smith",
    "Garcia",
    "M\u{fc}ller",
    "Okafor",
    "Nakamura",
    "O'Brien",
    "Rossi",
    "Lefebvre",
    "Kowalski",
    "van Dijk",
    "Lindqvist",
    "Sharma",
    "Silva",
    "Novak",
    "Baptiste",
    "Featherstone",
    "Abernathy",
    "Quispe",
    "Thorvaldsen",
    "Zhang",
];

/// Each `{KIND}` is filled in; the same sentence serves many.
const TEMPLATES: &[(&str, &str)] = &[
    ("PERSON", "Dear {Ms. NAME},\nthank you for calling."),
    ("PERSON", "Hello, my name is {NAME} and I would like to cancel."),
    ("PERSON", "Patient: {NAME}, admitted on Monday."),
    ("PERSON", "{NAME} called yesterday about the refund."),
    ("PERSON", "We spoke with {NAME} about the contract."),
    ("PERSON", "Please forward this to {NAME} in accounting."),
    ("EMAIL_ADDRESS", "You can reach me at {}."),
    ("EMAIL_ADDRESS", "user={} logged in"),
    ("EMAIL_ADDRESS", "Bitte antworten Sie an {} bis Freitag."),
    ("PHONE_NUMBER", "My phone number is {}."),
    ("PHONE_NUMBER", "Call {} after six."),
    ("PHONE_NUMBER", "Tel: {}"),
    ("PHONE_NUMBER", "Rufnummer {} (Herrn Weber)"),
    ("CREDIT_CARD", "My credit card {} was charged twice."),
    ("CREDIT_CARD", "Payment by card: {}"),
    ("CREDIT_CARD", "Please use {} instead."),
    ("IBAN_CODE", "Transfer the money to {} today."),
    ("IBAN_CODE", "IBAN: {}"),
    ("US_SSN", "My social security number is {}."),
    ("US_SSN", "SSN {} on file"),
    ("US_ITIN", "The ITIN is {}."),
    ("US_PASSPORT", "US passport number {} expires soon."),
    ("US_DRIVER_LICENSE", "Driver's license: {}"),
    ("US_BANK_NUMBER", "Deposit it to bank account {} please."),
    ("ABA_ROUTING_NUMBER", "Routing number: {}"),
    ("UK_NHS", "NHS number {} was updated."),
    ("UK_NINO", "National insurance number: {}"),
    ("DE_TAX_ID", "Meine Steuer-ID lautet {}."),
    ("FR_NIR", "Num\u{e9}ro de s\u{e9}curit\u{e9} sociale : {}"),
    ("ES_NIF", "Mi DNI es {}."),
    ("ES_NIE", "El NIE de la titular es {}."),
    ("IT_FISCAL_CODE", "Il codice fiscale \u{e8} {}."),
    ("PL_PESEL", "PESEL: {}"),
    ("NL_BSN", "Het BSN is {}."),
    ("SE_PERSONNUMMER", "Personnummer {} enligt folkbokf\u{f6}ringen."),
    ("FI_PERSONAL_IDENTITY_CODE", "Henkil\u{f6}tunnus: {}"),
    ("IN_AADHAAR", "Aadhaar number {} is linked."),
    ("IN_PAN", "PAN {} was verified."),
    ("AU_TFN", "The tax file number is {}."),
    ("AU_ABN", "ABN {}"),
    ("SG_NRIC_FIN", "NRIC {} checked at the door."),
    ("BR_CPF", "O CPF \u{e9} {}."),
    ("BR_CNPJ", "CNPJ: {}"),
    ("CA_SIN", "His SIN is {}."),
    ("IP_ADDRESS", "Connection from {} was refused."),
    ("IP_ADDRESS", "client_ip={} status=200"),
    ("MAC_ADDRESS", "The device {} joined the network."),
    ("CRYPTO", "Send the coins to {}."),
    ("DATE_OF_BIRTH", "Date of birth: {}"),
    ("DATE_OF_BIRTH", "She was born on {} in Leeds."),
    ("DATE_OF_BIRTH", "Geboren am {} in Bonn."),
    ("LOCATION", "Ship it to {}."),
    ("LOCATION", "The customer lives at {} and is home on Monday."),
    ("AWS_ACCESS_KEY", "export AWS_ACCESS_KEY_ID={}"),
    ("AWS_SECRET_KEY", "aws_secret_access_key = {}"),
    ("GCP_API_KEY", "maps key {} leaked"),
    ("GITHUB_TOKEN", "git clone with {}"),
    ("SLACK_TOKEN", "token: {}"),
    ("STRIPE_KEY", "stripe.api_key = \"{}\""),
    ("JWT", "the session {} is valid"),
    ("BEARER_TOKEN", "Authorization: Bearer {}"),
    ("PASSWORD", "password: {}"),
    ("PASSWORD", "export DB_PASSWORD={}"),
    ("URL_CREDENTIALS", "clone https://{}@git.example.com/repo.git"),
    ("CONNECTION_STRING", "DATABASE_URL={}"),
    ("API_KEY", "api_key={}"),
    ("PRIVATE_KEY", "{}"),
    ("VAT_NUMBER", "VAT number {} on the invoice."),
    ("VAT_NUMBER", "USt-ID: {}"),
    ("DE_SOCIAL_SECURITY", "Rentenversicherungsnummer {} liegt vor."),
    ("AU_ACN", "ACN {}"),
    ("AU_MEDICARE", "Medicare card {} was shown."),
    ("AZURE_KEY", "AccountName=store;AccountKey={}"),
    ("BASIC_CREDENTIALS", "Authorization: Basic {}"),
];

/// Looks like it, and is not.
const NEGATIVES: &[&str] = &[
    "Order {16 digits} has shipped.",
    "order #{12 digits} is late",
    "Invoice {10 digits} of last week",
    "version {version} is out",
    "upgrade to v{version} today",
    "commit {40 hex}",
    "sha256:{64 hex}",
    "md5 {32 hex} matches",
    "trace_id={32 hex} span_id={16 hex}",
    "request {uuid} took {3 digits} ms",
    "id: {uuid}",
    "at {timestamp} the job began",
    "ts={13 digits} level=info",
    "epoch {10 digits}",
    "tracking number {12 digits}",
    "ISBN 978-3-16-148410-0",
    "build {8 digits}.{1 digits}",
    "rows={9 digits} bytes={11 digits}",
    "SKU {3 digits}-{5 digits}",
    "ticket ABC-{5 digits}",
    "page {2 digits} of {3 digits}",
    "ratio {1 digits}.{9 digits}",
    "from {timestamp} to {timestamp}",
    "Dear customer, your order is on its way.",
    "The password must have eight characters.",
    "max_tokens={4 digits}",
    "PR #{5 digits} was merged",
    "offset {15 digits}",
    "The meeting on Monday starts at {2 digits}:30.",
    "see https://example.com/docs/{8 digits}?page={2 digits}",
    "release-{4 digits}.{2 digits}.{2 digits}",
    "port {4 digits} is open",
    "Please reset your token in the settings.",
    "etag \"{32 hex}\"",
    "lot {9 digits}, serial {11 digits}",
    "chapter {1 digits}.{1 digits}.{1 digits}.{1 digits}",
];

/// Labelled sentences, every template `rounds` times.
pub fn positives(random: &mut Random, rounds: usize) -> Vec<Sample> {
    (0..rounds)
        .flat_map(|_| TEMPLATES.iter().map(|(kind, template)| fill(kind, template, random)).collect::<Vec<_>>())
        .collect()
}

/// Sentences without any label, every template `rounds` times.
pub fn negatives(random: &mut Random, rounds: usize) -> Vec<Sample> {
    let text = |template: &&str, random: &mut Random| Sample { text: replace(template, random), labels: Vec::new() };
    (0..rounds).flat_map(|_| NEGATIVES.iter().map(|template| text(template, random)).collect::<Vec<_>>()).collect()
}

/// Prose without anything in it, at least this long.
pub fn prose(bytes: usize) -> String {
    const SENTENCES: &str = "The committee met on Tuesday to discuss the proposal for a new reading room, and after a long debate \
        it was agreed that the work should begin before winter. Several members pointed out that the roof needs repair first.\n\
        Nobody could say with certainty how much of the budget was left, because 3 of the 12 invoices had not arrived yet.\n\
        In the end a small group was asked to look into the matter and to report back within two weeks. It was late when they left.\n";
    SENTENCES.repeat(bytes / SENTENCES.len() + 1)
}

fn fill(kind: &'static str, template: &str, random: &mut Random) -> Sample {
    let (open, close) = (template.find('{').unwrap(), template.find('}').unwrap());
    let value = match &template[open + 1..close] {
        "NAME" => name(random),
        "Ms. NAME" => format!("{} {}", random.pick(&["Mr.", "Ms.", "Dr."]), name(random)),
        _ => value(kind, random),
    };
    // The title is not part of the name: Presidio leaves it out, and we may take it along.
    let from = open + value.find(". ").filter(|_| kind == "PERSON").map_or(0, |at| at + 2);
    let text = format!("{}{value}{}", &template[..open], &template[close + 1..]);
    Sample { labels: vec![(kind, from..open + value.len())], text }
}

fn name(random: &mut Random) -> String {
    format!("{} {}", random.pick(GIVEN), random.pick(FAMILY))
}

fn replace(template: &str, random: &mut Random) -> String {
    let (mut text, mut rest) = (String::new(), template);
    while let Some((before, after)) = rest.split_once('{') {
        let (what, after) = after.split_once('}').unwrap();
        text.push_str(before);
        text.push_str(&match what.split_once(' ') {
            Some((count, "digits")) => join(&random.digits(count.parse().unwrap())),
            Some((count, _)) => random.letters_of(LOWER_HEX, count.parse().unwrap()),
            None if what == "uuid" => {
                let hex = random.letters_of(LOWER_HEX, 32);
                format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
            }
            None if what == "version" => {
                format!("{}.{}.{}.{}", random.below(20), random.below(20), random.below(90), random.below(9))
            }
            None => format!(
                "2024-{:02}-{:02}T{:02}:{:02}:00Z",
                1 + random.below(12),
                1 + random.below(28),
                random.below(24),
                random.below(60)
            ),
        });
        rest = after;
    }
    text + rest
}

fn join(digits: &[u32]) -> String {
    digits.iter().map(u32::to_string).collect()
}

fn grouped(text: &str, sizes: &[usize], separator: &str) -> String {
    let mut at = 0;
    let part = |size: &usize| {
        let part = &text[at..at + size];
        at += size;
        part.to_owned()
    };
    sizes.iter().map(part).collect::<Vec<_>>().join(separator)
}

fn weighted(digits: &[u32], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| digit * weight).sum()
}

/// Digits of which `holds` says that they are one, by trying.
fn until(random: &mut Random, count: usize, holds: impl Fn(&[u32]) -> bool) -> Vec<u32> {
    loop {
        let digits = random.digits(count);
        if digits[0] != 0 && holds(&digits) {
            return digits;
        }
    }
}

/// With a last digit that makes Luhn's sum right.
fn luhn(mut digits: Vec<u32>) -> Vec<u32> {
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let sum: u32 =
        digits.iter().rev().enumerate().map(|(at, digit)| if at % 2 == 0 { doubled(*digit) } else { *digit }).sum();
    digits.push((10 - sum % 10) % 10);
    digits
}

fn iban(random: &mut Random) -> String {
    let (country, length) = [("DE", 18), ("FR", 23), ("ES", 20), ("PL", 24), ("FI", 14)][random.below(5) as usize];
    let account = join(&random.digits(length));
    let moved: String =
        format!("{account}{country}00").chars().map(|letter| letter.to_digit(36).unwrap().to_string()).collect();
    let rest = moved.bytes().fold(0_u32, |rest, digit| (rest * 10 + u32::from(digit - b'0')) % 97);
    let code = format!("{country}{:02}{account}", 98 - rest);
    if random.below(2) == 0 {
        code
    } else {
        code.as_bytes().chunks(4).map(|part| String::from_utf8_lossy(part).into_owned()).collect::<Vec<_>>().join(" ")
    }
}

fn date(random: &mut Random) -> (u64, u64, u64) {
    (1940 + random.below(65), 1 + random.below(12), 1 + random.below(28))
}

fn value(kind: &str, random: &mut Random) -> String {
    match kind {
        "EMAIL_ADDRESS" => {
            let local =
                random.pick(&["jane.doe", "k.mueller", "info", "x_y.z", "first+tag", "o'neil", "anna-lena", "u1234"]);
            let host = random.pick(&[
                "example.com",
                "mail.example.co.uk",
                "firma.example.de",
                "uni-x.example.edu",
                "sub.domain.example.org",
            ]);
            format!("{local}@{host}")
        }
        "PHONE_NUMBER" => phone(random),
        "CREDIT_CARD" | "IBAN_CODE" | "US_BANK_NUMBER" | "ABA_ROUTING_NUMBER" | "CRYPTO" => money(kind, random),
        "IP_ADDRESS" if random.below(3) == 0 => {
            format!("2001:db8:{:x}::{:x}", 1 + random.below(65_000), 1 + random.below(65_000))
        }
        "IP_ADDRESS" => {
            format!("{}.{}.{}.{}", 11 + random.below(200), random.below(256), random.below(256), 1 + random.below(254))
        }
        "MAC_ADDRESS" => grouped(&random.letters_of(LOWER_HEX, 12), &[2; 6], ":"),
        "DATE_OF_BIRTH" => {
            let (year, month, day) = date(random);
            match random.below(4) {
                0 => format!("{year}-{month:02}-{day:02}"),
                1 => format!("{month:02}/{day:02}/{year}"),
                2 => format!("{day:02}.{month:02}.{year}"),
                _ => format!("{} {day}, {year}", random.pick(&["January", "March", "July", "October"])),
            }
        }
        "LOCATION" => address(random),
        "VAT_NUMBER" => vat(random),
        _ if kind.starts_with("US_") => american(kind, random),
        _ if kind.get(2..3) == Some("_") => abroad(kind, random),
        "FI_PERSONAL_IDENTITY_CODE" => abroad(kind, random),
        _ => secret(kind, random),
    }
}

fn phone(random: &mut Random) -> String {
    let digits = join(&random.digits(12));
    let area = format!("{}{}", 2 + random.below(8), &digits[..2]);
    let local = format!("{}{}", 2 + random.below(8), &digits[2..4]);
    match random.below(8) {
        0 => format!("({area}) {local}-{}", &digits[4..8]),
        1 => format!("{area}-{local}-{}", &digits[4..8]),
        2 => format!("+1 {area} {local} {}", &digits[4..8]),
        3 => format!("+44 20 7{} {}", &digits[..3], &digits[4..8]),
        4 => format!("+49 30 {}", &digits[..7]),
        5 => format!("+33 6 {}", grouped(&digits, &[2, 2, 2, 2], " ")),
        6 => format!("0{} {}", 20 + random.below(70), &digits[..7]),
        _ => format!("+91 9{} {}", &digits[..4], &digits[4..9]),
    }
}

fn vat(random: &mut Random) -> String {
    match random.below(6) {
        0 => {
            let digits = until(random, 8, |_| true);
            let product = digits.iter().fold(10, |product, digit| match (digit + product) % 10 {
                0 => 20 % 11,
                sum => sum * 2 % 11,
            });
            format!("DE{}{}", join(&digits), (11 - product) % 10)
        }
        1 => format!("IT{}", join(&luhn(random.digits(10)))),
        2 => {
            let weights = [6, 5, 7, 2, 3, 4, 5, 6, 7];
            let digits = until(random, 9, |digits| weighted(digits, &weights) % 11 < 10);
            format!("PL{}{}", join(&digits), weighted(&digits, &weights) % 11)
        }
        3 => {
            let siren = 100_000_000 + random.below(900_000_000);
            format!("FR{:02}{siren}", (12 + 3 * (siren % 97)) % 97)
        }
        4 => {
            let digits = until(random, 7, |_| true);
            let sum = weighted(&digits, &[8, 7, 6, 5, 4, 3, 2]) % 97;
            format!("GB{}{:02}", join(&digits), 97 - sum)
        }
        _ => {
            let body = 1_000_000 + random.below(9_000_000);
            format!("BE0{body}{:02}", 97 - body % 97)
        }
    }
}

fn money(kind: &str, random: &mut Random) -> String {
    match kind {
        "IBAN_CODE" => iban(random),
        "US_BANK_NUMBER" => join(&until(random, 10, |_| true)),
        "ABA_ROUTING_NUMBER" => join(&until(random, 9, |digits| {
            (21..=32).contains(&(digits[0] * 10 + digits[1]))
                && weighted(digits, &[3, 7, 1, 3, 7, 1, 3, 7, 1]).is_multiple_of(10)
        })),
        "CRYPTO" => random
            .pick(&[
                "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
                "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy",
                "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
                "1BoatSLRHtKNngkdXEeobR76b53LETtpyT",
            ])
            .to_owned(),
        _ => {
            let (head, sizes): (&[u32], &[usize]) = match random.below(4) {
                0 => (&[4], &[4, 4, 4, 4]),
                1 => (&[5, 3], &[4, 4, 4, 4]),
                2 => (&[3, 7], &[4, 6, 5]),
                _ => (&[6, 0, 1, 1], &[4, 4, 4, 4]),
            };
            let length = sizes.iter().sum::<usize>() - 1 - head.len();
            let number = join(&luhn([head, &random.digits(length)].concat()));
            let separator = random.pick(&["", " ", "-"]);
            grouped(&number, sizes, separator)
        }
    }
}

fn american(kind: &str, random: &mut Random) -> String {
    let digits = join(&random.digits(9));
    match kind {
        "US_SSN" => format!("{:03}-{:02}-{:04}", 1 + random.below(665), 1 + random.below(99), 1 + random.below(9_999)),
        "US_ITIN" => format!("9{}-7{}-{}", &digits[..2], random.below(9), &digits[4..8]),
        "US_PASSPORT" => until(random, 9, |_| true).iter().map(u32::to_string).collect(),
        _ => format!("{}{}", random.letters_of(CAPITALS, 1), &digits[..7]),
    }
}

#[allow(clippy::too_many_lines, reason = "a table of countries")]
fn abroad(kind: &str, random: &mut Random) -> String {
    let (year, month, day) = date(random);
    match kind {
        "UK_NHS" => {
            let holds = |digits: &[u32]| (11 - weighted(digits, &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11) % 11 == digits[9];
            grouped(&join(&until(random, 10, holds)), &[3, 3, 4], " ")
        }
        "UK_NINO" => format!(
            "{}{} {:02} {:02} {:02} {}",
            random.pick(&["A", "C", "J", "S"]),
            random.pick(&["B", "E", "P", "X"]),
            day,
            month,
            random.below(100),
            random.pick(&["A", "B", "C", "D"])
        ),
        "DE_TAX_ID" => loop {
            let mut head: Vec<u32> = (0..10).collect();
            (1..10).rev().for_each(|at| head.swap(at, random.below(at as u64 + 1) as usize));
            let (from, to) = (random.below(10) as usize, random.below(10) as usize);
            head[to] = head[from];
            if head[0] == 0 || from == to {
                continue;
            }
            let product = head.iter().fold(10, |product, digit| match (digit + product) % 10 {
                0 => 20 % 11,
                sum => sum * 2 % 11,
            });
            break format!("{}{}", join(&head), (11 - product) % 10);
        },
        "FR_NIR" => {
            let head = format!(
                "{}{:02}{month:02}{:02}{:03}{:03}",
                1 + random.below(2),
                year % 100,
                1 + random.below(19),
                1 + random.below(900),
                1 + random.below(900)
            );
            let key = 97 - head.parse::<u64>().unwrap() % 97;
            grouped(&format!("{head}{key:02}"), &[1, 2, 2, 2, 3, 3, 2], " ")
        }
        "ES_NIF" => {
            let number = 10_000_000 + random.below(80_000_000);
            format!("{number}{}", char::from(b"TRWAGMYFPDXBNJZSQVHLCKE"[(number % 23) as usize]))
        }
        "ES_NIE" => {
            let number = 1_000_000 + random.below(8_000_000);
            format!("X{number}{}", char::from(b"TRWAGMYFPDXBNJZSQVHLCKE"[(number % 23) as usize]))
        }
        "IT_FISCAL_CODE" => random.pick(&["RSSMRA85T10A562S", "MRTMTT91D08F205J", "MLLSNT82P65Z404U"]).to_owned(),
        "PL_PESEL" => {
            let head: Vec<u32> = format!("{:02}{month:02}{day:02}{:04}", year % 100, random.below(10_000))
                .chars()
                .filter_map(|digit| digit.to_digit(10))
                .collect();
            format!("{}{}", join(&head), (10 - weighted(&head, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]) % 10) % 10)
        }
        "NL_BSN" => join(&until(random, 9, |digits| weighted(digits, &[9, 8, 7, 6, 5, 4, 3, 2]) % 11 == digits[8])),
        "SE_PERSONNUMMER" => {
            let head: Vec<u32> = format!("{:02}{month:02}{day:02}{:03}", year % 100, random.below(1_000))
                .chars()
                .filter_map(|digit| digit.to_digit(10))
                .collect();
            grouped(&join(&luhn(head)), &[6, 4], "-")
        }
        "FI_PERSONAL_IDENTITY_CODE" => {
            let (birth, serial) =
                (format!("{day:02}{month:02}{:02}", year % 100), format!("{:03}", 2 + random.below(898)));
            let number: u64 = format!("{birth}{serial}").parse().unwrap();
            format!("{birth}-{serial}{}", char::from(b"0123456789ABCDEFHJKLMNPRSTUVWXY"[(number % 31) as usize]))
        }
        "IN_AADHAAR" => random.pick(&["2341 2341 2346", "4991 1866 5246"]).to_owned(),
        "IN_PAN" => format!(
            "{}P{}{:04}{}",
            random.letters_of(CAPITALS, 3),
            random.letters_of(CAPITALS, 1),
            random.below(10_000),
            random.letters_of(CAPITALS, 1)
        ),
        "AU_TFN" => grouped(
            &join(&until(random, 9, |digits| weighted(digits, &[1, 4, 3, 7, 5, 8, 6, 9, 10]).is_multiple_of(11))),
            &[3, 3, 3],
            " ",
        ),
        "AU_ABN" => {
            let holds =
                |digits: &[u32]| (weighted(digits, &[10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19]) - 10).is_multiple_of(89);
            grouped(&join(&until(random, 11, holds)), &[2, 3, 3, 3], " ")
        }
        "AU_ACN" => {
            let mut digits = random.digits(8);
            digits.push((10 - weighted(&digits, &[8, 7, 6, 5, 4, 3, 2, 1]) % 10) % 10);
            grouped(&join(&digits), &[3, 3, 3], " ")
        }
        "AU_MEDICARE" => {
            let mut digits = [vec![2 + random.below(5) as u32], random.digits(7)].concat();
            digits.push(weighted(&digits, &[1, 3, 7, 9, 1, 3, 7, 9]) % 10);
            digits.push(1 + random.below(9) as u32);
            grouped(&join(&digits), &[4, 5, 1], " ")
        }
        "DE_SOCIAL_SECURITY" => {
            let (year, month, day) = date(random);
            let (area, serial) = (10 + random.below(80), random.below(100));
            let (letter, date) = (random.below(26), format!("{day:02}{month:02}{:02}", year % 100));
            let digits: Vec<u32> = format!("{area}{date}{:02}{serial:02}", letter + 1)
                .bytes()
                .map(|byte| u32::from(byte - b'0'))
                .collect();
            let weights = [2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1];
            let sum: u32 =
                digits.iter().zip(weights).map(|(digit, weight)| (digit * weight) / 10 + (digit * weight) % 10).sum();
            format!("{area}{date}{}{serial:02}{}", char::from(b'A' + letter as u8), sum % 10)
        }
        "SG_NRIC_FIN" => {
            let digits = random.digits(7);
            let sum = weighted(&digits, &[2, 7, 6, 5, 4, 3, 2]) as usize;
            format!("S{}{}", join(&digits), char::from(b"JZIHGFEDCBA"[sum % 11]))
        }
        "BR_CPF" => {
            let number = brazilian(random.digits(9), 11);
            format!("{}-{}", grouped(&number[..9], &[3, 3, 3], "."), &number[9..])
        }
        "BR_CNPJ" => {
            let number = brazilian([random.digits(8), vec![0, 0, 0, 1]].concat(), 9);
            format!("{}/{}-{}", grouped(&number[..8], &[2, 3, 3], "."), &number[8..12], &number[12..])
        }
        _ => grouped(&join(&luhn(until(random, 8, |digits| digits[0] != 8))), &[3, 3, 3], " "),
    }
}

/// Two check digits, weighted 2, 3 ... `most` from the right.
fn brazilian(mut digits: Vec<u32>, most: u32) -> String {
    for _ in 0..2 {
        let sum: u32 = digits.iter().rev().zip((2..=most).cycle()).map(|(digit, weight)| digit * weight).sum();
        digits.push(if sum % 11 < 2 { 0 } else { 11 - sum % 11 });
    }
    join(&digits)
}

fn address(random: &mut Random) -> String {
    let number = 1 + random.below(400);
    match random.below(5) {
        0 => format!(
            "{number} {} {}",
            random.pick(&["Main", "Oak", "Elm Park", "Washington"]),
            random.pick(&["Street", "Avenue", "Road", "Drive"])
        ),
        1 => format!("{number} Lake View Drive, Springfield, IL {:05}", 10_000 + random.below(80_000)),
        2 => format!(
            "{} {number}, {:05} {}",
            random.pick(&["Hauptstra\u{df}e", "Bahnhofstra\u{df}e", "Gartenweg"]),
            10_000 + random.below(80_000),
            random.pick(&["Berlin", "Bonn"])
        ),
        3 => {
            format!("{number} rue de {}, {:05} Paris", random.pick(&["Rivoli", "Vaugirard"]), 75_001 + random.below(19))
        }
        _ => format!(
            "Calle {} {number}, {:05} Madrid",
            random.pick(&["Mayor", "Alcal\u{e1}"]),
            28_001 + random.below(50)
        ),
    }
}

fn secret(kind: &str, random: &mut Random) -> String {
    let mut letters = |count| random.letters_of(ALPHANUMERIC, count);
    match kind {
        "AWS_ACCESS_KEY" => format!("AKIA{}", letters(16).to_uppercase()),
        "AWS_SECRET_KEY" => letters(40),
        "GCP_API_KEY" => format!("AIza{}", letters(35)),
        "GITHUB_TOKEN" => format!("ghp_{}", letters(36)),
        "SLACK_TOKEN" => format!("xoxb-{}-{}", "123456789012", letters(24)),
        "STRIPE_KEY" => format!("sk_live_{}", letters(24)),
        "JWT" => format!("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.{}.{}", letters(60), letters(43)),
        "BEARER_TOKEN" => format!("{}7", letters(39)),
        "PASSWORD" => format!("{}!9{}", letters(5), letters(4)),
        "URL_CREDENTIALS" => format!("deploy:{}", letters(12)),
        "CONNECTION_STRING" => format!("postgres://app:{}@db.internal:5432/main", letters(12)),
        "AZURE_KEY" => letters(86) + "==",
        "BASIC_CREDENTIALS" => STANDARD.encode(format!("deploy:{}", letters(12))),
        "PRIVATE_KEY" => {
            format!("-----BEGIN PRIVATE KEY-----\n{}\n{}\n-----END PRIVATE KEY-----", letters(64), letters(64))
        }
        _ => random.letters_of(LOWER_HEX, 31) + "7",
    }
}
