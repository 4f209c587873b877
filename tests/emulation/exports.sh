#!/usr/bin/env bash
# exports.sh MODULE EMULATOR: every function of CUDA's libraries that the module calls is in the emulator.
set -euo pipefail
called=$(nm -D --undefined-only "$1" | awk '{print $2}' | sed 's/@.*//' | grep -E '^(__)?(cuda|cudnn|nccl)' | sort -u)
[ "$(wc -l <<<"$called")" -gt 20 ]
missing=$(comm -23 <(echo "$called") <(nm -D --defined-only "$2" | awk '{print $3}' | sed 's/@.*//' | sort -u))
if [ -n "$missing" ]; then
    printf 'the emulator lacks:\n%s\n' "$missing"
    exit 1
fi
echo "$(wc -l <<<"$called") functions, all there"
