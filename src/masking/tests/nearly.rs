//! For every kind a value that is one, and one that is nearly one: a digit, a letter or a word away. What is nearly one is not
//! taken for it, however much the words around speak for it.

use super::{masker, profile};
use crate::domain::DataKind;

/// Kind, what is found, and what is not found as this kind.
const NEARLY: &[(&str, &str, &str)] = &[
    ("EMAIL_ADDRESS", "mail jane@example.com", "mail jane@localhost"),
    ("EMAIL_ADDRESS", "mail j.d+x@mail.example.co.uk", "mail @example.com"),
    ("PHONE_NUMBER", "call +1 415 555 2671", "call +1 415"),
    ("PHONE_NUMBER", "phone 020 7946 0018", "phone 020 79"),
    ("PERSON", "Dear Ms. Smith,", "Dear customer,"),
    ("PERSON", "my name is Ada Lovelace", "my name is unknown"),
    ("LOCATION", "lives at 123 Main Street", "Main Street was quiet"),
    ("DATE_OF_BIRTH", "born on 1984-03-12", "built on 1984-03-12"),
    ("DATE_OF_BIRTH", "born on 12.03.1984", "born on 12.03."),
    // Payment.
    ("CREDIT_CARD", "card 4242 4242 4242 4242", "card 4242 4242 4242 4241"),
    ("CREDIT_CARD", "card 378282246310005", "card 378282246310006"),
    ("CREDIT_CARD", "card 30569309025904", "card 30569309025905"),
    ("CREDIT_CARD", "card 6011111111111117", "card 6011111111111118"),
    ("IBAN_CODE", "IBAN DE89 3704 0044 0532 0130 00", "IBAN DE88 3704 0044 0532 0130 00"),
    ("IBAN_CODE", "IBAN GB29NWBK60161331926819", "IBAN GB29NWBK6016133192681"),
    ("IBAN_CODE", "IBAN FR14 2004 1010 0505 0001 3M02 606", "IBAN FR14 2004 1010 0505 0001 3N02 606"),
    ("ABA_ROUTING_NUMBER", "routing number 021000021", "routing number 021000022"),
    ("US_BANK_NUMBER", "bank account 000123456789", "bank account 0001234"),
    ("VAT_NUMBER", "VAT ATU13585627", "VAT ATU13585626"),
    ("VAT_NUMBER", "VAT BE0411905847", "VAT BE0411905848"),
    ("VAT_NUMBER", "VAT DE136695976", "VAT DE136695977"),
    ("VAT_NUMBER", "VAT DK13585628", "VAT DK13585629"),
    ("VAT_NUMBER", "VAT ESA13585625", "VAT ESA13585626"),
    ("VAT_NUMBER", "VAT FI20774740", "VAT FI20774741"),
    ("VAT_NUMBER", "VAT FR40303265045", "VAT FR41303265045"),
    ("VAT_NUMBER", "VAT GB980780684", "VAT GB980780685"),
    ("VAT_NUMBER", "VAT IE6433435F", "VAT IE6433435G"),
    ("VAT_NUMBER", "VAT IT00743110157", "VAT IT00743110158"),
    ("VAT_NUMBER", "VAT NL004495445B01", "VAT NL004495446B01"),
    ("VAT_NUMBER", "VAT PL8567346215", "VAT PL8567346216"),
    ("VAT_NUMBER", "VAT PT501964843", "VAT PT501964844"),
    ("VAT_NUMBER", "VAT SE556188840401", "VAT SE556188840501"),
    ("CRYPTO", "to 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "to 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb"),
    ("CRYPTO", "to bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "to bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5"),
    ("CRYPTO", "to 0x52908400098527886E0F7030069857D2E4169EE7", "to 0x52908400098527886E0F7030069857D2E4169EE"),
    // Networks.
    ("IP_ADDRESS", "from 203.0.113.7", "from 203.0.113.256"),
    ("IP_ADDRESS", "from 2001:db8::ff00:42:8329", "from 2001:db8:42"),
    ("MAC_ADDRESS", "mac 00:1B:44:11:3A:B7", "mac 00:1B:44:11:3A"),
    // The Americas.
    ("US_SSN", "SSN 219-09-9999", "SSN 666-09-9999"),
    ("US_SSN", "SSN 219099999", "SSN 000099999"),
    ("US_SSN", "SSN 219 09 9999", "SSN 219 00 9999"),
    ("US_ITIN", "ITIN 912-70-1234", "ITIN 912-66-1234"),
    ("US_PASSPORT", "passport no. 340020013", "passport no. 340020"),
    ("US_DRIVER_LICENSE", "driver's license D1234562", "driver's license D12"),
    ("CA_SIN", "SIN 046 454 286", "SIN 046 454 287"),
    ("BR_CPF", "CPF 111.444.777-35", "CPF 111.444.777-36"),
    ("BR_CPF", "CPF 11144477735", "CPF 11144477725"),
    ("BR_CNPJ", "CNPJ 11.222.333/0001-81", "CNPJ 11.222.333/0001-82"),
    // Europe.
    ("UK_NHS", "NHS number 943 476 5919", "NHS number 943 476 5918"),
    ("UK_NINO", "NINO AB 12 34 56 C", "NINO BG 12 34 56 C"),
    ("UK_NINO", "NINO AB123456C", "NINO AB123456E"),
    ("DE_TAX_ID", "Steuer-ID 86095742719", "Steuer-ID 86095742718"),
    ("DE_SOCIAL_SECURITY", "SVNR 65170839J003", "SVNR 65170839J004"),
    ("FR_NIR", "NIR 2 55 08 14 168 025 38", "NIR 2 55 08 14 168 025 39"),
    ("ES_NIF", "DNI 12345678Z", "DNI 12345678A"),
    ("ES_NIE", "NIE X1234567L", "NIE X1234567M"),
    ("IT_FISCAL_CODE", "codice fiscale RSSMRA85T10A562S", "codice fiscale RSSMRA85T10A562T"),
    ("PL_PESEL", "PESEL 44051401359", "PESEL 44051401358"),
    ("NL_BSN", "BSN 111222333", "BSN 111222334"),
    ("SE_PERSONNUMMER", "personnummer 811218-9876", "personnummer 811218-9877"),
    ("SE_PERSONNUMMER", "personnummer 198112189876", "personnummer 198113189876"),
    ("FI_PERSONAL_IDENTITY_CODE", "hetu 131052-308T", "hetu 131052-308U"),
    // Asia and Australia.
    ("IN_AADHAAR", "Aadhaar 2341 2341 2346", "Aadhaar 2341 2341 2347"),
    ("IN_PAN", "PAN ABCPE1234F", "PAN ABCDE1234F"),
    ("AU_TFN", "TFN 123 456 782", "TFN 123 456 783"),
    ("AU_ABN", "ABN 51 824 753 556", "ABN 51 824 753 557"),
    ("AU_ACN", "ACN 004 085 616", "ACN 004 085 617"),
    ("AU_MEDICARE", "Medicare 2123 45670 1", "Medicare 2123 45671 1"),
    ("SG_NRIC_FIN", "NRIC S1234567D", "NRIC S1234567E"),
    // Secrets.
    (
        "PRIVATE_KEY",
        "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----",
        "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
    ),
    ("AWS_ACCESS_KEY", "AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPL"),
    (
        "AWS_SECRET_KEY",
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "aws_region = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    ),
    ("GCP_API_KEY", "AIzaSyA-1234567890abcdefghijklmnopqrstu", "AIzaSyA-1234567890abcdefghijklmnopqrst"),
    ("GITHUB_TOKEN", "ghp_0123456789abcdefghijABCDEFGHIJ012345", "ghp_0123456789abcdefghijABCDEFGHIJ01234"),
    ("SLACK_TOKEN", "xoxb-123456789012-abcdefABCDEF", "xoxc-123456789012-abcdefABCDEF"),
    ("STRIPE_KEY", "sk_live_4eC39HqLyjWDarjtT1zdp7dc", "sk_live_4eC39HqLyj"),
    (
        "AZURE_KEY",
        "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq==",
        "AccountName=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq",
    ),
    ("JWT", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "eyJ0eXAiOiJKV1QifQ.eyJzdWIiOiIxIn0.abc"),
    ("BEARER_TOKEN", "Authorization: Bearer 0a1b2c3d4e5f60718293", "the bearer of this certificate"),
    ("BASIC_CREDENTIALS", "Authorization: Basic YWxhZGRpbjpvcGVuc2VzYW1l", "Authorization: Basic YWxhZGRpbg=="),
    ("URL_CREDENTIALS", "https://deploy:hunter2@git.example.com/x", "https://git.example.com:443/x"),
    ("CONNECTION_STRING", "postgres://app:s3cr3t@db.internal:5432/main", "postgres://db.internal:5432/main"),
    ("API_KEY", "api_key=9f86d081884c7d659a2feaa0c55ad015", "api_key_id_count=12"),
    ("API_KEY", "glpat-0123456789abcdefghij", "glpat-0123"),
    ("PASSWORD", "password: hunter2, then", "password: required"),
];

#[test]
fn a_value_of_every_kind_is_found_and_one_that_is_nearly_one_is_not() {
    let mut wrong = Vec::new();
    let masker = masker();
    let is_found = |kind: &str, text: &str| {
        let found = masker.find(&profile("ALL"), text, 0).unwrap();
        found.iter().any(|finding| finding.kind.as_str() == kind)
    };
    for (kind, valid, nearly) in NEARLY {
        wrong.extend((!is_found(kind, valid)).then(|| format!("{kind} is not found: {valid}")));
        wrong.extend(is_found(kind, nearly).then(|| format!("{kind} is found: {nearly}")));
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), NEARLY.len(), wrong.join("\n"));
    for (kind, _) in DataKind::BUILT_IN {
        assert!(NEARLY.iter().any(|(named, ..)| *named == kind.as_str()), "{kind} is not in the table");
    }
}
