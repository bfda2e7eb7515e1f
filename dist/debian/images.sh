# Makes the images of all kernels anew, by whatever makes them here. In each script that needs it.
rebuild_images() {
    if command -v update-initramfs >/dev/null; then
        update-initramfs -u -k all
    elif command -v dracut >/dev/null; then
        # dracut keeps the mode of an image that is there.
        for image in /boot/initr*; do
            [ ! -f "$image" ] || chmod go= "$image"
        done
        (umask 0077 && dracut --quiet --force --regenerate-all)
    fi
}
