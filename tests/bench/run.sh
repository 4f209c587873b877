#!/usr/bin/env bash
# Builds the release preset and runs the benchmarks: tests/bench/run.sh [NAME ...] [--rounds N] [--json FILE]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
"$root/deploy/packages/install.sh" build test
cd "$root"
cmake --preset release -DREID_TESTS=ON >/dev/null
cmake --build --preset release -- --quiet
exec /usr/bin/python3 tests/bench/run.py "$@"
