# Rebuilds the images of all kernels with the boot system of this host. Inserted into each script that needs it.
rebuild_images() {
    if command -v update-initramfs >/dev/null; then
        update-initramfs -u -k all
    elif command -v dracut >/dev/null; then
        # dracut keeps the mode of an existing image.
        for image in /boot/initr*; do
            [ ! -f "$image" ] || chmod go= "$image"
        done
        (umask 0077 && dracut --quiet --force --regenerate-all)
    fi
}
