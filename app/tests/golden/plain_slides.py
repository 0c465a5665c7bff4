"""Writes plain_slides.json: size, mean and deviation per channel of every plain image that must open, computed
independently of this project (numpy, tifffile, imagecodecs, Pillow for subsampled YCbCr).

    python -m venv /tmp/venv && /tmp/venv/bin/pip install numpy tifffile imagecodecs pillow
    /tmp/venv/bin/python app/tests/golden/plain_slides.py ../shared/data app/tests/golden/plain_slides.json

The rules: 16-bit colour v -> round(v / 257); one channel of 16-bit or floating-point TIFF is windowed from its least to its
greatest value; transparency lies on white; an OME-TIFF's first page is its first channel and time point, without its colour map.
"""
import json
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

FILES = """
slides/corrupt/tifftools_good_jpeg.tif slides/corrupt/tifftools_good_single.tif
slides/generic-tiff/kidney-48-5.tif slides/generic-tiff/pathml_smalltif.tif slides/large_image/grey10kx5k.tif
slides/large_image/test_LA_16.png slides/large_image/test_LA_8.png slides/large_image/test_L_16.png slides/large_image/test_L_8.png
slides/large_image/test_RGBA_16.png slides/large_image/test_RGBA_8.png slides/large_image/test_RGB_16.png slides/large_image/test_RGB_8.png
slides/large_image/yb10kx5k.png slides/libvips/subsampled.tif slides/ome-tiff/OS-1-detail.ome.tif slides/ome-tiff/OS-2-ndpi.ome.tif
slides/openslide-python/boxes.png slides/qupath/cells-2c.ome.tif slides/qupath/cells-2t.ome.tif slides/qupath/cells-gray16.tif
slides/qupath/cells-gray32.tif slides/qupath/cells.ome.tif slides/qupath/cells.tif
""".split()


def narrow(values, measured):
    if values.dtype == np.uint8:
        return values.astype(np.float64)
    if measured:
        low, high = float(values.min()), float(values.max())
        return np.floor((values.astype(np.float64) - low) * (255.0 / (high - low)) + 0.5)
    assert values.dtype == np.uint16
    return np.floor(values / 257.0 + 0.5)


def on_white(pixels, premultiplied):
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    channels = pixels.shape[-1]
    colours = 1 if channels < 3 else 3
    rgb = pixels[..., :colours]
    if channels > colours:
        alpha = pixels[..., colours : colours + 1]
        rgb = rgb + 255 - alpha if premultiplied else np.floor((rgb * alpha + 255 * (255 - alpha) + 127) / 255)
    return np.broadcast_to(np.minimum(rgb, 255), pixels.shape[:2] + (3,))


def read(path):
    if path.suffix == ".png":
        return on_white(narrow(imagecodecs.png_decode(path.read_bytes()), False), False)
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        if page.photometric.name == "YCBCR":
            return np.asarray(Image.open(path).convert("RGB")).astype(np.float64)
        values = page.asarray()
        if page.planarconfig == 2:
            values = np.moveaxis(values, 0, -1)
        premultiplied = tuple(page.extrasamples) == (1,)
        return on_white(narrow(values, values.ndim == 2), premultiplied)


def main():
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    golden = {}
    for name in FILES:
        rgb = read(data / name)
        golden[name] = {
            "size": [rgb.shape[1], rgb.shape[0]],
            "mean": [round(float(rgb[..., c].mean()), 3) for c in range(3)],
            "std": [round(float(rgb[..., c].std()), 3) for c in range(3)],
            "corner": [int(v) for v in rgb[0, 0]],
            "centre": [int(v) for v in rgb[rgb.shape[0] // 2, rgb.shape[1] // 2]],
        }
    out.write_text(json.dumps(golden, indent=1) + "\n")


main()
