
# Added by the module nightlatch: requests the password from a server and asks the person at the console, side by side.
# If the password does not open the volume, only the person is asked. The caller sets `device` and `luksname`.
ask_for_password() {
    nightlatch_command=
    for nightlatch_word in "$@"; do
        case "$nightlatch_previous" in --cmd | --tty-cmd) nightlatch_command=$nightlatch_word ;; esac
        nightlatch_previous=$nightlatch_word
    done
    if [ -n "$nightlatch_command" ] && [ "$(/usr/bin/nightlatch-boot parameters)" != off ]; then
        # shellcheck disable=SC2154
        CRYPTTAB_SOURCE=$device CRYPTTAB_NAME=$luksname /usr/bin/nightlatch-boot plugin-runner --kernel-command-line |
            $nightlatch_command --key-file=- && return 0
    fi
    ask_a_person "$@"
}
