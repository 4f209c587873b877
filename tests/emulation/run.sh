#!/usr/bin/env bash
# Runs a program on the emulated CUDA stack: tests/emulation/run.sh PROGRAM ARGS…
# REID_BUILD_DIR names the build folder (build/release otherwise). README.md lists the other variables.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=${REID_BUILD_DIR:-$root/build/release}
folder=$build/lib/emulation
if [ ! -e "$folder/libcudart.so.13" ]; then
    echo "$folder has no emulator: build it with CUDA's headers and compiler installed" >&2
    exit 2
fi
export LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export REID_EMU_TWINS=${REID_EMU_TWINS-$folder/libreid-cuda-twins.so}
exec "$@"
