# A machine that starts systemd from its root, with its agent. Only what is needed here: in an emulator each unit takes a
# second. Without udev the devices stay as the initramfs has found them.
systemctl mask --quiet \
    nightlatchd.service systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket \
    systemd-udev-trigger.service \
    dbus.service dbus.socket systemd-logind.service systemd-user-sessions.service \
    systemd-cryptsetup@root_crypt.service cryptdisks.service cryptdisks-early.service \
    getty@.service getty-static.service serial-getty@.service console-getty.service \
    systemd-ask-password-console.path systemd-ask-password-wall.path systemd-initctl.socket \
    kmod-static-nodes.service modprobe@.service systemd-modules-load.service \
    dev-hugepages.mount dev-mqueue.mount proc-sys-fs-binfmt_misc.automount systemd-binfmt.service \
    sys-fs-fuse-connections.mount sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
    systemd-journal-flush.service systemd-random-seed.service systemd-update-utmp.service \
    systemd-update-utmp-runlevel.service systemd-sysctl.service systemd-sysusers.service systemd-firstboot.service \
    systemd-machine-id-commit.service systemd-tmpfiles-setup-dev.service systemd-pstore.service systemd-repart.service \
    systemd-pcrphase.service systemd-pcrphase-sysinit.service dracut-shutdown.service \
    e2scrub_reap.service e2scrub_all.timer apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer \
    systemd-tmpfiles-clean.timer
echo "/dev/mapper/root_crypt / ext4 defaults 0 0" >/etc/fstab
# Else the first start would be another one: it decides on all units anew.
systemd-machine-id-setup
mkdir -p /etc/systemd/journald.conf.d
printf '[Journal]\nStorage=volatile\n' >/etc/systemd/journald.conf.d/boot-test.conf
cat >/etc/systemd/system/boot-test-network.service <<'END'
[Unit]
Description=Cards of a boot test
DefaultDependencies=no
Before=network.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=sh -c 'for card in /sys/class/net/*; do ip link set "$${card##*/}" up; done'

[Install]
WantedBy=multi-user.target
END
cat >/etc/systemd/system/boot-test.service <<'END'
[Unit]
Description=Mark and commands of a boot test

[Service]
ExecStart=/nightlatch-boot-test-init
StandardInput=tty-force
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
Environment=SYSTEMD_COLORS=0 SYSTEMD_URLIFY=0
# Ends at a shutdown whatever it does.
TimeoutStopSec=1

[Install]
WantedBy=multi-user.target
END
# A service with a named secret: what it got stands in memory, and its digest is told.
cat >/etc/systemd/system/boot-test-secret.service <<'END'
[Unit]
Description=Service of a boot test that needs a named secret
Requires=nightlatch-secret@db.service
After=nightlatch-secret@db.service

[Service]
Type=oneshot
RemainAfterExit=yes
LoadCredential=db:/run/nightlatch/credentials/db
ExecStart=sh -c 'sha256sum <"$$CREDENTIALS_DIRECTORY/db" >/run/boot-test-secret'
END
# It gives up soon, and tries again soon.
mkdir /etc/systemd/system/nightlatch-secret@db.service.d
printf '[Service]\nEnvironment=WAIT=5s\nRestartSec=3s\n' >/etc/systemd/system/nightlatch-secret@db.service.d/boot-test.conf
systemctl enable --quiet boot-test-network.service boot-test.service
# As `nightlatch enroll --server-key-id`, before there is a disk to enrol.
echo "$SERVER_KEY_ID" >/etc/nightlatch/keys/trusted-servers
chmod 600 /etc/nightlatch/keys/trusted-servers
# The root becomes encrypted when the disk is made from it.
nightlatch admin-key new --no-passphrase --file /run/machine/admin-key >/run/machine/admin-key.pub
nightlatch enroll --host-key --force --name "$NAME" --admin-key /run/machine/admin-key.pub >/run/machine/host-key
