//! The names in GnuTLS priority strings, and what each stands for here. Names are matched without
//! regard to case, as in GnuTLS. `gnutls-cli --list` prints all that exist.

use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};
use rustls::{SignatureScheme, SupportedCipherSuite};

/// The keywords that a string can begin with. `gnutls-cli --list --priority` shows the meaning of each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum InitialKeyword {
    /// Everything, strongest first.
    Normal,
    /// Everything, quickest cipher first.
    Performance,
    /// 192 bits and more.
    Secure192,
    /// Nothing; what follows adds.
    None,
}

impl InitialKeyword {
    pub(super) const NAMES: &[&str] = &[
        "NORMAL",
        "PERFORMANCE",
        "PFS",
        "SECURE128",
        "SECURE192",
        "SECURE256",
        "NONE",
    ];

    pub(super) fn named(name: &str) -> Option<Self> {
        match name.to_ascii_uppercase().as_str() {
            "NORMAL" | "PFS" | "SECURE128" => Some(Self::Normal),
            "PERFORMANCE" => Some(Self::Performance),
            // The same in GnuTLS.
            "SECURE192" | "SECURE256" => Some(Self::Secure192),
            "NONE" => Some(Self::None),
            _ => None,
        }
    }
}

/// A TLS 1.3 cipher suite (RFC 8446, B.4), named by its cipher.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CipherSuite {
    Aes256Gcm,
    ChaCha20Poly1305,
    Aes128Gcm,
}

impl CipherSuite {
    pub(super) const ALL: &[Self] = &[Self::Aes256Gcm, Self::ChaCha20Poly1305, Self::Aes128Gcm];

    pub(super) const fn of_rustls(self) -> SupportedCipherSuite {
        match self {
            Self::Aes256Gcm => cipher_suite::TLS13_AES_256_GCM_SHA384,
            Self::ChaCha20Poly1305 => cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            Self::Aes128Gcm => cipher_suite::TLS13_AES_128_GCM_SHA256,
        }
    }
}

/// A group for the key exchange. Each gives forward secrecy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum KeyExchangeGroup {
    /// Hybrid with ML-KEM-768: traffic recorded today stays secret from a quantum computer.
    X25519MlKem768,
    X25519,
    P256,
    P384,
}

impl KeyExchangeGroup {
    /// Key shares are sent for the first two at once, so that a peer of any age can answer directly.
    pub(super) const ALL: &[Self] = &[Self::X25519MlKem768, Self::X25519, Self::P256, Self::P384];

    pub(super) fn of_rustls(self) -> &'static dyn SupportedKxGroup {
        match self {
            Self::X25519MlKem768 => kx_group::X25519MLKEM768,
            Self::X25519 => kx_group::X25519,
            Self::P256 => kx_group::SECP256R1,
            Self::P384 => kx_group::SECP384R1,
        }
    }
}

/// A signature algorithm of the handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scheme {
    Ed25519,
    EcdsaP256,
    EcdsaP384,
    EcdsaP521,
    RsaPss256,
    RsaPss384,
    RsaPss512,
}

impl Scheme {
    pub(super) const ALL: &[Self] = &[
        Self::Ed25519,
        Self::EcdsaP256,
        Self::EcdsaP384,
        Self::EcdsaP521,
        Self::RsaPss256,
        Self::RsaPss384,
        Self::RsaPss512,
    ];

    pub(super) const fn of_rustls(self) -> SignatureScheme {
        match self {
            Self::Ed25519 => SignatureScheme::ED25519,
            Self::EcdsaP256 => SignatureScheme::ECDSA_NISTP256_SHA256,
            Self::EcdsaP384 => SignatureScheme::ECDSA_NISTP384_SHA384,
            Self::EcdsaP521 => SignatureScheme::ECDSA_NISTP521_SHA512,
            Self::RsaPss256 => SignatureScheme::RSA_PSS_SHA256,
            Self::RsaPss384 => SignatureScheme::RSA_PSS_SHA384,
            Self::RsaPss512 => SignatureScheme::RSA_PSS_SHA512,
        }
    }
}

/// The meaning of a name after `+` or `-`.
pub(super) enum PriorityItem {
    Suites(&'static [CipherSuite]),
    Groups(&'static [KeyExchangeGroup]),
    Schemes(&'static [Scheme]),
    Tls13,
    RawKeys,
    Aead,
    /// Always so in TLS 1.3.
    Implied,
}

impl PriorityItem {
    pub(super) fn named(name: &str) -> Option<Self> {
        let name = name.to_ascii_uppercase();
        let single = match name.as_str() {
            "VERS-TLS1.3" | "VERS-ALL" | "VERS-TLS-ALL" => Some(Self::Tls13),
            "CTYPE-RAWPK" | "CTYPE-CLI-RAWPK" | "CTYPE-SRV-RAWPK" | "CTYPE-ALL"
            | "CTYPE-CLI-ALL" | "CTYPE-SRV-ALL" => Some(Self::RawKeys),
            "AEAD" | "MAC-ALL" => Some(Self::Aead),
            // In TLS 1.3 the groups determine the key exchange; GnuTLS too lists no key exchange for it.
            "COMP-NULL" | "COMP-ALL" | "KX-ALL" | "ECDHE-RSA" | "ECDHE-ECDSA" => {
                Some(Self::Implied)
            }
            _ => None,
        };
        single
            .or_else(|| find(SUITES, &name).map(Self::Suites))
            .or_else(|| {
                // CURVE-X is the older spelling of GROUP-X.
                let newer = name.replacen("CURVE-", "GROUP-", 1);
                find(GROUPS, &newer).map(Self::Groups)
            })
            .or_else(|| find(SCHEMES, &name).map(Self::Schemes))
    }
}

/// Pairs of a name and its meaning.
type NameTable<T> = &'static [(&'static str, &'static [T])];

pub(super) const SUITES: NameTable<CipherSuite> = &[
    ("AES-256-GCM", &[CipherSuite::Aes256Gcm]),
    ("CHACHA20-POLY1305", &[CipherSuite::ChaCha20Poly1305]),
    ("AES-128-GCM", &[CipherSuite::Aes128Gcm]),
    ("CIPHER-ALL", CipherSuite::ALL),
];

pub(super) const GROUPS: NameTable<KeyExchangeGroup> = &[
    ("GROUP-X25519-MLKEM768", &[KeyExchangeGroup::X25519MlKem768]),
    ("GROUP-X25519", &[KeyExchangeGroup::X25519]),
    ("GROUP-SECP256R1", &[KeyExchangeGroup::P256]),
    ("GROUP-SECP384R1", &[KeyExchangeGroup::P384]),
    ("GROUP-EC-ALL", KeyExchangeGroup::ALL),
    ("GROUP-ALL", KeyExchangeGroup::ALL),
];

pub(super) const SCHEMES: NameTable<Scheme> = &[
    ("SIGN-EDDSA-ED25519", &[Scheme::Ed25519]),
    ("SIGN-ECDSA-SECP256R1-SHA256", &[Scheme::EcdsaP256]),
    ("SIGN-ECDSA-SECP384R1-SHA384", &[Scheme::EcdsaP384]),
    ("SIGN-ECDSA-SECP521R1-SHA512", &[Scheme::EcdsaP521]),
    ("SIGN-RSA-PSS-RSAE-SHA256", &[Scheme::RsaPss256]),
    ("SIGN-RSA-PSS-RSAE-SHA384", &[Scheme::RsaPss384]),
    ("SIGN-RSA-PSS-RSAE-SHA512", &[Scheme::RsaPss512]),
    ("SIGN-ALL", Scheme::ALL),
];

fn find<T>(names: NameTable<T>, name: &str) -> Option<&'static [T]> {
    let (_, items) = names.iter().find(|(candidate, _)| *candidate == name)?;
    Some(items)
}

/// Flags that change nothing here: their effect is always on.
const HARMLESS_FLAGS: &[&str] = &[
    "SAFE_RENEGOTIATION",
    "NO_TICKETS",
    "NO_TICKETS_TLS12",
    "FORCE_ETM",
    "FORCE_SESSION_HASH",
    "SERVER_PRECEDENCE",
];

/// The names of `%PROFILE_...`, which set the least strength of certificates. Our own least
/// strengths hold with any of them, and in GnuTLS too an Ed25519 key passes the strictest.
const PROFILES: &[&str] = &[
    "VERY_WEAK",
    "LOW",
    "LEGACY",
    "MEDIUM",
    "HIGH",
    "ULTRA",
    "FUTURE",
    "SUITEB128",
    "SUITEB192",
];

pub(super) fn is_harmless_flag(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    match name.strip_prefix("PROFILE_") {
        Some(profile) => PROFILES.contains(&profile),
        None => HARMLESS_FLAGS.contains(&name.as_str()),
    }
}

/// Names that exist in GnuTLS for what we never offer: removing them changes nothing.
const UNSUPPORTED_NAMES: &[&str] = &[
    // Key exchanges of TLS 1.2 and before.
    "RSA",
    "DHE-RSA",
    "DHE-DSS",
    "PSK",
    "RSA-PSK",
    "DHE-PSK",
    "ECDHE-PSK",
    "SRP",
    "SRP-RSA",
    "SRP-DSS",
    "ANON-DH",
    "ANON-ECDH",
    "VKO-GOST-12",
    "RSA-EXPORT",
    // Ciphers.
    "AES-128-CCM",
    "AES-256-CCM",
    "AES-128-CCM-8",
    "AES-256-CCM-8",
    "AES-128-CBC",
    "AES-192-CBC",
    "AES-256-CBC",
    "CAMELLIA-128-CBC",
    "CAMELLIA-192-CBC",
    "CAMELLIA-256-CBC",
    "CAMELLIA-128-GCM",
    "CAMELLIA-256-GCM",
    "3DES-CBC",
    "DES-CBC",
    "ARCFOUR-128",
    "RC2-40",
    "NULL",
    // Message authentication of TLS 1.2 and before.
    "MD5",
    "SHA1",
    "SHA256",
    "SHA384",
    "SHA512",
    // Groups.
    "GROUP-DH-ALL",
    "GROUP-SECP192R1",
    "GROUP-SECP224R1",
    "GROUP-SECP521R1",
    "GROUP-X448",
    "GROUP-FFDHE2048",
    "GROUP-FFDHE3072",
    "GROUP-FFDHE4096",
    "GROUP-FFDHE6144",
    "GROUP-FFDHE8192",
    "GROUP-SECP256R1-MLKEM768",
    "GROUP-SECP384R1-MLKEM1024",
    "CURVE-SECP192R1",
    "CURVE-SECP224R1",
    "CURVE-SECP521R1",
    "CURVE-X448",
    // Certificate types.
    "CTYPE-X.509",
    "CTYPE-X509",
    "CTYPE-CLI-X.509",
    "CTYPE-SRV-X.509",
    "CTYPE-OPENPGP",
];

/// Prefixes of names whose other members are not supported here.
const UNSUPPORTED_PREFIXES: &[&str] = &["VERS-", "SIGN-"];

pub(super) fn is_known_to_gnutls(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    UNSUPPORTED_NAMES.contains(&name.as_str())
        || UNSUPPORTED_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// The names in one table, for an error.
pub(super) fn of<T>(names: NameTable<T>) -> String {
    let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

/// All names that may follow a sign, for an error.
pub(super) fn all() -> String {
    format!(
        "VERS-TLS1.3, CTYPE-RAWPK, {}, {}, {}",
        of(SUITES),
        of(GROUPS),
        of(SCHEMES)
    )
}

/// All flags, for an error.
pub(super) fn flags() -> String {
    format!(
        "%PROFILE_{}, %{}",
        PROFILES.join(", %PROFILE_"),
        HARMLESS_FLAGS.join(", %")
    )
}
