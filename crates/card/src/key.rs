//! The authentication key of a card: its public half as SSH writes it, what the card has to compute on, and the signature that
//! is made of its answer. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nightlatch_core::ssh::wire::{put_magnitude, put_string};
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::apdu::Expected;
use crate::tlv;

/// Flags of a sign request: RSA with SHA-256, and with SHA-512 (draft-ietf-sshm-ssh-agent, 3.6.1).
pub(crate) const RSA_SHA2_256: u32 = 2;
pub(crate) const RSA_SHA2_512: u32 = 4;

/// A curve of NIST.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    const fn name(self) -> &'static str {
        match self {
            Self::P256 => "nistp256",
            Self::P384 => "nistp384",
            Self::P521 => "nistp521",
        }
    }

    const fn algorithm(self) -> &'static str {
        match self {
            Self::P256 => "ecdsa-sha2-nistp256",
            Self::P384 => "ecdsa-sha2-nistp384",
            Self::P521 => "ecdsa-sha2-nistp521",
        }
    }

    /// The length of a number in bytes.
    const fn length(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// RFC 5656, 6.2.1.
    fn hash(self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::P256 => Sha256::digest(data).to_vec(),
            Self::P384 => Sha384::digest(data).to_vec(),
            Self::P521 => Sha512::digest(data).to_vec(),
        }
    }
}

/// Algorithm attributes (C3), as far as SSH has a use for them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum KeyAlgorithm {
    Ed25519,
    Ecdsa(Curve),
    Rsa,
}

impl KeyAlgorithm {
    pub(crate) fn parse(attributes: &[u8]) -> Option<Self> {
        let (&algorithm, rest) = attributes.split_first()?;
        // A last byte FF says that keys are imported with their public half.
        let oid = rest.strip_suffix(&[0xff]).unwrap_or(rest);
        match (algorithm, oid) {
            (0x01, _) => Some(Self::Rsa),
            // The one of GnuPG, and that of RFC 8410.
            (0x16, [0x2b, 6, 1, 4, 1, 0xda, 0x47, 0x0f, 1] | [0x2b, 0x65, 0x70]) => {
                Some(Self::Ed25519)
            }
            (0x13, [0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]) => Some(Self::Ecdsa(Curve::P256)),
            (0x13, [0x2b, 0x81, 4, 0, 0x22]) => Some(Self::Ecdsa(Curve::P384)),
            (0x13, [0x2b, 0x81, 4, 0, 0x23]) => Some(Self::Ecdsa(Curve::P521)),
            _ => None,
        }
    }
}

/// The public half of an authentication key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum AuthKey {
    Ed25519([u8; 32]),
    /// An uncompressed point.
    Ecdsa(Curve, Vec<u8>),
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
}

/// No signature is possible for what was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum SignFault {
    #[error(
        "a client asks for RSA with SHA-1, which is refused; it must use rsa-sha2-256 or rsa-sha2-512"
    )]
    Sha1,
    #[error("the card's signature has {found} bytes, expected {expected}")]
    Length { found: usize, expected: usize },
}

/// The work of the card for one signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SignInput {
    /// The name of the signature's algorithm.
    pub(crate) algorithm: &'static str,
    /// Data of INTERNAL AUTHENTICATE.
    pub(crate) data: Vec<u8>,
    pub(crate) expected: Expected,
}

impl AuthKey {
    /// Reads a public key template (7F49), the answer to GENERATE ASYMMETRIC KEY PAIR.
    pub(crate) fn parse(algorithm: KeyAlgorithm, answer: &[u8]) -> Option<Self> {
        let template = tlv::find(answer, 0x7f49)?;
        let point = || tlv::find(template, 0x86);
        match algorithm {
            KeyAlgorithm::Ed25519 => match point()? {
                // Some cards put the prefix of native points before it.
                [0x40, point @ ..] if point.len() == 32 => {
                    Some(Self::Ed25519(point.try_into().ok()?))
                }
                point => Some(Self::Ed25519(point.try_into().ok()?)),
            },
            KeyAlgorithm::Ecdsa(curve) => {
                let point = point()?;
                let fits = point.len() == 1 + 2 * curve.length() && point.starts_with(&[4]);
                fits.then(|| Self::Ecdsa(curve, point.to_vec()))
            }
            KeyAlgorithm::Rsa => {
                let magnitude = |tag| {
                    let bytes = tlv::find(template, tag)?;
                    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
                    Some(bytes.get(zeros..)?.to_vec()).filter(|bytes| !bytes.is_empty())
                };
                Some(Self::Rsa {
                    modulus: magnitude(0x81)?,
                    exponent: magnitude(0x82)?,
                })
            }
        }
    }

    /// The name of the key's type.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "ssh-ed25519",
            Self::Ecdsa(curve, _) => curve.algorithm(),
            Self::Rsa { .. } => "ssh-rsa",
        }
    }

    /// The key as it stands in messages and, in base64, in files (RFC 4253, 6.6).
    pub(crate) fn blob(&self) -> Vec<u8> {
        let mut blob = Vec::new();
        put_string(&mut blob, self.kind().as_bytes());
        match self {
            Self::Ed25519(point) => put_string(&mut blob, point),
            Self::Ecdsa(curve, point) => {
                put_string(&mut blob, curve.name().as_bytes());
                put_string(&mut blob, point);
            }
            Self::Rsa { modulus, exponent } => {
                put_magnitude(&mut blob, exponent);
                put_magnitude(&mut blob, modulus);
            }
        }
        blob
    }

    /// A line of authorized_keys without a comment.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.kind(), STANDARD.encode(self.blob()))
    }

    /// As `ssh-keygen -l` prints it.
    pub(crate) fn fingerprint(&self) -> String {
        nightlatch_core::ssh::fingerprint(&self.blob())
    }

    /// What the card computes on to sign `data`.
    pub(crate) fn sign_input(&self, data: &[u8], flags: u32) -> Result<SignInput, SignFault> {
        let (algorithm, data, expected) = match self {
            // The card hashes it: the whole message goes there.
            Self::Ed25519(_) => ("ssh-ed25519", data.to_vec(), Expected::Short),
            Self::Ecdsa(curve, _) => (curve.algorithm(), curve.hash(data), Expected::Short),
            Self::Rsa { .. } => {
                let (algorithm, prefix, digest) = if flags & RSA_SHA2_512 != 0 {
                    let digest = Sha512::digest(data).to_vec();
                    ("rsa-sha2-512", &DIGEST_INFO_SHA512, digest)
                } else if flags & RSA_SHA2_256 != 0 {
                    let digest = Sha256::digest(data).to_vec();
                    ("rsa-sha2-256", &DIGEST_INFO_SHA256, digest)
                } else {
                    return Err(SignFault::Sha1);
                };
                (algorithm, [&prefix[..], &digest].concat(), Expected::Long)
            }
        };
        Ok(SignInput {
            algorithm,
            data,
            expected,
        })
    }

    /// Refuses bytes that are too few or too many for a signature of this key.
    pub(crate) const fn check_length(&self, raw: &[u8]) -> Result<(), SignFault> {
        let expected = match self {
            Self::Ed25519(_) => 64,
            Self::Ecdsa(curve, _) => 2 * curve.length(),
            Self::Rsa { modulus, .. } => modulus.len(),
        };
        let found = raw.len();
        match found == expected {
            true => Ok(()),
            false => Err(SignFault::Length { found, expected }),
        }
    }

    /// The signature as SSH writes it, of the bytes that the card gave.
    pub(crate) fn signature(&self, algorithm: &str, raw: &[u8]) -> Result<Vec<u8>, SignFault> {
        self.check_length(raw)?;
        let mut signature = Vec::new();
        put_string(&mut signature, algorithm.as_bytes());
        match self {
            Self::Ecdsa(curve, _) => {
                let (r, s) = raw.split_at(curve.length());
                let mut numbers = Vec::new();
                put_magnitude(&mut numbers, r);
                put_magnitude(&mut numbers, s);
                put_string(&mut signature, &numbers);
            }
            Self::Ed25519(_) | Self::Rsa { .. } => put_string(&mut signature, raw),
        }
        Ok(signature)
    }
}

/// DigestInfo up to the digest (RFC 8017, 9.2, note 1).
const DIGEST_INFO_SHA256: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];
const DIGEST_INFO_SHA512: [u8; 19] = [
    0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05,
    0x00, 0x04, 0x40,
];

#[cfg(test)]
mod openssl;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn template(objects: &[(u8, &[u8])]) -> Vec<u8> {
        let mut inner = Vec::new();
        for (tag, value) in objects {
            inner.extend([*tag, 0x81, u8::try_from(value.len()).unwrap()]);
            inner.extend(*value);
        }
        let mut all = vec![0x7f, 0x49, 0x82];
        all.extend(u16::try_from(inner.len()).unwrap().to_be_bytes());
        all.extend(inner);
        all
    }

    #[test]
    fn each_algorithm_of_ssh_is_read_from_its_attributes() {
        let ed25519 = crate::card_data::tests::ED25519;
        for (attributes, algorithm) in [
            (&[1, 8, 0, 0, 17, 0][..], KeyAlgorithm::Rsa),
            (&ed25519, KeyAlgorithm::Ed25519),
            (&[0x16, 0x2b, 0x65, 0x70, 0xff], KeyAlgorithm::Ed25519),
            (
                &[0x13, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7, 0xff],
                KeyAlgorithm::Ecdsa(Curve::P256),
            ),
            (
                &[0x13, 0x2b, 0x81, 4, 0, 0x22],
                KeyAlgorithm::Ecdsa(Curve::P384),
            ),
            (
                &[0x13, 0x2b, 0x81, 4, 0, 0x23],
                KeyAlgorithm::Ecdsa(Curve::P521),
            ),
        ] {
            assert_eq!(KeyAlgorithm::parse(attributes), Some(algorithm));
        }
        // A key for decryption (ECDH), secp256k1, nothing.
        for other in [
            &[0x12, 0x2b, 0x65, 0x70][..],
            &[0x13, 0x2b, 0x81, 4, 0, 0x0a],
            &[],
        ] {
            assert_eq!(KeyAlgorithm::parse(other), None);
        }
    }

    #[test]
    fn a_key_of_another_size_than_its_algorithm_is_none() {
        let ed25519 =
            |bytes: &[u8]| AuthKey::parse(KeyAlgorithm::Ed25519, &template(&[(0x86, bytes)]));
        assert_eq!(ed25519(&[7; 32]), Some(AuthKey::Ed25519([7; 32])));
        let prefixed = [&[0x40][..], &[7; 32]].concat();
        assert_eq!(ed25519(&prefixed), Some(AuthKey::Ed25519([7; 32])));
        assert_eq!(ed25519(&[7; 31]), None);
        assert_eq!(ed25519(&[7; 33]), None);
        let p256 = KeyAlgorithm::Ecdsa(Curve::P256);
        let point = [&[4][..], &[9; 64]].concat();
        assert!(AuthKey::parse(p256, &template(&[(0x86, &point)])).is_some());
        assert!(AuthKey::parse(p256, &template(&[(0x86, &[4; 64])])).is_none());
        assert!(AuthKey::parse(p256, &template(&[(0x86, &[2; 65])])).is_none());
        let rsa = template(&[(0x81, &[0, 0, 0x80, 1]), (0x82, &[1, 0, 1])]);
        let key = AuthKey::parse(KeyAlgorithm::Rsa, &rsa).unwrap();
        let expected = AuthKey::Rsa {
            modulus: vec![0x80, 1],
            exponent: vec![1, 0, 1],
        };
        assert_eq!(key, expected);
    }

    #[test]
    fn rsa_is_signed_with_sha2_or_not_at_all() {
        let key = AuthKey::Rsa {
            modulus: vec![0x80; 256],
            exponent: vec![1, 0, 1],
        };
        assert_eq!(key.sign_input(b"x", 0), Err(SignFault::Sha1));
        let short = key.sign_input(b"x", RSA_SHA2_256).unwrap();
        assert_eq!((short.algorithm, short.data.len()), ("rsa-sha2-256", 51));
        let long = key.sign_input(b"x", RSA_SHA2_256 | RSA_SHA2_512).unwrap();
        assert_eq!((long.algorithm, long.data.len()), ("rsa-sha2-512", 83));
        assert_eq!(long.expected, Expected::Long);
    }

    #[test]
    fn an_answer_of_another_length_is_no_signature() {
        let key = AuthKey::Ed25519([0; 32]);
        let fault = SignFault::Length {
            found: 63,
            expected: 64,
        };
        assert_eq!(key.signature("ssh-ed25519", &[0; 63]), Err(fault));
        assert!(key.signature("ssh-ed25519", &[1; 64]).is_ok());
        let point = [&[4][..], &[9; 132]].concat();
        let key = AuthKey::Ecdsa(Curve::P521, point);
        assert!(key.signature("x", &[1; 131]).is_err());
    }

    proptest! {
        /// Numbers of ECDSA lose their leading zeros and never become negative.
        #[test]
        fn the_numbers_of_ecdsa_are_those_of_the_card(raw in prop::collection::vec(any::<u8>(), 64)) {
            use nightlatch_core::ssh::wire::WireReader;
            let key = AuthKey::Ecdsa(Curve::P256, vec![4; 65]);
            let signature = key.signature("ecdsa-sha2-nistp256", &raw).unwrap();
            let mut reader = WireReader::new(&signature);
            prop_assert_eq!(reader.string().unwrap(), b"ecdsa-sha2-nistp256");
            let mut numbers = WireReader::new(reader.string().unwrap());
            for half in raw.chunks(32) {
                let number = numbers.magnitude().unwrap();
                let mut whole = vec![0; 32 - number.len()];
                whole.extend(number);
                prop_assert_eq!(&whole, half);
            }
            numbers.end().unwrap();
        }

        #[test]
        fn no_template_is_a_panic(data in prop::collection::vec(any::<u8>(), 0..80)) {
            for algorithm in [KeyAlgorithm::Rsa, KeyAlgorithm::Ed25519, KeyAlgorithm::Ecdsa(Curve::P256)] {
                let _ = AuthKey::parse(algorithm, &data);
                let _ = AuthKey::parse(algorithm, &[&[0x7f, 0x49, 80][..], &data, &[0; 80]].concat());
            }
        }
    }
}
