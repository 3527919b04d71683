#!/usr/bin/env python3
"""Golden values of norms, softmax, attention and losses, computed by PyTorch in double precision.

Writes norm_attention.safetensors and losses.safetensors beside this script. Made with torch 2.15.0, numpy 2.4.6,
safetensors 0.8.0 (CPU). Layout is features last, as in Gyrus; where PyTorch wants channels first, the reference
permutes. Tensors of one case:

    case/in.NAME     an input                        case/ct       the cotangent of y
    case/y, case/y1  the result, a second result     case/grad.NAME   d <ct, y> / d input
    case/gg.NAME     d (sum over inputs of |case/grad|^2) / d input: the second order
"""
import math
import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

rng = np.random.default_rng(20240607)
tables = {"norm_attention": {}, "losses": {}}


def normal(*shape, scale=1.0, shift=0.0):
    return torch.tensor(shift + scale * rng.standard_normal(shape))


def uniform(*shape, lo=0.0, hi=1.0):
    return torch.tensor(rng.uniform(lo, hi, shape))


def case(table, name, function, inputs, second=True, constants=()):
    """Runs function(**inputs); floats get gradients unless named in constants."""
    out = tables[table]
    leaf = {k: v.clone().requires_grad_(v.is_floating_point() and k not in constants) for k, v in inputs.items()}
    result = function(**leaf)
    y, more = result if isinstance(result, tuple) else (result, None)
    ct = normal(*y.shape)
    wrt = {k: v for k, v in leaf.items() if v.requires_grad}
    grads = torch.autograd.grad((ct * y).sum(), list(wrt.values()), create_graph=second)
    for k, v in inputs.items():
        out[f"{name}/in.{k}"] = v
    out[f"{name}/ct"], out[f"{name}/y"] = ct, y
    if more is not None:
        out[f"{name}/y1"] = more
    for k, g in zip(wrt, grads):
        out[f"{name}/grad.{k}"] = g
    if second:
        size = sum((g * g).sum() for g in grads)
        twice = torch.autograd.grad(size, list(wrt.values()), allow_unused=True)
        for (k, v), g in zip(wrt.items(), twice):
            out[f"{name}/gg.{k}"] = torch.zeros_like(v) if g is None else g


# ---- norms and softmax ------------------------------------------------------------------------------------

def channels_first(f):
    def g(x, **rest):
        return f(x.movedim(-1, 1), **rest).movedim(1, -1)
    return g


def weight(n):
    return normal(n, scale=0.3, shift=1.0)


T = "norm_attention"
case(T, "layernorm", lambda x, gamma, beta: (F.layer_norm(x, x.shape[-1:], gamma, beta, 1e-5), x.mean(-1)),
     dict(x=normal(2, 3, 7), gamma=weight(7), beta=normal(7)))
case(T, "layernorm_plain", lambda x: F.layer_norm(x, x.shape[-1:], eps=1e-3), dict(x=normal(3, 5)))
case(T, "rmsnorm", lambda x, gamma: F.rms_norm(x, x.shape[-1:], gamma, 1e-6), dict(x=normal(4, 6), gamma=weight(6)))
case(T, "groupnorm", channels_first(lambda x, gamma, beta: F.group_norm(x, 3, gamma, beta, 1e-5)),
     dict(x=normal(2, 3, 2, 6), gamma=weight(6), beta=normal(6)))
case(T, "groupnorm_silu", channels_first(lambda x, gamma, beta: F.silu(F.group_norm(x, 2, gamma, beta, 1e-6))),
     dict(x=normal(2, 5, 8), gamma=weight(8), beta=normal(8)))
case(T, "instancenorm", channels_first(lambda x: F.instance_norm(x, eps=1e-5)), dict(x=normal(2, 3, 3, 4)))


def batchnorm(x, gamma, beta):
    flat = x.reshape(-1, x.shape[-1])
    return channels_first(lambda x: F.batch_norm(x, None, None, gamma, beta, True, 0.1, 1e-5))(x), flat.mean(0)


case(T, "batchnorm", batchnorm, dict(x=normal(2, 3, 4, 5), gamma=weight(5), beta=normal(5)))
case(T, "batchnorm_eval", lambda x, mean, var, gamma, beta: F.batch_norm(x, mean, var, gamma, beta, False, 0.1, 1e-5),
     dict(x=normal(6, 4), mean=normal(4), var=uniform(4, lo=0.5, hi=2), gamma=weight(4), beta=normal(4)),
     second=False, constants=("mean", "var"))
case(T, "softmax", lambda x: x.softmax(1), dict(x=normal(2, 5, 3, scale=2)))
case(T, "log_softmax", lambda x: x.log_softmax(-1), dict(x=normal(3, 7, scale=2)))

# ---- attention --------------------------------------------------------------------------------------------


def attention(q, k, v, mask=None, bias=None, causal=False, scale=None):
    """[B, T, H, D] in and out; scores written out, so that lse is at hand; the fused call must agree."""
    heads = [t.transpose(1, 2) for t in (q, k, v)]
    group = q.shape[2] // k.shape[2]
    kh, vh = (t.repeat_interleave(group, 1) for t in heads[1:])
    s = heads[0] @ kh.transpose(-1, -2) * (scale or 1 / math.sqrt(q.shape[-1]))
    allow = torch.ones(s.shape, dtype=torch.bool)
    if mask is not None:
        allow = allow & mask.bool()
    if causal:
        allow = allow.tril(s.shape[-1] - s.shape[-2])
    if bias is not None:
        s = s + bias
    s = s.masked_fill(~allow, -math.inf)
    fused = F.scaled_dot_product_attention(heads[0], kh, vh, torch.zeros_like(s).masked_fill(~allow, -math.inf)
                                           + (0 if bias is None else bias), scale=scale)
    y = s.softmax(-1) @ vh
    assert torch.allclose(y, fused, atol=1e-12), "the two references disagree"
    return y.transpose(1, 2), s.logsumexp(-1)


def qkv(b, tq, tk, h, hkv, d, dv):
    return dict(q=normal(b, tq, h, d), k=normal(b, tk, hkv, d), v=normal(b, tk, hkv, dv))


case(T, "attention", attention, qkv(2, 4, 5, 2, 2, 6, 3))
case(T, "attention_causal", lambda q, k, v: attention(q, k, v, causal=True), qkv(1, 6, 6, 2, 2, 4, 4))
case(T, "attention_cached", lambda q, k, v: attention(q, k, v, causal=True), qkv(1, 2, 5, 1, 1, 4, 4))
case(T, "attention_gqa", lambda q, k, v: attention(q, k, v, causal=True, scale=0.4), qkv(2, 4, 4, 6, 2, 3, 4))
allow = torch.tensor(rng.integers(0, 2, (2, 1, 4, 6)).astype(np.uint8))
allow[..., 0] = 1
case(T, "attention_mask", attention, dict(qkv(2, 4, 6, 2, 1, 4, 3), mask=allow))
case(T, "attention_bias", attention, dict(qkv(2, 3, 4, 2, 2, 4, 4), bias=normal(1, 2, 3, 4)))

# ---- losses -----------------------------------------------------------------------------------------------

T = "losses"


def index(*shape, high):
    return torch.tensor(rng.integers(0, high, shape))


def rows(f):
    """PyTorch wants classes second; here they are last."""
    return lambda x, target, **rest: f(x.reshape(-1, x.shape[-1]), target.reshape(-1), **rest)


case(T, "cross_entropy", rows(F.cross_entropy), dict(x=normal(2, 3, 5), target=index(2, 3, high=5)))
ignoring = index(9, high=4)
ignoring[[2, 5]] = 7
case(T, "cross_entropy_all", lambda x, target, weight: F.cross_entropy(x, target, weight, ignore_index=7,
                                                                     label_smoothing=0.2),
     dict(x=normal(9, 4), target=ignoring, weight=uniform(4, lo=0.3, hi=2)), constants=("weight",))
hundred = index(6, high=5)
hundred[1] = -100
case(T, "cross_entropy_sum", lambda x, target: F.cross_entropy(x, target, reduction="sum", label_smoothing=0.1),
     dict(x=normal(6, 5), target=hundred))
case(T, "cross_entropy_none", lambda x, target: F.cross_entropy(x, target, reduction="none"),
     dict(x=normal(6, 5), target=hundred))
case(T, "soft_cross_entropy", lambda x, target: F.cross_entropy(x, target), dict(x=normal(4, 6), target=uniform(4, 6)))
case(T, "bce", lambda x, target: F.binary_cross_entropy_with_logits(x, target), dict(x=normal(3, 4, scale=3), target=uniform(3, 4)),
     constants=("target",))
case(T, "bce_pos_weight", lambda x, target, pos_weight: F.binary_cross_entropy_with_logits(
    x, target, pos_weight=pos_weight, reduction="sum"),
    dict(x=normal(3, 4, scale=3), target=uniform(3, 4), pos_weight=uniform(4, lo=0.5, hi=3)),
    constants=("target", "pos_weight"))
sign = torch.tensor(rng.choice([-1.0, 1.0], 8))
case(T, "hinge", lambda x, target: (1 - x * target).clamp(min=0).mean(), dict(x=normal(8), target=sign), second=False,
     constants=("target",))
case(T, "multi_margin", lambda x, target: F.multi_margin_loss(x, target, margin=0.7),
     dict(x=normal(5, 4), target=index(5, high=4)), second=False)
case(T, "gan_hinge_d", lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(),
     dict(real=normal(6), fake=normal(2, 3)), second=False)
case(T, "gan_hinge_g", lambda fake: -fake.mean(), dict(fake=normal(2, 3)), second=False)
case(T, "mse", lambda a, b: F.mse_loss(a, b), dict(a=normal(3, 4), b=normal(3, 4)))
case(T, "l1", lambda a, b: F.l1_loss(a, b), dict(a=normal(3, 4), b=normal(3, 4)), second=False)
case(T, "smooth_l1", lambda a, b: F.smooth_l1_loss(a, b, beta=0.6), dict(a=normal(3, 4), b=normal(3, 4)))
case(T, "kl_div", lambda p, q: F.kl_div(q, p, reduction="batchmean", log_target=True),
     dict(p=normal(4, 5).log_softmax(-1), q=normal(4, 5).log_softmax(-1)))
case(T, "gaussian_kl", lambda mu, log_var: torch.distributions.kl_divergence(
    torch.distributions.Normal(mu, (0.5 * log_var).exp()), torch.distributions.Normal(torch.zeros_like(mu), 1)
).sum((1, 2)).mean(), dict(mu=normal(3, 2, 4), log_var=normal(3, 2, 4)))


def dice(p, target, batch=False, squared=False, smooth=1.0):
    over = (0, 1, 2) if batch else (1, 2)
    power = 2 if squared else 1
    return 1 - ((2 * (p * target).sum(over) + smooth) / ((p ** power).sum(over) + (target ** power).sum(over) + smooth)).mean()


one_hot = F.one_hot(index(2, 3, 4, high=3), 3).double()
case(T, "dice", dice, dict(p=normal(2, 3, 4, 3).softmax(-1), target=one_hot), constants=("target",))
case(T, "dice_batch", lambda p, target: dice(p, target, True, True), dict(p=normal(2, 3, 4, 3).softmax(-1), target=one_hot),
     constants=("target",))
case(T, "cosine", lambda a, b: F.cosine_similarity(a, b, -1), dict(a=normal(2, 3, 5), b=normal(2, 3, 5)))
case(T, "cosine_embedding", lambda a, b, target: F.cosine_embedding_loss(a, b, target, margin=0.1),
     dict(a=normal(8, 5), b=normal(8, 5), target=sign), second=False, constants=("target",))


def info_nce(a, b, scale):
    logits = scale * F.normalize(a) @ F.normalize(b).T
    t = torch.arange(len(a))
    return (F.cross_entropy(logits, t) + F.cross_entropy(logits.T, t)) / 2


case(T, "info_nce", lambda a, b: info_nce(a, b, 1 / 0.07), dict(a=normal(5, 4), b=normal(5, 4)))
case(T, "info_nce_scale", info_nce, dict(a=normal(5, 4), b=normal(5, 4), scale=torch.tensor(3.0, dtype=torch.float64)))


def soft_clip(p, t, tau=0.125):
    p, t = F.normalize(p), F.normalize(t)
    target, logits = (t @ t.T / tau).softmax(-1), p @ t.T / tau
    return -((target * logits.log_softmax(-1)).sum(-1).mean() + (target * logits.T.log_softmax(-1)).sum(-1).mean()) / 2


case(T, "soft_clip", soft_clip, dict(p=normal(5, 4), t=normal(5, 4)))

for name, table in tables.items():
    arrays = {k: np.array(v.detach().numpy(), order="C") for k, v in table.items()}
    path = pathlib.Path(__file__).with_name(name + ".safetensors")
    save_file(arrays, path, {"made_by": "tests/golden/make_norm_attention.py", "torch": "2.15.0"})
    print(path.name, path.stat().st_size, "bytes,", len(arrays), "arrays")
