#!/usr/bin/env python3
"""Writes the golden files of training: what PyTorch, PEFT, transformers and TRL make of small, fixed inputs.

    python3 -m venv /tmp/golden && /tmp/golden/bin/pip install -r requirements.txt
    /tmp/golden/bin/python training.py            # all parts, or the named ones

The folder `training` gets, for each part, settings and figures as JSON and tensors as safetensors:

- `advantages`: rewards and what TRL's formulas make of them.
- `objective`: loss and gradient on fixed log-probabilities, for every aggregation, ratio, KL estimator and advantage
  scaling, in one micro-batch and in two. Where TRL has the case, its own `_compute_loss` has computed it; the rest is
  the same lines with one of them changed, and is said to be from "torch".
- `optimiser`: a trajectory of AdamW with clipping, and schedules.
- `trajectory`: 20 steps of cold start by transformers' Trainer, then 20 steps of GRPO with fixed rollouts, on the tiny
  Llama of `llama3` with LoRA and a projector. Each is computed in double precision too, and refused where rounding
  decides what it shows.
"""

import copy
import json
import sys
import tempfile
from collections import defaultdict
from importlib.metadata import version
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import Trainer, TrainingArguments, get_scheduler
from trl import GRPOTrainer
from trl.trainer.utils import nanstd

HERE = Path(__file__).parent
FOLDER = HERE / "training"
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
torch.manual_seed(0)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def write_json(name, value):
    """One line for each entry of a list: what changes shows in a diff."""
    text = json.dumps(value)
    if isinstance(value, list):
        text = "[\n" + ",\n".join(json.dumps(entry) for entry in value) + "\n]"
    (FOLDER / f"{name}.json").write_text(text + "\n")


def write_tensors(name, tensors):
    plain = {key: value.detach().clone().contiguous() for key, value in tensors.items()}
    save_file(plain, FOLDER / f"{name}.safetensors")


# ---------------------------------------------------------------------------------------------------- advantages

SCALINGS = ["group", "batch", "none"]


def advantages_of(rewards, group, scaling, floor=0.0):
    """TRL's lines (`_generate_and_score_completions`, sum_then_normalize) with a floor for the deviation, which is
    ours."""
    mean = torch.nanmean(rewards.view(-1, group), dim=1).repeat_interleave(group, dim=0)
    if scaling == "batch":
        std = nanstd(rewards).expand_as(rewards)
    else:
        std = nanstd(rewards.view(-1, group), dim=1).repeat_interleave(group, dim=0)
    advantages = rewards - mean
    if scaling != "none":
        advantages = advantages / (std.clamp(min=floor) + 1e-4)
    return advantages


def advantages():
    mixed = [2.5, 0.5, 3.1, 0.5, 0.0, 0.0, 0.0, 0.0, 3.41, 3.43, 3.44, 3.42, 1.0, 0.5, 0.5, 2.5]
    spread = (3 * torch.rand(12, generator=generator(31))).tolist()
    cases = []
    for (rewards, group), scaling, floor in product([(mixed, 4), (spread, 3), (spread, 6)], SCALINGS, [0.0, 0.5]):
        values = advantages_of(torch.tensor(rewards, dtype=torch.float64), group, scaling, floor)
        cases.append(dict(rewards=rewards, group=group, scaling=scaling, floor=floor, advantages=values.tolist()))
    write_json("advantages", cases)


# ----------------------------------------------------------------------------------------------------- objective

AGGREGATIONS = ["grpo", "bnpo", "dr_grpo", "dapo"]
RATIOS = ["token", "sequence", "sequence_mean"]
ESTIMATORS = ["k1", "k2", "k3"]


def trl_loss(settings, mask, advantages, old, reference, parts, new):
    """The loss of one micro-batch of several, by TRL's own code; and the share of what is clipped."""
    metrics = {"train": defaultdict(list)}
    same = lambda value, **_: value
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=True), aux_loss_enabled=False, top_entropy_quantile=1.0, off_policy_mask_threshold=None,
        importance_sampling_level={"token": "token", "sequence_mean": "sequence"}[settings["ratio"]],
        beta=settings["kl_weight"], epsilon_low=settings["clip_low"], epsilon_high=settings["clip_high"],
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False, steps_per_generation=parts),
        use_vllm=False, loss_type=settings["aggregation"], current_gradient_accumulation_steps=parts,
        max_completion_length=settings["max_tokens"], _entropy_bonus_enabled=False, _metrics=metrics,
        accelerator=SimpleNamespace(num_processes=1, reduce=same, gather=same, gather_for_metrics=same),
        _get_per_token_logps_and_entropies=lambda *_, **__: (new, torch.zeros_like(new), None),
    )
    inputs = dict(
        prompt_ids=torch.zeros(len(mask), 1, dtype=torch.long), prompt_mask=torch.ones(len(mask), 1),
        completion_ids=torch.zeros(mask.shape, dtype=torch.long), completion_mask=mask, advantages=advantages,
        old_per_token_logps=old, ref_per_token_logps=reference,
        num_items_in_batch=torch.tensor(float(settings["tokens"])),
    )
    loss = GRPOTrainer._compute_loss(trainer, trainer.model, inputs)
    return loss, metrics["train"]["clip_ratio/region_mean"][0]


def torch_loss(settings, mask, advantages, old, reference, parts, new):
    """The same, with the ratio of the whole answer's probability and all estimators of the distance."""
    ratio = new - old
    if settings["ratio"] == "sequence":
        ratio = (ratio * mask).sum(-1, keepdim=True)
    elif settings["ratio"] == "sequence_mean":
        ratio = (ratio * mask).sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp(min=1)
    ratio = ratio.exp()
    low, high = 1 - settings["clip_low"], 1 + settings["clip_high"]
    a = advantages.unsqueeze(1)
    loss = -torch.min(ratio * a, ratio.clamp(low, high) * a)
    is_clipped = ((ratio < low) & (a < 0)) | ((ratio > high) & (a > 0))
    counted = torch.ones_like(ratio) if ratio.shape[1] == 1 else mask
    clipped = ((is_clipped * counted).sum() / counted.sum().clamp(min=1)).item()
    if settings["kl_weight"] != 0:
        loss = loss + settings["kl_weight"] * distance(settings["kl"], new, reference)
    if settings["aggregation"] == "grpo":
        loss = ((loss * mask).sum(-1) / mask.sum(-1).clamp(min=1)).mean() / parts
    elif settings["aggregation"] == "bnpo":
        loss = (loss * mask).sum() / mask.sum().clamp(min=1) / parts
    elif settings["aggregation"] == "dr_grpo":
        loss = (loss * mask).sum() / (len(mask) * settings["max_tokens"]) / parts
    else:
        loss = (loss * mask).sum() / settings["tokens"]
    return loss, clipped


def distance(estimator, new, reference):
    difference = new - reference
    if estimator == "k1":
        return difference
    if estimator == "k2":
        return difference.square() / 2
    return (-difference).exp() + difference - 1


def batch_loss(settings, mask, advantages, old, reference, parts, new):
    """Loss, gradient and clipped share (of the first micro-batch) of a whole batch in micro-batches; from whom."""
    by_trl = settings["ratio"] != "sequence" and (settings["kl"] == "k3" or settings["kl_weight"] == 0)
    leaf = new.clone().requires_grad_()
    step = len(mask) // parts
    total, clipped, source = 0.0, [], "trl" if by_trl else "torch"
    for at in range(0, len(mask), step):
        rows = slice(at, at + step)
        rest = (mask[rows], advantages[rows], old[rows], reference[rows], parts)
        loss, share = torch_loss(settings, *rest, leaf[rows])
        if by_trl:
            ours = loss
            loss, share = trl_loss(settings, *rest, leaf[rows])
            assert torch.allclose(loss, ours, rtol=1e-5, atol=1e-7), settings
        loss.backward()
        total += loss.item()
        clipped.append(share)
    return total, leaf.grad, clipped[0], source


def objective():
    """Two groups of three answers, one of which has no token that counts, as when cut-off answers are left out."""
    lengths, longest = torch.tensor([5, 3, 7, 1, 0, 6]), 7
    mask = (torch.arange(longest) < lengths.unsqueeze(1)).float()
    draw = lambda scale, seed: scale * torch.randn(mask.shape, generator=generator(seed))
    old = -draw(1.0, 41).abs() - 0.1
    new, reference = old + draw(0.25, 42), old + draw(0.2, 43)
    rewards = torch.tensor([2.5, 0.5, 3.1, 0.0, 0.5, 2.0])
    flat = lambda x: x[mask > 0]
    tensors = dict(new=flat(new), old=flat(old), reference=flat(reference))
    answer_of = torch.arange(6).unsqueeze(1).expand_as(mask)[mask > 0].tolist()
    cases, losses, gradients = [], [], []
    kinds = [("k3", 0.0), *((kl, 0.1) for kl in ESTIMATORS)]
    for aggregation, ratio, (kl, weight), scaling in product(AGGREGATIONS, RATIOS, kinds, SCALINGS):
        settings = dict(aggregation=aggregation, ratio=ratio, kl=kl, kl_weight=weight, scaling=scaling,
                        clip_low=0.2, clip_high=0.28, max_tokens=8, tokens=int(mask.sum()))
        advantages = advantages_of(rewards, 3, scaling)
        case = dict(settings, distance=(distance(kl, new, reference) * mask).sum().item() / int(mask.sum()))
        for parts in (1, 2):
            loss, gradient, clipped, case["from"] = batch_loss(settings, mask, advantages, old, reference, parts, new)
            losses.append(loss)
            gradients.append(flat(gradient))
            if parts == 1:
                case["clipped"] = clipped
        cases.append(case)
    tensors["losses"] = torch.tensor(losses, dtype=torch.float64).float().view(-1, 2)
    tensors["gradients"] = torch.stack(gradients).view(len(cases), 2, -1)
    write_tensors("objective", tensors)
    write_json("objective_answers", dict(answer_of=answer_of, rewards=rewards.tolist(), group=3, answers=6, first_half=3))
    write_json("objective", cases)


# ----------------------------------------------------------------------------------------------------- optimiser


def adamw(groups, rate, settings):
    """AdamW and schedule as transformers' Trainer makes them (`cosine_warmup_with_min_lr`)."""
    optimiser = torch.optim.AdamW(groups, lr=rate, betas=(settings["beta1"], settings["beta2"]), eps=1e-8)
    steps = settings["steps"]
    warm_up = TrainingArguments.get_warmup_steps(SimpleNamespace(warmup_steps=settings["warm_up"]), steps)
    schedule = get_scheduler("cosine_warmup_with_min_lr", optimiser, warm_up, steps,
                             scheduler_specific_kwargs=dict(min_lr_rate=settings["floor"]))
    return optimiser, schedule


def optimiser():
    """Two variables, the second of which is no matrix and is not pulled towards zero, and learns at half the rate."""
    settings = dict(steps=12, learning_rate=0.02, warm_up=0.25, floor=0.1, weight_decay=0.1, beta1=0.9, beta2=0.98,
                    clip=1.0)
    matrix = nn.Parameter(torch.randn(3, 4, generator=generator(51)))
    vector = nn.Parameter(torch.randn(5, generator=generator(52)))
    tensors = {"matrix": matrix, "vector": vector}
    groups = [dict(params=[matrix], weight_decay=settings["weight_decay"]),
              dict(params=[vector], weight_decay=0.0, lr=settings["learning_rate"] / 2)]
    adam, schedule = adamw(groups, settings["learning_rate"], settings)
    grads, values, rates, norms = [], [], [], []
    tensors = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    for step in range(settings["steps"]):
        # Some lie beyond the bound of the whole gradient's norm, some within; one is zero.
        scale = 0.0 if step == 7 else [0.05, 1.0, 0.3][step % 3]
        for parameter in (matrix, vector):
            parameter.grad = scale * torch.randn(parameter.shape, generator=generator(60 + step))
        grads.append(torch.cat([matrix.grad.flatten(), vector.grad]))
        rates.append(schedule.get_last_lr()[0])
        norms.append(nn.utils.clip_grad_norm_([matrix, vector], settings["clip"]).item())
        adam.step()
        schedule.step()
        values.append(torch.cat([matrix.detach().flatten(), vector.detach()]))
    write_tensors("optimiser", dict(tensors, gradients=torch.stack(grads), values=torch.stack(values)))
    schedules = []
    for steps, warm_up, floor in [(100, 0.03, 0.0), (40, 0.1, 0.1), (7, 0.5, 0.2), (10, 0.0, 0.0), (1, 0.0, 0.1)]:
        parameter = nn.Parameter(torch.zeros(1))
        adam, schedule = adamw([parameter], 1.0, dict(settings, steps=steps, warm_up=warm_up, floor=floor))
        of = []
        for _ in range(steps):
            of.append(schedule.get_last_lr()[0])
            adam.step()
            schedule.step()
        schedules.append(dict(steps=steps, warm_up=warm_up, floor=floor, rates=of))
    write_json("optimiser", dict(settings=settings, rates=rates, norms=norms, schedules=schedules))


# ---------------------------------------------------------------------------------------------------- trajectory

STEPS, CHANNELS, IMAGE_TOKENS, RANK, ALPHA = 20, 24, 4, 4, 8
VOCABULARY, END = 100, 99


class Policy(nn.Module):
    """The tiny Llama of `llama3` with PEFT's adapters, and a projector whose tokens stand among the words."""

    def __init__(self):
        super().__init__()
        from generate import make_llama, shake
        from peft import LoraConfig, get_peft_model

        base, _ = make_llama("llama3", 3)
        targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        self.language = get_peft_model(base, LoraConfig(
            r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=targets, task_type="CAUSAL_LM"))
        with torch.no_grad():
            for seed, (name, tensor) in enumerate(sorted(self.language.named_parameters())):
                if "lora_A" in name:
                    tensor.copy_(torch.randn(tensor.shape, generator=generator(100 + seed)) / tensor.shape[1] ** 0.5)
        self.projector = shake(nn.Sequential(nn.Linear(CHANNELS, 48), nn.GELU(), nn.Linear(48, 48)), 71)
        self.images = torch.randn(6, IMAGE_TOKENS, CHANNELS, generator=generator(72))

    def tensors(self):
        """What learns, under the names that ReinPath has for it."""
        named = {name.replace(".default", ""): p for name, p in self.language.named_parameters() if p.requires_grad}
        return named | {f"model.mm_projector.{name}": p for name, p in self.projector.named_parameters()}

    def log_probabilities(self, rows):
        """Of every answer's tokens, (rows, longest answer), and which of these there are."""
        embed = self.language.get_input_embeddings()
        word = lambda ids: embed(torch.tensor(ids, dtype=torch.long))
        images = self.images.to(next(self.projector.parameters()).dtype)
        xs = [torch.cat([word(r["before"]), self.projector(images[r["image"]]), word(r["after"] + r["answer"])])
              for r in rows]
        x = nn.utils.rnn.pad_sequence(xs, batch_first=True)
        mask = nn.utils.rnn.pad_sequence([torch.ones(len(x)) for x in xs], batch_first=True)
        logits = self.language(inputs_embeds=x, attention_mask=mask).logits.log_softmax(-1)
        of = []
        for row, x, line in zip(rows, xs, logits):
            n = len(row["answer"])
            of.append(line[len(x) - n - 1:len(x) - 1].gather(1, torch.tensor(row["answer"]).unsqueeze(1)).squeeze(1))
        there = [torch.ones(len(o)) for o in of]
        pad = lambda parts: nn.utils.rnn.pad_sequence(parts, batch_first=True)
        return pad(of), pad(there)

    def forward(self, rows, num_items_in_batch=None):
        """The cold start's loss as Hugging Face's models have it: the mean over the answers' tokens, of the whole batch
        where its number is given."""
        log_probabilities, mask = self.log_probabilities(rows)
        return {"loss": -(log_probabilities * mask).sum() / (num_items_in_batch or mask.sum())}


def draw_rows(count, seed):
    """Prompts around an image, and answers that end."""
    g = generator(seed)
    ids = lambda low, high: torch.randint(0, VOCABULARY - 1, (int(torch.randint(low, high, (1,), generator=g)),),
                                          generator=g).tolist()
    return [dict(before=[1, 2, 3], image=int(torch.randint(0, 6, (1,), generator=g)), after=ids(2, 6),
                 answer=[*ids(3, 10), END]) for _ in range(count)]


def grouped(policy, settings):
    named = policy.tensors()
    of = lambda wanted: [p for name, p in named.items() if wanted(name, p)]
    is_projector = lambda name: "mm_projector" in name
    rate, decay = settings["learning_rate"], settings["weight_decay"]
    return [
        dict(params=of(lambda n, p: not is_projector(n)), weight_decay=decay),
        dict(params=of(lambda n, p: is_projector(n) and p.dim() > 1), weight_decay=decay,
             lr=rate * settings["projector_rate"]),
        dict(params=of(lambda n, p: is_projector(n) and p.dim() == 1), weight_decay=0.0,
             lr=rate * settings["projector_rate"]),
    ]


class InOrder(Trainer):
    """The Trainer, taking the rows in their order and keeping each step's figures."""

    def _get_train_sampler(self, *_):
        return torch.utils.data.SequentialSampler(self.train_dataset)

    def _get_num_items_in_batch(self, batches, device):
        return torch.tensor(sum(len(row["answer"]) for batch in batches for row in batch["rows"]))

    def log(self, logs, *_, **__):
        if "grad_norm" in logs:
            self.figures.append((logs["loss"], logs["grad_norm"]))


def cold_start(policy, settings, rows):
    """20 updates of four rows each, in two micro-batches."""
    optimisers = adamw(grouped(policy, settings), settings["learning_rate"], settings)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, use_cpu=True, report_to=[], max_steps=STEPS, logging_steps=1, save_strategy="no",
            per_device_train_batch_size=2, gradient_accumulation_steps=2, max_grad_norm=settings["clip"],
            disable_tqdm=True, remove_unused_columns=False, logging_nan_inf_filter=False,
        )
        trainer = InOrder(model=policy, args=arguments, train_dataset=rows, optimizers=optimisers,
                          data_collator=lambda rows: {"rows": rows})
        trainer.model_accepts_loss_kwargs = True
        trainer.figures = []
        trainer.train()
    return [loss for loss, _ in trainer.figures], [float(norm) for _, norm in trainer.figures]


def grpo(policy, settings, rollouts):
    """20 updates, two from each rollout, of three questions with four answers, in two micro-batches."""
    adam, schedule = adamw(grouped(policy, settings), settings["learning_rate"], settings)
    entered = copy.deepcopy(policy)
    losses, norms, clipped = [], [], []
    for rollout in rollouts:
        rows, rewards = rollout["rows"], torch.tensor(rollout["rewards"])
        advantages = advantages_of(rewards, 4, "group")
        with torch.no_grad():
            (old, mask), (reference, _) = policy.log_probabilities(rows), entered.log_probabilities(rows)
        for _ in range(settings["updates"]):
            adam.zero_grad()
            total, shares = 0.0, []
            for part in (slice(0, 6), slice(6, 12)):
                new, _ = policy.log_probabilities(rows[part])
                new = F.pad(new, (0, mask.shape[1] - new.shape[1]))
                compute = torch_loss if settings["ratio"] == "sequence" else trl_loss
                loss, share = compute(dict(settings, tokens=int(mask.sum())), mask[part], advantages[part], old[part],
                                      reference[part], 2, new)
                loss.backward()
                total += loss.item()
                shares.append(share)
            losses.append(total)
            norms.append(nn.utils.clip_grad_norm_(list(policy.tensors().values()), settings["clip"]).item())
            clipped.append(sum(shares) / 2)
            adam.step()
            schedule.step()
    return losses, norms, clipped


def in_both_precisions(name, compute):
    """In f32; and in f64, to see that what is shown is no accident of rounding."""
    single, double = compute(torch.float32), compute(torch.float64)
    for a, b in zip(single[0] + single[1], double[0] + double[1]):
        assert abs(a - b) <= 1e-4 * max(abs(b), 0.05), f"{name}: rounding decides, {a} and {b}"
    return single


def trajectory():
    sys.path.insert(0, str(HERE))
    common = dict(steps=STEPS, warm_up=0.1, floor=0.1, beta1=0.9, beta2=0.999, clip=1.0, weight_decay=0.01,
                  projector_rate=0.5)
    settings = dict(common, learning_rate=5e-3)
    # Each row comes five times, so that there is something to learn.
    rows = draw_rows(16, 81)
    start = Policy()
    write_tensors("trajectory_start", start.tensors() | {"images": start.images})
    ended = {}

    def one(dtype):
        policy = copy.deepcopy(start).to(dtype)
        figures = cold_start(policy, settings, rows * 5)
        ended[dtype] = policy
        return figures

    losses, norms = in_both_precisions("cold start", one)
    second = {name: p.detach().clone() for name, p in ended[torch.float32].tensors().items()}
    write_tensors("trajectory_second", second)
    write_json("trajectory_cold_start", dict(settings, rank=RANK, alpha=ALPHA, rows=rows, losses=losses, norms=norms))

    rollouts = []
    for step in range(STEPS // 2):
        questions, answers = draw_rows(3, 200 + step), draw_rows(12, 300 + step)
        of = [dict(questions[i // 4], answer=answers[i]["answer"]) for i in range(12)]
        rewards = (3 * torch.rand(12, generator=generator(400 + step))).tolist()
        # Once, all answers to a question earn the same.
        rollouts.append(dict(rows=of, rewards=[1.0] * 4 + rewards[4:] if step == 3 else rewards))
    runs = []
    for ratio, aggregation in [("token", "grpo"), ("sequence_mean", "dapo"), ("sequence", "grpo"), ("token", "bnpo")]:
        settings = dict(common, learning_rate=3e-3, aggregation=aggregation, ratio=ratio, kl="k3", kl_weight=0.04,
                        clip_low=0.2, clip_high=0.2, max_tokens=16, updates=2)
        of = lambda dtype: grpo(copy.deepcopy(ended[torch.float32]).to(dtype), settings, rollouts)
        losses, norms, clipped = in_both_precisions(f"{ratio}, {aggregation}", of)
        assert max(clipped) > 0, "a trajectory in which clipping never acts shows nothing of it"
        source = "torch" if ratio == "sequence" else "trl"
        runs.append(dict(settings, **{"from": source}, losses=losses, norms=norms, clipped=clipped))
    write_json("trajectory_grpo", dict(group=4, rollouts=rollouts, runs=runs))


PARTS = {"advantages": advantages, "objective": objective, "optimiser": optimiser, "trajectory": trajectory}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
        print(f"{part}: {sum(f.stat().st_size for f in FOLDER.glob(f'{part}*')):,} bytes")
    packages = ["torch", "transformers", "peft", "trl"]
    (FOLDER / "versions.json").write_text(json.dumps({name: version(name) for name in packages}, indent=1) + "\n")
