#!/usr/bin/env bash
# Checks everything that needs a real GPU, on the machine it runs on, in one go:
#   tests/gpu.sh [--out FILE] [--build-dir DIR] [--emulated]
#     --out FILE        the result as text (default: gpu-report.txt in this folder)
#     --build-dir DIR   programs that are built already (default: builds build/gpu)
#     --emulated        the same on the emulator instead of a GPU, small and without timing: a test of this script
# Each check ends as PASS, FAIL or NOT RUN with the reason. Exit status: 0 all passed, 1 something failed, 3 nothing failed, but
# something was not run. The output of every check is kept beside the result, in FILE.d.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=$PWD/gpu-report.txt
build=
emulated=
die() { echo "gpu.sh: $*" >&2; exit 2; }
while [ $# -gt 0 ]; do
    case $1 in
        --out | --build-dir)
            [ $# -ge 2 ] || die "$1 needs a value"
            [ "$1" = --out ] && out=$(realpath -m "$2") || build=$(realpath -m "$2")
            shift 2 ;;
        --emulated) emulated=1; shift ;;
        -h | --help) sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
        *) die "unknown option '$1'; see --help" ;;
    esac
done
logs=$out.d
mkdir -p "$logs" && : > "$out" || die "cannot write '$out'"
passed=0 failed=0 missing=0

say() { printf '%s\n' "$*" | tee -a "$out"; }

# check NAME COMMAND …: its exit status decides; what it prints is kept, and shown when it fails.
check() {
    local name=$1 log="$logs/${1//[^a-zA-Z0-9]/-}.txt" start=$SECONDS
    shift
    if "$@" > "$log" 2>&1; then
        passed=$((passed + 1))
        say "PASS     $name ($((SECONDS - start)) s)"
        return 0
    fi
    failed=$((failed + 1))
    say "FAIL     $name ($((SECONDS - start)) s), $log ends with:"
    tail -n 15 "$log" | sed 's/^/           /' | tee -a "$out"
    return 1
}

not_run() {
    missing=$((missing + 1))
    say "NOT RUN  $1: $2"
}

finish() {
    say ""
    say "$passed passed, $failed failed, $missing not run"
    [ "$failed" -eq 0 ] || exit 1
    [ "$missing" -eq 0 ] || exit 3
    exit 0
}

# ---- the machine ----
say "reidd on GPUs: $(git -C "$root" describe --always --dirty 2> /dev/null || echo 'no git'), $(date -u +%FT%TZ), $(uname -srm)"
say "CPU: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) cores"
if [ -n "$emulated" ]; then
    say "EMULATED: no GPU is used, this is a test of the script itself"
    gpus=4
    export REID_EMU_DEVICES=4
elif command -v nvidia-smi > /dev/null && nvidia-smi -L > "$logs/gpus.txt" 2>&1; then
    gpus=$(wc -l < "$logs/gpus.txt")
    nvidia-smi --query-gpu=index,name,driver_version,memory.total,power.limit,clocks.max.sm --format=csv | tee -a "$out"
    nvidia-smi topo -m > "$logs/topology.txt" 2>&1
else
    say "no GPU: nvidia-smi is not there, or does not list any"
    gpus=0
fi
say ""

# ---- programs ----
if [ -z "$build" ]; then
    build=$root/build/gpu
    build_all() {
        cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=Release -DREID_CUDA=ON && cmake --build "$build" -j "$(nproc)"
    }
    check "build with CUDA, cuDNN and NCCL" build_all || finish
fi
export REID_BUILD_DIR=$build PYTHONDONTWRITEBYTECODE=1
run=()
[ -z "$emulated" ] || run=("$root/tests/emulation/run.sh")
[ -e "$build/lib/libreid-cuda.so" ] || { not_run "everything else" "'$build' has no libreid-cuda.so: it was built without CUDA"; finish; }
[ "$gpus" -gt 0 ] || { not_run "everything else" "there is no GPU"; finish; }

# ---- operations ----
check "the module opens the GPU and plans ResNet-50 on it" "${run[@]}" "$build/bin/reid-train" --plan-only cuda \
    --config-file "$root/deploy/configs/Market1501/bagtricks_R50.yml" MODEL.HEADS.NUM_CLASSES 751
check "every operation against ref" "${run[@]}" "$build/tests/reid_ops" --compare --backend cuda
check "update rules, reductions, layouts, images against ref" "${run[@]}" "$build/tests/reid_flat" --backend cuda
if [ "$gpus" -gt 1 ]; then
    check "every operation on the last GPU" "${run[@]}" "$build/tests/reid_ops" --compare --backend "cuda:$((gpus - 1))"
else
    not_run "every operation on the last GPU" "there is one GPU"
fi
if [ -n "$emulated" ]; then
    not_run "memory and race checks by compute-sanitizer" "emulated (the emulator has checks of its own)"
elif command -v compute-sanitizer > /dev/null; then
    for tool in memcheck racecheck initcheck synccheck; do
        check "compute-sanitizer $tool" compute-sanitizer --tool "$tool" --error-exitcode 1 \
            "$build/tests/reid_ops" --compare --backend cuda
    done
else
    not_run "memory and race checks by compute-sanitizer" "it is not installed"
fi

# ---- trainings ----
machine=("/usr/bin/python3" -B "$root/tests/integration/gpu_machine.py")
[ -z "$emulated" ] || machine+=(--emulated)
train() { # NAME TEST GPUS
    if [ "$gpus" -ge "$3" ]; then
        check "$1" "${machine[@]}" "$2"
    else
        not_run "$1" "it needs $3 GPUs, and there are $gpus"
    fi
}
if ! /usr/bin/python3 -c 'import PIL' 2> /dev/null; then
    not_run "trainings" "the tests' data need /usr/bin/python3 with PIL (apt-get install python3-pil)"
else
    train "the demo job on 1 GPU against the cpu backend" test_one_gpu_like_cpu 1
    train "the same in bfloat16" test_bfloat16 2
    train "the demo job on 2 GPUs over NCCL against the cpu backend" test_two_gpus_like_cpu 2
    train "the demo job on 4 GPUs over NCCL against the cpu backend" test_four_gpus_like_cpu 4
    train "the same bits again, and after kill -9 and resume" test_same_bits_from_run_to_run_and_after_a_kill 2
    train "compressed gradients" test_compressed_gradients 2
    if [ -n "$emulated" ]; then
        not_run "fp16 with dynamic loss scaling" "emulated (integration.cuda tests it)"
        not_run "reidd offers each GPU as a slot" "emulated (integration.gpu_slots tests it)"
        not_run "times" "emulated: they would mean nothing"
    else
        train "fp16 against the cpu backend" test_fp16_like_cpu 2
        train "fp16 that overflows, and is resumed" test_fp16_overflow 2
        check "reidd offers each GPU as a slot" "${machine[@]}" test_slots
        check "time of every operation" "$build/tests/reid_ops" --time --backend cuda
        counts=$(printf '%s\n' 1 2 4 "$gpus" | awk -v most="$gpus" '$1 <= most' | sort -nu)
        for count in $counts; do
            for type in f32 tf32 bf16 fp16; do
                if check "time of a ResNet-50 step, $type, $count GPU(s)" "${machine[@]}" --time "$type" --gpus "$count"; then
                    grep '^TIME' "$logs/time-of-a-ResNet-50-step--$type--$count-GPU-s-.txt" | tee -a "$out"
                fi
            done
        done
    fi
fi
finish
