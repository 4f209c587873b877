#!/usr/bin/env bash
# Builds the release preset and runs the benchmarks: tests/bench/run.sh [NAME ...] [--rounds N] [--json FILE], or
# tests/bench/run.sh hooks [--rounds N] [--steps N] [--ranks N] [--json FILE]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
"$root/deploy/packages/install.sh" build test
cd "$root"
cmake --preset release -DREID_TESTS=ON >/dev/null
cmake --build --preset release -- --quiet
if [[ ${1-} == hooks ]]; then
  REID_BUILD_DIR=$root/build/release exec /usr/bin/python3 -B tests/bench/hooks.py "${@:2}"
fi
exec /usr/bin/python3 tests/bench/run.py "$@"
