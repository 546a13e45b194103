//! What each detector finds, to the byte, and what it leaves alone. Numbers are the examples of their standards and issuers.

use super::{masker, profile};

/// Each text marks what must be found as `[KIND value]`.
const FOUND: &[&str] = &[
    "Write to [EMAIL_ADDRESS jane.doe+news@example.co.uk] today",
    "mailto:[EMAIL_ADDRESS j\u{f6}rg@m\u{fc}ller.example]",
    "Call [PHONE_NUMBER +1 415 555 2671] or [PHONE_NUMBER +49 (0)30 901820].",
    "Tel: [PHONE_NUMBER (415) 555-2671], fax [PHONE_NUMBER 415-555-2672]",
    "t\u{e9}l. [PHONE_NUMBER 01 42 68 53 00]",
    "phone [PHONE_NUMBER 020 7946 0018]",
    "card [CREDIT_CARD 4242 4242 4242 4242] exp 12/27",
    "[CREDIT_CARD 378282246310005] and [CREDIT_CARD 5555-5555-5555-4444]",
    "IBAN [IBAN_CODE DE89 3704 0044 0532 0130 00] please",
    "pay to [IBAN_CODE GB29NWBK60161331926819].",
    "routing number [ABA_ROUTING_NUMBER 021000021]",
    "VAT [VAT_NUMBER DE136695976]",
    "bank account [US_BANK_NUMBER 000123456789]",
    "from [IP_ADDRESS 203.0.113.7] port 22, [IP_ADDRESS 2001:db8::ff00:42:8329]",
    "http://[IP_ADDRESS 10.1.2.3]:8080/",
    "mac [MAC_ADDRESS 00:1B:44:11:3A:B7]",
    "SSN: [US_SSN 219-09-9999]",
    "social security [US_SSN 219099999]",
    "ITIN [US_ITIN 912-70-1234]",
    "passport no. [US_PASSPORT 340020013]",
    "driver's license [US_DRIVER_LICENSE D1234562]",
    "NHS number [UK_NHS 943 476 5919]",
    "NINO [UK_NINO AB 12 34 56 C]",
    "Steuer-ID [DE_TAX_ID 86095742719]",
    "Rentenversicherungsnummer [DE_SOCIAL_SECURITY 65170839J003]",
    "NIR [FR_NIR 2 55 08 14 168 025 38]",
    "DNI [ES_NIF 12345678Z], NIE [ES_NIE X1234567L]",
    "codice fiscale [IT_FISCAL_CODE RSSMRA85T10A562S]",
    "PESEL [PL_PESEL 44051401359]",
    "BSN [NL_BSN 111222333]",
    "personnummer [SE_PERSONNUMMER 811218-9876]",
    "hetu [FI_PERSONAL_IDENTITY_CODE 131052-308T]",
    "Aadhaar [IN_AADHAAR 2341 2341 2346], PAN [IN_PAN ABCPE1234F]",
    "TFN [AU_TFN 123 456 782]",
    "ABN [AU_ABN 51 824 753 556]",
    "ACN [AU_ACN 004 085 616]",
    "Medicare [AU_MEDICARE 2123 45670 1]",
    "NRIC [SG_NRIC_FIN S1234567D]",
    "CPF [BR_CPF 111.444.777-35], CNPJ [BR_CNPJ 11.222.333/0001-81]",
    "SIN [CA_SIN 046 454 286]",
    "send to [CRYPTO 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa]",
    "[CRYPTO bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4] and [CRYPTO 0x52908400098527886E0F7030069857D2E4169EE7]",
    "born on [DATE_OF_BIRTH 1984-03-12]",
    "Date of birth: [DATE_OF_BIRTH March 12, 1984]",
    "geboren am [DATE_OF_BIRTH 12.03.1984]",
    "Dear [PERSON Ms. Smith],",
    "my name is [PERSON Ada Lovelace] and",
    "Patient: [PERSON Maria van der Berg], 54",
    "ask [PERSON Alice Johnson] about it",
    "Best regards,\n[PERSON Priya Sharma]",
    "lives at [LOCATION 123 Main Street, Springfield, IL 62704].",
    "wohnt [LOCATION Hauptstra\u{df}e 12, 10115 Berlin]",
    "habite [LOCATION 45 rue de la Paix, 75002 Paris]",
    "vive en [LOCATION Calle Mayor 5, 28013 Madrid]",
    "key [AWS_ACCESS_KEY AKIAIOSFODNN7EXAMPLE]",
    "aws_secret_access_key = [AWS_SECRET_KEY wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY]",
    "[GCP_API_KEY AIzaSyA-1234567890abcdefghijklmnopqrstu]",
    "[GITHUB_TOKEN ghp_0123456789abcdefghijABCDEFGHIJ012345]",
    "[SLACK_TOKEN xoxb-123456789012-abcdefABCDEF]",
    "[STRIPE_KEY sk_live_4eC39HqLyjWDarjtT1zdp7dc]",
    "AccountKey=[AZURE_KEY Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq==]",
    "[JWT eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U]",
    "Authorization: Bearer [BEARER_TOKEN 0a1b2c3d4e5f60718293a4b5c6d7e8f9]",
    "Authorization: Basic [BASIC_CREDENTIALS YWxhZGRpbjpvcGVuc2VzYW1l]",
    "https://[URL_CREDENTIALS deploy:hunter2]@git.example.com/x.git",
    "DATABASE_URL=[CONNECTION_STRING postgres://app:s3cr3t@db.internal:5432/main]",
    "password: [PASSWORD hunter2], then",
    "export DB_PASSWORD=\"[PASSWORD correct horse]\"",
    "api_key=[API_KEY 9f86d081884c7d659a2feaa0c55ad015]",
    "[PRIVATE_KEY -----BEGIN RSA PRIVATE KEY-----\nMIIBOgIBAAJBAK\n-----END RSA PRIVATE KEY-----]\ndone",
    "badge [X_BADGE BDG-204518] for [X_PROJECT bluebird]",
    // Through encodings.
    "q=[EMAIL_ADDRESS jane%40example.com]&x=1",
    "ssn [US_SSN \u{ff12}\u{ff11}\u{ff19}\u{2010}\u{ff10}\u{ff19}\u{2010}\u{ff19}\u{ff19}\u{ff19}\u{ff19}]",
    "{\\\"mail\\\": \\\"[EMAIL_ADDRESS jane\\u0040example.com]\\\"}",
    "x [EMAIL_ADDRESS amFuZS5kb2VAZXhhbXBsZS5jb20=] y",
];

const CLEAN: &[&str] = &[
    "Order 4929123456781234 was shipped on 2024-01-15",
    "version 10.4.2.1 of the build 20240115.1",
    "550e8400-e29b-41d4-a716-446655440000",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "commit da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "at 2024-01-15T10:30:00.123456Z took 1705312200123 ns",
    "invoice INV-2024-000123, tracking 1Z999AA10123456784",
    "Dear customer, thank you for your order.",
    "The password is required. Enter your password to continue.",
    "max_tokens: 4096, token_count = 123456",
    "see the README at https://example.com/docs?page=2#top",
    "3.14159265358979 is not 2.71828182845905",
    "The quick brown fox jumps over 13 lazy dogs in 0.25 seconds.",
    "password=${DB_PASSWORD} secret={{ vault.secret }}",
    "ISBN 978-3-16-148410-0",
    "ratio 1:2:3, time 12:30:45, a::b::c",
    "@handle mentioned pkg@1.2.3",
    "<US_SSN> and <EMAIL_ADDRESS:bcdfghjkmnpqrtvxbcdfghjk> and <REDACTED>",
];

#[test]
fn what_is_hidden_is_found_to_the_byte() {
    let (masker, profile) = (masker(), profile("ALL, X_BADGE, X_PROJECT"));
    let mut wrong = Vec::new();
    for marked in FOUND {
        let (text, expected) = unmark(marked);
        let found = masker.find(&profile, &text, 0).unwrap();
        let read: Vec<(String, String)> =
            found.iter().map(|found| (found.kind.to_string(), text[found.span.clone()].to_owned())).collect();
        if read != expected {
            wrong.push(format!("{text}\n  expected {expected:?}\n  found    {read:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), FOUND.len(), wrong.join("\n"));
}

#[test]
fn what_only_looks_like_it_is_left_alone() {
    let (masker, profile) = (masker(), profile("ALL"));
    let found = CLEAN.iter().filter_map(|text| {
        let found = masker.find(&profile, text, 0).unwrap();
        (!found.is_empty()).then(|| format!("{text}\n  {found:?}"))
    });
    let found: Vec<_> = found.collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_kind_that_is_built_in_has_an_example() {
    let marked = FOUND.concat();
    for (kind, _) in crate::domain::DataKind::BUILT_IN {
        assert!(marked.contains(&format!("[{kind} ")), "{kind} is in no example");
    }
}

/// The text without its marks, and what they said.
fn unmark(marked: &str) -> (String, Vec<(String, String)>) {
    let (mut text, mut expected, mut rest) = (String::new(), Vec::new(), marked);
    while let Some((before, after)) = rest.split_once('[') {
        let (kind, after) = after.split_once(' ').unwrap();
        let (value, after) = after.split_once(']').unwrap();
        text.push_str(before);
        text.push_str(value);
        expected.push((kind.to_owned(), value.to_owned()));
        rest = after;
    }
    text.push_str(rest);
    (text, expected)
}
