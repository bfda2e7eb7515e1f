//! The greeting and unencrypted packets (RFC 4253, 4.2 and 6).

use nightlatch_core::ssh::wire::{WireReader, put_string};

use super::ProofError;

pub(super) const DISCONNECT: u8 = 1;
pub(super) const IGNORE: u8 = 2;
pub(super) const DEBUG: u8 = 4;
pub(super) const KEXINIT: u8 = 20;
pub(super) const KEX_ECDH_INIT: u8 = 30;
pub(super) const KEX_ECDH_REPLY: u8 = 31;

/// A greeting with its line end (RFC 4253, 4.2).
const MAX_GREETING: usize = 255;

/// Most bytes from a server before its greeting.
const MAX_BEFORE_GREETING: usize = 8 * 1024;

/// The largest packet every implementation takes (RFC 4253, 6.1).
const MAX_PACKET: usize = 35_000;

/// Before encryption, packets are padded to a multiple of this, with at least [`MIN_PADDING`].
const BLOCK: usize = 8;
const MIN_PADDING: usize = 4;

/// `SSH_DISCONNECT_BY_APPLICATION` (RFC 4253, 11.1).
const BY_APPLICATION: u32 = 11;

/// Bytes received and not yet understood.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    bytes: Vec<u8>,
    /// Number of bytes received in all.
    total: usize,
}

impl Incoming {
    pub(super) fn add(&mut self, bytes: &[u8], most: usize) -> Result<(), ProofError> {
        self.total = self.total.saturating_add(bytes.len());
        if self.total > most {
            return Err(ProofError::Flood);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// The server's greeting without its line end, once it is complete.
    pub(super) fn greeting(&mut self) -> Result<Option<Vec<u8>>, ProofError> {
        let mut before = 0;
        loop {
            let rest = self.bytes.get(before..).unwrap_or_default();
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                let longest = if rest.starts_with(b"SSH-") {
                    MAX_GREETING
                } else {
                    MAX_BEFORE_GREETING.saturating_sub(before)
                };
                return if rest.len() < longest {
                    Ok(None)
                } else {
                    Err(ProofError::NoSsh)
                };
            };
            let line = rest.get(..end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.starts_with(b"SSH-") {
                let ours = line.starts_with(b"SSH-2.0-") || line.starts_with(b"SSH-1.99-");
                let printable = line.iter().all(|byte| matches!(byte, b' '..=b'~'));
                if !ours || !printable || end >= MAX_GREETING {
                    return Err(ProofError::NoSsh);
                }
                let greeting = line.to_vec();
                self.bytes.drain(..=before + end);
                return Ok(Some(greeting));
            }
            before += end + 1;
            if before > MAX_BEFORE_GREETING {
                return Err(ProofError::NoSsh);
            }
        }
    }

    /// The payload of the next packet, once it is complete. It is not empty.
    pub(super) fn packet(&mut self) -> Result<Option<Vec<u8>>, ProofError> {
        let Some(head) = self.bytes.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
        if length > MAX_PACKET || (length + 4) % BLOCK != 0 || length < BLOCK {
            return Err(ProofError::Malformed);
        }
        if self.bytes.len() < length + 4 {
            return Ok(None);
        }
        let packet: Vec<u8> = self.bytes.drain(..length + 4).skip(4).collect();
        let (padding, rest) = packet.split_first().ok_or(ProofError::Malformed)?;
        let padding = usize::from(*padding);
        let payload = rest.len().saturating_sub(padding);
        match rest.get(..payload) {
            Some(payload) if padding >= MIN_PADDING && !payload.is_empty() => {
                Ok(Some(payload.to_vec()))
            }
            _ => Err(ProofError::Malformed),
        }
    }
}

/// A packet of `payload`. Padding may be anything before encryption (RFC 4253, 6).
pub(super) fn packet(payload: &[u8]) -> Vec<u8> {
    let over = (5 + payload.len() + MIN_PADDING) % BLOCK;
    let padding = MIN_PADDING + if over == 0 { 0 } else { BLOCK - over };
    let mut content = vec![u8::try_from(padding).unwrap_or_default()];
    content.extend_from_slice(payload);
    content.resize(content.len() + padding, 0);
    let mut packet = Vec::with_capacity(4 + content.len());
    put_string(&mut packet, &content);
    packet
}

/// The reason in a disconnection.
pub(super) fn reason(payload: &[u8]) -> u32 {
    let mut reader = WireReader::new(payload);
    reader
        .byte()
        .and_then(|_| reader.number())
        .unwrap_or_default()
}

pub(super) fn disconnect_message() -> Vec<u8> {
    let mut payload = vec![DISCONNECT];
    payload.extend_from_slice(&BY_APPLICATION.to_be_bytes());
    put_string(&mut payload, b"host key verified");
    put_string(&mut payload, b"");
    packet(&payload)
}
