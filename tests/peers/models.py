#!/usr/bin/env python3
"""Measures our models beside PyTorch and llama.cpp, in one run: same shapes, threads and precision, turn by turn.

    python3 tests/peers/models.py                # all; builds and installs what is missing into target/peers
    python3 tests/peers/models.py --only vit     # or: llama
    python3 tests/peers/models.py --threads 2 --rounds 5 --repeats 3

Prints a Markdown table of medians [least-most] and ratios, with versions and the processor's name, and exits 1 where a
ratio is below what it must be. Needs Python 3.10 with venv, cargo, a C++ compiler and make; about 8 GB of disk, most of
it PyTorch. llama.cpp is compiled from the sources in the pinned source package of llama-cpp-python, with everything
this processor has but AMX: that path crashed where this was first tried (Xeon, Debian 12). Its keys and values are in
half precision, as it has them by default, and ours in single.
"""

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / "target" / "peers"
TORCH = ["torch==2.14.1", "torchvision", "timm==1.0.31"]
LLAMA = "llama-cpp-python==0.3.16"
BUILD_TOOLS = ["cmake", "ninja"]
PRECISIONS = ["q8_0", "q4_k_m"]

# What the name of a flag in /proc/cpuinfo is to ggml's build. AMX is left out.
GGML_FLAGS = {
    "sse4_2": "GGML_SSE42",
    "avx": "GGML_AVX",
    "avx2": "GGML_AVX2",
    "bmi2": "GGML_BMI2",
    "fma": "GGML_FMA",
    "f16c": "GGML_F16C",
    "avx_vnni": "GGML_AVX_VNNI",
    "avx512f": "GGML_AVX512",
    "avx512vbmi": "GGML_AVX512_VBMI",
    "avx512_vnni": "GGML_AVX512_VNNI",
    "avx512_bf16": "GGML_AVX512_BF16",
}

PYTORCH_VIT = """
import json, sys, time, timm, torch
threads, repeats, dtype = int(sys.argv[1]), int(sys.argv[2]), getattr(torch, sys.argv[3])
torch.set_num_threads(threads)
torch.manual_seed(1)
# UNI: ViT-L/16 with LayerScale, without a classifier.
model = timm.create_model("vit_large_patch16_224", init_values=1e-5, num_classes=0, dynamic_img_size=True)
model = model.eval().to(dtype)
pixels = torch.randn(8, 3, 224, 224).to(dtype)
samples = []
with torch.inference_mode():
    for turn in range(repeats + 1):
        start = time.perf_counter()
        tokens = model.forward_features(pixels)
        seconds = time.perf_counter() - start
        assert tokens.shape == (8, 197, 1024) and torch.isfinite(tokens).all()
        if turn:
            samples.append(8 / seconds)
print(json.dumps({"samples": samples, "version": torch.__version__, "timm": timm.__version__}))
"""


def fail(sentence):
    sys.exit(f"{Path(sys.argv[0]).name}: {sentence}")


def run(command, **options):
    """Runs a command and gives what it wrote to stdout; ends the script with its words where it fails."""
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True, **options)
    if done.returncode != 0:
        fail(f"{' '.join(str(part) for part in command[:4])} ended with {done.returncode}")
    return done.stdout


def progress(words):
    print(words, file=sys.stderr, flush=True)


def processors():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpus(threads):
    """The processors that everything is bound to."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < threads:
        fail(f"{threads} threads are wanted, but this process may use {len(allowed)} processors")
    return allowed[:threads]


def measured(command, threads, env=None):
    """Runs a measurement on as many processors as threads."""
    bound = cpus(threads)
    env = dict(os.environ, OMP_NUM_THREADS=str(threads), RAYON_NUM_THREADS=str(threads), **(env or {}))
    bind = (lambda: os.sched_setaffinity(0, bound)) if bound else None
    return run(command, env=env, preexec_fn=bind)


def environment(name, packages):
    """The Python of an environment with these packages."""
    folder = PLACE / name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wanted = "\n".join(packages)
    done = folder / "installed.txt"
    if not done.exists() or done.read_text() != wanted:
        progress(f"installing {', '.join(packages)} into {folder.relative_to(ROOT)}")
        venv.create(folder, clear=True, with_pip=True)
        run([python, "-m", "pip", "install", "--quiet", *packages])
        done.write_text(wanted)
    return python


def ours(bench="models"):
    """Our program of that name, built."""
    progress("building our measurements")
    command = ["cargo", "bench", "--workspace", "--bench", bench, "--no-run", "--locked"]
    lines = run([*command, "--message-format", "json"], cwd=ROOT).splitlines()
    for message in (json.loads(line) for line in lines if line.startswith("{")):
        if message.get("executable") and message.get("target", {}).get("name") == bench:
            return Path(message["executable"])
    fail(f"cargo names no program of the benchmark `{bench}`")


def cpu_flags():
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return set()
    found = re.search(r"^flags\s*:\s*(.*)$", text, re.MULTILINE)
    return set(found.group(1).split()) if found else set()


def cpu_name():
    try:
        found = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def llama_sources(python):
    """The folder of llama.cpp in the pinned source package."""
    name = LLAMA.replace("==", "-").replace("llama-cpp-python", "llama_cpp_python")
    folder = PLACE / name
    if not folder.exists():
        progress(f"fetching the sources of {LLAMA}")
        fetch = ["--no-deps", "--no-binary", LLAMA.split("==")[0], "--dest", PLACE, LLAMA]
        run([python, "-m", "pip", "download", "--quiet", *fetch])
        archives = list(PLACE.glob("llama[-_]cpp[-_]python-*.tar.gz"))
        if len(archives) != 1:
            fail(f"{len(archives)} source packages of llama-cpp-python are in {PLACE}")
        with tarfile.open(archives[0]) as archive:
            # Python before 3.11.4 knows no filters; the package is pinned and from PyPI.
            safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            archive.extractall(PLACE, **safe)
    sources = folder / "vendor" / "llama.cpp"
    if not (sources / "tools" / "llama-bench").exists():
        fail(f"the source package has no llama-bench: {sources}")
    return sources


def llama_bench():
    """llama.cpp's own measurement, built for this processor without AMX."""
    python = environment("build", BUILD_TOOLS)
    sources = llama_sources(python)
    build = PLACE / f"build-{LLAMA.replace('==', '-')}"
    program = build / "bin" / "llama-bench"
    if program.exists():
        return program
    progress("building llama.cpp")
    flags = cpu_flags()
    options = ["-DGGML_NATIVE=ON"]
    if "amx_int8" in flags or "amx_tile" in flags:
        have = [f"-D{option}={'ON' if flag in flags else 'OFF'}" for flag, option in GGML_FLAGS.items()]
        amx = [f"-DGGML_AMX_{kind}=OFF" for kind in ("TILE", "INT8", "BF16")]
        tune = [f"-DCMAKE_{language}_FLAGS=-mtune=native" for language in ("C", "CXX")]
        options = ["-DGGML_NATIVE=OFF", *have, *amx, *tune]
    off = ["TESTS", "EXAMPLES", "SERVER"]
    options += [f"-DLLAMA_BUILD_{part}=OFF" for part in off]
    options += ["-DLLAMA_BUILD_COMMON=ON", "-DLLAMA_BUILD_TOOLS=ON", "-DLLAMA_CURL=OFF", "-DLLAMA_OPENSSL=OFF"]
    tools = python.parent
    env = dict(os.environ, PATH=f"{tools}{os.pathsep}{os.environ['PATH']}")
    cmake = shutil.which("cmake", path=env["PATH"])
    configure = [cmake, "-G", "Ninja", "-S", sources, "-B", build, "-DCMAKE_BUILD_TYPE=Release", *options]
    progress(run(configure, env=env)[-2000:])
    run([cmake, "--build", build, "--target", "llama-bench", "--parallel", str(os.cpu_count() or 1)], env=env)
    return program


class Measure:
    """One line of the table: what each side gave in every round."""

    def __init__(self, title, unit, peer, must):
        self.title, self.unit, self.peer, self.must = title, unit, peer, must
        self.ours, self.theirs = [], []

    def ratio(self):
        return statistics.median(self.ours) / statistics.median(self.theirs)

    def row(self):
        def span(samples):
            low, middle, high = min(samples), statistics.median(samples), max(samples)
            return f"{middle:.2f} [{low:.2f}-{high:.2f}]"

        must = "" if self.must is None else f"{self.must:.1f}"
        cells = [self.title, self.unit, span(self.ours), self.peer, span(self.theirs), f"{self.ratio():.2f}", must]
        return "| " + " | ".join(cells) + " |"


def json_lines(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def vit(program, arguments, versions):
    python = environment("torch", TORCH)
    f32 = Measure("ViT-L/16 at 224, batch of 8, f32", "images/s", "PyTorch", 1.0)
    bf16 = Measure("the same, PyTorch in bf16 (ours in f32)", "images/s", "PyTorch", None)
    repeats = str(arguments.repeats)
    for turn in range(arguments.rounds):
        progress(f"ViT-L, round {turn + 1} of {arguments.rounds}")
        [line] = json_lines(measured([program, "vit-l", repeats], arguments.threads))
        for measure, dtype in ((f32, "float32"), (bf16, "bfloat16")):
            theirs = [python, "-c", PYTORCH_VIT, str(arguments.threads), repeats, dtype]
            [peer] = json_lines(measured(theirs, arguments.threads))
            measure.ours += line["samples"]
            measure.theirs += peer["samples"]
        versions["PyTorch"], versions["timm"] = peer["version"], peer["timm"]
    return [f32, bf16]


def llama(program, arguments, versions):
    bench = llama_bench()
    versions["llama.cpp"] = f"from {LLAMA}, AMX off"
    measures = []
    for precision in PRECISIONS:
        name = precision.upper()
        prompt = Measure(f"Llama, 1.24 billion, {name}, prompt of 128", "tokens/s", "llama.cpp", 0.9)
        decode = Measure(f"Llama, 1.24 billion, {name}, 64 steps", "tokens/s", "llama.cpp", 0.9)
        model = PLACE / f"llama-1b-{precision}.gguf"
        for turn in range(arguments.rounds):
            progress(f"Llama {name}, round {turn + 1} of {arguments.rounds}")
            repeats = str(arguments.repeats)
            lines = json_lines(measured([program, "llama", PLACE, precision, repeats], arguments.threads))
            samples = {line["what"]: line["samples"] for line in lines}
            prompt.ours += samples[f"prompt-{precision}"]
            decode.ours += samples[f"decode-{precision}"]
            shape = ["-p", "128", "-n", "64", "-r", repeats, "-t", str(arguments.threads), "-o", "json"]
            for test in json.loads(measured([bench, "-m", model, *shape], arguments.threads)):
                (prompt if test["n_prompt"] else decode).theirs += test["samples_ts"]
        measures += [prompt, decode]
    return measures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["vit", "llama"])
    parser.add_argument("--threads", type=int, default=processors(), help="by default one for each processor")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each program")
    parser.add_argument("--repeats", type=int, default=3, help="runs in each turn, after one that is not counted")
    arguments = parser.parse_args()
    PLACE.mkdir(parents=True, exist_ok=True)
    program = ours()
    versions, measures = {}, []
    if arguments.only != "llama":
        measures += vit(program, arguments, versions)
    if arguments.only != "vit":
        measures += llama(program, arguments, versions)
    print("| what | unit | ours | peer | peer's | ours / peer | must |")
    print("|---|---|---|---|---|---|---|")
    for measure in measures:
        print(measure.row())
    print(f"\n{cpu_name()}, {arguments.threads} threads; median [least-most] of {arguments.rounds} turns of")
    print(f"{arguments.repeats} runs each; " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    missed = [measure for measure in measures if measure.must is not None and measure.ratio() < measure.must]
    for measure in missed:
        progress(f"missed: {measure.title}: {measure.ratio():.2f} instead of at least {measure.must:.1f}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
