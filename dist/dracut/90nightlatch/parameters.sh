#!/bin/sh
# If a server needs addresses, dracut's network module configures them as ip= says, if the module is in the
# image.

if [ "$(/usr/bin/nightlatch-boot parameters)" = network ]; then
    echo rd.neednet=1 >/etc/cmdline.d/90nightlatch.conf
    # If the module is systemd-networkd, only ip= makes it request an address. The machine's own files have
    # precedence.
    if [ -x "${systemdutildir:-/usr/lib/systemd}/systemd-networkd" ] && ! getarg ip= >/dev/null; then
        mkdir -p /run/systemd/network
        printf '[Match]\nKind=!*\nType=!loopback\n[Network]\nDHCP=yes\n' >/run/systemd/network/zz-nightlatch.network
    fi
fi
