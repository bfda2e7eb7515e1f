# The stock client, from Debian's package: its maintainer script makes the keys.
apt-get install -qy --no-install-recommends mandos-client
mandos-keygen --no-ssh --name "$NAME" --passfile /run/machine/served >/run/machine/section
