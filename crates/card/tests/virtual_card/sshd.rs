//! Real SSH servers, one process for one connection: `ssh` starts it as its transport.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use nightlatch_test_support::skipped;

use super::world::{World, peer};

/// A host with a key of its own, which lets in the card's key.
pub(crate) struct Host {
    /// A program that is an sshd on standard input and output.
    pub(crate) transport: PathBuf,
    /// The private host key; the public one is beside it.
    pub(crate) key: PathBuf,
}

impl Host {
    /// The public key, as `TYPE BASE64`.
    pub(crate) fn public(&self) -> String {
        let text = fs::read_to_string(self.key.with_extension("pub")).unwrap();
        let words: Vec<&str> = text.split(' ').take(2).collect();
        words.join(" ")
    }

    /// The port of this host on 127.0.0.1, for one connection.
    pub(crate) fn listen_once(&self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let transport = self.transport.clone();
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let output = OwnedFd::from(stream.try_clone().unwrap());
            let mut sshd = Command::new(transport);
            sshd.stdin(OwnedFd::from(stream)).stdout(output);
            let _ = sshd.status();
        });
        port
    }
}

/// False where there is no sshd, which is told.
pub(crate) fn has_sshd() -> bool {
    let found = peer("usr/sbin/sshd").is_file();
    if !found {
        skipped("needs sshd (scripts/prepare test)");
    }
    found
}

impl World {
    /// A new host. `options` are further words for its sshd.
    pub(crate) fn host(&self, name: &str, kind: &str, options: &str) -> Host {
        let key = self.path(&format!("host-{name}"));
        self.keygen(&["-q", "-t", kind, "-N", "", "-f", key.to_str().unwrap()]);
        let public = self.run(&["pubkey"]).stdout;
        let authorized = self.path("authorized_keys");
        fs::write(&authorized, public).unwrap();
        fs::set_permissions(&authorized, fs::Permissions::from_mode(0o600)).unwrap();
        let accounts = Path::new("/etc/passwd");
        let mut all = fs::read_to_string(accounts).unwrap();
        if !all.lines().any(|line| line.starts_with("sshd:")) {
            all.push_str("sshd:x:65532:65534::/run/sshd:/usr/sbin/nologin\n");
        }
        fs::write(self.path("passwd"), all).unwrap();
        let script = format!(
            "#!/bin/sh\nexec unshare --mount --propagation private sh -ec 'mount -t tmpfs none /run; mkdir /run/sshd; \
             mount --bind {passwd} /etc/passwd; exec {sshd} -i -e -f /dev/null -h {key} -o StrictModes=no -o UsePAM=no \
             -o PermitRootLogin=yes -o AuthorizedKeysFile={authorized} {options} 2>>{log}'\n",
            passwd = self.path("passwd").display(),
            sshd = peer("usr/sbin/sshd").display(),
            key = key.display(),
            authorized = authorized.display(),
            log = self.path("sshd.log").display(),
        );
        let transport = self.path(&format!("transport-{name}"));
        fs::write(&transport, script).unwrap();
        fs::set_permissions(&transport, fs::Permissions::from_mode(0o755)).unwrap();
        Host { transport, key }
    }

    pub(crate) fn keygen(&self, words: &[&str]) {
        let made = self.ssh("ssh-keygen").args(words).output().unwrap();
        assert!(made.status.success(), "{made:?}");
    }

    /// The options of ssh(1) for a host: it believes every host key, so that the agent alone refuses.
    pub(crate) fn ssh_options(host: &Host) -> Vec<String> {
        let mut words = vec!["-F".to_owned(), "/dev/null".to_owned(), "-T".to_owned()];
        let transport = format!("ProxyCommand={}", host.transport.display());
        for option in [
            transport.as_str(),
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "BatchMode=yes",
            "LogLevel=ERROR",
        ] {
            words.extend(["-o".to_owned(), option.to_owned()]);
        }
        words
    }
}
