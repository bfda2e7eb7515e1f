#!/bin/sh
# Loads kernel modules that the network needs, if there is no systemd to load them.

while read -r module; do
    modprobe -q "$module"
done </etc/modules-load.d/nightlatch.conf
