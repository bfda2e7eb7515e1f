use std::os::unix::fs::PermissionsExt;

use super::*;

/// A password of a service must not keep the machines of a fleet from their disks.
#[test]
fn a_named_secret_with_a_fault_keeps_no_server_from_its_start() {
    let folder = tempfile::tempdir().unwrap();
    let key_id = "a1".repeat(32);
    let text = format!("[m]\nkey_id = {key_id}\nsecret = YWJj\nsecret.pin = YWJj\n");
    let file = folder.path().join(CLIENTS_FILE);
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let started = read_for_start(folder.path(), None).unwrap();
    assert_eq!((started.clients.len(), started.faults.len()), (1, 0));
    let [fault] = &started.left_out[..] else {
        panic!("{:?}", started.left_out);
    };
    assert!(fault.to_string().contains(":4: [m] secret.pin"), "{fault}");
    // A reload keeps what it has, so it refuses, as nightlatchd --check-config does.
    let refused = read_all(folder.path(), None).unwrap_err();
    assert_eq!(refused.faults.len(), 1);
}
