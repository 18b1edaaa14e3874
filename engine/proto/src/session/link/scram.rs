//! Client side of SCRAM-SHA-256.
//!
//! Source: RFC 5802, RFC 7677; carried in CONNECT, AUTH and CONNACK by section 4.12 of MQTT 5.0.

use crate::session::credential::{Key, equal, hmac, salted_password, sha256};
use crate::wire::tables::Property;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;

/// More rounds than this are a server's attempt to keep us busy.
const MAX_ITERATIONS: u32 = 1_000_000;

/// One exchange; a new one, with a new nonce, for every connection.
pub struct ScramClient {
    password: Vec<u8>,
    /// `client-first-message-bare`.
    bare: String,
    nonce: String,
    /// The server's proof that we expect, known after its first message.
    expected: Option<Key>,
}

impl ScramClient {
    /// Name in the Authentication Method property.
    pub const METHOD: &'static str = "SCRAM-SHA-256";

    /// An exchange for this user. `nonce` is random and never used again.
    pub fn new(username: &str, password: &[u8], nonce: u128) -> Self {
        let nonce = format!("{nonce:032x}");
        let name = username.replace('=', "=3D").replace(',', "=2C");
        Self {
            password: password.to_vec(),
            bare: format!("n={name},r={nonce}"),
            nonce,
            expected: None,
        }
    }

    /// Appends method and first message as properties.
    pub(super) fn put_first(&self, properties: &mut Vec<u8>) {
        Property::AuthenticationMethod(Self::METHOD).encode(properties);
        Property::AuthenticationData(format!("n,,{}", self.bare).as_bytes()).encode(properties);
    }

    /// Answers the server's first message; nothing if it is not one for us.
    pub(super) fn answer(&mut self, data: &[u8]) -> Option<String> {
        if self.expected.is_some() {
            return None;
        }
        let text = std::str::from_utf8(data).ok()?;
        let mut fields = text.split(',');
        let nonce = fields.next()?.strip_prefix("r=")?;
        let salt = STANDARD.decode(fields.next()?.strip_prefix("s=")?).ok()?;
        let iterations: u32 = fields.next()?.strip_prefix("i=")?.parse().ok()?;
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return None;
        }
        if iterations == 0 || iterations > MAX_ITERATIONS {
            return None;
        }
        let salted = salted_password(&self.password, &salt, iterations);
        // `biws` is `n,,` in base64: no channel binding.
        let without_proof = format!("c=biws,r={nonce}");
        let transcript = format!("{},{text},{without_proof}", self.bare);
        let client_key = hmac(&salted, b"Client Key");
        let signature = hmac(&sha256(&client_key), transcript.as_bytes());
        let proof: Vec<u8> = client_key
            .iter()
            .zip(signature)
            .map(|(key, mask)| key ^ mask)
            .collect();
        self.expected = Some(hmac(&hmac(&salted, b"Server Key"), transcript.as_bytes()));
        Some(format!("{without_proof},p={}", STANDARD.encode(proof)))
    }

    /// Whether the server's last message proves that it knows the password.
    pub(super) fn is_server_proven(&self, data: Option<&[u8]>) -> bool {
        let (Some(expected), Some(data)) = (&self.expected, data) else {
            return false;
        };
        data.strip_prefix(b"v=")
            .and_then(|proof| STANDARD.decode(proof).ok())
            .is_some_and(|proof| equal(&proof, expected))
    }
}

impl fmt::Debug for ScramClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramClient(…)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;

    /// The example of RFC 7677 section 3.
    #[test]
    fn the_example_of_the_rfc_gives_its_proofs() {
        let mut client = ScramClient::new("user", b"pencil", 0);
        client.nonce = "rOprNGfwEbeRWgbNEkqO".to_owned();
        client.bare = format!("n=user,r={}", client.nonce);
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let first = format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let answer = client.answer(first.as_bytes()).unwrap();
        assert_eq!(
            answer,
            format!("c=biws,r={nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
        );
        assert!(client.is_server_proven(Some(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")));
        assert!(!client.is_server_proven(Some(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=")));
        assert!(!client.is_server_proven(None));
    }

    #[test]
    fn a_foreign_nonce_and_rubbish_are_refused() {
        for first in [
            "r=other,s=AAAA,i=4096",
            "",
            "r=",
            "s=AAAA,i=1,r=x",
            "r=00000000000000000000000000000000,s=AA==,i=1",
        ] {
            assert!(
                ScramClient::new("a", b"b", 0)
                    .answer(first.as_bytes())
                    .is_none(),
                "{first}"
            );
        }
    }
}
