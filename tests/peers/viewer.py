#!/usr/bin/env python3
"""Measures tiles a second beside OpenSlide, cuCIM on the CPU, tifffile with imagecodecs, and libvips, in one run: the same file, the same
tiles of 256 px in the same order, the same threads bound to the same processors, turn by turn, each turn in a process of its own.

    python3 tests/peers/viewer.py                         # all; builds and installs what is missing into target/peers
    python3 tests/peers/viewer.py --slide FILE.svs        # a tiled TIFF of JPEG tiles of 256 px; else one is written
    python3 tests/peers/viewer.py --threads 1 2 --rounds 5 --json figures.json

Prints a Markdown table of medians [least-most], and exits 1 where our decoders are less than four times as fast as OpenSlide, or the
engine keeps less than 0.95 of its decoders' rate. What cuCIM gives is an aim: falling short of it is said, and no failure. A peer that
cannot be installed or does not run is named. Needs Python 3.10 with venv, cargo, about 3 GB of disk; takes about five minutes.

OpenSlide is called through ctypes, as a C program calls it, without Python's pictures. The file is warm in memory for all.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from models import PLACE, ROOT, cpu_name, environment, fail, json_lines, measured, ours, processors, progress, run

# What must be reached, as a multiple of OpenSlide's rate, and as a part of the decoders' own.
MUST_OPENSLIDE = 4.0
MUST_ENGINE = 0.95

# Tiles as `tests/benches/viewer.rs` takes them: of the finest level, row by row from its middle, and after the last the first.
TILES = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
path, threads, width, height = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
SIDE = 256
columns, rows = -(-width // SIDE), -(-height // SIDE)
count = int(sys.argv[5])

def tiles(number):
    first = columns * rows // 2 + number * count
    return [(cell % columns, cell // columns) for cell in (at % (columns * rows) for at in range(first, first + count))]

def measure(make, version):
    '''`make()` gives each thread its own function of (column, row), which reads and decodes that tile.'''
    samples = []
    with ThreadPoolExecutor(threads) as pool:
        def share(number, which):
            read = readers[number]
            for column, row in which[number::threads]:
                read(column, row)
        readers = [make() for _ in range(threads)]
        # Another stretch of tiles each time: what a peer keeps of one does not help with the next.
        for turn in range(2):
            which = tiles(turn)
            start = time.perf_counter()
            for done in [pool.submit(share, number, which) for number in range(threads)]:
                done.result()
            samples.append(count / (time.perf_counter() - start))
    print(json.dumps({"samples": samples[1:], "version": version}))
"""

PEERS = {
    "OpenSlide": (
        ["openslide-python==1.4.7", "openslide-bin==4.0.1.2"],
        1024,
        """
import ctypes
from openslide_bin import libopenslide1 as library
library.openslide_open.restype = ctypes.c_void_p
library.openslide_open.argtypes = [ctypes.c_char_p]
library.openslide_get_error.restype = ctypes.c_char_p
library.openslide_get_error.argtypes = [ctypes.c_void_p]
library.openslide_get_version.restype = ctypes.c_char_p
library.openslide_read_region.restype = None
library.openslide_read_region.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64,
                                          ctypes.c_int32, ctypes.c_int64, ctypes.c_int64]
slide = library.openslide_open(path.encode())
assert slide and not library.openslide_get_error(slide), "OpenSlide cannot open the slide"

def make():
    pixels = ctypes.create_string_buffer(SIDE * SIDE * 4)
    def read(column, row):
        library.openslide_read_region(slide, pixels, column * SIDE, row * SIDE, 0, SIDE, SIDE)
    return read

measure(make, library.openslide_get_version().decode())
assert not library.openslide_get_error(slide), library.openslide_get_error(slide)
""",
    ),
    "cuCIM, CPU": (
        ["cucim-cu12==26.10.0", "numpy"],
        4096,
        """
import cucim, numpy
from cucim import CuImage

def make():
    image = CuImage(path)
    def read(column, row):
        tile = image.read_region((column * SIDE, row * SIDE), (SIDE, SIDE), level=0, device="cpu")
        assert numpy.asarray(tile).shape == (SIDE, SIDE, 3)
    return read

measure(make, cucim.__version__)
""",
    ),
    "tifffile + imagecodecs": (
        ["tifffile==2026.3.3", "imagecodecs==2026.3.6"],
        4096,
        """
import os, tifffile, imagecodecs

def make():
    file = tifffile.TiffFile(path)
    page = file.pages[0]
    number = os.open(path, os.O_RDONLY)
    offsets, lengths, tables = page.dataoffsets, page.databytecounts, page.jpegtables
    def read(column, row):
        at = row * columns + column
        data = os.pread(number, lengths[at], offsets[at])
        assert page.decode(data, at, jpegtables=tables)[0].shape[-3:] == (SIDE, SIDE, 3)
    return read

measure(make, f"{tifffile.__version__} with imagecodecs {imagecodecs.__version__}")
""",
    ),
    "libvips": (
        ["pyvips==3.2.0", "pyvips-binary==8.18.7"],
        2048,
        """
import pyvips
pyvips.cache_set_max(0)

def make():
    region = pyvips.Region.new(pyvips.Image.tiffload(path, page=0))
    def read(column, row):
        # A tile at the edge is smaller: libvips gives nothing from beyond it.
        wide, high = min(SIDE, width - column * SIDE), min(SIDE, height - row * SIDE)
        assert len(region.fetch(column * SIDE, row * SIDE, wide, high)) == wide * high * 3
    return read

measure(make, f"{pyvips.version(0)}.{pyvips.version(1)}.{pyvips.version(2)}")
""",
    ),
}
OURS = {"raw": "ours, decoders alone", "engine": "ours, the window's engine"}
# What `SlideSpec::large_jpeg` of the slide writer makes.
WRITTEN = (100_000, 80_000)


def write_slide():
    path = PLACE / "large-jpeg.svs"
    if not path.exists():
        progress("writing the slide")
        unfinished = path.with_suffix(".unfinished")
        command = ["cargo", "run", "--release", "--locked", "--package", "reinpath-tests", "--example", "write-slide"]
        run([*command, "--", unfinished], cwd=ROOT)
        unfinished.rename(path)
    return path, WRITTEN


def size_of(path):
    """Width and height of a TIFF file's first directory, as tifffile reads them."""
    python = environment("tifffile", PEERS["tifffile + imagecodecs"][0])
    script = "import sys, tifffile; p = tifffile.TiffFile(sys.argv[1]).pages[0]; print(p.imagewidth, p.imagelength, p.tilewidth)"
    width, height, side = map(int, run([python, "-c", script, path]).split())
    if side != 256:
        fail(f"its tiles are {side} px wide instead of 256: {path}")
    return width, height


def installed():
    """Each peer's Python, and why there is none."""
    pythons, missing = {}, {}
    for name, (packages, _, _) in PEERS.items():
        try:
            pythons[name] = environment(name.split()[0].strip(",").lower(), packages)
        except (SystemExit, OSError, subprocess.SubprocessError) as reason:
            missing[name] = f"cannot be installed, {reason}"
    return pythons, missing


class Figures:
    """Tiles a second of everything, by threads and name."""

    def __init__(self):
        self.samples, self.versions, self.missing = {}, {}, {}

    def add(self, threads, name, samples):
        self.samples.setdefault(threads, {}).setdefault(name, []).extend(samples)

    def median(self, threads, name):
        found = self.samples[threads].get(name)
        return statistics.median(found) if found else None

    def ratio(self, threads, name, to):
        ours, theirs = self.median(threads, name), self.median(threads, to)
        return ours / theirs if ours and theirs else None

    def rows(self):
        for threads, by_name in self.samples.items():
            for name, samples in by_name.items():
                low, middle, high = min(samples), statistics.median(samples), max(samples)
                ratio = self.ratio(threads, name, "OpenSlide")
                times = f"{ratio:.2f}" if ratio else ""
                yield f"| {threads} | {name} | {middle:,.0f} [{low:,.0f}-{high:,.0f}] | {times} |"

    def judged(self):
        """Sentences about what must be and was not reached, and about what is aimed at."""
        missed, aims = [], []
        raw, engine = OURS["raw"], OURS["engine"]
        for threads in self.samples:
            over = self.ratio(threads, raw, "OpenSlide")
            if over is None or over < MUST_OPENSLIDE:
                missed.append(f"{threads} threads: {over and round(over, 2)} times OpenSlide instead of {MUST_OPENSLIDE}")
            kept = self.ratio(threads, engine, raw)
            if kept is None or kept < MUST_ENGINE:
                missed.append(f"{threads} threads: the engine keeps {kept and round(kept, 3)} instead of {MUST_ENGINE}")
            beside = self.ratio(threads, raw, "cuCIM, CPU")
            if beside is not None and beside < 1:
                aims.append(f"{threads} threads: {beside:.2f} times cuCIM; the aim is 1")
        return missed, aims


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slide", type=Path, help="by default one of 100,000 x 80,000 px is written")
    parser.add_argument("--threads", type=int, nargs="+", default=[n for n in (1, 2) if n <= processors()])
    parser.add_argument("--rounds", type=int, default=5, help="turns of each program")
    parser.add_argument("--program", type=Path, help="our measurements, built already")
    parser.add_argument("--json", type=Path, help="where to write the figures as JSON, too")
    arguments = parser.parse_args()
    PLACE.mkdir(parents=True, exist_ok=True)
    program = arguments.program or ours("viewer")
    slide, (width, height) = (arguments.slide, size_of(arguments.slide)) if arguments.slide else write_slide()
    figures = Figures()
    pythons, figures.missing = installed()
    for turn in range(arguments.rounds):
        for threads in arguments.threads:
            progress(f"turn {turn + 1} of {arguments.rounds}, {threads} threads")
            for what, title in OURS.items():
                [line] = json_lines(measured([program, what, slide, threads, 1], threads))
                figures.add(threads, title, line["samples"])
            for name, python in pythons.items():
                if name in figures.missing:
                    continue
                _, count, script = PEERS[name]
                command = [python, "-c", TILES + script, slide, threads, width, height, count]
                try:
                    [line] = json_lines(measured(command, threads))
                except (SystemExit, ValueError, OSError) as reason:
                    figures.missing[name] = f"does not run, {reason}"
                    continue
                figures.add(threads, name, line["samples"])
                figures.versions[name] = line["version"]
    print("| threads | program | tiles a second | times OpenSlide |")
    print("|---|---|---|---|")
    for row in figures.rows():
        print(row)
    versions = ", ".join(f"{name} {version}" for name, version in figures.versions.items())
    print(f"\n{cpu_name()}; {slide.name}, {width} x {height} px, JPEG tiles of 256 px, warm; median [least-most] of")
    print(f"{arguments.rounds} turns, all programs in turn. {versions}.")
    for name, reason in figures.missing.items():
        print(f"Missing: {name} {reason}.")
    if arguments.json:
        data = {"processor": cpu_name(), "samples": figures.samples, "versions": figures.versions, "missing": figures.missing}
        arguments.json.write_text(json.dumps(data, indent=2) + "\n")
    missed, aims = figures.judged()
    for sentence in aims:
        progress(f"aim: {sentence}")
    for sentence in missed:
        progress(f"missed: {sentence}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
