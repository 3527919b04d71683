"""Writes linear.safetensors: torch.nn.functional.linear in float64, values and gradients, with and without bias.

    python3 tests/golden/make_linear.py tests/golden/linear.safetensors

Made with torch 2.15.0, safetensors 0.8.0.
"""
import sys
import torch
from safetensors.torch import save_file

torch.manual_seed(0)
out = {}
for name, shape, width, bias in [("row", (7,), 5, True), ("batch", (3, 4, 13), 11, True), ("plain", (2, 17), 9, False)]:
    x = torch.randn(*shape, dtype=torch.float64, requires_grad=True)
    w = torch.randn(width, shape[-1], dtype=torch.float64, requires_grad=True)
    b = torch.randn(width, dtype=torch.float64, requires_grad=True) if bias else None
    y = torch.nn.functional.linear(x, w, b)
    ct = torch.randn_like(y)
    y.backward(ct)
    out |= {f"{name}.x": x, f"{name}.w": w, f"{name}.ct": ct, f"{name}.y": y, f"{name}.gx": x.grad, f"{name}.gw": w.grad}
    if bias:
        out |= {f"{name}.b": b, f"{name}.gb": b.grad}
save_file({k: v.detach().contiguous() for k, v in out.items()}, sys.argv[1])
