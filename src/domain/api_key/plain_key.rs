//! The format of an API key. A key consists of a prefix (`tg_live_`, `tg_test_`, `tg_live_sub_`, `tg_test_sub_` or
//! `tg_operator_`), 30 random base62 characters, and a checksum of 6 base62 characters. The checksum is the CRC32 of
//! all characters before it, and detects typing errors without a query. The random part has 178 bits, so a fast hash is
//! sufficient for storing the key.

use std::fmt;

use entity::api_key::{Environment, Role};
use rand::{RngExt, distr::Alphanumeric};
use sha2::{Digest, Sha256};

const RANDOM_CHARS: usize = 30;
const CHECKSUM_CHARS: usize = 6;
/// Number of random characters in the displayed prefix. They help people to distinguish keys.
const PREFIX_RANDOM_CHARS: usize = 4;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const KINDS: [&str; 5] = ["tg_live_sub_", "tg_test_sub_", "tg_live_", "tg_test_", "tg_operator_"];

/// A complete API key. It is displayed once and never stored. Its `Debug` output does not reveal it.
#[derive(Clone, PartialEq, Eq)]
pub struct PlainKey {
    text: String,
    kind: &'static str,
}

impl PlainKey {
    /// Generates a random key. Operator keys have no environment.
    pub fn generate(role: Role, environment: Environment) -> Self {
        let kind = match (role, environment) {
            (Role::Operator, _) => "tg_operator_",
            (Role::MainAccount, Environment::Live) => "tg_live_",
            (Role::MainAccount, Environment::Test) => "tg_test_",
            (Role::SubAccount, Environment::Live) => "tg_live_sub_",
            (Role::SubAccount, Environment::Test) => "tg_test_sub_",
        };
        #[expect(clippy::disallowed_methods, reason = "the only source of random keys")]
        let random = rand::rng().sample_iter(Alphanumeric).take(RANDOM_CHARS).map(char::from);
        let body: String = kind.chars().chain(random).collect();
        let text = format!("{body}{}", checksum(&body));
        Self { text, kind }
    }

    /// Parses a key; `None` if its format or checksum is not valid.
    pub fn parse(text: &str) -> Option<Self> {
        let kind = KINDS.into_iter().find(|kind| {
            text.strip_prefix(kind).is_some_and(|rest| {
                rest.len() == RANDOM_CHARS + CHECKSUM_CHARS
                    && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
            })
        })?;
        let (body, checksum_text) = text.split_at(text.len() - CHECKSUM_CHARS);
        (checksum(body) == checksum_text).then(|| Self { text: text.to_owned(), kind })
    }

    /// Returns the complete key, so that it can be displayed once.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// Returns the hash that is stored instead of the key.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.text.as_bytes()).into()
    }

    /// Returns the beginning of the key: its kind and a few random characters. It helps people to recognize the key.
    pub fn prefix(&self) -> &str {
        &self.text[..self.kind.len() + PREFIX_RANDOM_CHARS]
    }

    /// Returns the last four characters of the key. They help people to recognize the key.
    pub fn last_four(&self) -> &str {
        &self.text[self.text.len() - 4..]
    }
}

impl fmt::Debug for PlainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainKey(…)")
    }
}

fn checksum(body: &str) -> String {
    let mut value = crc32fast::hash(body.as_bytes()) as usize;
    let mut digits = [BASE62[0]; CHECKSUM_CHARS];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[value % BASE62.len()];
        value /= BASE62.len();
    }
    digits.map(char::from).iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_key_is_parsed() {
        for (role, environment, kind, length) in [
            (Role::Operator, Environment::Live, "tg_operator_", 48),
            (Role::MainAccount, Environment::Live, "tg_live_", 44),
            (Role::MainAccount, Environment::Test, "tg_test_", 44),
            (Role::SubAccount, Environment::Live, "tg_live_sub_", 48),
            (Role::SubAccount, Environment::Test, "tg_test_sub_", 48),
        ] {
            let key = PlainKey::generate(role, environment);
            assert_eq!(key.reveal().len(), length);
            assert_eq!(key.prefix().len(), kind.len() + 4);
            assert!(key.prefix().starts_with(kind));
            assert_eq!(PlainKey::parse(key.reveal()), Some(key));
        }
    }

    #[test]
    fn a_changed_key_is_refused() {
        let key = PlainKey::generate(Role::SubAccount, Environment::Live);
        let text = key.reveal();
        let changed = if text.as_bytes()[20] == b'x' { 'y' } else { 'x' };
        let mut typo = text.to_owned();
        typo.replace_range(20..21, &changed.to_string());
        for wrong in ["", "tg_live_", &typo, &text[1..], &text[..47], &format!("{text}0")] {
            assert_eq!(PlainKey::parse(wrong), None, "{wrong}");
        }
        assert_eq!(PlainKey::parse(&text.replace("tg_live_sub_", "tg_test_sub_")), None);
    }

    #[test]
    fn debug_does_not_reveal_a_key() {
        let key = PlainKey::generate(Role::MainAccount, Environment::Live);
        assert_eq!(format!("{key:?}"), "PlainKey(…)");
    }
}
