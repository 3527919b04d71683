"""Reference values for the transformer brain encoder: brain_encoder.safetensors.

    pip install torch numpy safetensors transformers && python tests/golden/make_brain_encoder.py

Written with torch 2.15.0, safetensors 0.8.0; f32 results of an f64 computation. The decoder is written here from the formulas
of the official code (pre-norm DETR layer without self-attention on torch's MultiheadAttention, sine positions by its
cumulative sums), with its parameter names; what it never runs is there too, to be skipped. 4 x 4 tokens of 8 features, 2
heads, inner width 12, 3 areas a hemisphere, 7 + 5 vertices whose areas are mixed. The file has
    every parameter under its name
    test/tokens [2, 16, 8], test/areas [12]
    test/response [2, 12], test/attention [2, 6, 16], test/positions [16, 8]
    test/grad.NAME   of sum(response * w), w_ij = cos(2 i + j), for tokens and the parameters that are used
    test/cubic       bicubic resizing of [1, 1, 37, 37] ramps to 5 x 7, torch's interpolate
    test/ramp
dinov2.safetensors, by transformers 5.23.0's Dinov2Model: 2 layers of width 16, 2 heads, patch 4, 6 x 6 positions, on a picture
of 16 x 20 pixels, with its own names:
    test/image [1, 16, 20, 3] values 0..1, test/queries [1, 20, 16] of the last block, test/grad.image of sum(queries * w),
    w_ij = cos(2 i + j)
"""
import math
import os
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import Dinov2Config, Dinov2Model

HERE = os.path.dirname(os.path.abspath(__file__))
torch.manual_seed(20260601)
torch.set_default_dtype(torch.float64)
B, GRID, D, HEADS, INNER, AREAS, LEFT, RIGHT = 2, 4, 8, 2, 12, 3, 7, 5


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.self_attn, self.multihead_attn = nn.MultiheadAttention(D, HEADS), nn.MultiheadAttention(D, HEADS)
        self.linear1, self.linear2 = nn.Linear(D, INNER), nn.Linear(INNER, D)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(D), nn.LayerNorm(D), nn.LayerNorm(D)

    def forward(self, t, query, memory, pos):
        u, w = self.multihead_attn(self.norm1(t) + query, memory + pos, memory)
        t = t + u
        return t + self.linear2(torch.relu(self.linear1(self.norm3(t)))), w


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers, self.norm = nn.ModuleList([Layer()]), nn.LayerNorm(D)


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.decoder, self.memory_proj = Decoder(), nn.Conv2d(D, 64, 1)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.transformer, self.query_embed = Transformer(), nn.Embedding(2 * AREAS, D)
        self.lh_embed, self.rh_embed = nn.Sequential(nn.Linear(D, LEFT)), nn.Sequential(nn.Linear(D, RIGHT))

    def forward(self, tokens, masks):
        memory = tokens.transpose(0, 1)
        query = self.query_embed.weight[:, None].repeat(1, B, 1)
        d = self.transformer.decoder
        t, w = d.layers[0](torch.zeros_like(query), query, memory, positions()[:, None])
        t = d.norm(t).transpose(0, 1)
        lh, rh = self.lh_embed(t[:, :AREAS]), self.rh_embed(t[:, AREAS:])  # [B, areas, vertices]
        return torch.cat([(lh * masks[0]).sum(1), (rh * masks[1]).sum(1)], 1), w


def positions():
    ones = torch.ones(1, GRID, GRID)
    y, x = ones.cumsum(1), ones.cumsum(2)
    y, x = (v / (v.max() + 1e-6) * 2 * math.pi for v in (y, x))
    k = torch.arange(D // 2)
    div = 10000 ** (2 * (k // 2) / (D // 2))
    out = []
    for v in (y, x):
        p = v[..., None] / div
        out.append(torch.stack((p[..., 0::2].sin(), p[..., 1::2].cos()), -1).flatten(3))
    return torch.cat(out, -1).reshape(GRID * GRID, D)


net = Encoder().double()
for p in net.parameters():
    if p.dim() == 1:
        p.data += 0.3 * torch.randn_like(p)
areas = torch.tensor([2, 0, 1, 0, 2, 2, 1, 5, 3, 3, 4, 5])
masks = [torch.stack([(areas[:LEFT] == a) for a in range(AREAS)]).double(),
         torch.stack([(areas[LEFT:] == a + AREAS) for a in range(AREAS)]).double()]
tokens = torch.randn(B, GRID * GRID, D, requires_grad=True)
y, w = net(tokens, masks)
weight = torch.cos(2.0 * torch.arange(B)[:, None] + torch.arange(LEFT + RIGHT))
(y * weight).sum().backward()
ramp = torch.randn(1, 1, 37, 37)
out = {k: v for k, v in net.state_dict().items()}
out |= {"test/tokens": tokens, "test/response": y, "test/attention": w, "test/positions": positions(),
        "test/grad.tokens": tokens.grad, "test/ramp": ramp,
        "test/cubic": F.interpolate(ramp, size=(5, 7), mode="bicubic", align_corners=False)}
out |= {f"test/grad.{k}": p.grad for k, p in net.named_parameters() if p.grad is not None}
out = {k: v.detach().float().contiguous() for k, v in out.items()}
out["test/areas"] = areas
save_file(out, os.path.join(HERE, "brain_encoder.safetensors"))

vit = Dinov2Model(Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=24, patch_size=4,
                               attn_implementation="eager")).double().eval()
for p in vit.parameters():
    p.data += 0.2 * torch.randn_like(p)
image = torch.rand(1, 16, 20, 3, requires_grad=True)
normal = (image - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
last = vit.encoder.layer[-1]
h = vit(normal.permute(0, 3, 1, 2), output_hidden_states=True).hidden_states[-2]
queries = last.attention.q_proj(last.norm1(h))[:, 1:]
weight = torch.cos(2.0 * torch.arange(20)[:, None] + torch.arange(16))
(queries * weight).sum().backward()
out = {k: v for k, v in vit.state_dict().items() if "mask_token" not in k and not k.startswith("layernorm")}
out = {k: v for k, v in out.items() if "layer.1." not in k or "q_proj" in k or "norm1" in k}
out |= {"test/image": image, "test/queries": queries, "test/grad.image": image.grad}
save_file({k: v.detach().float().contiguous() for k, v in out.items()}, os.path.join(HERE, "dinov2.safetensors"))
