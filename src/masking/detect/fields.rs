//! Names of fields that tell what their value is, whatever it looks like: JSON keys and columns.

use crate::domain::DataKind;

/// The kind that a field of this name holds. Letter case, `_`, `-`, `.` and spaces do not count.
pub fn kind_of(name: &str) -> Option<DataKind> {
    let name: String = name.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    if let Some((_, kind)) = EXACT.iter().find(|(exact, _)| *exact == name) {
        return Some(*kind);
    }
    let longest = ENDINGS.iter().filter(|(ending, _)| name.ends_with(ending)).max_by_key(|(ending, _)| ending.len());
    longest.map(|(_, kind)| *kind)
}

/// The whole name.
const EXACT: &[(&str, DataKind)] = &[
    ("mail", DataKind::EMAIL_ADDRESS),
    ("tel", DataKind::PHONE_NUMBER),
    ("fax", DataKind::PHONE_NUMBER),
    ("mobile", DataKind::PHONE_NUMBER),
    ("cell", DataKind::PHONE_NUMBER),
    ("dob", DataKind::DATE_OF_BIRTH),
    ("born", DataKind::DATE_OF_BIRTH),
    ("street", DataKind::LOCATION),
    ("zip", DataKind::LOCATION),
    ("ssn", DataKind::US_SSN),
    ("sin", DataKind::CA_SIN),
    ("bsn", DataKind::NL_BSN),
    ("cpf", DataKind::BR_CPF),
    ("cnpj", DataKind::BR_CNPJ),
    ("cvv", DataKind::CREDIT_CARD),
    ("cvc", DataKind::CREDIT_CARD),
    ("pesel", DataKind::PL_PESEL),
    ("nino", DataKind::UK_NINO),
    ("pin", DataKind::PASSWORD),
    ("pass", DataKind::PASSWORD),
    ("authorization", DataKind::BEARER_TOKEN),
    ("cookie", DataKind::API_KEY),
    ("setcookie", DataKind::API_KEY),
    ("token", DataKind::API_KEY),
    ("surname", DataKind::PERSON),
    ("nachname", DataKind::PERSON),
    ("vorname", DataKind::PERSON),
];

/// The end of the name: `work_email`, `billingAddress`.
const ENDINGS: &[(&str, DataKind)] = &[
    ("ipaddress", DataKind::IP_ADDRESS),
    ("macaddress", DataKind::MAC_ADDRESS),
    ("emailaddress", DataKind::EMAIL_ADDRESS),
    ("email", DataKind::EMAIL_ADDRESS),
    ("phone", DataKind::PHONE_NUMBER),
    ("phonenumber", DataKind::PHONE_NUMBER),
    ("telephone", DataKind::PHONE_NUMBER),
    ("mobilenumber", DataKind::PHONE_NUMBER),
    ("firstname", DataKind::PERSON),
    ("lastname", DataKind::PERSON),
    ("middlename", DataKind::PERSON),
    ("fullname", DataKind::PERSON),
    ("givenname", DataKind::PERSON),
    ("familyname", DataKind::PERSON),
    ("maidenname", DataKind::PERSON),
    ("cardholder", DataKind::PERSON),
    ("cardholdername", DataKind::PERSON),
    ("customername", DataKind::PERSON),
    ("patientname", DataKind::PERSON),
    ("streetaddress", DataKind::LOCATION),
    ("homeaddress", DataKind::LOCATION),
    ("postaladdress", DataKind::LOCATION),
    ("billingaddress", DataKind::LOCATION),
    ("shippingaddress", DataKind::LOCATION),
    ("addressline1", DataKind::LOCATION),
    ("addressline2", DataKind::LOCATION),
    ("postalcode", DataKind::LOCATION),
    ("postcode", DataKind::LOCATION),
    ("zipcode", DataKind::LOCATION),
    ("dateofbirth", DataKind::DATE_OF_BIRTH),
    ("birthdate", DataKind::DATE_OF_BIRTH),
    ("birthday", DataKind::DATE_OF_BIRTH),
    ("geburtsdatum", DataKind::DATE_OF_BIRTH),
    ("socialsecurity", DataKind::US_SSN),
    ("socialsecuritynumber", DataKind::US_SSN),
    ("creditcard", DataKind::CREDIT_CARD),
    ("creditcardnumber", DataKind::CREDIT_CARD),
    ("cardnumber", DataKind::CREDIT_CARD),
    ("ccnumber", DataKind::CREDIT_CARD),
    ("iban", DataKind::IBAN_CODE),
    ("accountnumber", DataKind::US_BANK_NUMBER),
    ("routingnumber", DataKind::ABA_ROUTING_NUMBER),
    ("passport", DataKind::US_PASSPORT),
    ("passportnumber", DataKind::US_PASSPORT),
    ("driverlicense", DataKind::US_DRIVER_LICENSE),
    ("driverslicense", DataKind::US_DRIVER_LICENSE),
    ("licensenumber", DataKind::US_DRIVER_LICENSE),
    ("vatnumber", DataKind::VAT_NUMBER),
    ("vatid", DataKind::VAT_NUMBER),
    ("password", DataKind::PASSWORD),
    ("passwort", DataKind::PASSWORD),
    ("passwd", DataKind::PASSWORD),
    ("passphrase", DataKind::PASSWORD),
    ("pwd", DataKind::PASSWORD),
    ("secret", DataKind::API_KEY),
    ("clientsecret", DataKind::API_KEY),
    ("apikey", DataKind::API_KEY),
    ("accesskey", DataKind::API_KEY),
    ("secretkey", DataKind::API_KEY),
    ("secretaccesskey", DataKind::AWS_SECRET_KEY),
    ("accesstoken", DataKind::API_KEY),
    ("refreshtoken", DataKind::API_KEY),
    ("idtoken", DataKind::JWT),
    ("authtoken", DataKind::API_KEY),
    ("privatekey", DataKind::PRIVATE_KEY),
    ("connectionstring", DataKind::CONNECTION_STRING),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_field_is_written_does_not_matter() {
        for name in ["work_email", "workEmail", "Work-Email", "WORK EMAIL", "e-mail"] {
            assert_eq!(kind_of(name), Some(DataKind::EMAIL_ADDRESS), "{name}");
        }
        assert_eq!(kind_of("aws_secret_access_key"), Some(DataKind::AWS_SECRET_KEY));
        assert_eq!(kind_of("tokens_used"), None);
        assert_eq!(kind_of("passing"), None);
    }
}
