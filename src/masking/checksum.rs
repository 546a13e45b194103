//! Check digits. Each takes what was matched, separators included, and says whether it can be such a number at all.

/// The decimal digits of a text, in order.
pub fn digits(text: &str) -> Vec<u32> {
    text.chars().filter_map(|letter| letter.to_digit(10)).collect()
}

/// Letters and digits without separators, in capitals.
pub fn compact(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_uppercase()).collect()
}

/// Sum of digit times weight.
pub fn weighted(digits: &[u32], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| digit * weight).sum()
}

/// One digit over and over is what people fill forms with.
pub fn is_monotone(digits: &[u32]) -> bool {
    digits.windows(2).all(|pair| pair.first() == pair.last())
}

/// ISO/IEC 7812-1 annex B.
pub fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| if place % 2 == 0 { *digit } else { digit * 2 / 10 + digit * 2 % 10 })
        .sum();
    digits.len() > 1 && sum.is_multiple_of(10)
}

/// ISO/IEC 7064 MOD 97-10 over letters and digits, as IBAN uses it once the head is moved to the end.
pub fn mod_97(letters: &str) -> Option<u32> {
    letters.chars().try_fold(0, |rest: u32, letter| {
        let value = letter.to_digit(36)?;
        Some(if value < 10 { (rest * 10 + value) % 97 } else { (rest * 100 + value) % 97 })
    })
}

/// ISO/IEC 7064 MOD 11,10: German tax and VAT numbers.
pub fn mod_11_10(digits: &[u32]) -> bool {
    let Some((check, head)) = digits.split_last() else { return false };
    let product = head.iter().fold(10, |product, digit| {
        let sum = (digit + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (11 - product) % 10 == *check
}

/// Verhoeff's dihedral check: Aadhaar.
pub fn verhoeff(digits: &[u32]) -> bool {
    let sum = digits.iter().rev().enumerate().fold(0, |sum, (place, digit)| dihedral(sum, permuted(*digit, place % 8)));
    sum == 0 && !digits.is_empty()
}

/// Multiplication in the dihedral group of ten.
fn dihedral(left: u32, right: u32) -> u32 {
    match (left < 5, right < 5) {
        (true, true) => (left + right) % 5,
        (true, false) => 5 + (left + right - 5) % 5,
        (false, true) => 5 + (left + 5 - right) % 5,
        (false, false) => (left + 5 - right) % 5,
    }
}

/// The permutation (1 5 8 9 4 2 7 0)(3 6), applied `times`.
fn permuted(digit: u32, times: usize) -> u32 {
    const CYCLE: [u32; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    (0..times).fold(digit, |digit, _| CYCLE.get(digit as usize).copied().unwrap_or(digit))
}

/// Bits per character by Shannon: about 3 for words, 4 and more for keys.
pub fn entropy(text: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text.bytes() {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count += 1;
        }
    }
    let length = text.len().max(1) as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / length)
        .map(|share| -share * share.log2())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_standards_pass_and_their_neighbours_do_not() {
        assert!(luhn(&digits("4242 4242 4242 4242")) && luhn(&digits("79927398713")));
        assert!(!luhn(&digits("4242 4242 4242 4241")));
        assert_eq!(mod_97("370400440532013000DE89"), Some(1));
        assert!(mod_11_10(&digits("86095742719")) && !mod_11_10(&digits("86095742718")));
        assert!(verhoeff(&digits("2363")) && !verhoeff(&digits("2364")) && verhoeff(&digits("234123412346")));
    }

    #[test]
    fn every_single_wrong_digit_is_noticed() {
        for (number, check) in
            [("4242424242424242", luhn as fn(&[u32]) -> bool), ("234123412346", verhoeff), ("86095742719", mod_11_10)]
        {
            let right = digits(number);
            for place in 0..right.len() {
                for wrong in (0..10).filter(|wrong| *wrong != right[place]) {
                    let mut changed = right.clone();
                    changed[place] = wrong;
                    assert!(!check(&changed), "{changed:?}");
                }
            }
        }
    }
}
