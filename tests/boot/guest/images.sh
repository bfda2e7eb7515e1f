# The images of both boot systems, with one volume and with two.
version=$(basename /lib/modules/*)
cp /boot/vmlinuz-"$version" /run/machine/vmlinuz
# In a chroot nothing can be found out about the host's disks: all is named.
dracut_image() {
    dracut --force --kver "$version" --hostonly --no-hostonly-cmdline --no-hostonly-default-device --filesystems ext4 \
        --compress zstd --add-drivers 'virtio_blk virtio_net virtio_pci virtio_rng dm_crypt' "$@"
}
dracut_image --add "systemd crypt dm $DRACUT_MODULE" /run/machine/dracut.img
# Mandos's module has a part for this too, but no boot without systemd is compared.
[ "$DRACUT_MODULE" = mandos ] ||
    dracut_image --omit 'systemd systemd-initrd dracut-systemd systemd-networkd network ifcfg' --add "crypt dm $DRACUT_MODULE" \
        /run/machine/dracut-without-systemd.img
update-initramfs -u -k "$version"
cp /boot/initrd.img-"$version" /run/machine/initramfs-tools.img
echo "data_crypt UUID=$DATA_UUID none luks,initramfs" >>/etc/crypttab
update-initramfs -u -k "$version"
cp /boot/initrd.img-"$version" /run/machine/initramfs-tools-two.img
rm -f /boot/initrd.img-*
apt-get clean
rm -rf /var/lib/apt/lists/*
