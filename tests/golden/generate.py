#!/usr/bin/env python3
"""Writes the golden files: small seeded models, inputs, and what the reference implementations make of them.

    python3 -m venv /tmp/golden && /tmp/golden/bin/pip install -r requirements.txt
    /tmp/golden/bin/python generate.py            # all cases, or the named ones

Each case is a folder: `model.safetensors` (weights under the published names), `values.safetensors` (inputs, outputs
and gradients) and, where the Rust side reads one, `config.json`. `versions.json` says what computed them.
"""

import json
import math
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).parent
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
torch.manual_seed(0)


def shake(module, seed):
    """Random weights in which no tensor is left at zero or one, so that a swapped or a skipped one shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in sorted(module.state_dict().items()):
            if not tensor.is_floating_point():
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            if "norm" in name.lower() and name.endswith("weight") or name.endswith("gamma"):
                tensor.copy_(1 + 0.2 * noise)
            elif tensor.dim() >= 2:
                tensor.copy_(noise / math.sqrt(tensor[0].numel()))
            else:
                tensor.copy_(0.1 * noise)
    return module.eval()


def random(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def ids(shape, vocabulary, seed):
    return torch.randint(0, vocabulary, shape, generator=torch.Generator().manual_seed(seed))


def write(case, model, values, config=None):
    folder = HERE / case
    folder.mkdir(exist_ok=True)
    plain = lambda tensors: {k: v.detach().clone().contiguous() for k, v in tensors.items()}
    if model is not None:
        save_file(plain(model), folder / "model.safetensors")
    save_file(plain(values), folder / "values.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    print(f"{case}: {sum(f.stat().st_size for f in folder.iterdir()):,} bytes")


def gradients(output, weights, named):
    """Of the sum of `output` times `weights`, for the named tensors."""
    grads = torch.autograd.grad((output * weights).sum(), list(named.values()))
    return {f"grad.{name}": grad for name, grad in zip(named, grads)}


def make_vit(image_size, width, seed, layer_scale):
    from timm.models.vision_transformer import VisionTransformer

    return shake(
        VisionTransformer(
            img_size=image_size, patch_size=8, embed_dim=width, depth=2, num_heads=4, mlp_ratio=4,
            init_values=1e-5 if layer_scale else None, num_classes=0, dynamic_img_size=True,
        ),
        seed,
    )


def vit():
    """timm's ViT with LayerScale at the size it was made for, at a larger and at an oblong one (UNI's kind)."""
    model = make_vit(48, 32, 1, layer_scale=True)
    values = {}
    for height, width in [(48, 48), (96, 96), (32, 64)]:
        pixels = random((2, 3, height, width), height + width)
        values[f"pixels_{height}x{width}"] = pixels
        values[f"tokens_{height}x{width}"] = model.forward_features(pixels)
    tokens = values["tokens_96x96"]
    values["weights"] = random(tokens.shape, 9)
    names = ["pos_embed", "cls_token", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "blocks.1.ls2.gamma"]
    named = {name: dict(model.named_parameters())[name] for name in names}
    values |= gradients(tokens, values["weights"], named)
    write("vit", model.state_dict(), values)


LLAMAS = {
    "llama3": dict(rope_theta=500000.0, tie_word_embeddings=False),
    "llama3_1": dict(
        rope_theta=500000.0,
        tie_word_embeddings=False,
        rope_scaling=dict(
            rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
            original_max_position_embeddings=256,
        ),
    ),
    "llama3_2": dict(
        rope_theta=500000.0,
        tie_word_embeddings=True,
        rope_scaling=dict(
            rope_type="llama3", factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0,
            original_max_position_embeddings=256,
        ),
    ),
}


def make_llama(name, seed):
    from transformers import LlamaConfig, LlamaForCausalLM

    settings = dict(LLAMAS[name])
    # Transformers 5 keeps base and scaling in one place; the file is written in the older form, which published
    # checkpoints have.
    rope = dict(settings.pop("rope_scaling", dict(rope_type="default")), rope_theta=settings["rope_theta"])
    config = LlamaConfig(
        hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2,
        vocab_size=100, rms_norm_eps=1e-5, max_position_embeddings=8192, attn_implementation="eager",
        tie_word_embeddings=settings["tie_word_embeddings"], rope_parameters=rope,
    )
    model = shake(LlamaForCausalLM(config), seed)
    file = dict(
        model_type="llama", hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=2, vocab_size=100, rms_norm_eps=1e-5, max_position_embeddings=8192, hidden_act="silu",
        **LLAMAS[name],
    )
    return model, file


def llama(name):
    """A whole pass, far positions, a batch with padding on the left, and the gradients of the whole pass."""
    model, file = make_llama(name, 3)
    tokens = ids((2, 12), 100, 4)
    values = {"ids": tokens, "logits": model(tokens).logits}
    far = torch.arange(5000, 5012).expand(2, 12)
    values["logits_at_5000"] = model(tokens, position_ids=far).logits
    mask = torch.ones_like(tokens)
    mask[0, :5] = 0
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    values["logits_padded"] = model(tokens, attention_mask=mask, position_ids=positions).logits
    values["weights"] = random(values["logits"].shape, 5)
    names = ["model.embed_tokens.weight", "model.layers.0.self_attn.k_proj.weight", "model.layers.1.mlp.gate_proj.weight",
             "model.layers.0.input_layernorm.weight", "model.norm.weight"]
    named = {n: dict(model.named_parameters())[n] for n in names}
    values |= gradients(values["logits"], values["weights"], named)
    state = {k: v for k, v in model.state_dict().items() if not (k == "lm_head.weight" and file["tie_word_embeddings"])}
    write(name, state, values, file)


def bert():
    """A small BERT in sentence-transformers' layout: unit vectors of texts of different lengths, one of them cut."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    texts = [
        "Glands are lined by tall columnar cells.",
        "Necrosis.",
        "The stroma is dense; mitoses are few, nuclei are small and round, and lymphocytes lie between the nests.",
        "",
    ]
    folder = HERE / "bert"
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=90, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=24)
    config = BertConfig(vocab_size=90, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                        intermediate_size=64, max_position_embeddings=40)
    plain = folder / "plain"
    shake(BertModel(config, add_pooling_layer=False), 21).save_pretrained(plain)
    fast.save_pretrained(plain)
    transformer = Transformer(str(plain), max_seq_length=24)
    pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode="mean")
    encoder = SentenceTransformer(modules=[transformer, pooling], device="cpu")
    vectors = encoder.encode(texts, normalize_embeddings=True, convert_to_tensor=True)
    encoder.save(str(folder), create_model_card=False)
    shutil.rmtree(plain)
    (folder / "texts.json").write_text(json.dumps(texts, indent=1) + "\n")
    write("bert", None, {"vectors": vectors})


def lora():
    """A PEFT adapter on every linear layer: logits with it, merged into the weights, and the adapter's gradients."""
    from peft import LoraConfig, get_peft_model

    base, file = make_llama("llama3", 3)
    peft = get_peft_model(
        base,
        LoraConfig(r=4, lora_alpha=6, lora_dropout=0.0, task_type="CAUSAL_LM", target_modules=[
            "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]),
    )
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for name, tensor in sorted(peft.named_parameters()):
            if "lora_" in name:
                tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
    peft.eval()
    tokens = ids((2, 12), 100, 4)
    values = {"ids": tokens, "logits": peft(tokens).logits}
    values["weights"] = random(values["logits"].shape, 5)
    named = {n: p for n, p in peft.named_parameters() if "layers.1" in n and "lora_" in n and "q_proj" in n}
    grads = gradients(values["logits"], values["weights"], named)
    values |= {name.replace(".default", ""): grad for name, grad in grads.items()}
    peft.save_pretrained(HERE / "lora" / "adapter", save_embedding_layers=False)
    (HERE / "lora" / "adapter" / "README.md").unlink(missing_ok=True)
    merged = peft.merge_and_unload()
    values["logits_merged"] = merged(tokens).logits
    write("lora", None, values)


def chain():
    """From a PNG to logits: two encoders, features joined on channels, projector, image tokens among the words."""
    import numpy as np
    from PIL import Image
    from torch import nn
    from torchvision import transforms as T

    pixels = np.random.default_rng(7).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((160, 120), Image.BICUBIC)
    (HERE / "chain").mkdir(exist_ok=True)
    image.save(HERE / "chain" / "patch.png")
    clip = T.Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    imagenet = T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    prepare = lambda filter, normalise: T.Compose([
        T.Resize(96, interpolation=filter, antialias=True), T.CenterCrop(96), T.ToTensor(), normalise])
    conch, uni = make_vit(96, 24, 11, layer_scale=False), make_vit(48, 32, 12, layer_scale=True)
    a = prepare(T.InterpolationMode.BICUBIC, clip)(image).unsqueeze(0)
    b = prepare(T.InterpolationMode.BILINEAR, imagenet)(image).unsqueeze(0)
    fused = torch.cat([conch.forward_features(a)[:, 1:], uni.forward_features(b)[:, 1:]], 2)
    language, file = make_llama("llama3", 3)
    projector = shake(nn.Sequential(nn.Linear(56, 48), nn.GELU(), nn.Linear(48, 48)), 13)
    embed = language.get_input_embeddings()
    before, after = ids((1, 5), 100, 14), ids((1, 7), 100, 15)
    x = torch.cat([embed(before), projector(fused), embed(after)], 1)
    logits = language(inputs_embeds=x).logits[:, -7:]
    parts = {"conch.": conch, "uni.": uni, "projector.": projector, "language.": language}
    model = {prefix + k: v for prefix, part in parts.items() for k, v in part.state_dict().items()}
    write("chain", model, {"pixels_conch": a, "pixels_uni": b, "fused": fused, "image": projector(fused),
                           "before": before, "after": after, "logits": logits}, file)


CASES = {"vit": vit, **{name: (lambda name=name: llama(name)) for name in LLAMAS}, "bert": bert, "lora": lora, "chain": chain}

if __name__ == "__main__":
    for case in sys.argv[1:] or CASES:
        CASES[case]()
    packages = ["torch", "torchvision", "timm", "transformers", "peft", "sentence-transformers"]
    (HERE / "versions.json").write_text(json.dumps({name: version(name) for name in packages}, indent=1) + "\n")
