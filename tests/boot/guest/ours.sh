# Our client, from our packages: its maintainer script makes the keys.
apt-get install -qy --no-install-recommends /run/machine/packages/*.deb
