"""Reference values for Du-IN: duin.safetensors.

    pip install torch numpy safetensors && python tests/golden/make_duin.py

Written with torch 2.15.0, numpy 2.4.6, safetensors 0.8.0; f32 results of an f64 computation. The three stages are
written here once more from the official code's formulas, with its parameter names. Two subjects, 3 channels, 24 samples
in segments of 8, tokens of width 8, one layer on each side, 5 codes of width 4, 3 words, batch 4, no dropout. The file has
    every parameter and buffer under Gyrus's name for it (random)
    in.signal, in.subject, in.mask
    out.codes, out.redrawn        of the autoencoder with running statistics
    out.code_logits               of masked prediction, both halves merged
    out.logits                    of the classifier
    out.loss, out.perplexity      of the autoencoder in training
    out.NAME                      some states after one clipped AdamW step at rate 1e-2
"""
import math
import os
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
torch.manual_seed(20260302)
torch.set_default_dtype(torch.float64)
CH, T, SEG, S, NEURAL, FILTERS, FEATURES, KERNEL, STRIDE = 3, 24, 8, 2, 5, 6, 4, 5, 4
HEADS, HEAD_DIM, CODES, WIDTH, HIDDEN, WORDS, B, COMMIT = 2, 4, 5, 4, 6, 3, 4, 0.5
L, D = T // SEG, SEG // STRIDE * FEATURES


class SubjLayer(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.i, self.o = i, o
        self.W, self.B = nn.Linear(S, i * o, bias=False), nn.Linear(S, o, bias=False)

    def forward(self, x, s):
        return x @ self.W(s).reshape(-1, self.i, self.o) + self.B(s)[:, None]


class Subj(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.subj_layer = SubjLayer(i, o)

    def forward(self, x, s):
        return self.subj_layer(x, s)


def under(module, *path):
    """module behind the indices of nested Sequentials: under(conv, 1) is found as name.1"""
    for p in reversed(path):
        holder = nn.Module()
        holder.add_module(str(p), module)
        module = holder
    return module


class Tokenizer(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv_blocks = nn.ModuleList()
        for i, (a, b, k, s) in enumerate([(NEURAL, FILTERS, KERNEL, STRIDE), (FILTERS, FILTERS, 3, 1),
                                          (FILTERS, FEATURES, 3, 1)]):
            block = nn.Module()
            block.add_module("0", under(nn.Conv1d(a, b, k, s, (k - 1) // 2), 1))
            block.add_module("1", under(nn.BatchNorm1d(b), 1))
            self.conv_blocks.append(block)

    def forward(self, x):
        h = x.reshape(-1, SEG, NEURAL).transpose(1, 2)
        for b in self.conv_blocks:
            h = getattr(getattr(b, "1"), "1")(getattr(getattr(b, "0"), "1")(h))
        return h.transpose(1, 2).reshape(x.shape[0], L, D)


class Mha(nn.Module):
    def __init__(self):
        super().__init__()
        for n in "qkv":
            self.add_module("W_" + n, under(nn.Linear(D, HEADS * HEAD_DIM), "W"))
        self.norm_q, self.norm_k = nn.LayerNorm(HEAD_DIM), nn.LayerNorm(HEAD_DIM)
        self.proj = nn.ModuleList([nn.Linear(HEADS * HEAD_DIM, D)])

    def forward(self, x):
        q, k, v = (getattr(self, "W_" + n).W(x).reshape(*x.shape[:2], HEADS, HEAD_DIM).transpose(1, 2) for n in "qkv")
        a = torch.softmax(self.norm_q(q) @ self.norm_k(k).transpose(2, 3) / math.sqrt(HEAD_DIM), -1)
        return self.proj[0]((a @ v).transpose(1, 2).reshape(*x.shape[:2], -1))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.mha, self.norm_mha, self.norm_ffn = Mha(), nn.LayerNorm(D), nn.LayerNorm(D)
        self.ffn = nn.Module()
        self.ffn.fc1, self.ffn.fc2 = nn.ModuleList([nn.Linear(D, 2 * D)]), nn.ModuleList([nn.Linear(2 * D, D)])

    def forward(self, x):
        x = self.norm_mha(self.mha(x) + x)
        return self.norm_ffn(self.ffn.fc2[0](torch.relu(self.ffn.fc1[0](x))) + x)


class Stack(nn.Module):
    def __init__(self):
        super().__init__()
        stack = nn.Module()
        stack.xfmr_blocks = nn.ModuleList([Block()])
        self.add_module("1", stack)

    def forward(self, x):
        t, f = torch.arange(L)[:, None], torch.exp(torch.arange(0, D, 2) * -(math.log(1e4) / D))
        pe = torch.zeros(L, D)
        pe[:, 0::2], pe[:, 1::2] = torch.sin(t * f), torch.cos(t * f)
        return getattr(self, "1").xfmr_blocks[0](x + pe)


def unit(x):
    return F.normalize(x, dim=-1)


class VqVae(nn.Module):
    def __init__(self):
        super().__init__()
        self.subj_block, self.tokenizer, self.encoder, self.decoder = Subj(CH, NEURAL), Tokenizer(), Stack(), Stack()
        self.desubj_block = Subj(NEURAL, CH)
        vq = self.vq_block = nn.Module()
        vq.pre_proj = nn.ModuleDict({"0": nn.Linear(D, D), "2": nn.Linear(D, WIDTH)})
        vq.codex, vq.layernorm = nn.Module(), nn.LayerNorm(WIDTH)
        vq.codex.register_buffer("weight", unit(torch.randn(CODES, WIDTH)))
        vq.post_proj = nn.ModuleList([nn.Linear(WIDTH, D)])
        steps = SEG // STRIDE
        self.rgs_block = nn.Module()
        self.rgs_block.rgs_head = nn.ModuleList()
        last = D
        for o, k, s in [(FILTERS, 3, 1), (FILTERS, 3, 1), (FILTERS, steps, steps), (FILTERS, 9, 1),
                        (FEATURES, 2 * STRIDE - 1, STRIDE)]:
            pad = math.ceil((k - s) / 2)
            self.rgs_block.rgs_head.append(under(nn.ConvTranspose1d(last, o, k, s, pad, 2 * pad - (k - s)), 0, 1))
            last = o
        self.rgs_block.rgs_head.append(under(nn.Linear(FEATURES, NEURAL), 0))

    def forward(self, x, s):
        vq = self.vq_block
        z = unit(vq.pre_proj["2"](torch.tanh(vq.pre_proj["0"](self.encoder(self.tokenizer(self.subj_block(x, s)))))))
        e = vq.codex.weight
        index = ((z[:, :, None] - e) ** 2).sum(-1).argmin(-1)
        q = e[index]
        commit = COMMIT * F.mse_loss(z, q)
        self.onehot, self.z = F.one_hot(index, CODES).double().reshape(-1, CODES), z.detach().reshape(-1, WIDTH)
        h = self.decoder(vq.post_proj[0](vq.layernorm(z + (q - z).detach()))).transpose(1, 2)
        for m in self.rgs_block.rgs_head[:5]:
            h = getattr(getattr(m, "0"), "1")(h)
        y = self.desubj_block(getattr(self.rgs_block.rgs_head[5], "0")(h.transpose(1, 2)), s)
        return y, index, ((x - y) ** 2).mean() + commit

    def follow(self):
        e, n = self.vq_block.codex.weight, self.onehot.sum(0)
        mean = unit(self.onehot.T @ self.z / n.clamp(min=1)[:, None])
        new = torch.where(n[:, None] == 0, e, mean)
        return unit(0.99 * e + 0.01 * new)


class Mae(nn.Module):
    def __init__(self):
        super().__init__()
        self.subj_block, self.tokenizer, self.encoder = Subj(CH, NEURAL), Tokenizer(), Stack()
        self.mask_emb = nn.Parameter(torch.randn(D))
        self.cls_block = nn.Module()
        self.cls_block.cls_head = nn.ModuleList([under(nn.Linear(D, CODES), 0)])

    def forward(self, x, s, mask):
        t, m = self.tokenizer(self.subj_block(x, s)), mask[:, :, None]
        head = getattr(self.cls_block.cls_head[0], "0")
        a, b = head(self.encoder(t * (1 - m) + self.mask_emb * m)), head(self.encoder(t * m + self.mask_emb * (1 - m)))
        return a * m + b * (1 - m)


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.subj_block, self.tokenizer, self.encoder = Subj(CH, NEURAL), Tokenizer(), Stack()
        self.cls_block = nn.Module()
        self.cls_block.cls_head = nn.ModuleDict(
            {"1": under(nn.Linear(L * D, HIDDEN), 0), "2": under(nn.Linear(HIDDEN, WORDS), 0)})

    def forward(self, x, s):
        h = self.encoder(self.tokenizer(self.subj_block(x, s))).flatten(1)
        a, b = (getattr(self.cls_block.cls_head[k], "0") for k in "12")
        return b(torch.relu(a(h)))


out = {}
models = {"vqvae.": VqVae(), "mae.": Mae(), "": Words()}
for prefix, m in models.items():
    for n, p in list(m.named_parameters()) + list(m.named_buffers()):
        if n.endswith("num_batches_tracked") or n.endswith("codex.weight"):
            continue
        p.data = torch.rand_like(p) + 0.5 if n.endswith("running_var") else p.data + 0.1 * torch.randn_like(p)
    for n, p in m.state_dict().items():
        if not n.endswith("num_batches_tracked"):
            out[prefix + n] = p.clone()
x, s = torch.randn(B, T, CH), F.one_hot(torch.tensor([0, 1, 1, 0]), S).double()
mask = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]]).double()
out.update({"in.signal": x, "in.subject": s, "in.mask": mask})
for m in models.values():
    m.eval()
with torch.no_grad():
    out["out.redrawn"], out["out.codes"], _ = models["vqvae."](x, s)
    out["out.code_logits"] = models["mae."](x, s, mask)
    out["out.logits"] = models[""](x, s)
v = models["vqvae."].train()
_, _, loss = v(x, s)
loss.backward()
p = v.onehot.mean(0)
out["out.loss"], out["out.perplexity"] = loss.detach(), torch.exp(-(p * torch.log(p + 1e-10)).sum())
codes = v.follow()
torch.nn.utils.clip_grad_norm_(v.parameters(), 3)
matrices = [q for q in v.parameters() if q.ndim > 1]
torch.optim.AdamW([{"params": matrices, "weight_decay": 0.05},
                   {"params": [q for q in v.parameters() if q.ndim < 2], "weight_decay": 0}], lr=1e-2).step()
state = v.state_dict()
state["vq_block.codex.weight"] = codes
for n in ["subj_block.subj_layer.W.weight", "tokenizer.conv_blocks.0.0.1.weight", "tokenizer.conv_blocks.2.1.1.bias",
          "tokenizer.conv_blocks.1.1.1.running_var", "encoder.1.xfmr_blocks.0.mha.norm_k.weight",
          "encoder.1.xfmr_blocks.0.ffn.fc1.0.weight", "vq_block.pre_proj.2.weight", "vq_block.codex.weight",
          "rgs_block.rgs_head.2.0.1.weight", "desubj_block.subj_layer.B.weight"]:
    out["out.vqvae." + n] = state[n]
out = {k: (t.detach().contiguous().to(torch.int64) if k == "out.codes" else t.detach().contiguous().float())
       for k, t in out.items()}
save_file(out, os.path.join(HERE, "duin.safetensors"))
print(len(out), "tensors,", os.path.getsize(os.path.join(HERE, "duin.safetensors")), "bytes")
