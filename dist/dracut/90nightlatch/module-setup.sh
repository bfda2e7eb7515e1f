#!/bin/bash
# Adds the files that fetch the disk password to an image of dracut. `nightlatch image plan` lists them.
# shellcheck disable=SC2154  # variables of dracut

# If the host is known and has no encrypted volume: only on request.
check() {
    local type
    require_binaries nightlatch || return 1
    [[ $hostonly ]] || return 0
    for type in "${host_fs_types[@]}"; do
        [[ $type == crypto_LUKS ]] && return 0
    done
    return 255
}

# With systemd in the image, the part that asks for passwords, which is a separate module since dracut 102.
depends() {
    echo crypt
    [[ " $omit_dracutmodules " != *" systemd "* ]] || return 0
    if [[ -x $systemdutildir/systemd-cryptsetup ]] && compgen -G "$dracutbasedir/modules.d/*systemd-cryptsetup" >/dev/null; then
        echo systemd-cryptsetup
    fi
}

# Drivers of wired networks; only those of this host if the image is for this host. Hooks name further modules.
installkernel() {
    instmods '=drivers/net/ethernet' '=drivers/net/phy' '=drivers/net/mdio' '=drivers/net/usb' \
        virtio_net vmxnet3 hv_netvsc xen-netfront
}

install() {
    local rest kind what place systemd=()
    dracut_module_included systemd && systemd=(--systemd)
    # An image without Nightlatch is better than none: a person can still type the password.
    if ! rest=$(nightlatch image stage "${systemd[@]}" "$initdir"); then
        derror "nightlatch: THIS MACHINE WILL NOT FETCH ITS DISK PASSWORD AT BOOT, for the reason above"
        return 0
    fi
    # An existing image would keep its mode.
    [[ ! -f $outfile ]] || chmod go= "$outfile"
    mkdir -p "$initdir/etc/modules-load.d"
    while IFS=$'\t' read -r kind what place; do
        case "$kind" in
        program) inst "$what" "$place" ;;
        module)
            hostonly='' instmods "$what"
            echo "$what" >>"$initdir/etc/modules-load.d/nightlatch.conf"
            ;;
        esac
    done <<<"$rest"
    inst_hook cmdline 20 "$moddir/parameters.sh"
    inst_hook pre-pivot 90 "$moddir/end.sh"
    inst_hook emergency 10 "$moddir/forget.sh"
    inst_hook shutdown-emergency 10 "$moddir/forget.sh"
    [[ ${systemd[*]} ]] || install_without_systemd
    [[ $hostonly ]] || dwarn "nightlatch: this image is not for this host alone, and holds its keys: keep it private"
    if dracut_module_included mandos; then
        dwarn "nightlatch: Mandos's client is in this image too, and both ask for the same password:" \
            "leave it out with --omit mandos"
    fi
}

# cryptsetup reads the output of the runner: the password of the server, or of a person.
install_without_systemd() {
    local name library=$initdir/lib/dracut-crypt-lib.sh
    if ! grep -q '^ask_for_password()' "$library"; then
        derror "nightlatch: this dracut asks for passwords in another way: use it with systemd"
        return
    fi
    sed -i 's/^ask_for_password()/ask_a_person()/' "$library"
    cat "$moddir/ask-for-password.sh" >>"$library"
    inst_hook initqueue/settled 05 "$moddir/modules.sh"
    for name in password-prompt plymouth; do
        [[ -e $initdir/lib/mandos/plugins.d/$name ]] || ln -s /usr/bin/nightlatch-boot "$initdir/lib/mandos/plugins.d/$name"
    done
}
