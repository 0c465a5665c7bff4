#!/usr/bin/env python3
"""Measures a step of cold start and a step of GRPO beside PyTorch with PEFT and TRL, in one run: same shapes, threads,
precision (f32) and tokens, turn by turn, each turn in a process of its own.

    python3 tests/peers/training.py                       # all; installs what is missing into target/peers
    python3 tests/peers/training.py --shape tiny          # 6.8 million parameters; or: small (254 million)
    python3 tests/peers/training.py --only grpo           # or: cold-start
    python3 tests/peers/training.py --python PYTHON       # one that has the pinned packages already

Prints a Markdown table: medians [least-most] of a step's seconds, the largest resident memory of each process, and
ratios; exits 1 where we are slower or need more memory. Needs Python 3.10 with venv, cargo, about 8 GB of disk and, for
the shape `small`, 12 GB of memory; `small` takes about ten minutes a turn.

Both sides: random Llama with untied embeddings, LoRA of rank 128 and alpha 256 on all linear layers of each layer.
Cold start: 8 sequences of 350 tokens, the loss on every token but the first, AdamW. GRPO: 8 prompts of 200 tokens, 4
answers each of 128 tokens whatever they say, beta 0.04 against a frozen copy, 4 micro-batches of 8 answers, AdamW.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
from pathlib import Path

from models import PLACE, cpu_name, cpus, environment, fail, json_lines, ours, processors, progress

PACKAGES = ["torch==2.14.1", "transformers==5.23.0", "peft==0.21.2", "trl==1.16.0"]
SHAPES = ["tiny", "small"]

# Kept in step with `tests/benches/training.rs`.
MODEL = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM
import peft, transformers
shape, threads, repeats = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(threads)
torch.manual_seed(1)
SHAPES = {
    "tiny": dict(hidden_size=256, num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=2,
                 intermediate_size=768, vocab_size=4096),
    "small": dict(hidden_size=1024, num_hidden_layers=16, num_attention_heads=16, num_key_value_heads=8,
                  intermediate_size=2816, vocab_size=32000),
}
config = LlamaConfig(**SHAPES[shape], tie_word_embeddings=False, max_position_embeddings=1024, rms_norm_eps=1e-5,
                     bos_token_id=1, eos_token_id=2, pad_token_id=0)
model = LlamaForCausalLM(config)
lora = LoraConfig(r=128, lora_alpha=256, lora_dropout=0.0, task_type="CAUSAL_LM", target_modules=[
    "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])
versions = {"PyTorch": torch.__version__, "transformers": transformers.__version__, "PEFT": peft.__version__}
"""

COLD_START = MODEL + """
recompute = sys.argv[4] == "on"
model = get_peft_model(model, lora)
if recompute:
    model.gradient_checkpointing_enable()
    model.enable_input_require_grads()
model.train()
learning = [p for p in model.parameters() if p.requires_grad]
adam = torch.optim.AdamW(learning, lr=1e-4, weight_decay=0.0)
ids = torch.randint(3, config.vocab_size, (8, 350))
seconds = []
for turn in range(repeats + 1):
    start = time.perf_counter()
    loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(learning, 1.0)
    adam.step()
    adam.zero_grad()
    if turn:
        seconds.append(time.perf_counter() - start)
    assert torch.isfinite(loss)
print(json.dumps({"seconds": seconds, "versions": versions}))
"""

GRPO = MODEL + """
import tempfile, zlib
import trl
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

versions["TRL"] = trl.__version__
words = ["<pad>", "<bos>", "<eos>", *(f"w{i}" for i in range(3, config.vocab_size))]
tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>"))
tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>",
                                    padding_side="left")
steps = repeats + 1
draw = torch.randint(3, config.vocab_size, (8 * steps, 200)).tolist()
prompts = [{"prompt": " ".join(words[i] for i in row)} for row in draw]
parts = {"rollout": [], "reference": []}

def reward(completions, **_):
    return [zlib.crc32(text.encode()) % 1000 / 250 for text in completions]

class Clock(TrainerCallback):
    seconds, begin = [], None
    def on_step_begin(self, *_, **__):
        Clock.begin = time.perf_counter()
    def on_step_end(self, *_, **__):
        Clock.seconds.append(time.perf_counter() - Clock.begin)

class Timed(GRPOTrainer):
    def _generate(self, *arguments, **named):
        start = time.perf_counter()
        done = super()._generate(*arguments, **named)
        parts["rollout"].append(time.perf_counter() - start)
        return done
    def _get_per_token_logps_and_entropies(self, *arguments, **named):
        start = time.perf_counter()
        done = super()._get_per_token_logps_and_entropies(*arguments, **named)
        if not torch.is_grad_enabled():
            parts["reference"].append(time.perf_counter() - start)
        return done

with tempfile.TemporaryDirectory() as folder:
    settings = GRPOConfig(
        output_dir=folder, use_cpu=True, bf16=False, fp16=False, gradient_checkpointing=False, report_to=[],
        save_strategy="no", disable_tqdm=True, logging_steps=1000, max_steps=steps, per_device_train_batch_size=8,
        gradient_accumulation_steps=4, num_generations=4, max_completion_length=128, beta=0.04, temperature=1.0,
        loss_type="grpo", learning_rate=1e-4, max_grad_norm=1.0,
        generation_kwargs={"min_new_tokens": 128},
    )
    trainer = Timed(model=model, reward_funcs=reward, args=settings, train_dataset=Dataset.from_list(prompts),
                    processing_class=tokenizer, peft_config=lora, callbacks=[Clock()])
    sys.stdout, stdout = sys.stderr, sys.stdout
    trainer.train()
    sys.stdout = stdout
assert len(parts["rollout"]) == steps, parts
parts = {name: [sum(values) / steps] for name, values in parts.items()}
print(json.dumps({"seconds": Clock.seconds[1:], "parts": parts, "versions": versions}))
"""


def measured(command, threads):
    """Runs a measurement on as many processors as threads: its JSON line, with the largest memory it held in MiB."""
    bound = cpus(threads)
    env = dict(os.environ, OMP_NUM_THREADS=str(threads), RAYON_NUM_THREADS=str(threads),
               CANDLE_NUM_THREADS="1", TRL_EXPERIMENTAL_SILENCE="1")
    bind = (lambda: os.sched_setaffinity(0, bound)) if bound else None
    child = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True, env=env, preexec_fn=bind)
    try:
        text = child.stdout.read()
    except BaseException:
        child.send_signal(signal.SIGKILL)
        raise
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        fail(f"{' '.join(str(part)[:60] for part in command[:2])} ended with {child.returncode}")
    lines = json_lines(text)
    if len(lines) != 1:
        fail(f"a measurement wrote {len(lines)} lines of figures instead of one")
    # Linux counts in KiB, macOS in bytes.
    lines[0]["memory"] = usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return lines[0]


def span(samples, digits):
    low, middle, high = min(samples), statistics.median(samples), max(samples)
    return f"{middle:.{digits}f} [{low:.{digits}f}-{high:.{digits}f}]"


class Side:
    """What one program gave in every turn."""

    def __init__(self):
        self.seconds, self.memory, self.parts = [], [], {}

    def add(self, line):
        self.seconds += line["seconds"]
        self.memory.append(line["memory"])
        for name, values in line.get("parts", {}).items():
            self.parts.setdefault(name, []).extend(values)


class Measure:
    """One line of the table."""

    def __init__(self, title):
        self.title, self.ours, self.theirs = title, Side(), Side()

    def faster(self):
        return statistics.median(self.theirs.seconds) / statistics.median(self.ours.seconds)

    def memory(self):
        return max(self.ours.memory) / max(self.theirs.memory)

    def row(self):
        cells = [self.title, span(self.ours.seconds, 2), span(self.theirs.seconds, 2), f"{self.faster():.2f}",
                 f"{max(self.ours.memory):,.0f}", f"{max(self.theirs.memory):,.0f}", f"{self.memory():.2f}"]
        return "| " + " | ".join(cells) + " |"

    def parts(self):
        of = lambda side: ", ".join(f"{name} {statistics.median(v):.2f} s" for name, v in sorted(side.parts.items()))
        return f"{self.title}: ours {of(self.ours)}; peer's {of(self.theirs)}"

    def missed(self):
        if self.faster() < 1:
            yield f"{self.title}: {self.faster():.2f} times the peer's speed instead of at least 1"
        if self.memory() > 1:
            yield f"{self.title}: {self.memory():.2f} times the peer's memory instead of at most 1"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["cold-start", "grpo"])
    parser.add_argument("--shape", choices=SHAPES)
    parser.add_argument("--threads", type=int, default=processors(), help="by default one for each processor")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each program")
    parser.add_argument("--repeats", type=int, default=3, help="steps in each turn, after one that is not counted")
    parser.add_argument("--python", type=Path, help="a Python that has the pinned packages")
    parser.add_argument("--program", type=Path, help="our measurements, built already")
    arguments = parser.parse_args()
    PLACE.mkdir(parents=True, exist_ok=True)
    program = arguments.program or ours("training")
    python = arguments.python or environment("training", PACKAGES)
    threads, repeats = arguments.threads, str(arguments.repeats)
    versions, measures = {}, []
    jobs = []
    for shape in [arguments.shape] if arguments.shape else SHAPES:
        if arguments.only != "grpo":
            jobs += [("cold-start", shape, "off", COLD_START), ("cold-start", shape, "on", COLD_START)]
        if arguments.only != "cold-start":
            jobs.append(("grpo", shape, "off", GRPO))
    for what, shape, recompute, script in jobs:
        with_it = {"on": ", activations computed again", "off": ""}[recompute]
        measure = Measure(f"{what}, {shape}{with_it}")
        measures.append(measure)
        for turn in range(arguments.rounds):
            progress(f"{measure.title}, turn {turn + 1} of {arguments.rounds}")
            measure.ours.add(measured([program, what, shape, repeats, recompute], threads))
            line = measured([python, "-c", script, shape, str(threads), repeats, recompute], threads)
            measure.theirs.add(line)
            versions |= line["versions"]
    print("| step | ours, s | peer's, s | faster | ours, MiB | peer's, MiB | memory, ours / peer's |")
    print("|---|---|---|---|---|---|---|")
    for measure in measures:
        print(measure.row())
    print(f"\n{cpu_name()}, {threads} threads; median [least-most] of {arguments.rounds} turns of {arguments.repeats} steps;")
    print("memory: the largest that a process held. " + ", ".join(f"{name} {v}" for name, v in versions.items()))
    for measure in measures:
        if measure.ours.parts or measure.theirs.parts:
            print(measure.parts())
    missed = [sentence for measure in measures for sentence in measure.missed()]
    for sentence in missed:
        progress(f"missed: {sentence}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
