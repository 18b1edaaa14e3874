//! Users and the proofs they can give: a password in CONNECT, or SCRAM-SHA-256.
//!
//! Only derived keys are kept, not the passwords. Source: RFC 5802, RFC 7677.

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt;

/// PBKDF2 rounds, the least that RFC 7677 allows.
pub const ITERATIONS: u32 = 4096;

/// 32 bytes: a SHA-256 value.
pub type Key = [u8; 32];

/// What the broker knows of one user.
#[derive(Clone)]
pub struct Credential {
    /// Random salt.
    pub salt: [u8; 16],
    /// SCRAM `StoredKey`.
    pub stored_key: Key,
    /// SCRAM `ServerKey`.
    pub server_key: Key,
    /// Salted hash for the check of a CONNECT password: cheap, so that a flood of connects stays cheap.
    quick: Key,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(…)")
    }
}

/// All users, by name.
#[derive(Clone, Debug, Default)]
pub struct Credentials(HashMap<String, Credential>);

impl Credentials {
    /// Derives the keys of all users. `salt` hands in random bytes, one call a user.
    pub fn new<'a>(
        users: impl IntoIterator<Item = (&'a str, &'a str)>,
        mut salt: impl FnMut() -> [u8; 16],
    ) -> Self {
        let credential = |(name, password): (&str, &str)| {
            let salt = salt();
            let salted = salted_password(password.as_bytes(), &salt, ITERATIONS);
            let credential = Credential {
                salt,
                stored_key: sha256(&hmac(&salted, b"Client Key")),
                server_key: hmac(&salted, b"Server Key"),
                quick: hmac(&salt, password.as_bytes()),
            };
            (name.to_owned(), credential)
        };
        Self(users.into_iter().map(credential).collect())
    }

    /// Whether no user is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The user of this name.
    pub fn user(&self, name: &str) -> Option<&Credential> {
        self.0.get(name)
    }

    /// Whether the user exists and this is the password; takes the same time for any wrong one.
    pub fn check(&self, name: &str, password: &[u8]) -> bool {
        self.user(name)
            .is_some_and(|user| equal(&hmac(&user.salt, password), &user.quick))
    }
}

/// PBKDF2-HMAC-SHA-256, `Hi()` of RFC 5802.
pub fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> Key {
    let mut block = salt.to_vec();
    block.extend_from_slice(&1u32.to_be_bytes());
    let mut round = hmac(password, &block);
    let mut sum = round;
    for _ in 1..iterations {
        round = hmac(password, &round);
        for (total, byte) in sum.iter_mut().zip(round) {
            *total ^= byte;
        }
    }
    sum
}

/// HMAC-SHA-256.
pub fn hmac(key: &[u8], text: &[u8]) -> Key {
    // A key of any length is accepted, so this cannot fail.
    Hmac::<Sha256>::new_from_slice(key).map_or([0; 32], |mac| {
        mac.chain_update(text).finalize().into_bytes().into()
    })
}

/// SHA-256.
pub fn sha256(text: &[u8]) -> Key {
    Sha256::digest(text).into()
}

/// Compares without telling by time where the first difference is.
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (x, y)| sum | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_passes() {
        let users = Credentials::new([("ann", "secret")], || [7; 16]);
        assert!(users.check("ann", b"secret"));
        assert!(!users.check("ann", b"Secret"));
        assert!(!users.check("bob", b"secret"));
    }
}
