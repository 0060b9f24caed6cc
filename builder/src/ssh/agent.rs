//! The agent protocol (draft-miller-ssh-agent): which keys there are, and signatures by them.
//!
//! Messages are bytes in, bytes out; what is not understood is answered with a failure and never an error.

use super::keys::{PrivateKey, Reader, put_string};

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
const EXTENSION: u8 = 27;

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// Which keys there are.
    Identities,
    /// A signature.
    Sign,
    /// Something that only some agents know, such as which session it is.
    Extension,
    /// What would change the agent, or nothing known.
    Other,
}

impl Request {
    /// By a message's first byte.
    pub(super) fn of(message: &[u8]) -> Self {
        match message.first() {
            Some(&REQUEST_IDENTITIES) => Self::Identities,
            Some(&SIGN_REQUEST) => Self::Sign,
            Some(&EXTENSION) => Self::Extension,
            _ => Self::Other,
        }
    }
}

/// "No".
pub(super) fn failure() -> Vec<u8> {
    vec![FAILURE]
}

/// Answers with keys of one's own.
pub(super) fn answer(request: Request, message: &[u8], keys: &[PrivateKey]) -> Vec<u8> {
    match request {
        Request::Identities => identities(keys),
        Request::Sign => sign(&message[1..], keys).unwrap_or_else(failure),
        Request::Extension | Request::Other => failure(),
    }
}

fn identities(keys: &[PrivateKey]) -> Vec<u8> {
    let mut answer = vec![IDENTITIES_ANSWER];
    answer.extend((keys.len() as u32).to_be_bytes());
    for key in keys {
        put_string(&mut answer, key.public());
        put_string(&mut answer, key.comment().as_bytes());
    }
    answer
}

fn sign(message: &[u8], keys: &[PrivateKey]) -> Option<Vec<u8>> {
    let mut reader = Reader(message);
    let (public, data, flags) = (reader.string()?, reader.string()?, reader.number()?);
    let signature = keys.iter().find(|key| key.public() == public)?.sign(data, flags)?;
    let mut answer = vec![SIGN_RESPONSE];
    put_string(&mut answer, &signature);
    Some(answer)
}
