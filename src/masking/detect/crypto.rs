//! Addresses of crypto currencies: Base58Check (Bitcoin and its kin), Bech32 (BIP 173, BIP 350), Ethereum.

use sha2::{Digest, Sha256};

use crate::domain::DataKind;
use crate::masking::shape::{Check, Shape};

const WALLET: &[&str] =
    &["wallet", "address", "btc", "bitcoin", "eth", "ethereum", "crypto", "litecoin", "tron", "usdt"];

pub const SHAPES: &[Shape] = &[
    Shape {
        words: WALLET,
        ..Shape::sure(
            DataKind::CRYPTO,
            "[123DLMTmn][1-9A-HJ-NP-Za-km-z]{25,34}",
            Check::Valid(base58),
            100,
            "Base58 address, checksum right",
        )
    },
    Shape {
        words: WALLET,
        ..Shape::sure(
            DataKind::CRYPTO,
            "(?:bc|tb|ltc)1[02-9ac-hj-np-z]{11,71}",
            Check::Valid(bech32),
            100,
            "Bech32 address, checksum right",
        )
    },
    Shape { words: WALLET, ..Shape::sure(DataKind::CRYPTO, "0x[0-9a-fA-F]{40}", Check::None, 80, "Ethereum address") },
];

/// A version, twenty bytes, and the first four of their double SHA-256.
fn base58(text: &str) -> bool {
    const ALPHABET: &str = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut bytes = [0_u8; 25];
    for letter in text.chars() {
        let Some(mut carry) = ALPHABET.find(letter) else { return false };
        for byte in bytes.iter_mut().rev() {
            carry += usize::from(*byte) * 58;
            *byte = (carry % 256) as u8;
            carry /= 256;
        }
        if carry != 0 {
            return false;
        }
    }
    let (payload, checksum) = bytes.split_at(21);
    Sha256::digest(Sha256::digest(payload)).starts_with(checksum)
}

fn bech32(text: &str) -> bool {
    const ALPHABET: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    let Some((human, data)) = text.split_once('1') else { return false };
    let head = human.bytes().map(|byte| byte >> 5).chain([0]).chain(human.bytes().map(|byte| byte & 31)).map(u32::from);
    let Some(values) =
        data.chars().map(|letter| ALPHABET.find(letter).map(|value| value as u32)).collect::<Option<Vec<_>>>()
    else {
        return false;
    };
    matches!(head.chain(values).fold(1, polymod), 1 | 0x2bc8_30a3)
}

fn polymod(sum: u32, value: u32) -> u32 {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let top = sum >> 25;
    let shifted = (sum & 0x01ff_ffff) << 5 ^ value;
    GENERATOR.iter().enumerate().filter(|(bit, _)| top >> bit & 1 == 1).fold(shifted, |sum, (_, term)| sum ^ term)
}
