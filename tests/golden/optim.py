"""Reference values for the optimizer: ten steps of PyTorch's optimizers in float64, on gradients given by a
formula and on a small regression. Writes optim.inc beside itself (torch 2.x, CPU)."""
import math
import os

import torch

torch.set_default_dtype(torch.float64)
out = []


def put(name, values):
    values = [float(v) for v in values]
    out.append(f"static const double {name}[{len(values)}] = {{")
    for i in range(0, len(values), 4):
        out.append("    " + ", ".join(repr(v) for v in values[i:i + 4]) + ",")
    out.append("};")


def start(n=7):
    return torch.tensor([math.cos(1.3 * i) for i in range(n)])


def gradient(t, n=7):
    return torch.tensor([math.sin(0.7 * t + i) * (1 + 0.1 * i) for i in range(n)])


def run(name, make):
    p = start().requires_grad_()
    opt = make([p])
    rows = []
    for t in range(10):
        p.grad = gradient(t)
        opt.step()
        rows += p.detach().tolist()
    put(name, rows)


run("golden_adamw", lambda p: torch.optim.AdamW(p, lr=0.02, betas=(0.9, 0.99), eps=1e-6, weight_decay=0.1))
run("golden_adam", lambda p: torch.optim.Adam(p, lr=0.02, betas=(0.8, 0.99), eps=1e-8, weight_decay=0.1))
run("golden_sgd", lambda p: torch.optim.SGD(p, lr=0.05))
run("golden_nesterov", lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01))

# Lion has no PyTorch class: program 1 of the paper, line by line
p, m, rows = start(), torch.zeros(7), []
lr, wd, b1, b2 = 0.01, 0.1, 0.9, 0.99
for t in range(10):
    g = gradient(t)
    update = torch.sign(b1 * m + (1 - b1) * g)
    m = b2 * m + (1 - b2) * g
    p = p - lr * (update + wd * p)
    rows += p.tolist()
put("golden_lion", rows)

# Regression y = x w^T + b: no decay on b, clipping, two learning rates, moving averages, cosine schedule
x = torch.tensor([[math.sin(1.0 + 3 * i + j) for j in range(3)] for i in range(5)])
y = torch.tensor([[2 * math.cos(2.0 * i + 0.5 * j) for j in range(2)] for i in range(5)])
w = torch.tensor([[math.cos(0.9 * (3 * i + j)) for j in range(3)] for i in range(2)]).requires_grad_()
b = torch.zeros(2).requires_grad_()
opt = torch.optim.AdamW([{"params": [w], "weight_decay": 0.1}, {"params": [b], "weight_decay": 0.0, "lr": 0.06}], lr=0.03)
base = [0.03, 0.06]
ema = [w.detach().clone(), b.detach().clone()]
losses, norms = [], []
for t in range(10):
    for group, lr in zip(opt.param_groups, base):
        group["lr"] = lr * ((t + 1) / 3 if t < 3 else 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (t - 3) / 7)))
    opt.zero_grad()
    loss = ((x @ w.T + b - y) ** 2).mean()
    loss.backward()
    norms.append(torch.nn.utils.clip_grad_norm_([w, b], 0.5))
    opt.step()
    losses.append(loss.item())
    for e, v in zip(ema, (w, b)):
        e.lerp_(v.detach(), 0.1)
put("golden_losses", losses)
put("golden_norms", norms)
put("golden_w", w.detach().flatten())
put("golden_b", b.detach())
put("golden_ema_w", ema[0].flatten())

opt = torch.optim.SGD([torch.zeros(1).requires_grad_()], lr=1.0)
sched = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=0.4, total_steps=20, pct_start=0.25, div_factor=10, final_div_factor=100)
rates = []
for t in range(20):
    rates.append(opt.param_groups[0]["lr"])
    opt.step()
    if t < 19:
        sched.step()
put("golden_one_cycle", rates)

path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "optim.inc")
with open(path, "w") as f:
    f.write(f"/* Made by optim.py with torch {torch.__version__.split('+')[0]}. */\n" + "\n".join(out) + "\n")
