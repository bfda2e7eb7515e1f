#!/bin/sh
# Kernel modules that the network needs, where no systemd loads them.

while read -r module; do
    modprobe -q "$module"
done </etc/modules-load.d/nightlatch.conf
