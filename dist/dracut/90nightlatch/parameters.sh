#!/bin/sh
# A server that needs addresses to be reached: dracut's own network module configures them, where it is in the
# image, as ip= says.

case "$(/usr/bin/nightlatch-boot parameters)" in
network | beside)
    echo rd.neednet=1 >/etc/cmdline.d/90nightlatch.conf
    # Where the module stands for systemd-networkd, nothing but ip= makes it ask for an address.
    if [ -x "${systemdutildir:-/usr/lib/systemd}/systemd-networkd" ] && ! getarg ip= >/dev/null; then
        mkdir -p /run/systemd/network
        printf '[Match]\nKind=!*\nType=!loopback\n[Network]\nDHCP=yes\n' >/run/systemd/network/90-nightlatch.network
    fi
    ;;
esac
