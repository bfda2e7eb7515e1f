#!/bin/sh
# The real system shares /run: its own files say which interfaces it configures.

rm -f /run/systemd/network/zz-nightlatch.network
