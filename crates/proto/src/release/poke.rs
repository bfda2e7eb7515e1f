//! The datagram by which a server asks an agent for a heartbeat.

use std::fmt;

/// The length of a poke in bytes.
pub const POKE_LEN: usize = MAGIC.len() + Token::LEN;

const MAGIC: [u8; 4] = *b"NLP1";

/// A number that a server gave with [`super::Accepted`]. Without it nobody can poke the agent. Not printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token([u8; Self::LEN]);

impl Token {
    /// The length in bytes.
    pub const LEN: usize = 16;

    /// The token with these bytes.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes as they are on the wire.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// A poke: `NLP1` and the token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Poke(pub Token);

impl Poke {
    /// The datagram with this poke.
    pub fn to_bytes(self) -> [u8; POKE_LEN] {
        let mut datagram = [0; POKE_LEN];
        datagram[..MAGIC.len()].copy_from_slice(&MAGIC);
        datagram[MAGIC.len()..].copy_from_slice(self.0.as_bytes());
        datagram
    }

    /// `None` for a datagram that is no poke.
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        let token = datagram.strip_prefix(&MAGIC)?;
        Some(Self(Token::from_bytes(token.try_into().ok()?)))
    }
}
