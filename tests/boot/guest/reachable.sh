# Others who use the network before the root is open. The SSH server lets in whoever has the machine's test key; dracut
# has the network module that it chooses by itself.
apt-get install -qy --no-install-recommends dropbear-initramfs dracut-network
cp /run/machine/ssh-key.pub /etc/dropbear/initramfs/authorized_keys
chmod 600 /etc/dropbear/initramfs/authorized_keys
