#!/usr/bin/env bash
# Builds, tests, sanitizes and measures on a machine with a CUDA device, into one log.
set -uo pipefail

usage() {
  cat <<'TEXT'
usage: bench/gpu_all.sh [--only=STAGE,...] [--out=DIR] [--quick] [--help]

Builds the library and the Python package for this machine's GPU, runs the device's tests, runs
some of them under compute-sanitizer, and measures. All that is printed goes to DIR/gpu_all.log too.

  --only=STAGE,...  some of: build, test, sanitize, bench (default: all). What an earlier run has
                    built, in build/gpu, is used.
  --out=DIR         where results go; without it docs/data and docs/images, and build/gpu for the log
  --quick           short measurements

It needs no network where CMake, a C++ compiler, nvcc, scikit-build-core, pybind11, NumPy, pytest,
hypothesis, ml_dtypes and PyTorch are installed; CuPy, JAX and matplotlib are used where they are.
The C++ tests need doctest: CMAKE_PREFIX_PATH says where it is, if not where CMake looks.
The whole takes some 20 minutes: at most 5 to build, 4 to test, 4 to sanitize and 10 to measure.

exit status:
  0  everything that could be done was right; the summary names what was skipped
  1  something failed
  2  the command line is wrong, or there is no CUDA device (what needs none is done nevertheless)
TEXT
}

stages="build test sanitize bench"
out=""
quick=()
for word in "$@"; do
  case $word in
    --only=?*) stages=${word#--only=}; stages=${stages//,/ } ;;
    --out=?*) out=${word#--out=} ;;
    --quick) quick=(--quick) ;;
    --help | -h) usage; exit 0 ;;
    *) printf 'gpu_all: unknown option %s; --help lists them\n' "$word" >&2; exit 2 ;;
  esac
done
for stage in $stages; do
  case $stage in
    build | test | sanitize | bench) ;;
    *) printf 'gpu_all: unknown stage %s; --help lists them\n' "$stage" >&2; exit 2 ;;
  esac
done

[[ -z $out ]] || { mkdir -p "$out" && out=$(cd "$out" && pwd); } || exit 2
cd "$(dirname "$0")/.." || exit 2
work=$PWD/build/gpu
native=$work/native
site=$work/site
data=${out:-docs/data}
images=${out:-docs/images}
mkdir -p "$work" "$data" "$images" || exit 2
export PYTHONUNBUFFERED=1
exec > >(tee "${out:-$work}/gpu_all.log") 2>&1

summary=()
has_failed=0

wants() { [[ " $stages " == *" $1 "* ]]; }

has() { command -v "$1" >/dev/null 2>&1; }

skip() {
  printf '\n== %s: skipped: %s\n' "$1" "$2"
  summary+=("skipped  $1: $2")
}

# step NAME SECONDS COMMAND...: runs a command for so long at most.
step() {
  local name=$1 limit=$2 start=$SECONDS status=0
  shift 2
  printf '\n== %s\n' "$name"
  timeout "$limit" "$@" || status=$?
  local took=$((SECONDS - start))
  if ((status == 0)); then
    summary+=("ok       $name ($took s)")
  else
    has_failed=1
    ((status != 124)) || name="$name: stopped after $limit s"
    summary+=("FAILED   $name (exit status $status, $took s)")
  fi
  return "$status"
}

has_device=0
if has nvidia-smi && nvidia-smi -L | grep -q GPU; then
  has_device=1
fi

facts() {
  printf '== machine\n'
  date -u
  git log -1 --format='commit %H' 2>/dev/null
  uname -srm
  ((!has_device)) || nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
  ! has nvcc || nvcc --version | tail -n 2
  python3 --version
  python3 - <<'PYTHON'
import importlib.metadata

for name in ("numpy", "torch", "triton", "jax", "jaxlib", "cupy-cuda12x", "cupy-cuda13x"):
    try:
        print(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        print(name, "is not installed")
PYTHON
}

# --- Stages ----------------------------------------------------------------------------------

jobs=$(nproc)
# Without a device it can only be seen that it builds.
architectures=native
((has_device)) || architectures=90

build_native() {
  local generator=()
  ! has ninja || generator=(-G Ninja)
  cmake --preset cuda "${generator[@]}" -B "$native" -DLOGITLOSS_BUILD_BENCH=ON \
    -DCMAKE_CUDA_ARCHITECTURES=$architectures && cmake --build "$native" -j "$jobs"
}

# pip puts the package into a folder, so that the Python that holds PyTorch can be used as it is.
build_python() {
  local offline=()
  if python3 -c 'import scikit_build_core, pybind11' 2>/dev/null; then
    offline=(--no-build-isolation --no-index)
  fi
  rm -rf "$site"
  CMAKE_BUILD_PARALLEL_LEVEL=$jobs python3 -m pip install --quiet --no-deps --upgrade \
    "${offline[@]}" --target "$site" . -C build-dir="$work/python" \
    -C cmake.define.LOGITLOSS_CUDA=ON -C cmake.define.CMAKE_CUDA_ARCHITECTURES=$architectures &&
    PYTHONPATH=$site python3 - <<'PYTHON'
import logitloss

logitloss.show_config()
if not logitloss.config()["cuda"]:
    raise SystemExit(f"gpu_all: {logitloss.__file__} has no CUDA; is another one installed?")
PYTHON
}
export -f build_native build_python has
export native work site jobs architectures

build() {
  if ! has nvcc; then
    skip build "nvcc was not found"
    return
  fi
  step "build: library, tests, benchmark" 300 bash -c build_native
  step "build: Python package" 300 bash -c build_python
  step "what can be checked without a device" 240 python3 cpp/tools/check_cuda_build.py
}

# A test that finds nothing to run on passes; here that is a failure.
run_device_programs() {
  local log
  log=$("$native/tests/cpp/test_device_programs" 2>&1)
  local status=$?
  printf '%s\n' "$log"
  if ((status == 0)) && [[ $log == *skipped:* ]]; then
    printf 'gpu_all: the test was skipped\n'
    return 1
  fi
  return $status
}
export -f run_device_programs

run_python_tests() {
  PYTHONPATH=$site python3 -m pytest -q -p no:cacheprovider "$@"
}
export -f run_python_tests

run_tests() {
  local programs=$native/tests/cpp/test_device_programs
  if [[ -x $programs ]]; then
    step "test: programs of the device, against the CPU" 240 bash -c run_device_programs
    step "test: the host's half of the same source" 120 "${programs}_host_half"
  else
    skip "test: programs of the device" "they were not built (doctest, or the stage build)"
  fi
  if [[ ! -d $site/logitloss ]]; then
    skip "test: Python" "the package was not built (the stage build)"
  elif ! python3 -c 'import pytest, hypothesis, ml_dtypes' 2>/dev/null; then
    skip "test: Python" "pytest, hypothesis or ml_dtypes is not installed"
  else
    step "test: arrays on the device" 240 bash -c 'run_python_tests tests/python/test_device.py'
    step "test: integration with PyTorch" 240 \
      bash -c 'run_python_tests tests/python/test_device_torch.py tests/python/test_integration_torch.py'
  fi
}

sanitize() {
  local programs=$native/tests/cpp/test_device_programs tool
  for tool in memcheck racecheck; do
    if ! has compute-sanitizer; then
      skip "sanitize: $tool" "compute-sanitizer was not found"
    elif [[ ! -x $programs ]]; then
      skip "sanitize: $tool" "the tests were not built (doctest, or the stage build)"
    else
      LOGITLOSS_RANDOM_CALLS=60 step "sanitize: $tool" 240 \
        compute-sanitizer --tool "$tool" --error-exitcode 1 "$programs"
    fi
  done
}

measure() {
  if [[ -x $native/bench/native/bench_cuda ]]; then
    step "bench: kernels and the copy" 300 \
      "$native/bench/native/bench_cuda" "${quick[@]}" "--json=$data/gpu_kernels.json"
  else
    skip "bench: kernels" "bench_cuda was not built (the stage build)"
  fi
  if [[ ! -d $site/logitloss ]]; then
    skip "bench: other libraries" "the package was not built (the stage build)"
  elif ! python3 -c 'import torch' 2>/dev/null; then
    skip "bench: other libraries" "PyTorch is not installed"
  else
    local plot=(--plot "$images/gpu-peers.png")
    if ! python3 -c 'import matplotlib' 2>/dev/null; then
      skip "bench: plot" "matplotlib is not installed"
      plot=()
    fi
    PYTHONPATH=$site step "bench: other libraries" 480 python3 bench/python/gpu_peers.py \
      "${quick[@]}" --json "$data/gpu_peers.json" "${plot[@]}" --date "$(date -u +%F)"
  fi
}

facts
! wants build || build
if ((has_device)); then
  ! wants test || run_tests
  ! wants sanitize || sanitize
  ! wants bench || measure
else
  for stage in test sanitize bench; do
    ! wants "$stage" || skip "$stage" "there is no CUDA device (nvidia-smi finds none)"
  done
fi

printf '\n== summary (%s s)\n' "$SECONDS"
printf '%s\n' "${summary[@]}"
((!has_failed)) || exit 1
((has_device)) || exit 2
