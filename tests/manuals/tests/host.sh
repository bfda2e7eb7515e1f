# $1: an empty folder with the file "script"; $2: where the programs are.
folder=$1
mkdir "$folder"/{etc,lib,mnt,work}
cp -a /etc/. "$folder/etc"
# The accounts that the packages make.
for account in _nightlatch:64990 _nightlatch-check:64991 _nightlatch-agent:64992; do
    getent passwd "${account%:*}" > /dev/null && continue
    echo "${account%:*}:x:${account#*:}:${account#*:}::/nonexistent:/usr/sbin/nologin" >> "$folder/etc/passwd"
    echo "${account%:*}:x:${account#*:}:" >> "$folder/etc/group"
done
mount --bind "$folder/etc" /etc
mount --bind "$folder/lib" /var/lib
mount --bind "$folder/mnt" /mnt
ip link set lo up
export PATH=$2:$PATH HOME=$folder/work
cd "$folder/work"
port=4711

# A bus, and a server on it for the sections in these files.
start_server() {
    install -d -m 0750 -g _nightlatch /etc/nightlatch
    cat "$@" > "$folder/clients.conf"
    install -m 0640 -g _nightlatch "$folder/clients.conf" /etc/nightlatch/clients.conf
    export DBUS_SYSTEM_BUS_ADDRESS=unix:path=$folder/bus
    cat > "$folder/bus.conf" <<EOF
<busconfig><type>system</type><listen>unix:path=$folder/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/>
<allow send_destination="*" eavesdrop="true"/><allow receive_sender="*" eavesdrop="true"/></policy></busconfig>
EOF
    dbus-daemon --fork --nopidfile --config-file "$folder/bus.conf" 2> /dev/null
    chmod 777 "$folder/bus"
    nightlatchd --no-zeroconf --port "$port" 2> "$folder/log" &
    until grep -q "administration over D-Bus" "$folder/log"; do
        kill -0 $! || { cat "$folder/log" >&2; exit 1; }
        sleep 0.01
    done
}

set -o pipefail
. "$folder/script"
