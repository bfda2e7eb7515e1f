#!/bin/sh
# A server that needs addresses to be reached: dracut's own network module configures them, where it is in the
# image, as ip= says.

if [ "$(/usr/bin/nightlatch-boot parameters)" = network ]; then
    echo rd.neednet=1 >/etc/cmdline.d/90nightlatch.conf
    # Where the module stands for systemd-networkd, nothing but ip= makes it ask for an address. Files of the machine's
    # own come first.
    if [ -x "${systemdutildir:-/usr/lib/systemd}/systemd-networkd" ] && ! getarg ip= >/dev/null; then
        mkdir -p /run/systemd/network
        printf '[Match]\nKind=!*\nType=!loopback\n[Network]\nDHCP=yes\n' >/run/systemd/network/zz-nightlatch.network
    fi
fi
