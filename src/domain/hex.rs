//! Lower-case hexadecimal, one spelling for 32 bytes. It is on the path of every answer, so it does not go through
//! `core::fmt` byte by byte.

use std::fmt;

const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];

pub(super) fn write(f: &mut fmt::Formatter<'_>, bytes: &[u8; 32]) -> fmt::Result {
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let text: String = nibbles.filter_map(|nibble| DIGITS.get(usize::from(nibble))).collect();
    f.write_str(&text)
}

#[cfg(test)]
mod tests {
    use crate::domain::Binding;

    #[test]
    fn every_byte_has_two_digits_in_order() {
        let mut bytes = [0; 32];
        bytes[0] = 0x0f;
        bytes[31] = 0xa0;
        assert_eq!(Binding(bytes).to_string(), format!("0f{}a0", "00".repeat(30)));
    }
}
