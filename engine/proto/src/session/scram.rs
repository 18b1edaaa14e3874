//! Server side of SCRAM-SHA-256, the built-in method of enhanced authentication.
//!
//! Source: RFC 5802, RFC 7677; carried in AUTH packets by section 4.12 of MQTT 5.0.

use super::credential::{Credentials, ITERATIONS, Key, equal, hmac, sha256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Name in the Authentication Method property.
pub const METHOD: &str = "SCRAM-SHA-256";

/// An exchange after the server's first message.
#[derive(Debug)]
pub struct Exchange {
    username: String,
    /// `client-first-message-bare , server-first-message`.
    transcript: String,
    /// Client nonce and server nonce.
    nonce: String,
    /// GS2 header, which the client repeats in base64.
    header: String,
    keys: Option<(Key, Key)>,
}

/// Answers the client's first message; nothing if it is not one.
///
/// An unknown user gets an answer of the same form, made from `secret`, and fails at the second message.
pub fn begin(
    users: &Credentials,
    first: &[u8],
    nonce: u128,
    secret: u64,
) -> Option<(Exchange, String)> {
    let first = std::str::from_utf8(first).ok()?;
    // n,,  or  y,,  or  n,a=name,,  no channel binding is offered.
    let (flag, rest) = first.split_once(',')?;
    let (authorisation, bare) = rest.split_once(',')?;
    if !matches!(flag, "n" | "y") {
        return None;
    }
    let mut fields = bare.split(',');
    let username = unescape(fields.next()?.strip_prefix("n=")?)?;
    let client_nonce = fields.next()?.strip_prefix("r=")?;
    if client_nonce.is_empty() || username.is_empty() {
        return None;
    }
    let nonce = format!("{client_nonce}{nonce:032x}");
    let user = users.user(&username);
    let salt = user.map_or_else(
        || {
            let mut salt = [0; 16];
            salt.copy_from_slice(&hmac(&secret.to_le_bytes(), username.as_bytes())[..16]);
            salt
        },
        |user| user.salt,
    );
    let answer = format!("r={nonce},s={},i={ITERATIONS}", STANDARD.encode(salt));
    let exchange = Exchange {
        username,
        transcript: format!("{bare},{answer}"),
        nonce,
        header: format!("{flag},{authorisation},"),
        keys: user.map(|user| (user.stored_key, user.server_key)),
    };
    Some((exchange, answer))
}

impl Exchange {
    /// Checks the client's final message; gives the username and the server's proof.
    pub fn finish(self, last: &[u8]) -> Option<(String, String)> {
        let last = std::str::from_utf8(last).ok()?;
        let (without_proof, proof) = last.rsplit_once(",p=")?;
        let mut fields = without_proof.split(',');
        let binding = STANDARD.decode(fields.next()?.strip_prefix("c=")?).ok()?;
        let nonce = fields.next()?.strip_prefix("r=")?;
        if binding != self.header.as_bytes() || !equal(nonce.as_bytes(), self.nonce.as_bytes()) {
            return None;
        }
        let (stored_key, server_key) = self.keys?;
        let text = format!("{},{without_proof}", self.transcript);
        let signature = hmac(&stored_key, text.as_bytes());
        let mut client_key = STANDARD.decode(proof).ok()?;
        if client_key.len() != signature.len() {
            return None;
        }
        for (byte, mask) in client_key.iter_mut().zip(signature) {
            *byte ^= mask;
        }
        let answer = format!("v={}", STANDARD.encode(hmac(&server_key, text.as_bytes())));
        equal(&sha256(&client_key), &stored_key).then_some((self.username, answer))
    }
}

/// `=2C` and `=3D` stand for `,` and `=` in a name.
fn unescape(name: &str) -> Option<String> {
    let plain = name.replace("=2C", ",").replace("=3D", "\u{0}");
    (!plain.contains('=')).then(|| plain.replace('\u{0}', "="))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::super::credential::salted_password;
    use super::*;

    fn client_final(password: &str, bare: &str, answer: &str) -> String {
        let field = |name: &str| {
            answer
                .split(',')
                .find_map(|part| part.strip_prefix(name))
                .unwrap()
                .to_owned()
        };
        let salt = STANDARD.decode(field("s=")).unwrap();
        let salted = salted_password(password.as_bytes(), &salt, field("i=").parse().unwrap());
        let key = hmac(&salted, b"Client Key");
        let without_proof = format!("c=biws,r={}", field("r="));
        let text = format!("{bare},{answer},{without_proof}");
        let signature = hmac(&sha256(&key), text.as_bytes());
        let proof: Vec<u8> = key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        format!("{without_proof},p={}", STANDARD.encode(proof))
    }

    fn run(user: &str, password: &str) -> Option<String> {
        let users = Credentials::new([("ann", "secret")], || [9; 16]);
        let bare = format!("n={user},r=abc");
        let (exchange, answer) = begin(&users, format!("n,,{bare}").as_bytes(), 5, 1).unwrap();
        exchange
            .finish(client_final(password, &bare, &answer).as_bytes())
            .map(|(name, _)| name)
    }

    #[test]
    fn the_right_password_is_proven_and_others_are_not() {
        assert_eq!(run("ann", "secret").as_deref(), Some("ann"));
        assert_eq!(run("ann", "wrong"), None);
        assert_eq!(run("bob", "secret"), None);
    }

    #[test]
    fn channel_binding_and_rubbish_are_refused() {
        let users = Credentials::default();
        for first in [
            "p=tls-unique,,n=a,r=b",
            "n,,n=,r=b",
            "n,,r=b",
            "",
            "n,,n=a=b,r=c",
        ] {
            assert!(begin(&users, first.as_bytes(), 1, 1).is_none(), "{first}");
        }
    }
}
