#!/bin/bash
# Makes an authority and a certificate for every node of a cluster file, and for users.
#   certificates.sh CLUSTER_FILE OUT_DIR [USER:ROLE ...]
# OUT_DIR/ca holds the authority (keep its key safe), OUT_DIR/tls/NAME what node or user NAME needs: copy it there.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 2; }
file=$1 out=$2
shift 2
umask 077
mkdir -p "$out"
[ -e "$out/ca/ca.pem" ] || reidctl ca init "$out/ca"
# Rows are {name: NODE, address: 'tcp://HOST:PORT'...}, as in cluster.yml beside this script.
sed -nE "s/^ *- *\{ *name: *['\"]?([^,'\"]+)['\"]?, *address: *['\"]?tcp:\/\/\[?([^]'\"]+)\]?:[0-9]+.*/\1 \2/p" "$file" |
    while read -r name host; do
        [ -e "$out/tls/$name" ] || reidctl ca issue "$out/ca" "$name" --hosts "$host" --out "$out/tls/$name"
    done
for user in "$@"; do
    name=${user%%:*}
    [ -e "$out/tls/$name" ] || reidctl ca issue "$out/ca" "$name" --role "${user#*:}" --out "$out/tls/$name"
done
