#!/usr/bin/env bash
# The build of a machine without MPI and CUDA: its reid-train comes about, links neither, says so when asked for them, and trains.
# The daemon's programs are the same in every build: those of the whole one must link neither. Optimised little: what differs from
# the whole build is what is compiled and linked, not how.
#   minimal.sh BUILD_DIR WHOLE_BUILD_DIR
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$1
whole=$2
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DREID_WERROR=ON -DREID_MPI=OFF -DREID_CUDA=OFF \
    -DCMAKE_C_FLAGS_RELEASE=-O1 >"$build.log" ||
    { cat "$build.log"; exit 1; }
cmake --build "$build" --parallel 2 --target reid-train -- --quiet

for program in "$build/bin/reid-train" "$whole/bin/"{reidd,reidd-shim,reidctl}; do
    ldd "$program" >"$build.ldd"
    if grep -E 'libmpi|libcuda|libcudnn|libnccl' "$build.ldd"; then
        echo "$program links MPI or CUDA"
        exit 1
    fi
done

sentence=$("$build/bin/reid-train" --plan-only sm_90 --config-file "$root/deploy/configs/Demo/bagtricks_R18.yml" MODEL.HEADS.NUM_CLASSES 100 2>&1) &&
    { echo "it plans without the module: $sentence"; exit 1; }
grep -qi cuda <<<"$sentence" || { echo "it does not say what is missing: $sentence"; exit 1; }
echo "$sentence"
REID_BUILD_DIR=$build REID_HAVE_MPI=0 REID_HAVE_CUDA=0 /usr/bin/python3 -B "$root/tests/integration/train.py" \
    Train.test_learns_and_leaves_what_fast_reid_leaves
