//! Private keys of SSH: `openssh-key-v1` files (PROTOCOL.key of OpenSSH) and RSA keys as PKCS #1 or #8.
//!
//! Ed25519, ECDSA on P-256 and P-384, and RSA. A key that is encrypted is refused: an agent can ask for its
//! passphrase, a build cannot.

use std::fs;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::rsa::{KeyPairComponents, PublicKeyComponents};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA512, RsaKeyPair,
};

/// A private key that can sign.
pub(super) struct PrivateKey {
    public: Vec<u8>,
    comment: String,
    signer: Signer,
}

enum Signer {
    Ed25519(Ed25519KeyPair),
    Ecdsa { kind: String, pair: EcdsaKeyPair },
    Rsa(Box<RsaKeyPair>),
}

/// Why a file is no private key that can be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("cannot read it")]
    Read(#[from] io::Error),
    /// It is none of the known forms.
    #[error("it is neither an OpenSSH nor an RSA private key")]
    Form,
    /// It has a passphrase.
    #[error("it is encrypted: add it to an agent (`ssh-add`) and use `--ssh default`")]
    Encrypted,
    /// Its algorithm is not known.
    #[error("keys of type {0} are not supported: Ed25519, ECDSA (P-256, P-384) and RSA are")]
    Kind(String),
    /// Its numbers make no key.
    #[error("its numbers make no key: {0}")]
    Rejected(ring::error::KeyRejected),
}

impl PrivateKey {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self, KeyError> {
        Self::parse(&fs::read_to_string(path)?)
    }

    /// The public half as SSH writes it.
    pub(super) fn public(&self) -> &[u8] {
        &self.public
    }

    /// What its owner calls it.
    pub(super) fn comment(&self) -> &str {
        &self.comment
    }

    /// A signature as SSH writes it. `flags` choose among RSA's (RFC 8332); SHA-1 is not made.
    pub(super) fn sign(&self, data: &[u8], flags: u32) -> Option<Vec<u8>> {
        let (name, bytes) = match &self.signer {
            Signer::Ed25519(pair) => ("ssh-ed25519", pair.sign(data).as_ref().to_vec()),
            Signer::Ecdsa { kind, pair } => {
                let fixed = pair.sign(&SystemRandom::new(), data).ok()?;
                let (r, s) = fixed.as_ref().split_at(fixed.as_ref().len() / 2);
                let mut bytes = Vec::new();
                put_integer(&mut bytes, r);
                put_integer(&mut bytes, s);
                (kind.as_str(), bytes)
            }
            Signer::Rsa(pair) => {
                let (name, padding): (_, &dyn ring::signature::RsaEncoding) = match flags {
                    flags if flags & 2 != 0 => ("rsa-sha2-256", &RSA_PKCS1_SHA256),
                    flags if flags & 4 != 0 => ("rsa-sha2-512", &RSA_PKCS1_SHA512),
                    _ => return None,
                };
                let mut bytes = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &SystemRandom::new(), data, &mut bytes).ok()?;
                (name, bytes)
            }
        };
        let mut signature = Vec::new();
        put_string(&mut signature, name.as_bytes());
        put_string(&mut signature, &bytes);
        Some(signature)
    }

    fn parse(text: &str) -> Result<Self, KeyError> {
        let (label, body) = unarmour(text).ok_or(KeyError::Form)?;
        if text.contains("ENCRYPTED") {
            return Err(KeyError::Encrypted);
        }
        match label {
            "OPENSSH PRIVATE KEY" => open_ssh(&body),
            "RSA PRIVATE KEY" => rsa(RsaKeyPair::from_der(&body).map_err(KeyError::Rejected)?, String::new()),
            "PRIVATE KEY" => rsa(RsaKeyPair::from_pkcs8(&body).map_err(KeyError::Rejected)?, String::new()),
            _ => Err(KeyError::Form),
        }
    }
}

/// What stands between the `-----BEGIN` and `-----END` of a file.
fn unarmour(text: &str) -> Option<(&str, Vec<u8>)> {
    let (label, rest) = text.split_once("-----BEGIN ")?.1.split_once("-----")?;
    let body = rest.split_once("-----END ")?.0;
    let lines = body.lines().map(str::trim).filter(|line| !line.contains(':'));
    Some((label, STANDARD.decode(lines.collect::<String>()).ok()?))
}

fn open_ssh(bytes: &[u8]) -> Result<PrivateKey, KeyError> {
    let mut reader = Reader(bytes.strip_prefix(b"openssh-key-v1\0").ok_or(KeyError::Form)?);
    let cipher = reader.string().ok_or(KeyError::Form)?;
    if cipher != b"none" {
        return Err(KeyError::Encrypted);
    }
    let secret = (|| {
        let (_kdf, _options, count) = (reader.string()?, reader.string()?, reader.number()?);
        let (_public, secret) = (reader.string()?, reader.string()?);
        (count == 1).then_some(secret)
    })();
    let mut reader = Reader(secret.ok_or(KeyError::Form)?);
    let kind = (|| {
        let same = reader.number()? == reader.number()?;
        String::from_utf8(reader.string()?.to_vec()).ok().filter(|_| same)
    })();
    let kind = kind.ok_or(KeyError::Form)?;
    match kind.as_str() {
        "ssh-ed25519" => ed25519(&mut reader),
        "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" => ecdsa(kind, &mut reader),
        "ssh-rsa" => rsa_numbers(&mut reader),
        _ => Err(KeyError::Kind(kind)),
    }
}

fn ed25519(reader: &mut Reader<'_>) -> Result<PrivateKey, KeyError> {
    let fields = (|| Some((reader.string()?, reader.string()?, reader.text()?)))();
    let (public, secret, comment) = fields.ok_or(KeyError::Form)?;
    let seed = secret.get(..32).ok_or(KeyError::Form)?;
    let pair = Ed25519KeyPair::from_seed_and_public_key(seed, public).map_err(KeyError::Rejected)?;
    Ok(PrivateKey { public: strings(&[b"ssh-ed25519", public]), comment, signer: Signer::Ed25519(pair) })
}

fn ecdsa(kind: String, reader: &mut Reader<'_>) -> Result<PrivateKey, KeyError> {
    let fields = (|| Some((reader.string()?, reader.string()?, reader.integer()?, reader.text()?)))();
    let (curve, point, secret, comment) = fields.ok_or(KeyError::Form)?;
    let (algorithm, length) = match curve {
        b"nistp256" => (&ECDSA_P256_SHA256_FIXED_SIGNING, 32),
        _ => (&ECDSA_P384_SHA384_FIXED_SIGNING, 48),
    };
    let mut padded = vec![0; length - secret.len().min(length)];
    padded.extend(secret);
    let pair = EcdsaKeyPair::from_private_key_and_public_key(algorithm, &padded, point, &SystemRandom::new())
        .map_err(KeyError::Rejected)?;
    Ok(PrivateKey { public: strings(&[kind.as_bytes(), curve, point]), comment, signer: Signer::Ecdsa { kind, pair } })
}

fn rsa_numbers(reader: &mut Reader<'_>) -> Result<PrivateKey, KeyError> {
    let numbers = (|| {
        let mut next = || reader.integer();
        Some([next()?, next()?, next()?, next()?, next()?, next()?])
    })();
    let [n, e, d, inverse, p, q] = numbers.ok_or(KeyError::Form)?;
    let comment = reader.text().ok_or(KeyError::Form)?;
    let components = KeyPairComponents {
        public_key: PublicKeyComponents { n, e },
        d,
        p,
        q,
        dP: &remainder(d, &minus_one(p))[..],
        dQ: &remainder(d, &minus_one(q))[..],
        qInv: inverse,
    };
    rsa(RsaKeyPair::from_components(&components).map_err(KeyError::Rejected)?, comment)
}

fn rsa(pair: RsaKeyPair, comment: String) -> Result<PrivateKey, KeyError> {
    let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(pair.public());
    let mut public = strings(&[b"ssh-rsa"]);
    put_integer(&mut public, &e);
    put_integer(&mut public, &n);
    Ok(PrivateKey { public, comment, signer: Signer::Rsa(Box::new(pair)) })
}

/// An odd number less one.
fn minus_one(number: &[u8]) -> Vec<u8> {
    let mut less = number.to_vec();
    if let Some(last) = less.last_mut() {
        *last &= !1;
    }
    less
}

/// The remainder of a division, bit by bit: it is done once a key, and needs no library of numbers.
fn remainder(number: &[u8], divisor: &[u8]) -> Vec<u8> {
    let mut rest = vec![0_u8; divisor.len() + 1];
    let divisor = [&[0], divisor].concat();
    for bit in number.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)) {
        let mut carry = bit;
        for byte in rest.iter_mut().rev() {
            (*byte, carry) = (*byte << 1 | carry, *byte >> 7);
        }
        if rest >= divisor {
            subtract(&mut rest, &divisor);
        }
    }
    trimmed(&rest).to_vec()
}

fn subtract(from: &mut [u8], what: &[u8]) {
    let mut borrow = false;
    for (byte, less) in from.iter_mut().zip(what).rev() {
        let (once, first) = byte.overflowing_sub(*less);
        let (twice, second) = once.overflowing_sub(u8::from(borrow));
        (*byte, borrow) = (twice, first || second);
    }
}

fn trimmed(number: &[u8]) -> &[u8] {
    let zeroes = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeroes..]
}

/// What is left of a message (RFC 4251, section 5).
pub(super) struct Reader<'b>(pub(super) &'b [u8]);

impl<'b> Reader<'b> {
    pub(super) fn number(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*number))
    }

    pub(super) fn string(&mut self) -> Option<&'b [u8]> {
        let length = self.number()? as usize;
        let (string, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(string)
    }

    fn text(&mut self) -> Option<String> {
        self.string().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// A positive integer without leading zeroes.
    fn integer(&mut self) -> Option<&'b [u8]> {
        self.string().map(trimmed)
    }
}

/// Writes a string with its length before it.
pub(super) fn put_string(to: &mut Vec<u8>, string: &[u8]) {
    to.extend((string.len() as u32).to_be_bytes());
    to.extend(string);
}

/// Writes a positive integer.
fn put_integer(to: &mut Vec<u8>, number: &[u8]) {
    let number = trimmed(number);
    let sign: &[u8] = if number.first().is_some_and(|byte| byte & 0x80 != 0) { &[0] } else { &[] };
    put_string(to, &[sign, number].concat());
}

fn strings(strings: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    strings.iter().for_each(|string| put_string(&mut bytes, string));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remainders() {
        for (number, divisor) in [(0_u64, 3_u64), (7, 3), (1 << 40, 1_000_003), (u64::MAX, 0xffff_fffe), (5, 9)] {
            let expected = (number % divisor).to_be_bytes();
            assert_eq!(
                remainder(&number.to_be_bytes(), trimmed(&divisor.to_be_bytes())),
                trimmed(&expected),
                "{number} by {divisor}"
            );
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["", "hello", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"] {
            assert!(matches!(PrivateKey::parse(text), Err(KeyError::Form)), "{text:?}");
        }
        let encrypted =
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        assert!(matches!(PrivateKey::parse(encrypted), Err(KeyError::Encrypted)));
    }
}
