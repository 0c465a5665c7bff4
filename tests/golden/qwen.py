#!/usr/bin/env python3
"""Writes the golden files of Qwen2.5-VL: what transformers makes of pictures, places and prompts, with small seeded models.

    python3 -m venv /tmp/golden && /tmp/golden/bin/pip install -r requirements.txt
    /tmp/golden/bin/python qwen.py

Three folders. `qwen`: pictures, the image processor's configuration, and its sizes, grids and values (the processor
that resizes with Pillow; the one of torchvision differs by single steps of 255). `qwen3` and `qwen7`: a model in the
shape of Qwen2.5-VL-3B and -7B each. The first has tied embeddings, a head of keys for eight of queries, the older names
of tensors and the older configuration; the second an output layer of its own, two heads of keys for seven of queries each,
and names and configuration of transformers 5. Weights are in bf16, as published ones are, and all arithmetic is in f32.
"""

import json
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.vision_utils import get_vision_window_index

from generate import HERE, ids, shake, write

PROCESSOR = dict(
    min_pixels=784, max_pixels=56000, patch_size=14, temporal_patch_size=2, merge_size=2,
    image_mean=[0.48145466, 0.4578275, 0.40821073], image_std=[0.26862954, 0.26130258, 0.27577711],
    image_processor_type="Qwen2VLImageProcessor",
)
# Name, width, height, rows and columns of image tokens, and every which of their values is kept.
PICTURES = [("small", 60, 33, (1, 2), 1), ("wide", 190, 150, (5, 7), 37), ("large", 500, 490, (8, 8), 61)]
# Height, width, fewest and most pixels. Halves are rounded to the even number; what is below one token grows.
USUAL = (3136, 1280 * 784)
SIZES = [
    (561, 278, *USUAL), (1024, 1024, *USUAL), (672, 672, *USUAL), (70, 70, *USUAL), (42, 98, *USUAL),
    (98, 126, *USUAL), (14, 14, *USUAL), (13, 15, *USUAL), (1, 150, *USUAL), (28, 5600, *USUAL),
    (2000, 1500, *USUAL), (300, 4000, *USUAL), (56, 56, *USUAL), (57, 55, *USUAL), (1003, 1004, *USUAL),
    (1001, 1005, *USUAL), (30, 40, *USUAL), (1080, 1920, *USUAL), (512, 512, 3136, 12845056),
    (2300, 2310, 3136, 12845056), (300, 300, 784, 50176), (448, 224, 784, 100352), (449, 225, 784, 100000),
    (100, 90, 160000, 802816),
]

# Special tokens of the small vocabulary.
VOCABULARY, BOS, EOS, VISION_START, VISION_END, IMAGE, VIDEO = 160, 146, 147, 148, 149, 150, 151
STEPS = 6

SHAPES = {
    "qwen3": dict(hidden=128, heads=8, kv_heads=1, mlp=96, sections=[2, 3, 3], tied=True, seed=86),
    "qwen7": dict(hidden=112, heads=14, kv_heads=2, mlp=80, sections=[1, 2, 1], tied=False, seed=34),
}


def blocks(width, height, seed):
    """A picture of unequal blocks, which is small as a file and has edges everywhere."""
    generator = np.random.default_rng(seed)
    cells = generator.integers(0, 256, (height // 11, width // 13, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((width, height), Image.NEAREST)


def processor():
    """The pictures, and what the image processor makes of them and of empty ones."""
    folder = HERE / "qwen"
    folder.mkdir(exist_ok=True)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR, indent=1) + "\n")
    given = {k: v for k, v in PROCESSOR.items() if k != "image_processor_type"}
    own = Qwen2VLImageProcessorPil(**given)
    pictures, values = {}, {}
    for number, (name, width, height, grid, every) in enumerate(PICTURES):
        picture = blocks(width, height, 40 + number)
        picture.save(folder / f"{name}.png", optimize=True)
        made = own(images=[picture], return_tensors="pt")
        rows, columns = grid
        assert made["image_grid_thw"].tolist() == [[1, 2 * rows, 2 * columns]], name
        pictures[name] = (made["pixel_values"], made["image_grid_thw"])
        values[f"pixels.{name}"] = made["pixel_values"].flatten()[::every]
        values[f"every.{name}"] = torch.tensor([every])
    sizes, grids = [], []
    for height, width, least, most in SIZES:
        size = {"shortest_edge": least, "longest_edge": most}
        made = own(images=[Image.new("RGB", (width, height))], size=size, return_tensors="pt")
        [grid] = made["image_grid_thw"].tolist()
        grids.append(grid)
        sizes.append([14 * grid[1], 14 * grid[2]])
    values |= {"asked": torch.tensor(SIZES), "sizes": torch.tensor(sizes), "grids": torch.tensor(grids)}
    write("qwen", None, values)
    packages = ["torch", "transformers", "pillow", "numpy"]
    versions = {name: version(name) for name in packages}
    (folder / "versions.json").write_text(json.dumps(versions, indent=1) + "\n")
    return pictures


def older_config(shape):
    """As the published files have it: the language model's fields beside the tower's."""
    return dict(
        architectures=["Qwen2_5_VLForConditionalGeneration"], model_type="qwen2_5_vl", bos_token_id=BOS, eos_token_id=EOS,
        vision_start_token_id=VISION_START, vision_end_token_id=VISION_END, image_token_id=IMAGE, video_token_id=VIDEO,
        hidden_act="silu", hidden_size=shape["hidden"], intermediate_size=shape["mlp"], num_hidden_layers=2,
        num_attention_heads=shape["heads"], num_key_value_heads=shape["kv_heads"], max_position_embeddings=4096,
        max_window_layers=2, use_sliding_window=False, sliding_window=32768, rms_norm_eps=1e-6, rope_theta=1000000.0,
        rope_scaling=dict(type="mrope", mrope_section=shape["sections"]), tie_word_embeddings=shape["tied"],
        vocab_size=VOCABULARY, torch_dtype="bfloat16",
        vision_config=dict(
            depth=4, hidden_act="silu", hidden_size=32, intermediate_size=40, num_heads=2, in_chans=3,
            out_hidden_size=shape["hidden"], patch_size=14, spatial_merge_size=2, spatial_patch_size=14, window_size=112,
            fullatt_block_indexes=[1, 3], tokens_per_second=2, temporal_patch_size=2,
        ),
    )


def make(shape):
    config = Qwen2_5_VLConfig(**older_config(shape))
    for part in (config, config.text_config, config.vision_config):
        part._attn_implementation = "eager"
        part.dtype = "float32"
    assert config.text_config.rope_parameters["mrope_section"] == shape["sections"]
    model = shake(Qwen2_5_VLForConditionalGeneration(config).float(), shape["seed"])
    with torch.no_grad():
        model.model.visual.merger.ln_q.weight.mul_(2).add_(1)
        for tensor in model.state_dict().values():
            tensor.copy_(tensor.bfloat16().float())
    return model, config


def older_name(name):
    for newer, older in (("model.visual.", "visual."), ("model.language_model.", "model.")):
        if name.startswith(newer):
            return older + name[len(newer):]
    return name


def stored(model, shape, names):
    """The weights as a file has them."""
    is_there = lambda name: not (shape["tied"] and name == "lm_head.weight")
    return {names(k): v.bfloat16() for k, v in model.state_dict().items() if is_there(k)}


def reads(model, config, tensors, prompt):
    """Holds that transformers reads these names and this configuration as the same model."""
    with tempfile.TemporaryDirectory() as place:
        save_file({k: v.clone().contiguous() for k, v in tensors.items()}, Path(place) / "model.safetensors",
                  metadata={"format": "pt"})
        (Path(place) / "config.json").write_text(json.dumps(config))
        again = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            place, dtype=torch.float32, attn_implementation="eager").eval()
    assert torch.equal(again(**prompt).logits, model(**prompt).logits)


def prompt(pictures, parts):
    """The inputs of one prompt: numbers of words, and names of pictures."""
    tokens, grids, pixels = [], [], []
    for number, part in enumerate(parts):
        if isinstance(part, int):
            tokens += ids((part,), BOS, 50 + part + number).tolist()
            continue
        values, grid = pictures[part]
        pixels.append(values)
        grids.append(grid)
        tokens += [VISION_START] + [IMAGE] * (int(grid.prod()) // 4) + [VISION_END]
    tokens = torch.tensor([tokens])
    return dict(
        input_ids=tokens, attention_mask=torch.ones_like(tokens), mm_token_type_ids=(tokens == IMAGE).int(),
        pixel_values=torch.cat(pixels), image_grid_thw=torch.cat(grids))


def batch(prompts):
    """Prompts as one batch with padding on the left."""
    longest = max(p["input_ids"].shape[1] for p in prompts)
    pad = lambda x, value: torch.nn.functional.pad(x, (longest - x.shape[1], 0), value=value)
    rows = lambda key, value: torch.cat([pad(p[key], value) for p in prompts])
    whole = lambda key: torch.cat([p[key] for p in prompts])
    return dict(
        input_ids=rows("input_ids", BOS), attention_mask=rows("attention_mask", 0),
        mm_token_type_ids=rows("mm_token_type_ids", 0), pixel_values=whole("pixel_values"),
        image_grid_thw=whole("image_grid_thw"))


def greedy(model, inputs):
    """Likeliest tokens (rows, steps) and the logits that each was taken from (rows, steps, vocabulary)."""
    model.model.rope_deltas = None
    done = model.generate(**inputs, do_sample=False, max_new_tokens=STEPS, eos_token_id=None, pad_token_id=BOS,
                          return_dict_in_generate=True, output_logits=True)
    logits = torch.stack(done.logits, 1)
    best, second = logits.topk(2).values.unbind(-1)
    # Else another order of sums would choose another token.
    assert ((best - second) > 1e-3 * logits.abs().max()).all()
    return done.sequences[:, -STEPS:], logits


@torch.no_grad()
def case(name, pictures):
    shape = SHAPES[name]
    model, config = make(shape)
    values = {}
    tower = model.model.visual
    blocks_of = tower.blocks
    for picture in ("wide", "large"):
        pixels, grid = pictures[picture]
        order, ends = get_vision_window_index(grid, spatial_merge_size=2, window_size=112, patch_size=14)
        values |= {f"order.{picture}": order, f"windows.{picture}": ends.diff().long() // 4}
        values[f"features.{picture}"] = tower(pixels, grid).pooler_output
    # One block that sees windows, one more that sees the whole picture, and all: in the order of the windows.
    pixels, grid = pictures["wide"]
    for depth in (1, 2, 4):
        tower.blocks = blocks_of[:depth]
        values[f"after.wide.{depth}"] = tower(pixels, grid).last_hidden_state
    tower.blocks = blocks_of
    two, one = prompt(pictures, [5, "wide", 3, "large", 7]), prompt(pictures, [4, "wide", 6])
    places, _ = model.model.get_rope_index(
        two["input_ids"], two["mm_token_type_ids"], image_grid_thw=two["image_grid_thw"],
        attention_mask=two["attention_mask"])
    cos, sin = model.model.language_model.rotary_emb(torch.zeros(1), places)
    half = cos.shape[-1] // 2
    values |= {"two": two["input_ids"], "one": one["input_ids"], "places": places[:, 0],
               "cos": cos[0, :, :half], "sin": sin[0, :, :half], "logits": model(**two).logits[0]}
    steps, logits = greedy(model, two)
    values |= {"steps": steps[0], "step_logits": logits[0]}
    steps, logits = greedy(model, batch([two, one]))
    values |= {"batch_steps": steps, "batch_logits": logits}
    model.model.rope_deltas = None
    newer = json.loads(config.to_json_string())
    reads(model, older_config(shape), stored(model, shape, older_name), two)
    reads(model, newer, stored(model, shape, lambda name: name), two)
    is_older = name == "qwen3"
    tensors = stored(model, shape, older_name if is_older else lambda name: name)
    write(name, tensors, values, older_config(shape) if is_older else newer)


if __name__ == "__main__":
    pictures = processor()
    for name in SHAPES:
        case(name, pictures)
