#!/usr/bin/env bash
# From a fresh Debian 12 machine to a trained demo: installs packages, builds, starts reidd, prepares the demo data, submits a
# Bag-of-Tricks job on two ranks and follows it to the end. What is done already is not done again.
#   deploy/quickstart.sh [--keep] [--again] [KEY VALUE …]
#     --keep    leave reidd running when the job has ended
#     --again   train again although the demo job has succeeded before
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
keep=0
again=0
while [ $# -gt 0 ]; do
    case $1 in
        --keep) keep=1; shift ;;
        --again) again=1; shift ;;
        -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) break ;;
    esac
done
cd "$root"

step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

step "packages"
deploy/packages/install.sh build

step "build"
mkdir -p build/demo
cmake --preset release -DREID_TESTS=OFF >build/demo/configure.log 2>&1 || { cat build/demo/configure.log; exit 1; }
sed -n '/^-- reidd /,$p' build/demo/configure.log
cmake --build --preset release -- --quiet
export PATH="$root/build/release/bin:$PATH"

step "demo data"
deploy/demo/prepare.sh --identities 200 --out build/demo/datasets

step "reidd"
export REIDD_STATE_DIR="$root/build/demo/state"
export REIDD_HOST="unix:$REIDD_STATE_DIR/reidd.sock"
mkdir -p "$REIDD_STATE_DIR"
slots=$(nproc)
[ "$slots" -ge 2 ] || slots=2
started=0
# Nothing stays behind: an interrupted job is cancelled (it saves first), then the daemon ends.
clean_up() {
    if [ "$started" = 1 ] && [ "$keep" = 0 ]; then
        for job in $(reidctl ps -q 2>/dev/null); do
            echo "cancelling job $job"
            reidctl cancel "$job" >/dev/null 2>&1 && reidctl wait --timeout 30 "$job" >/dev/null 2>&1 || true
        done
        kill "$daemon" 2>/dev/null && wait "$daemon" 2>/dev/null || true
    fi
}
trap clean_up EXIT
if reidctl version >/dev/null 2>&1; then
    echo "reidd is running already"
else
    setsid reidd --slots "$slots" >>build/demo/reidd.log 2>&1 & # Ctrl-C is for the follower, not for the daemon
    daemon=$!
    started=1
    for _ in $(seq 100); do
        reidctl version >/dev/null 2>&1 && break
        kill -0 "$daemon" 2>/dev/null || { tail -5 build/demo/reidd.log >&2; exit 1; }
        sleep 0.1
    done
    reidctl version
fi

step "train"
config=(deploy/configs/Demo/bagtricks_R18.yml DATASETS.ROOT "$root/build/demo/datasets"
        OUTPUT_DIR "$root/build/demo/logs")
succeeded() { reidctl ps -a -o json | grep -q "\"name\": \"$1\".*\"state\": \"SUCCEEDED\""; }
# The untrained network, to compare with.
succeeded untrained || reidctl submit -f --name untrained --eval-only "${config[@]}" | grep evaluation
if [ "$again" = 0 ] && [ $# -eq 0 ] && succeeded demo; then
    echo "the demo job has succeeded before; deploy/quickstart.sh --again trains once more"
else
    reidctl submit -f --name demo -n 2 "${config[@]}" "$@"
fi

step "result"
reidctl describe demo
figures() { reidctl metrics --names Rank-1,mAP -o csv "$1" | tail -2 | awk -F, '{printf "  %s %.1f", $6, $7}'; }
echo
echo "untrained:$(figures untrained)"
echo "trained:  $(figures demo)"
if [ "$keep" = 1 ]; then
    echo "reidd goes on; talk to it with: REIDD_HOST=$REIDD_HOST $root/build/release/bin/reidctl ps"
fi
