//! Kinds of keys that the virtual card does not have, or not right: OpenSSL computes what a card would, and OpenSSH verifies.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

/// What a card does with the data of INTERNAL AUTHENTICATE.
fn openssl(folder: &Path, words: &[&str]) -> Vec<u8> {
    let mut command = Command::new("openssl");
    let output = command.args(words).current_dir(folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words:?}: {said}");
    output.stdout
}

fn template(objects: &[(u8, &[u8])]) -> Vec<u8> {
    let long = |tag: &[u8], value: &[u8]| {
        let length = u16::try_from(value.len()).unwrap().to_be_bytes();
        [tag, &[0x82], &length, value].concat()
    };
    let inner: Vec<u8> = objects
        .iter()
        .flat_map(|(tag, value)| long(&[*tag], value))
        .collect();
    long(&[0x7f, 0x49], &inner)
}

/// `ssh-keygen -Y verify` of a message that `key` signs; `card` computes.
fn verify(folder: &Path, key: &AuthKey, flags: u32, card: impl Fn(&[u8]) -> Vec<u8>) {
    let message = b"the message";
    let common = |tail: &[u8]| {
        let mut data = Vec::new();
        for part in [&b"file"[..], b"", b"sha512", tail] {
            put_string(&mut data, part);
        }
        data
    };
    let signed = [b"SSHSIG", &common(&Sha512::digest(message))[..]].concat();
    let input = key.sign_input(&signed, flags).unwrap();
    let raw = card(&input.data);
    let signature = key.signature(input.algorithm, &raw).unwrap();
    let mut file = b"SSHSIG\0\0\0\x01".to_vec();
    put_string(&mut file, &key.blob());
    file.extend(common(&signature));
    let armour = format!(
        "-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n",
        STANDARD.encode(file)
    );
    fs::write(folder.join("sig"), armour).unwrap();
    fs::write(folder.join("signers"), format!("me {}\n", key.line())).unwrap();
    fs::write(folder.join("message"), message).unwrap();
    let output = Command::new("ssh-keygen")
        .args([
            "-Y", "verify", "-f", "signers", "-I", "me", "-n", "file", "-s", "sig",
        ])
        .current_dir(folder)
        .stdin(Stdio::from(fs::File::open(folder.join("message")).unwrap()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn openssh_verifies_what_a_card_signs_by_rsa() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    openssl(folder, &["genrsa", "-out", "key", "2048"]);
    let modulus = openssl(folder, &["rsa", "-in", "key", "-noout", "-modulus"]);
    let modulus = String::from_utf8(modulus).unwrap();
    let digits = modulus.trim().strip_prefix("Modulus=").unwrap();
    let bytes = digits.as_bytes().chunks(2);
    let modulus: Vec<u8> = bytes
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    let answer = template(&[(0x81, &modulus), (0x82, &[1, 0, 1])]);
    let key = AuthKey::parse(KeyAlgorithm::Rsa, &answer).unwrap();
    for flags in [RSA_SHA2_256, RSA_SHA2_512] {
        // Pads the DigestInfo, and hashes nothing (OpenPGP card 3.4, 7.2.13).
        verify(folder, &key, flags, |data| {
            let ones = vec![0xff; modulus.len() - data.len() - 3];
            let padded = [&[0, 1][..], &ones, &[0], data].concat();
            fs::write(folder.join("data"), padded).unwrap();
            let mode = ["-pkeyopt", "rsa_padding_mode:none"];
            let words = ["pkeyutl", "-decrypt", "-inkey", "key", "-in", "data"];
            openssl(folder, &[&words[..], &mode].concat())
        });
    }
}

#[test]
fn openssh_verifies_what_a_card_signs_by_ecdsa_on_each_curve() {
    for (name, curve) in [
        ("P-256", Curve::P256),
        ("P-384", Curve::P384),
        ("P-521", Curve::P521),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let option = format!("ec_paramgen_curve:{name}");
        openssl(
            folder,
            &[
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                &option,
                "-out",
                "key",
            ],
        );
        let public = openssl(
            folder,
            &["pkey", "-in", "key", "-pubout", "-outform", "DER"],
        );
        let point = &public[public.len() - (1 + 2 * curve.length())..];
        let answer = template(&[(0x86, point)]);
        let key = AuthKey::parse(KeyAlgorithm::Ecdsa(curve), &answer).unwrap();
        verify(folder, &key, 0, |hash| {
            fs::write(folder.join("data"), hash).unwrap();
            let der = openssl(
                folder,
                &["pkeyutl", "-sign", "-inkey", "key", "-in", "data"],
            );
            raw(&der, curve.length())
        });
    }
}

/// r and s as a card gives them, of a signature in DER.
fn raw(der: &[u8], length: usize) -> Vec<u8> {
    let numbers = tlv::find(der, 0x30).unwrap();
    let r = tlv::find(numbers, 2).unwrap();
    let s = tlv::find(&numbers[r.len() + 2..], 2).unwrap();
    let padded = |number: &[u8]| {
        let digits = &number[number.len().saturating_sub(length)..];
        [&vec![0; length - digits.len()], digits].concat()
    };
    [padded(r), padded(s)].concat()
}
