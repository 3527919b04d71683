# Golden values of Titans (arXiv 2501.00663) from a literal reading of its equations: token by token, with the whole
# memory network of every sequence and head updated at each step, gradients by autograd at the weights of the chunk's
# start. torch 2.15.0 (CPU), double precision. Run from the repository root: python tests/golden/make_titans.py
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

B, T, V, L, H, D, INNER = 2, 10, 128, 2, 2, 8, 12
WINDOW, PERSISTENT, DEPTH, EXPAND, CHUNK, CONV, RATE = 4, 2, 2, 2, 2, 3, 0.1
HD = D // H
torch.manual_seed(5)
torch.set_default_dtype(torch.float64)


def weights(join):
    w = {"embed.weight": torch.randn(V, D), "norm.weight": 1 + 0.2 * torch.randn(D),
         "head.weight": 0.5 * torch.randn(V, D)}
    for l in range(L):
        p = "layers.%d." % l
        for n in ("norm1", "norm2"):
            w[p + n + ".weight"] = 1 + 0.2 * torch.randn(D)
        for n in "qkvo":
            w[p + "attn.%s.weight" % n] = 0.5 * torch.randn(D, D)
            if n != "o" or join != "mac":
                w[p + "memory.%s.weight" % n] = 0.5 * torch.randn(D, D)
        for n in "qkv":
            w[p + "memory.%s_conv.weight" % n] = torch.randn(D, 1, CONV)
        for n, bias in (("theta", 0.0), ("eta", -0.5), ("alpha", -2.0)):
            w[p + "memory.%s.weight" % n] = 0.5 * torch.randn(H, D)
            w[p + "memory.%s.bias" % n] = bias + 0.3 * torch.randn(H)
        w[p + "memory.start.0"] = 0.4 * torch.randn(H, HD * EXPAND, HD)
        w[p + "memory.start.1"] = 0.4 * torch.randn(H, HD, HD * EXPAND)
        w[p + "attn.persistent"] = torch.randn(PERSISTENT, D)
        if join == "mac":
            w[p + "memory.norm.weight"] = 1 + 0.2 * torch.randn(D)
        if join == "mag":
            w[p + "attn_norm.weight"] = 1 + 0.2 * torch.randn(D)
            w[p + "memory_norm.weight"] = 1 + 0.2 * torch.randn(D)
        w[p + "mlp.gate.weight"] = 0.5 * torch.randn(INNER, D)
        w[p + "mlp.up.weight"] = 0.5 * torch.randn(INNER, D)
        w[p + "mlp.down.weight"] = 0.5 * torch.randn(D, INNER)
    return {k: v.float().double().requires_grad_() for k, v in w.items()}  # what a float32 file keeps


def rms(x, g):
    return g * x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-6)


def rope(x, at):  # [B, T, H, HD], "rotate half"
    t = torch.arange(at, at + x.shape[1], dtype=x.dtype)
    a = t[:, None] * 1e4 ** (-torch.arange(HD // 2, dtype=x.dtype) * 2 / HD)
    cos, sin = torch.cos(a)[:, None], torch.sin(a)[:, None]
    lo, hi = x[..., : HD // 2], x[..., HD // 2 :]
    return torch.cat([lo * cos - hi * sin, hi * cos + lo * sin], -1)


def attend(w, p, x, read, at):
    b, t, _ = x.shape
    cut = lambda z: z.reshape(b, -1, H, HD)
    before = [w[p + "attn.persistent"].expand(b, -1, -1)] + ([read] if read is not None else [])
    before = torch.cat(before, 1)
    q = rope(cut(x @ w[p + "attn.q.weight"].T), at)
    k = torch.cat([cut(before @ w[p + "attn.k.weight"].T), rope(cut(x @ w[p + "attn.k.weight"].T), at)], 1)
    v = cut(torch.cat([before, x], 1) @ w[p + "attn.v.weight"].T)
    out = []
    for i in range(t):
        see = list(range(PERSISTENT))
        n = PERSISTENT
        if read is not None:
            see += [n + j for j in range(i + 1)]
            n += t
        see += [n + j for j in range(max(0, i - WINDOW + 1), i + 1)]
        s = torch.einsum("bhd,bkhd->bhk", q[:, i], k[:, see]) / HD ** 0.5
        out.append(torch.einsum("bhk,bkhd->bhd", s.softmax(-1), v[:, see]).reshape(b, D))
    return torch.stack(out, 1) @ w[p + "attn.o.weight"].T


def project(w, p, n, x):
    y = x @ w[p + "memory.%s.weight" % n].T
    y = F.conv1d(F.pad(y.transpose(1, 2), (CONV - 1, 0)), w[p + "memory.%s_conv.weight" % n], groups=D).transpose(1, 2)
    return F.silu(y).reshape(*x.shape[:2], H, HD)


def unit(x):
    return x / x.norm(dim=-1, keepdim=True)


class Memory:  # one network a sequence and head
    def __init__(self, w, p):
        self.w = [w[p + "memory.start.%d" % l].expand(B, *w[p + "memory.start.%d" % l].shape) for l in range(DEPTH)]
        self.s = [torch.zeros_like(m) for m in self.w]

    def read(self, z, w=None):  # z [B, H, HD]
        for l, m in enumerate(w or self.w):
            z = torch.einsum("bhoi,bhi->bho", m, F.silu(z) if l else z)
        return z

    def memorize(self, w, p, x):
        q, k, v = unit(project(w, p, "q", x)), unit(project(w, p, "k", x)), project(w, p, "v", x)
        gate = lambda n: torch.sigmoid(x @ w[p + "memory.%s.weight" % n].T + w[p + "memory.%s.bias" % n])
        theta, eta, alpha = RATE * gate("theta"), gate("eta"), gate("alpha")  # [B, T, H]
        out = []
        for i in range(x.shape[1]):
            if i % CHUNK == 0:
                # values of their own: under MAC the keys too depend on these weights, which is no part of the surprise
                start = [m * 1 for m in self.w]
            loss = ((self.read(k[:, i], start) - v[:, i]) ** 2).sum()
            grad = torch.autograd.grad(loss, start, create_graph=True)
            g = lambda a: a[:, i][..., None, None]
            self.s = [g(eta) * s - g(theta) * u for s, u in zip(self.s, grad)]
            self.w = [(1 - g(alpha)) * m + s for m, s in zip(self.w, self.s)]
            out.append(self.read(q[:, i]).reshape(B, D))
        return torch.stack(out, 1)


def mixer(join, w, p, x):
    mem = Memory(w, p)
    if join == "mac":
        parts = []
        for at in range(0, T, WINDOW):
            seg = x[:, at : at + WINDOW]
            q = unit(project(w, p, "q", seg))
            h = torch.stack([mem.read(q[:, i]).reshape(B, D) for i in range(seg.shape[1])], 1)
            y = attend(w, p, seg, h, at)
            parts.append(y * torch.sigmoid(rms(mem.memorize(w, p, y), w[p + "memory.norm.weight"])))
        return torch.cat(parts, 1)
    z = mem.memorize(w, p, x) @ w[p + "memory.o.weight"].T
    if join == "mal":
        return attend(w, p, z, None, 0)
    y = attend(w, p, x, None, 0)
    return rms(y, w[p + "attn_norm.weight"]) * F.silu(rms(z, w[p + "memory_norm.weight"]))


for join in ("mac", "mag", "mal"):
    w = weights(join)
    ids, target = torch.randint(V, (B, T)), torch.randint(V, (B, T))
    x = w["embed.weight"][ids]
    for l in range(L):
        p = "layers.%d." % l
        x = x + mixer(join, w, p, rms(x, w[p + "norm1.weight"]))
        h = rms(x, w[p + "norm2.weight"])
        h = F.silu(h @ w[p + "mlp.gate.weight"].T) * (h @ w[p + "mlp.up.weight"].T)
        x = x + h @ w[p + "mlp.down.weight"].T
    logits = rms(x, w["norm.weight"]) @ w["head.weight"].T
    loss = F.cross_entropy(logits.reshape(-1, V), target.reshape(-1))
    loss.backward()
    out = {k: v.detach().float().contiguous() for k, v in w.items()}
    out.update({"test/grad." + k: v.grad.float().contiguous() for k, v in w.items()})
    out.update({"test/ids": ids, "test/target": target, "test/logits": logits.detach().float(),
                "test/loss": loss.detach().float().reshape(())})
    save_file(out, "tests/golden/titans_%s.safetensors" % join)
    print(join, loss.item())
