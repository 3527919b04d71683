"""Reference values for BrainMAE: brainmae.safetensors.

    pip install torch numpy safetensors && python tests/golden/make_brainmae.py

Written with torch 2.15.0, numpy 2.4.6, safetensors 0.8.0; f32 results of an f64 computation. There is no official code:
the model is written here once more from its equations. 5 regions, 12 samples in segments of 3 (two of four seen), width 8,
embeddings of width 6, two heads, two graph blocks, one layer on each side, batch 3. The file has
    static.*, adaptive.*     for the two kinds of encoder:
      every parameter under its name (random)
      in.scan, in.seen, in.place, in.mask, in.label
      out.rebuilt, out.states, out.logits
      out.loss               of a masked step
      out.NAME               some parameters after it (clipped AdamW at rate 1e-2)
"""
import math
import os
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
torch.set_default_dtype(torch.float64)
N, T, TAU, D, DE, H, BLOCKS, B, LAMBDA = 5, 12, 3, 8, 6, 2, 2, 3, 0.75
K, J = T // TAU, 1  # 0.7 of four segments are three hidden, one seen


class Graph(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.out = nn.Linear(DE, D), nn.Linear(DE, D), nn.Linear(D, D), nn.Linear(D, D)
        self.norm1, self.norm2, self.fc1, self.fc2 = nn.LayerNorm(D), nn.LayerNorm(D), nn.Linear(D, 2 * D), nn.Linear(2 * D, D)

    def forward(self, e, h):
        w = D // H
        q, k = (f(e).reshape(N, H, w).transpose(0, 1) for f in (self.q, self.k))
        a = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(w), -1)
        y = (a @ self.v(h).reshape(-1, N, H, w).transpose(1, 2)).transpose(1, 2).reshape(-1, N, D)
        y = self.norm1(h + self.out(y))
        return self.norm2(y + self.fc2(F.gelu(self.fc1(y))))


class Layer(nn.Module):
    def __init__(self, inner, pre):
        super().__init__()
        self.pre = pre
        self.q, self.k, self.v, self.out = (nn.Linear(D, D) for _ in range(4))
        self.norm1, self.norm2, self.fc1, self.fc2 = nn.LayerNorm(D), nn.LayerNorm(D), nn.Linear(D, inner), nn.Linear(inner, D)

    def attend(self, x):
        q, k, v = (f(x).reshape(*x.shape[:2], H, D // H).transpose(1, 2) for f in (self.q, self.k, self.v))
        a = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(D // H), -1)
        return self.out((a @ v).transpose(1, 2).reshape(x.shape))

    def feed(self, x):
        return self.fc2(F.gelu(self.fc1(x)))

    def forward(self, x):
        if self.pre:
            x = x + self.attend(self.norm1(x))
            return x + self.feed(self.norm2(x))
        x = self.norm1(x + self.attend(x))
        return self.norm2(x + self.feed(x))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.add_module("0", Layer(4 * D, True))
        self.norm = nn.LayerNorm(D)

    def forward(self, x):
        return self.norm(getattr(self, "0")(x))


class BrainMae(nn.Module):
    def __init__(self, adaptive):
        super().__init__()
        self.is_adaptive = adaptive
        self.roi_embedding = nn.Parameter(torch.randn(N, DE))
        self.positions, self.decoder_positions = nn.Parameter(torch.randn(K, D)), nn.Parameter(torch.randn(K, D))
        self.mask_token = nn.Parameter(torch.randn(1, 1, D))
        t, f = torch.arange(K)[:, None], torch.exp(torch.arange(0, D, 2) * -(math.log(1e4) / D))
        self.sines = torch.stack([torch.sin(t * f), torch.cos(t * f)], -1).reshape(K, D)
        self.embed, self.classifier = nn.Linear(TAU, D), nn.Linear(D, 2)
        if adaptive:
            self.embed_roi = nn.Linear(DE, D)
            self.adaptive = nn.ModuleDict({"0": Layer(2 * D, False)})
        self.graph = nn.ModuleDict({str(i): Graph() for i in range(1 if adaptive else 0, BLOCKS)})
        self.pool = nn.ModuleDict({"roi": nn.Linear(DE, D, bias=False), "score": nn.Linear(D, 1, bias=False)})
        self.encoder, self.decoder = Transformer(), Transformer()
        self.head = nn.ModuleDict({"state": nn.Linear(D, 2 * D), "roi": nn.Linear(DE, 2 * D, bias=False),
                                   "out": nn.Linear(2 * D, TAU)})

    def states(self, x):  # [B, k, tau, N]
        h, e = self.embed(x.transpose(2, 3).reshape(-1, N, TAU)), self.roi_embedding
        if self.is_adaptive:
            h = self.adaptive["0"](h + self.embed_roi(e))
        for g in self.graph.values():
            h = g(e, h)
        u = h + self.pool["roi"](e)
        return (torch.softmax(self.pool["score"](torch.tanh(u)), 1) * u).sum(1).reshape(*x.shape[:2], D)

    def encode(self, x):
        return self.encoder(self.states(x.reshape(-1, K, TAU, N)) + self.positions + self.sines)

    def rebuild(self, x, seen, place):
        s = x.reshape(-1, K, TAU, N)[torch.arange(B)[:, None], seen]
        s = self.encoder(self.states(s) + (self.positions + self.sines)[seen])
        s = torch.cat([s, self.mask_token.expand(B, 1, D)], 1)[torch.arange(B)[:, None], place] + self.decoder_positions + self.sines
        s = self.decoder(s)
        e = self.roi_embedding.expand(B, K, N, DE)
        w = torch.cat([self.head["roi"].weight, self.head["state"].weight], 1)  # the MLP on [E_i; s_k]
        z = F.gelu(torch.cat([e, s[:, :, None].expand(B, K, N, D)], -1) @ w.T + self.head["state"].bias)
        return self.head["out"](z).transpose(2, 3).reshape(B, T, N)


out = {}
for kind in ("static", "adaptive"):
    torch.manual_seed(20260303)
    m = BrainMae(kind == "adaptive")
    for p in m.parameters():
        p.data += 0.1 * torch.randn_like(p)
    put = lambda name, t: out.__setitem__(kind + "." + name, t.detach().clone())
    for n, p in m.named_parameters():
        put(n, p)
    x, seen = torch.randn(B, T, N), torch.tensor([[2], [0], [3]])
    place = torch.full((B, K), J).scatter(1, seen, 0)
    mask = (place == J).double()
    put("in.scan", x), put("in.seen", seen), put("in.place", place), put("in.mask", mask)
    y, h = m.rebuild(x, seen, place), m.encode(x)
    put("out.rebuilt", y), put("out.states", h), put("out.logits", m.classifier(h.mean(1)))
    error = ((y - x).reshape(B, K, TAU, N) ** 2).mean((2, 3))
    loss = LAMBDA * (error * mask).sum() / mask.sum() + (1 - LAMBDA) * (error * (1 - mask)).sum() / (1 - mask).sum()
    loss.backward()
    used = [p for p in m.parameters() if p.grad is not None]
    torch.nn.utils.clip_grad_norm_(used, 1)
    torch.optim.AdamW([{"params": [p for p in used if p.ndim > 1], "weight_decay": 0.01},
                       {"params": [p for p in used if p.ndim < 2], "weight_decay": 0}], lr=1e-2).step()
    put("out.loss", loss)
    for n in ["roi_embedding", "positions", "mask_token", "embed.weight", "graph.1.q.weight", "graph.1.fc2.bias",
              "pool.score.weight", "encoder.0.v.weight", "decoder.norm.weight", "head.roi.weight"] + \
            (["adaptive.0.out.weight"] if kind == "adaptive" else ["graph.0.v.weight"]):
        put("out." + n, m.state_dict()[n])
out = {k: (t.contiguous() if t.dtype == torch.int64 else t.contiguous().float()) for k, t in out.items()}
save_file(out, os.path.join(HERE, "brainmae.safetensors"))
print(len(out), "tensors,", os.path.getsize(os.path.join(HERE, "brainmae.safetensors")), "bytes")
