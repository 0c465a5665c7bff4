"""Writes openslide_regions.json: mean and deviation on white of those regions of OPENSLIDE_REFERENCE.json that are partly
transparent. The reference gives the moments of straight RGBA, from which those on white do not follow where opacity is
neither 0 nor 255 (OpenSlide draws half a pixel at a level's edge when the origin lies between two pixels of the level).

    python -m venv /tmp/venv && /tmp/venv/bin/pip install numpy openslide-python openslide-bin==4.0.1.2
    /tmp/venv/bin/python app/tests/golden/openslide_regions.py ../shared/data app/tests/golden/openslide_regions.json
"""
import json
import sys
from pathlib import Path

import numpy as np
import openslide

data, out = Path(sys.argv[1]), Path(sys.argv[2])
reference = json.loads((data / "slides/OPENSLIDE_REFERENCE.json").read_text())["slides"]
golden = {}
for name, slide in reference.items():
    for region in slide.get("regions", []):
        if "mean" not in region or region["mean"][3] == 255.0:
            continue
        found = openslide.OpenSlide(data / name).read_region(region["location"], region["level"], region["size"])
        rgba = np.asarray(found).astype(np.float64)
        assert np.allclose(rgba.mean((0, 1)), region["mean"], atol=0.01), (name, region)
        alpha = rgba[..., 3:] / 255
        white = rgba[..., :3] * alpha + 255 * (1 - alpha)
        golden[f"{name} {region['level']} {region['at']}"] = {
            "mean": [round(float(v), 3) for v in white.mean((0, 1))],
            "std": [round(float(v), 3) for v in white.std((0, 1))],
        }
out.write_text(json.dumps(golden, indent=1) + "\n")
