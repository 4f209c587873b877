#!/usr/bin/env bash
# Prepares the demo data: emoji as drawn by three makers, in Market-1501's layout. The same emoji is the same identity, the
# maker is the camera. The drawings come from Debian packages, which are downloaded and unpacked, not installed.
#   deploy/demo/prepare.sh [--identities N] [--images N] [--out DIR] [--sheet FILE]
#     --identities N   how many (default: all, about 1,700); 200 for the quick demo
#     --images N       images of an identity by a camera (default 4)
#     --out DIR        where to (default: datasets/emoji); train with DATASETS.ROOT DIR
#     --sheet FILE     also a PNG that shows some of the images
#     --cache DIR      packages, kept for the next time (default: ~/.cache/reidd/demo)
# Does nothing when DIR is complete. Works offline when the packages are in the cache.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
packages=(fonts-noto-color-emoji ruby-gemojione libjs-emojify)

die() { echo "prepare.sh: $*" >&2; exit 1; }

out=$root/datasets/emoji
cache=${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/reidd/demo
options=()
while [ $# -gt 0 ]; do
    case $1 in
        --identities | --images | --seed | --sheet) [ $# -ge 2 ] || die "$1 needs a value"; options+=("$1" "$2"); shift 2 ;;
        --out) [ $# -ge 2 ] || die "$1 needs a value"; out=$2; shift 2 ;;
        --cache) [ $# -ge 2 ] || die "$1 needs a value"; cache=$2; shift 2 ;;
        -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) die "unknown option '$1'; see --help" ;;
    esac
done

# The program: on PATH, or the newest in the build folders of this tree.
program=$(command -v reid-demo-data || true)
if [ -z "$program" ]; then
    for candidate in "$root"/build/bin/reid-demo-data "$root"/build/*/bin/reid-demo-data; do
        if [ -x "$candidate" ] && { [ -z "$program" ] || [ "$candidate" -nt "$program" ]; }; then
            program=$candidate
        fi
    done
fi
[ -n "$program" ] || die "reid-demo-data is not built; install libfreetype-dev, then: cmake --preset release && cmake --build --preset release"

status=0
"$program" --complete --out "$out" ${options[@]+"${options[@]}"} || status=$?
case $status in
    0) echo "$out is complete"; exit 0 ;;
    1) ;;
    *) die "'${options[*]}' was not understood" ;;
esac

mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
exec 9>"$cache/lock"
flock 9 # another prepare.sh may be downloading

apt_options=()
[ "$(id -u)" -ne 0 ] || apt_options=(-o APT::Sandbox::User=root)

download() { (cd "$cache" && apt-get "${apt_options[@]+"${apt_options[@]}"}" -q download "$1" >download.log 2>&1); }

# The one path that a pattern stands for.
find_one() {
    local found
    found=$(compgen -G "$1" | head -1 || true)
    [ -n "$found" ] || die "the packages in $cache have an unknown layout (no $1); remove the folder, or report the versions"
    echo "$found"
}

# A package is there when its folder is: it is unpacked under another name first.
fetch() {
    local package=$1 file
    [ ! -d "$cache/$package" ] || return 0
    if ! compgen -G "$cache/${package}_*.deb" >/dev/null && ! download "$package"; then
        if [ "$(id -u)" -eq 0 ]; then
            echo "apt's lists are missing or old: apt-get update"
            apt-get -q update >"$cache/download.log" 2>&1 || die "apt-get update failed: $(tail -n 1 "$cache/download.log")"
            download "$package" || die "cannot download $package: $(tail -n 1 "$cache/download.log")"
        else
            die "cannot download $package ($(tail -n 1 "$cache/download.log")); run 'apt-get update' as root, then this again"
        fi
    fi
    file=$(find_one "$cache/${package}_*.deb")
    rm -rf "$cache/$package.unpacking"
    dpkg-deb -x "$file" "$cache/$package.unpacking" || { rm -f "$file"; die "$file is damaged and was removed; run this again"; }
    mv "$cache/$package.unpacking" "$cache/$package"
}

for package in "${packages[@]}"; do
    fetch "$package"
done
font=$(find_one "$cache/fonts-noto-color-emoji/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
emojione=$(find_one "$cache/ruby-gemojione/usr/share/rubygems-integration/all/gems/gemojione-*")
emojify=$(find_one "$cache/libjs-emojify/usr/share/javascript/emojify.js/images/emoji")
origin=$(cd "$cache" && printf '%s ' *.deb)

"$program" --font "$font" --emojione "$emojione" --emojify "$emojify" --out "$out" --origin "${origin% }" \
    ${options[@]+"${options[@]}"}
