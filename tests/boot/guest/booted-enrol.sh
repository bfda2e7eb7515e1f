# The machine's own enrolment, on its own disk. Its host key is there already.
nightlatch enroll --name "$NAME" --key-file /run/machine/typed /run/machine/root.luks >/run/machine/section
