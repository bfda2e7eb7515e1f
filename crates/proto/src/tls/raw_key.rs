//! A machine's or a server's own key pair: made, read from PEM, written as PEM.
//!
//! The private half leaves only by [`RawKey::private_pem`], as a `Secret`.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use nightlatch_core::key_id::KeyId;
use nightlatch_core::secret::Secret;
use rustls::pki_types::pem::{self, SectionKind};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::spki::{self, KeyAlgorithm, SpkiError};

/// Width of the base64 lines in PEM (RFC 7468, 3).
const PEM_WIDTH: usize = 64;

/// A key pair for the handshake.
pub struct RawKey {
    /// PKCS#8 in DER.
    private: Zeroizing<Vec<u8>>,
    certified: Arc<CertifiedKey>,
    algorithm: KeyAlgorithm,
    key_id: KeyId,
}

/// The kind of key to generate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RawKeyKind {
    /// Ed25519: small, quick, deterministic.
    #[default]
    Ed25519,
    /// ECDSA on secp256r1, for peers that must keep to NIST curves.
    EcdsaP256,
}

impl RawKey {
    /// Makes a new key pair.
    pub fn generate(kind: RawKeyKind) -> Result<Self, RawKeyError> {
        // Version 1 of the format, without the public key in it: older OpenSSL and GnuTLS refuse
        // version 2.
        let der = match kind {
            RawKeyKind::Ed25519 => Ed25519KeyPair::generate().and_then(|pair| pair.to_pkcs8v1()),
            RawKeyKind::EcdsaP256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
                .and_then(|pair| pair.to_pkcs8v1()),
        }
        .map_err(|_| RawKeyError::Generate)?;
        Self::from_pkcs8(Zeroizing::new(der.as_ref().to_vec()))
    }

    /// Reads the private key from PKCS#8 PEM ("BEGIN PRIVATE KEY", RFC 5958) and, when there is one,
    /// the public key from SubjectPublicKeyInfo PEM ("BEGIN PUBLIC KEY"), which must belong to it.
    pub fn from_pem(private: &[u8], public: Option<&[u8]>) -> Result<Self, RawKeyError> {
        let key = Self::from_pkcs8(private_section(private)?)?;
        if let Some(public) = public
            && public_section(public)? != key.spki()
        {
            return Err(RawKeyError::Mismatch);
        }
        Ok(key)
    }

    fn from_pkcs8(private: Zeroizing<Vec<u8>>) -> Result<Self, RawKeyError> {
        spki::check_pkcs8(&private).map_err(RawKeyError::Private)?;
        // The library wipes this copy.
        let der = PrivatePkcs8KeyDer::from(private.to_vec()).into();
        let signer = rustls::crypto::aws_lc_rs::default_provider()
            .key_provider
            .load_private_key(der)
            .map_err(|_| RawKeyError::Unusable)?;
        let spki = signer.public_key().ok_or(RawKeyError::Unusable)?.to_vec();
        let algorithm = spki::algorithm(&spki).map_err(RawKeyError::Private)?;
        // A SubjectPublicKeyInfo is never empty, and only the digest of nothing is no key id.
        let key_id = KeyId::of_spki(&spki).map_err(|_| RawKeyError::Unusable)?;
        let certified = CertifiedKey::new(vec![CertificateDer::from(spki)], signer);
        Ok(Self {
            private,
            certified: Arc::new(certified),
            algorithm,
            key_id,
        })
    }

    /// The key id: the hash of the public key.
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The algorithm with its parameters.
    pub const fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The public key as DER SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        self.certified.cert.first().map_or(&[], |key| key.as_ref())
    }

    /// The private key as PKCS#8 PEM.
    pub fn private_pem(&self) -> Secret {
        Secret::new(pem("PRIVATE KEY", &self.private).to_vec())
    }

    /// The public key as SubjectPublicKeyInfo PEM.
    pub fn public_pem(&self) -> String {
        String::from_utf8_lossy(&pem("PUBLIC KEY", self.spki())).into_owned()
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

impl fmt::Debug for RawKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawKey({}, {})", self.algorithm, self.key_id)
    }
}

/// A key pair that cannot be read or generated. The files are the administrator's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RawKeyError {
    /// No PKCS#8 section in the private file.
    #[error("no private key found, expected PEM with BEGIN PRIVATE KEY (PKCS#8, not encrypted)")]
    NoPrivateKey,
    /// A private key, but in another format.
    #[error(
        "the private key is in the format {0:?}, expected PEM with BEGIN PRIVATE KEY; convert it with: openssl pkcs8 -topk8 -nocrypt"
    )]
    Format(&'static str),
    /// A private key of a kind that cannot be used.
    #[error("the private key cannot be used")]
    Private(#[source] SpkiError),
    /// The right kind of private key, but broken, or an RSA key of a wrong length.
    #[error("the private key is damaged, or an RSA key with less than 2048 or more than 8192 bits")]
    Unusable,
    /// No SubjectPublicKeyInfo section in the public file.
    #[error("no public key found, expected PEM with BEGIN PUBLIC KEY")]
    NoPublicKey,
    /// The two files hold halves of different pairs.
    #[error("the public key does not belong to the private key")]
    Mismatch,
    /// The system gave no random numbers.
    #[error("cannot generate a key: no random numbers from the system")]
    Generate,
}

/// The DER inside the first PKCS#8 section.
fn private_section(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, RawKeyError> {
    let mut other = None;
    for section in sections(text) {
        match section {
            (SectionKind::PrivateKey, der) => return Ok(der),
            (SectionKind::RsaPrivateKey, _) => other = Some("RSA PRIVATE KEY"),
            (SectionKind::EcPrivateKey, _) => other = Some("EC PRIVATE KEY"),
            _ => {}
        }
    }
    Err(other.map_or(RawKeyError::NoPrivateKey, RawKeyError::Format))
}

/// The DER inside the first SubjectPublicKeyInfo section.
fn public_section(text: &[u8]) -> Result<Vec<u8>, RawKeyError> {
    sections(text)
        .find(|(kind, _)| *kind == SectionKind::PublicKey)
        .map(|(_, der)| der.to_vec())
        .ok_or(RawKeyError::NoPublicKey)
}

/// All PEM sections up to the first that is broken; text around them is skipped (RFC 7468, 2).
fn sections(mut text: &[u8]) -> impl Iterator<Item = (SectionKind, Zeroizing<Vec<u8>>)> {
    std::iter::from_fn(move || match pem::from_buf(&mut text) {
        Ok(Some((kind, der))) => Some((kind, Zeroizing::new(der))),
        _ => None,
    })
}

/// One PEM section (RFC 7468).
fn pem(label: &str, der: &[u8]) -> Zeroizing<Vec<u8>> {
    let base64 = Zeroizing::new(BASE64.encode(der).into_bytes());
    let lines = base64.len().div_ceil(PEM_WIDTH);
    // All the room at once, so that no copy of a private key stays behind.
    let mut text = Zeroizing::new(Vec::with_capacity(base64.len() + lines + 64));
    text.extend_from_slice(format!("-----BEGIN {label}-----\n").as_bytes());
    for line in base64.chunks(PEM_WIDTH) {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text.extend_from_slice(format!("-----END {label}-----\n").as_bytes());
    text
}
