"""Writes tests/golden/state_dict.pth (zip layout) and state_dict_legacy.pth (the layout before PyTorch 1.6).

    python3 tests/golden/make_pth.py tests/golden        (torch 2.15.0)

The values are small whole numbers that tests/io/test_pth.c works out again."""
import sys
from collections import OrderedDict

import torch

folder = sys.argv[1]
base = torch.arange(24, dtype=torch.float32)
model = OrderedDict(
    transposed=base.reshape(4, 6).t(),
    head=base[:5],  # shares the storage of `transposed`
    strided=base.reshape(2, 3, 4)[:, 1:, ::2],
    weight=torch.nn.Parameter(torch.arange(6, dtype=torch.float32).reshape(2, 3)),
    f64=torch.arange(3, dtype=torch.float64),
    f16=torch.arange(3, dtype=torch.float16),
    bf16=torch.arange(3, dtype=torch.bfloat16),
    i64=torch.arange(-1, 2, dtype=torch.int64),
    i32=torch.arange(-1, 2, dtype=torch.int32),
    i16=torch.arange(-1, 2, dtype=torch.int16),
    i8=torch.arange(-1, 2, dtype=torch.int8),
    u8=torch.arange(3, dtype=torch.uint8),
    bool=torch.tensor([True, False, True]),
    scalar=torch.tensor(7, dtype=torch.int64),
    empty=torch.zeros(0, 4),
)
layer = torch.nn.Linear(2, 1)
torch.nn.init.ones_(layer.weight)
torch.nn.init.zeros_(layer.bias)
optimizer = torch.optim.AdamW(layer.parameters())
layer(torch.ones(1, 2)).sum().backward()
optimizer.step()
state = layer.state_dict()
with torch.no_grad():
    state["weight"].fill_(1)  # the optimizer moved it
everything = {
    "model": model,
    "layer": state,
    "optimizer": optimizer.state_dict(),
    "epoch": 3,
    "best": None,
    "lr": 1e-3,
    "shape": torch.Size([1, 2]),
    "dtype": torch.float16,
    "list": [torch.full((2,), 5.0), (torch.full((1,), 6.0), "text")],
}
torch.save(everything, f"{folder}/state_dict.pth")
torch.save(everything, f"{folder}/state_dict_legacy.pth", _use_new_zipfile_serialization=False)
