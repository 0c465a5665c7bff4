#!/usr/bin/env python3
"""Measures a Qwen2.5-VL beside transformers, in one run: same weights, picture, prompt, threads and precision (f32), turn by turn.

    python3 tests/peers/qwen.py                           # writes 5 GB of weights into target/peers once
    python3 tests/peers/qwen.py --threads 2 --rounds 5 --repeats 3
    python3 tests/peers/qwen.py --python PYTHON           # one that has the pinned packages already

Both sides: random weights in the widths of Qwen2.5-VL-3B with its whole vocabulary, but 8 blocks of the vision tower
instead of 32 (the last sees the whole picture, as every eighth does there) and 9 layers of the language model instead of
36. A prompt of one patch of 672 × 672 pixels and 35 words, 613 tokens: from its pixels to the logits of the first word,
then 32 steps. Each turn is a process of its own; it is held that both choose the same words.

Prints a Markdown table of medians [least-most] and ratios, and exits 1 where we are slower. Needs Python 3.10 with venv,
cargo, 14 GB of disk, most of it the peer, and 8 GB of memory.
"""

import argparse
import sys
from pathlib import Path

from models import (
    PLACE, Measure, cpu_name, environment, fail, json_lines, measured, ours, processors, progress, run)

PACKAGES = ["torch==2.14.1", "torchvision==0.29.2", "transformers==5.23.0", "pillow==13.0.0"]

# Kept in step with `tests/benches/qwen.rs`.
MODEL = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
from pathlib import Path
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
folder = Path(sys.argv[1])
config = Qwen2_5_VLConfig(
    text_config=dict(
        hidden_size=2048, intermediate_size=11008, num_hidden_layers=9, num_attention_heads=16, num_key_value_heads=2,
        vocab_size=151936, max_position_embeddings=128000, rms_norm_eps=1e-6, hidden_act="silu",
        rope_parameters=dict(rope_type="default", rope_theta=1000000.0, mrope_section=[16, 24, 24])),
    vision_config=dict(
        depth=8, hidden_size=1280, intermediate_size=3420, num_heads=16, out_hidden_size=2048, window_size=112,
        fullatt_block_indexes=[7], patch_size=14, spatial_merge_size=2, temporal_patch_size=2, hidden_act="silu"),
    image_token_id=151655, vision_start_token_id=151652, vision_end_token_id=151653, tie_word_embeddings=True)
for part in (config, config.text_config, config.vision_config):
    part._attn_implementation = "sdpa"
TOWER, DECODER = "model.visual.", "model.language_model."
"""

WRITE = MODEL + """
torch.manual_seed(1)
model = Qwen2_5_VLForConditionalGeneration(config).float()
with torch.no_grad():
    for name, tensor in model.named_parameters():
        if name.endswith("bias"):
            tensor.normal_(0.0, 0.02)
state = model.state_dict()
below = lambda prefix, new: {new + k[len(prefix):]: v.contiguous() for k, v in state.items() if k.startswith(prefix)}
save_file(below(DECODER, "model."), folder / "decoder.safetensors")
# Last: where it is there, all is.
save_file(below(TOWER, ""), folder / "tower.part")
(folder / "tower.part").rename(folder / "tower.safetensors")
"""

PEER = MODEL + """
import numpy as np
from PIL import Image
from transformers import Qwen2VLImageProcessor
threads, repeats = int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(threads)
with torch.device("meta"):
    model = Qwen2_5_VLForConditionalGeneration(config)
state = {TOWER + k: v for k, v in load_file(folder / "tower.safetensors").items()}
state |= {DECODER + k[len("model."):]: v for k, v in load_file(folder / "decoder.safetensors").items()}
state["lm_head.weight"] = state[DECODER + "embed_tokens.weight"]
model.load_state_dict(state, strict=True, assign=True)
# What no file has: frequencies of positions, which are not there yet.
for module in model.modules():
    if hasattr(module, "inv_freq"):
        fresh = type(module)(module.config)
        module.inv_freq, module.original_inv_freq = fresh.inv_freq, fresh.original_inv_freq
model.eval()
SIDE, STEPS = 672, 32
i = np.arange(SIDE * SIDE * 3, dtype=np.int64)
picture = Image.fromarray(((i * 31 + i // 2016 * 17) % 251).astype(np.uint8).reshape(SIDE, SIDE, 3))
processor = Qwen2VLImageProcessor(size={"shortest_edge": 3136, "longest_edge": 12845056})
ids = [*range(1000, 1015), 151652, *[151655] * 576, 151653, *range(2000, 2020)]
ids = torch.tensor([ids])
prefill, decode = [], []
with torch.inference_mode():
    for turn in range(repeats + 1):
        model.model.rope_deltas = None
        start = time.perf_counter()
        seen = processor(images=[picture], return_tensors="pt")
        out = model(input_ids=ids, mm_token_type_ids=(ids == 151655).int(), pixel_values=seen["pixel_values"],
                    image_grid_thw=seen["image_grid_thw"], use_cache=True, logits_to_keep=1)
        rows = [out.logits[0, -1]]
        chosen = [int(rows[-1].argmax())]
        first = time.perf_counter()
        for _ in range(STEPS):
            out = model(input_ids=torch.tensor([chosen[-1:]]), past_key_values=out.past_key_values, use_cache=True)
            rows.append(out.logits[0, -1])
            chosen.append(int(rows[-1].argmax()))
        end = time.perf_counter()
        if turn:
            prefill.append(ids.shape[1] / (first - start))
            decode.append(STEPS / (end - first))
    logprobs = torch.stack(rows).log_softmax(-1).amax(-1).tolist()
versions = {"PyTorch": torch.__version__, "transformers": transformers.__version__}
print(json.dumps({"prefill": prefill, "decode": decode, "ids": chosen, "logprobs": logprobs, "versions": versions}))
"""


def weights(python):
    """The folder of the weights, written by the peer."""
    folder = PLACE / "qwen-3b-widths"
    if not (folder / "tower.safetensors").exists():
        folder.mkdir(parents=True, exist_ok=True)
        progress(f"writing weights into {folder}")
        run([python, "-c", WRITE, folder])
    return folder


def same_words(own, peer):
    """Ends the script where the two did not compute the same, word by word."""
    pairs = zip(own["logprobs"], peer["logprobs"], strict=True)
    if own["ids"] != peer["ids"] or any(abs(a - b) > 1e-4 * abs(b) for a, b in pairs):
        fail(f"the answers differ: {own['ids']}, {own['logprobs']} and {peer['ids']}, {peer['logprobs']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=processors(), help="by default one for each processor")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each program")
    parser.add_argument("--repeats", type=int, default=3, help="runs in each turn, after one that is not counted")
    parser.add_argument("--python", type=Path, help="a Python that has the pinned packages")
    parser.add_argument("--program", type=Path, help="our measurements, built already")
    arguments = parser.parse_args()
    PLACE.mkdir(parents=True, exist_ok=True)
    python = arguments.python or environment("qwen", PACKAGES)
    program = arguments.program or ours("qwen")
    folder = weights(python)
    size = "widths of 3B, 8 blocks, 9 layers, f32"
    prefill = Measure(f"Qwen2.5-VL, {size}: 672 × 672 px to the first word", "tokens/s", "transformers", 1.0)
    decode = Measure("the same, 32 steps after it", "tokens/s", "transformers", 1.0)
    threads, repeats, versions = arguments.threads, str(arguments.repeats), {}
    for turn in range(arguments.rounds):
        progress(f"Qwen2.5-VL, round {turn + 1} of {arguments.rounds}")
        lines = {line["what"]: line for line in json_lines(measured([program, "peer", folder, repeats], threads))}
        [peer] = json_lines(measured([python, "-c", PEER, folder, str(threads), repeats], threads))
        same_words(lines["answer"], peer)
        versions |= peer["versions"]
        for measure, what in ((prefill, "prefill"), (decode, "decode")):
            measure.ours += lines[what]["samples"]
            measure.theirs += peer[what]
    print("| what | unit | ours | peer | peer's | ours / peer | must |")
    print("|---|---|---|---|---|---|---|")
    for measure in (prefill, decode):
        print(measure.row())
    print(f"\n{cpu_name()}, {threads} threads; median [least-most] of {arguments.rounds} turns of")
    print(f"{arguments.repeats} runs each; " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    missed = [measure for measure in (prefill, decode) if measure.ratio() < measure.must]
    for measure in missed:
        progress(f"missed: {measure.title}: {measure.ratio():.2f} instead of at least {measure.must:.1f}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
