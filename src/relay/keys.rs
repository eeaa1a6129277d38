//! Who made an envelope: Ed25519 over its very text, so that whoever passes it on need not be believed.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

/// Before a public key in the configuration, so that another kind can follow.
const PUBLIC: &str = "ed25519:";

/// Before a secret key, so that nobody takes it for the public one.
const SECRET: &str = "ed25519-secret:";

/// What is signed begins with this line, so that a signature for something else is none for an envelope.
const CONTEXT: &str = "mneme-relay-1\n";

const SEED_BYTES: usize = 32;
const PUBLIC_BYTES: usize = 32;

/// Why a text is no key. It does not repeat the text, which may be the secret one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    #[error("a bot's key is {PUBLIC} and 43 letters, as `mneme relay key` prints it")]
    Public,
    #[error("relay_key is {SECRET} and 43 letters, as `mneme relay key` prints it")]
    Secret,
    #[error("the system gave no random numbers")]
    Random,
}

/// What everybody may know of a bot, to check what it signed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; PUBLIC_BYTES]);

/// What a bot signs with. It is never written anywhere, not even for debugging.
pub struct SecretKey(Ed25519KeyPair);

impl PublicKey {
    pub fn parse(text: &str) -> Result<Self, BadKey> {
        let bytes = text.trim().strip_prefix(PUBLIC).and_then(|rest| URL_SAFE_NO_PAD.decode(rest).ok());
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(BadKey::Public)
    }

    /// Whether this envelope was signed by whoever has the secret key.
    pub fn verifies(&self, text: &str, signature: &str) -> bool {
        let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else { return false };
        UnparsedPublicKey::new(&ED25519, &self.0).verify(&signed(text), &signature).is_ok()
    }
}

impl SecretKey {
    /// The value of the secret `relay_key`.
    pub fn parse(text: &str) -> Result<Self, BadKey> {
        let seed = text.trim().strip_prefix(SECRET).and_then(|rest| URL_SAFE_NO_PAD.decode(rest).ok());
        let pair = seed.and_then(|seed| Ed25519KeyPair::from_seed_unchecked(&seed).ok());
        pair.map(Self).ok_or(BadKey::Secret)
    }

    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; PUBLIC_BYTES];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }

    pub fn sign(&self, text: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.0.sign(&signed(text)))
    }
}

fn signed(text: &str) -> Vec<u8> {
    [CONTEXT.as_bytes(), text.as_bytes()].concat()
}

/// A new pair as texts: the public one for `bots:`, the secret one for the secret `relay_key`.
pub fn generate() -> Result<(String, String), BadKey> {
    let mut seed = [0; SEED_BYTES];
    SystemRandom::new().fill(&mut seed).map_err(|_| BadKey::Random)?;
    let secret = format!("{SECRET}{}", URL_SAFE_NO_PAD.encode(seed));
    let public = SecretKey::parse(&secret)?.public();
    Ok((public.to_string(), secret))
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC}{}", URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey of {}", self.public())
    }
}

impl PartialEq for SecretKey {
    fn eq(&self, other: &Self) -> bool {
        self.public() == other.public()
    }
}

impl Eq for SecretKey {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_signs_is_known_by_its_public_key_alone() {
        let (public, secret) = generate().unwrap();
        let (public, secret) = (PublicKey::parse(&public).unwrap(), SecretKey::parse(&secret).unwrap());
        let other = SecretKey::parse(&generate().unwrap().1).unwrap();
        let signature = secret.sign("{\"v\":1}");
        assert!(public.verifies("{\"v\":1}", &signature));
        assert!(!public.verifies("{\"v\":2}", &signature), "another text");
        assert!(!other.public().verifies("{\"v\":1}", &signature), "another key");
        for bad in ["", "x", "not base64!", &signature[..80], &other.sign("{\"v\":1}")] {
            assert!(!public.verifies("{\"v\":1}", bad), "{bad}");
        }
        assert_eq!(PublicKey::parse(&public.to_string()), Ok(public));
    }

    #[test]
    fn a_secret_key_stands_in_no_text() {
        let (public, secret) = generate().unwrap();
        let parsed = SecretKey::parse(&secret).unwrap();
        assert_eq!(format!("{parsed:?}"), format!("SecretKey of {public}"));
        for bad in [public.as_str(), "ed25519-secret:", "ed25519-secret:AAAA", "hunter2"] {
            let why = SecretKey::parse(bad).unwrap_err();
            assert_eq!(why, BadKey::Secret);
            assert!(
                bad.len() < 5 || !why.to_string().contains(&bad[bad.len() - 4..]) || bad == "ed25519-secret:"
            );
        }
        assert_eq!(PublicKey::parse(&secret), Err(BadKey::Public));
        assert_eq!(PublicKey::parse("ed25519:AAAA"), Err(BadKey::Public));
    }
}
