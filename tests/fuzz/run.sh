#!/bin/sh
# Fuzzes one target with libFuzzer: tests/fuzz/run.sh TARGET SECONDS [option of libFuzzer …]
# TARGET: rpc, config, … (fuzz_TARGET.c). Builds it first (clang, address and undefined-behaviour sanitizers) in $BUILD
# (build/fuzz). New inputs go to $BUILD/found/TARGET, which is used again the next time; what fails goes to
# $BUILD/failed/TARGET-*. A mended input is put, as short as it gets (-minimize_crash=1), into corpus/TARGET.
set -eu
[ $# -ge 2 ] || { sed -n '2,5s/^# //p' "$0"; exit 2; }
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD:-$root/build/fuzz}
target=$1 seconds=$2
shift 2
[ -f "$root/tests/fuzz/fuzz_$target.c" ] || { echo "there is no target '$target'" >&2; exit 2; }
[ -f "$build/build.ninja" ] || cmake -S "$root" -B "$build" -G Ninja -DCMAKE_C_COMPILER=clang -DREID_FUZZ=ON -DREID_CUDA=OFF \
  -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS=-fsanitize=fuzzer-no-link -DREID_SANITIZE=address,undefined
cmake --build "$build" --target "fuzz_$target"
mkdir -p "$build/found/$target" "$build/failed"
# The longest input that is worth trying; images and connections are longer than texts.
case $target in rpc) longest=3000 ;; image) longest=4000 ;; *) longest=2000 ;; esac
dictionary=$root/tests/fuzz/$target.dict
UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 nice "$build/tests/fuzz_$target" -max_total_time="$seconds" -max_len=$longest \
  -timeout=20 -rss_limit_mb=2000 -print_final_stats=1 -artifact_prefix="$build/failed/$target-" \
  $([ -f "$dictionary" ] && echo "-dict=$dictionary") "$@" "$build/found/$target" "$root/tests/fuzz/corpus/$target"
