#!/usr/bin/env bash
# Installs what the tests need, builds with warnings as errors, and runs every test: two at a time, but for those that say
# PROCESSORS 2 or RUN_SERIAL.
#   tests/run.sh [--preset NAME] [--label unit|ops|parity|integration|lint] [ctest arguments …]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
preset=ci
arguments=()
while [ $# -gt 0 ]; do
    case $1 in
        --preset) preset=$2; shift 2 ;;
        --label) arguments+=(-L "$2"); shift 2 ;;
        *) arguments+=("$1"); shift ;;
    esac
done

"$root/deploy/packages/install.sh" build test
cd "$root"
cmake --preset "$preset" >"/tmp/reidd-configure.$$" || { cat "/tmp/reidd-configure.$$"; exit 1; }
sed -n '/^-- reidd /,$p' "/tmp/reidd-configure.$$"
rm -f "/tmp/reidd-configure.$$"
cmake --build --preset "$preset" -- --quiet
exec ctest --test-dir "build/$preset" --output-on-failure --no-tests=error --parallel 2 "${arguments[@]}"
