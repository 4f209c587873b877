#!/usr/bin/env bash
# Every C file is formatted by the .clang-format at the root; long functions and files are named.
set -euo pipefail
cd "$1"
mapfile -t files < <(find src daemon client proto tests deploy -name '*.[ch]' | sort)
[ ${#files[@]} -gt 10 ]
clang-format --dry-run --Werror --ferror-limit=1 "${files[@]}"
long=$(wc -l "${files[@]}" | awk '$2 != "total" && $1 > 900 {print $2 ": " $1 " lines; split it by what it is about"}')
if [ -n "$long" ]; then
    echo "$long"
    exit 1
fi
echo "${#files[@]} files are formatted"
