"""Steps of whole models in PyTorch, as peers of `gyrus bench models --peers`: python3 model_rows.py eager|compile

Speaks the protocol of bench/child.c; weights and inputs follow the rule of bench/models.h. Each step is what a user of
diffusers, MONAI or transformers would write: SDPA attention, channels-last convolutions, fused AdamW, clipping to norm
1. bf16 is `model.to(bfloat16)` for inference and autocast for training.

"memory" in an answer is the growth of the resident set during a step, over weights and optimizer state.
"""

import ctypes
import gc
import json
import logging
import os
import sys
import time
import warnings

try:
    import numpy as np
    import torch
    import torch.nn.functional as F
except Exception as e:  # any failure to import means that the peer is not there
    print(json.dumps({"absent": f"{sys.executable}: {type(e).__name__}: {e}"}), flush=True)
    sys.exit(0)

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)
MODE = sys.argv[1] if len(sys.argv) > 1 else "eager"
POOL = 1000003
PROMPT, DECODED, LONGEST = 128, 16, 1024
VOCABULARY = 50257


def bench_value(i, n):
    with np.errstate(over="ignore"):
        z = np.arange(n, dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32(((i + 1) * 0x85EBCA77) & 0xFFFFFFFF)
        z = (z ^ (z >> np.uint32(15))) * np.uint32(0x2C1B3CED)
        z = (z ^ (z >> np.uint32(12))) * np.uint32(0x297A2D39)
        z ^= z >> np.uint32(15)
    return (z >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24) - np.float32(0.5)


pool = bench_value(0, POOL)
pool_t = torch.from_numpy(np.concatenate([pool, pool]))


def start_of(name):
    h = 2166136261
    for c in name.encode():
        h = ((h ^ c) * 16777619) & 0xFFFFFFFF
    return h % POOL


def fill(t, name, gain, shift):
    """t (contiguous f32): pool[(hash + k) mod POOL] gain + shift"""
    flat, at, k = t.view(-1), start_of(name), 0
    while k < flat.numel():
        n = min(POOL, flat.numel() - k)
        torch.mul(pool_t[at : at + n], float(np.float32(gain)), out=flat[k : k + n])
        k += n  # a whole turn of the pool ends where it began
    if shift:
        flat.add_(shift)
    return t


def real(name, *shape, gain=12**0.5, shift=0.0):
    return fill(torch.empty(shape), name, gain, shift)


def ids(name, *shape):
    n = int(np.prod(shape))
    v = [int(np.float64(np.float32(pool[start_of(f"{name}.{k}")] + np.float32(0.5))) * VOCABULARY) for k in range(n)]
    return torch.tensor(v).reshape(shape)


def load(model, rename=lambda k: k):
    """Memory and values for a model made on the meta device."""
    model.to_empty(device="cpu")
    seen = set()
    with torch.no_grad():
        for key, p in model.named_parameters():
            name = rename(key)
            if p.data_ptr() in seen or name is None:
                continue
            seen.add(p.data_ptr())
            if p.dim() > 1:
                fill(p.data, name, (12 * p.shape[0] / p.numel()) ** 0.5, 0)
            else:
                fill(p.data, name, 0.1, float(name.endswith("weight")))
    return model


def first(t):
    return t.movedim(-1, 1).contiguous()


def last(t):
    return t.movedim(1, -1)


# ---- memory ----


def status(key):
    with open("/proc/self/status") as f:
        for line in f:
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
    return 0


def memory_of(run):
    """Result, and how far the resident set rises above its present size meanwhile."""
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        with open("/proc/self/clear_refs", "w") as f:
            f.write("5")  # the high-water mark falls to the present size
    except OSError:
        return run(), 0
    before = status("VmRSS")
    result = run()
    return result, max(0, status("VmHWM") - before)


# ---- steps: each builder gives (run, result): run() does one step; result(run()) is what is compared ----


def compiled(f):
    return torch.compile(f) if MODE == "compile" else f


def half(task):
    return task["dtype"] == "bf16"


def trainer(task, model, loss_of, betas=(0.9, 0.999), decay=0.01):
    matrices = [p for p in model.parameters() if p.requires_grad and p.dim() > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, betas=betas, fused=True)
    loss_of = compiled(loss_of)
    model.train()

    def run():
        with torch.autocast("cpu", torch.bfloat16, enabled=half(task)):
            loss = loss_of()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return run, lambda y: [y.reshape(1)]


def inference(task, model, *args):
    model.eval().requires_grad_(False)
    if half(task):
        model.to(torch.bfloat16)
        args = [a.to(torch.bfloat16) if a.is_floating_point() else a for a in args]
    f = compiled(model)

    def run():
        with torch.inference_mode():
            return f(*args)

    return run


def sd_unet(size):
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        model = UNet2DConditionModel(sample_size=size, cross_attention_dim=768)
    load(model)
    x = first(real("latents", 1, size, size, 4)).to(memory_format=torch.channels_last)
    t, context = torch.full((1,), 500.0), real("context", 1, 77, 768)
    return model.to(memory_format=torch.channels_last), x, t, context


def sd_forward(task):
    model, x, t, context = sd_unet(64)
    run = inference(task, model, x, t, context)
    return run, lambda y: [last(y.sample).float()]


def sd_train(task):
    model, x, t, context = sd_unet(32)
    target = first(real("target", 1, 32, 32, 4))
    return trainer(task, model, lambda: F.mse_loss(model(x, t, context).sample.float(), target))


def unet3d_train(task):
    from monai.networks.nets import DiffusionModelUNet

    with torch.device("meta"):
        model = DiffusionModelUNet(
            spatial_dims=3, in_channels=1, out_channels=1, channels=(16, 32, 64, 128, 256), num_res_blocks=2,
            attention_levels=(False, False, False, False, True), num_head_channels=8, norm_num_groups=8,
        )  # fmt: skip
    load(model)
    x, target = (real(n, 1, 64, 64, 64, 1).movedim(-1, 1) for n in ("volume", "target"))
    model, x = model.to(memory_format=torch.channels_last_3d), x.contiguous(memory_format=torch.channels_last_3d)
    t = torch.full((1,), 500.0)
    return trainer(task, model, lambda: F.mse_loss(model(x, t).float(), target))


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.device("meta"):
        model = GPT2LMHeadModel(GPT2Config(attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0))
    load(model, lambda k: k.removeprefix("transformer."))
    model.tie_weights()
    return model


def gpt2_train(task):
    rows, tokens = task["d"][:2]
    model, x, target = gpt2(), ids("ids", rows, tokens), ids("target", rows * tokens)
    return trainer(
        task, model, lambda: F.cross_entropy(model(x, use_cache=False).logits.float().view(-1, VOCABULARY), target),
        betas=(0.9, 0.95), decay=0.1,
    )  # fmt: skip


def gpt2_prefill(task):
    model, x = gpt2(), ids("ids", LONGEST)[None]
    model.eval().requires_grad_(False)
    if half(task):
        model.to(torch.bfloat16)
    f = compiled(lambda x: model(x, use_cache=True, logits_to_keep=1).logits)

    def run():
        with torch.inference_mode():
            return f(x)

    return run, lambda y: [y.float()]


def gpt2_decode(task):
    from transformers import StaticCache

    model, x = gpt2(), ids("ids", LONGEST)[None]
    model.eval().requires_grad_(False)
    if half(task):
        model.to(torch.bfloat16)
    cache = None
    if MODE == "compile":
        cache = StaticCache(config=model.config, max_cache_len=PROMPT + DECODED)
    with torch.inference_mode():
        cache = model(x[:, :PROMPT], past_key_values=cache, use_cache=True, logits_to_keep=1).past_key_values
    f = compiled(lambda x, position: model(x, past_key_values=cache, position_ids=position, use_cache=True).logits)

    def run():
        if MODE == "compile":
            for layer in cache.layers:
                if isinstance(getattr(layer, "cumulative_length", None), torch.Tensor):
                    layer.cumulative_length.fill_(PROMPT)
        else:
            cache.crop(min(0, PROMPT - cache.get_seq_length()))
        y = []
        with torch.inference_mode():
            for i in range(DECODED):
                y.append(f(x[:, PROMPT + i : PROMPT + i + 1], torch.tensor([[PROMPT + i]])))
        return y

    return run, lambda y: [y[0].float()]


def vit_mae_train(task):
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    with torch.device("meta"):
        model = ViTMAEForPreTraining(ViTMAEConfig(norm_pix_loss=False, layer_norm_eps=1e-12))
    new = [
        ("vit.layers.", "vit.encoder.layer."),
        ("decoder.layers.", "decoder.decoder_layers."),
        ("attention.q_proj", "attention.attention.query"),
        ("attention.k_proj", "attention.attention.key"),
        ("attention.v_proj", "attention.attention.value"),
        ("attention.o_proj", "attention.output.dense"),
        ("mlp.fc1", "intermediate.dense"),
        ("mlp.fc2", "output.dense"),
    ]

    def rename(k):
        for a, b in new:
            k = k.replace(a, b)
        return k

    load(model, rename)
    pixels = first(real("pixels", 4, 224, 224, 3))
    noise = real("noise", 4, 196, gain=1, shift=0.5)
    return trainer(task, model, lambda: model(pixels, noise=noise).loss)


def clip_train(task):
    from transformers import CLIPConfig, CLIPModel

    with torch.device("meta"):  # the end token is the largest id, as in Gyrus; so says the 2
        model = CLIPModel(CLIPConfig(text_config={"vocab_size": VOCABULARY, "eos_token_id": 2}, projection_dim=512))
    load(model)
    for tower, n in ((model.text_model, 77), (model.vision_model, 50)):  # tables that loading from meta leaves empty
        tower.embeddings.position_ids = torch.arange(n)[None]
    pixels = first(real("pixels", 4, 224, 224, 3))
    x = ids("ids", 4, 77)
    return trainer(task, model, lambda: model(input_ids=x, pixel_values=pixels, return_loss=True).loss)


def adamw(task):
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.device("meta"):
        model = GPT2LMHeadModel(GPT2Config())
    model.to_empty(device="cpu")
    parameters = list(model.parameters())
    for p in parameters:
        p.data.fill_(0.1)
        p.grad = torch.full_like(p, 0.1)
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.01, fused=True)
    return optimizer.step, lambda y: []


STEPS = {
    "sd15-unet forward": sd_forward,
    "sd15-unet train": sd_train,
    "gpt2 train": gpt2_train,
    "gpt2 prefill": gpt2_prefill,
    "gpt2 decode": gpt2_decode,
    "vit-mae train": vit_mae_train,
    "clip train": clip_train,
    "unet3d train": unet3d_train,
    "adamw": adamw,
}


def sampled(t, m):
    t = t.detach().contiguous().to(torch.float64).reshape(-1)
    n = t.numel()
    at = torch.arange(min(n, m)) * n // min(n, m)
    return [x if x == x and abs(x) != float("inf") else None for x in t[at].tolist()]


def prepare(task):
    name = task["kernel"]
    if name not in STEPS or (MODE == "compile" and name == "adamw"):
        return None, {"ok": False}
    torch.set_num_threads(task["threads"])
    run, result = STEPS[name](task)
    y, memory = memory_of(run)
    outputs = [sampled(t, task["compared"]) for t in result(y)]
    del y
    if "train" in name or name == "adamw":  # the first step has made the optimizer's state
        memory = memory_of(run)[1]
    per_run = DECODED if name == "gpt2 decode" else 1

    def timed(n):
        start = time.perf_counter()
        for _ in range(n):
            run()
        return (time.perf_counter() - start) / n / per_run

    return timed, {"ok": True, "outputs": outputs, "memory": memory}


def versions():
    text = f"{'torch.compile' if MODE == 'compile' else 'PyTorch'} {torch.__version__}"
    from importlib.metadata import PackageNotFoundError, version

    for package in ("diffusers", "monai", "transformers"):
        try:
            text += f", {package} {version(package)}"
        except PackageNotFoundError:
            text += f", no {package}"
    return text


def main():
    # answers only on what was stdout; whatever else a library prints goes to stderr
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps({"version": versions()}), file=out, flush=True)
    run = None
    for line in sys.stdin:
        task = json.loads(line)
        if "run" in task:
            answer = {"seconds": run(task["run"])}
        else:
            try:
                run, answer = prepare(task)
            except Exception as e:
                print(f"torch {task['kernel']}: {type(e).__name__}: {e}", file=sys.stderr)
                answer = {"ok": False}
        print(json.dumps(answer), file=out, flush=True)


main()
