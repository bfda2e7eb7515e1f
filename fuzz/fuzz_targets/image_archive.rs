//! An unpacked boot image that is read, written and read again gives the same members.
#![no_main]

use std::io::Write;

use cpio::newc;
use libfuzzer_sys::fuzz_target;
use nightlatch_machine::check::archive::{MemberKind, Members, ReadMode, read_unpacked};

fn read(bytes: &[u8]) -> Option<Members> {
    let mut members = Members::new();
    read_unpacked(bytes, &|_, _| ReadMode::Text, &mut members).ok()?;
    Some(members)
}

fuzz_target!(|bytes: &[u8]| {
    let Some(members) = read(bytes) else { return };
    let mut written = Vec::new();
    for (path, member) in &members {
        let (kind, content) = match &member.what {
            MemberKind::Text(text) => (0o100_000, text.as_str()),
            MemberKind::Link(to) => (0o120_000, to.as_str()),
            MemberKind::File(_) | MemberKind::Unread => unreachable!("all texts were asked for"),
            MemberKind::Other => (0o040_000, ""),
        };
        // Bytes that are no text are longer as one, and a text has an end.
        if content.len() > 60_000 {
            return;
        }
        let builder = newc::Builder::new(path).mode(kind | member.mode);
        let builder = builder.uid(member.owner.0).gid(member.owner.1);
        let mut writer = builder.write(&mut written, content.len() as u32);
        writer.write_all(content.as_bytes()).unwrap();
        writer.finish().unwrap();
    }
    newc::trailer(&mut written).unwrap();
    assert_eq!(read(&written), Some(members));
});
