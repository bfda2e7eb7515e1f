use super::*;

/// One DER element with the shortest length there is.
fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len();
    let length = match length {
        0..=0x7f => vec![u8::try_from(length).unwrap()],
        0x80..=0xff => vec![0x81, u8::try_from(length).unwrap()],
        _ => [&[0x82][..], &u16::try_from(length).unwrap().to_be_bytes()].concat(),
    };
    [&[tag][..], &length, contents].concat()
}

/// A SubjectPublicKeyInfo; `after` comes behind its bit string, inside of it.
fn spki(identifier: &[u8], unused_bits: u8, key: &[u8], after: &[u8]) -> Vec<u8> {
    let identifier = element(SEQUENCE, identifier);
    let bits = element(BIT_STRING, &[&[unused_bits][..], key].concat());
    element(SEQUENCE, &[&identifier[..], &bits, after].concat())
}

fn ed25519(unused_bits: u8, after: &[u8]) -> Vec<u8> {
    spki(&element(OID, oid::ED25519), unused_bits, &[7; 32], after)
}

/// An RSA key whose modulus has this many bits.
fn rsa_key(bits: usize) -> Vec<u8> {
    let mut modulus = vec![0xff; bits.div_ceil(8)];
    let top = (bits - 1) % 8;
    modulus[0] = 0xff >> (7 - top);
    if top == 7 {
        // Else it were a negative number.
        modulus.insert(0, 0);
    }
    let exponent = element(INTEGER, &[1, 0, 1]);
    let modulus = element(INTEGER, &modulus);
    let key = element(SEQUENCE, &[modulus, exponent].concat());
    let null = [0x05, 0];
    spki(&[&element(OID, oid::RSA)[..], &null].concat(), 0, &key, &[])
}

#[test]
fn nothing_may_follow_a_key() {
    assert_eq!(algorithm(&ed25519(0, &[])), Ok(KeyAlgorithm::Ed25519));
    for after in [&[0][..], &[0x05, 0], &element(BIT_STRING, &[0])] {
        let behind = [&ed25519(0, &[])[..], after].concat();
        assert_eq!(algorithm(&behind), Err(SpkiError::Malformed), "{after:?}");
        let inside = ed25519(0, after);
        assert_eq!(algorithm(&inside), Err(SpkiError::Malformed), "{after:?}");
    }
}

#[test]
fn a_key_has_whole_bytes() {
    for unused_bits in 1..=u8::MAX {
        let key = ed25519(unused_bits, &[]);
        assert_eq!(algorithm(&key), Err(SpkiError::Malformed), "{unused_bits}");
    }
    // Not even the number of unused bits.
    let identifier = element(SEQUENCE, &element(OID, oid::ED25519));
    let empty = element(SEQUENCE, &[identifier, element(BIT_STRING, &[])].concat());
    assert_eq!(algorithm(&empty), Err(SpkiError::Malformed));
}

#[test]
fn an_rsa_key_has_2048_to_8192_bits() {
    for bits in [2048, 2049, 3072, 4096, 8185, 8191, 8192] {
        assert_eq!(algorithm(&rsa_key(bits)), Ok(KeyAlgorithm::Rsa { bits }));
    }
    for bits in [1, 1024, 2040, 2041, 2047, 8193, 8200, 16384] {
        assert_eq!(
            algorithm(&rsa_key(bits)),
            Err(SpkiError::RsaLength { bits })
        );
    }
    // A modulus of zero, and none.
    for modulus in [&[0][..], &[]] {
        let key = element(SEQUENCE, &element(INTEGER, modulus));
        let key = spki(&element(OID, oid::RSA), 0, &key, &[]);
        assert_eq!(algorithm(&key), Err(SpkiError::RsaLength { bits: 0 }));
    }
}

/// The key id is a digest of the whole: two spellings of one key would be two machines.
#[test]
fn a_length_has_one_spelling() {
    let contents = &ed25519(0, &[])[2..];
    let length = u8::try_from(contents.len()).unwrap();
    for header in [
        &[SEQUENCE, 0x81, length][..],
        &[SEQUENCE, 0x82, 0, length],
        &[SEQUENCE, 0x83, 0, 0, length],
        &[SEQUENCE, 0x80],
        &[SEQUENCE, length + 1],
        &[SEQUENCE, length - 1],
    ] {
        let key = [header, contents].concat();
        assert_eq!(algorithm(&key), Err(SpkiError::Malformed), "{header:?}");
    }
    for length in [0x7f, 0x80, 0xff, 0x100, 0xffff] {
        let bytes = element(SEQUENCE, &vec![0; length]);
        assert_eq!(Der(&bytes).expect(SEQUENCE).map(<[u8]>::len), Ok(length));
    }
    let contents = vec![0; 0xff];
    let long = [&[SEQUENCE, 0x82, 0, 0xff][..], &contents].concat();
    assert_eq!(Der(&long).expect(SEQUENCE), Err(SpkiError::Malformed));
}

/// The error names the kind of key, so that its owner can act.
#[test]
fn a_kind_of_key_is_told_by_its_identifier() {
    let of = |oids: &[&[u8]]| {
        let identifier: Vec<u8> = oids.iter().flat_map(|it| element(OID, it)).collect();
        algorithm(&spki(&identifier, 0, &[4; 65], &[]))
    };
    for (curve, expected) in [
        (oid::P256, KeyAlgorithm::EcdsaP256),
        (oid::P384, KeyAlgorithm::EcdsaP384),
        (oid::P521, KeyAlgorithm::EcdsaP521),
    ] {
        assert_eq!(of(&[oid::EC, curve]), Ok(expected));
        // A curve is no kind of key.
        assert_eq!(of(&[curve]), Err(SpkiError::Unsupported("such")));
    }
    // secp256k1
    let other = &[0x2b, 0x81, 0x04, 0x00, 0x0a][..];
    for oids in [&[oid::EC, other][..], &[oid::EC]] {
        let expected = SpkiError::Unsupported("elliptic-curve (of another curve)");
        assert_eq!(of(oids), Err(expected));
    }
    for (oid, name) in oid::UNSUPPORTED {
        assert_eq!(of(&[oid]), Err(SpkiError::Unsupported(name)));
    }
}

#[test]
fn a_certificate_is_told_from_a_broken_key() {
    for (tag, expected) in [
        (EXPLICIT_0, SpkiError::Certificate),
        (INTEGER, SpkiError::Certificate),
        (SEQUENCE, SpkiError::Malformed),
        (BIT_STRING, SpkiError::Malformed),
    ] {
        let identifier = element(tag, &[2]);
        assert_eq!(
            algorithm(&spki(&identifier, 0, &[7; 32], &[])),
            Err(expected)
        );
    }
}
