//! Ids in Stripe's form. It promises: the same seed gives the same ids in the same order, and no id twice.

use sha2::{Digest, Sha256};

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// `PREFIX_` and `length` letters, from the seed and a number that is never used twice.
pub fn make(prefix: &str, seed: u64, number: u64, length: usize) -> String {
    let mut text = format!("{prefix}_");
    let mut block = 0_u8;
    while text.len() < prefix.len() + 1 + length {
        let digest = Sha256::new().chain_update(seed.to_be_bytes()).chain_update(number.to_be_bytes()).chain_update([block]).finalize();
        for byte in digest.iter().take(prefix.len() + 1 + length - text.len()) {
            text.push(char::from(LETTERS[usize::from(*byte) % LETTERS.len()]));
        }
        block += 1;
    }
    text
}
