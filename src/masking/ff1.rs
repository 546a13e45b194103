//! FF1 (NIST SP 800-38G) for decimal digits: so many digits become other digits, as many. AES is the program's one (aws-lc);
//! the ten rounds around it are here, since every crate for them brings another AES along.
//!
//! Ten rounds over numbers of at most 18 digits, so that plain integers do. The smallest domain is that of revision 1: a
//! million values; fewer could be tried out.

use aws_lc_rs::cipher::{AES_256, Algorithm, EncryptingKey, UnboundCipherKey};

use super::MaskError;

/// A million values.
pub const DIGITS_MIN: usize = 6;
/// Two halves of eighteen digits, each below 2^60.
pub const DIGITS_MAX: usize = 36;

const ROUNDS: u8 = 10;
const RADIX: u8 = 10;
const BLOCK: usize = 16;

pub struct Ff1(EncryptingKey);

impl Ff1 {
    /// `None` for a key of another length.
    #[must_use]
    pub fn new(key: &[u8]) -> Option<Self> {
        Self::with(&AES_256, key)
    }

    fn with(algorithm: &'static Algorithm, key: &[u8]) -> Option<Self> {
        let key = UnboundCipherKey::new(algorithm, key).ok()?;
        EncryptingKey::ecb(key).ok().map(Self)
    }

    /// The digits (0 to 9 each) that stand for these under this tweak.
    ///
    /// # Errors
    /// [`MaskError::Engine`] for fewer than [`DIGITS_MIN`] or more than [`DIGITS_MAX`], and when AES fails.
    pub fn encrypt(&self, tweak: &[u8], digits: &[u8]) -> Result<Vec<u8>, MaskError> {
        if !(DIGITS_MIN..=DIGITS_MAX).contains(&digits.len()) || digits.iter().any(|digit| *digit >= RADIX) {
            return Err(MaskError::Engine);
        }
        let (left, right) = digits.split_at(digits.len() / 2);
        let (mut one, mut other) = (number(left), number(right));
        for round in 0..ROUNDS {
            let modulus = power(if round % 2 == 0 { left.len() } else { right.len() });
            let noise = self.noise(tweak, digits.len(), round, other)?;
            let mixed = (one + noise % modulus) % modulus;
            (one, other) = (other, mixed);
        }
        // After an even number of rounds both are where they were.
        Ok([text(one, left.len()), text(other, right.len())].concat())
    }

    /// A number that only the key tells, for these digits under this tweak: what is put in shares no beginning with what the
    /// rounds put in, and says how long it is.
    ///
    /// # Errors
    /// [`MaskError::Engine`] when AES fails.
    pub fn tag(&self, tweak: &[u8], digits: &[u8]) -> Result<u128, MaskError> {
        let mut input = vec![2];
        for part in [tweak, digits] {
            input.extend(u32::try_from(part.len()).map_err(|_| MaskError::Engine)?.to_be_bytes());
            input.extend(part);
        }
        self.chained(&input).map(u128::from_be_bytes)
    }

    /// Step 6 of algorithm 7: what the other half adds to this one.
    fn noise(&self, tweak: &[u8], length: usize, round: u8, half: u128) -> Result<u128, MaskError> {
        let half_bytes = bytes_of(length.div_ceil(2));
        let noise_bytes = 4 * half_bytes.div_ceil(4) + 4;
        let short = |number: usize| u32::try_from(number).map_err(|_| MaskError::Engine);
        let mut input = vec![1, 2, 1, 0, 0, RADIX, ROUNDS, u8::try_from(length / 2).map_err(|_| MaskError::Engine)?];
        input.extend(short(length)?.to_be_bytes());
        input.extend(short(tweak.len())?.to_be_bytes());
        input.extend(tweak);
        let padding = (BLOCK - (tweak.len() + half_bytes + 1) % BLOCK) % BLOCK;
        input.extend(std::iter::repeat_n(0, padding));
        input.push(round);
        let half = half.to_be_bytes();
        input.extend(half.get(half.len() - half_bytes..).ok_or(MaskError::Engine)?);
        let block = self.chained(&input)?;
        let noise = block.get(..noise_bytes).ok_or(MaskError::Engine)?;
        Ok(noise.iter().fold(0, |number, byte| number << 8 | u128::from(*byte)))
    }

    /// The last block of AES-CBC from zero: PRF of the standard.
    fn chained(&self, input: &[u8]) -> Result<[u8; BLOCK], MaskError> {
        let mut block = [0; BLOCK];
        for part in input.chunks(BLOCK) {
            block.iter_mut().zip(part).for_each(|(byte, more)| *byte ^= more);
            self.0.encrypt(&mut block).map_err(|_| MaskError::Engine)?;
        }
        Ok(block)
    }
}

/// Below 10^18: `10^DIGITS_MAX` has two halves.
fn power(digits: usize) -> u128 {
    (0..digits).fold(1, |power, _| power * u128::from(RADIX))
}

fn number(digits: &[u8]) -> u128 {
    digits.iter().fold(0, |number, digit| number * u128::from(RADIX) + u128::from(*digit))
}

fn text(mut number: u128, length: usize) -> Vec<u8> {
    let mut digits: Vec<u8> = (0..length)
        .map(|_| {
            let digit = u8::try_from(number % u128::from(RADIX)).unwrap_or_default();
            number /= u128::from(RADIX);
            digit
        })
        .collect();
    digits.reverse();
    digits
}

/// How many bytes hold every number of so many digits.
fn bytes_of(digits: usize) -> usize {
    let bits = u128::BITS - (power(digits) - 1).leading_zeros();
    usize::try_from(bits.div_ceil(8)).unwrap_or(BLOCK)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use aws_lc_rs::cipher::{AES_128, AES_192};

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2).map(|place| u8::from_str_radix(&hex[2 * place..][..2], 16).unwrap()).collect()
    }

    fn digits(text: &str) -> Vec<u8> {
        text.bytes().map(|byte| byte - b'0').collect()
    }

    fn ff1(key: &[u8]) -> Ff1 {
        let algorithm = match key.len() {
            16 => &AES_128,
            24 => &AES_192,
            _ => &AES_256,
        };
        Ff1::with(algorithm, key).unwrap()
    }

    /// Samples 1, 2, 4, 5, 7 and 8 of NIST's "FF1 samples" for SP 800-38G (csrc.nist.gov, Cryptographic Standards and Guidelines,
    /// Examples with Intermediate Values); 3, 6 and 9 are of radix 36. The crate `fpe` 0.6.1 gives the same.
    #[test]
    fn the_examples_of_the_standard_come_out() {
        let key = bytes("2B7E151628AED2A6ABF7158809CF4F3CEF4359D8D580AA4F7F036D6F04FC6A94");
        let tweak = bytes("39383736353433323130");
        for (key_bytes, tweak, expected) in [
            (16, &[][..], "2433477484"),
            (16, &tweak, "6124200773"),
            (24, &[], "2830668132"),
            (24, &tweak, "2496655549"),
            (32, &[], "6657667009"),
            (32, &tweak, "1001623463"),
        ] {
            let ff1 = ff1(&key[..key_bytes]);
            assert_eq!(ff1.encrypt(tweak, &digits("0123456789")).unwrap(), digits(expected), "{expected}");
        }
    }

    /// Those examples are all of ten digits. These are what the crate `fpe` 0.6.1 (with `aes` 0.8) made of the key 0, 1, 2 ...:
    /// halves that are not equally long, the shortest, and both sides of where a half takes another byte.
    #[test]
    fn other_lengths_come_out_as_another_implementation_has_them() {
        let key: Vec<u8> = (0..32).collect();
        for (key_bytes, tweak, text, expected) in [
            (32, "", "307418", "335612"),
            (32, "tenant/US_SSN!!!!!x", "307418", "659428"),
            (32, "", "3074185", "0619113"),
            (32, "tenant/US_SSN!!!!!x", "3074185", "4168079"),
            (16, "", "307418529", "782190780"),
            (16, "tenant/US_SSN!!!!!x", "307418529", "423651397"),
            (24, "", "307418529", "024728611"),
            (24, "tenant/US_SSN!!!!!x", "307418529", "434978141"),
            (32, "", "307418529", "995425116"),
            (32, "tenant/US_SSN!!!!!x", "307418529", "447190065"),
            (32, "", "30741852963074185", "14070930194993807"),
            (32, "tenant/US_SSN!!!!!x", "30741852963074185", "72167003629663465"),
            (32, "", "307418529630741852", "811673815712814075"),
            (32, "tenant/US_SSN!!!!!x", "307418529630741852", "596116034757360253"),
            (32, "", "3074185296307418529", "0665340257724659782"),
            (32, "tenant/US_SSN!!!!!x", "3074185296307418529", "3728794866208371806"),
            (32, "", "307418529630741852963074185296307418", "298300208255823590015070544795168854"),
            (32, "tenant/US_SSN!!!!!x", "307418529630741852963074185296307418", "558088556142884305600230984451565457"),
        ] {
            let encrypted = ff1(&key[..key_bytes]).encrypt(tweak.as_bytes(), &digits(text)).unwrap();
            assert_eq!(encrypted, digits(expected), "{key_bytes} {text}");
        }
    }

    #[test]
    fn every_length_keeps_its_length_and_no_two_values_become_one() {
        let ff1 = Ff1::new(&[7; 32]).unwrap();
        for length in DIGITS_MIN..=DIGITS_MAX {
            let whole = ff1.encrypt(b"t", &vec![9; length]).unwrap();
            assert!(whole.len() == length && whole.iter().all(|digit| *digit < RADIX));
        }
        let all = (0..20_000).map(|number| ff1.encrypt(b"t", &text(number, 7)).unwrap());
        assert_eq!(all.collect::<HashSet<_>>().len(), 20_000);
        assert_ne!(ff1.encrypt(b"t", &[1; 9]).unwrap(), ff1.encrypt(b"u", &[1; 9]).unwrap());
    }

    #[test]
    fn what_could_be_tried_out_or_is_no_number_is_refused() {
        let ff1 = Ff1::new(&[7; 32]).unwrap();
        for bad in [vec![1; DIGITS_MIN - 1], vec![1; DIGITS_MAX + 1], vec![10; 9]] {
            assert_eq!(ff1.encrypt(b"", &bad), Err(MaskError::Engine));
        }
        assert!(Ff1::new(&[7; 16]).is_none() && Ff1::new(&[7; 24]).is_none(), "AES-256 or nothing");
    }
}
