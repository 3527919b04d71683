"""Reference values for MindBridge: mindbridge.safetensors.

    pip install torch numpy safetensors && python tests/golden/make_mindbridge.py

Written with torch 2.15.0, numpy 2.4.6, safetensors 0.8.0; f32 results of an f64 computation. The model is written
here once more from the paper, with the parameter names of its public checkpoints. Two subjects (11 and 13 voxels)
pooled to 8, width 6, adapters of rank 2, two blocks, embeddings of 64, batch 4, no dropout. The file has
    every parameter under its name (random: the zeros of the adapters would hide mistakes)
    in.voxels.0, in.voxels.1, in.image, in.text   a batch
    out.image_embedding, out.text_embedding       of in.voxels.1
    out.synthesised                               subject 0's response from in.voxels.1
    out.loss                                      with the cycle 1 -> 0
    out.NAME                                      some parameters after one step of clipped AdamW at rate 1e-2
"""
import os
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
torch.manual_seed(20260301)
torch.set_default_dtype(torch.float64)
VOXELS, POOLED, HIDDEN, RANK, BLOCKS, OUT, BATCH, TAU, MSE = (11, 13), 8, 6, 2, 2, 64, 4, 0.05, 3.2


class Adapter(nn.Module):
    def __init__(self):
        super().__init__()
        self.down_proj, self.up_proj = nn.Linear(POOLED, RANK), nn.Linear(RANK, POOLED)

    def forward(self, x):
        return x + self.up_proj(torch.relu(self.down_proj(x)))


class Translator(nn.Module):
    def __init__(self):
        super().__init__()
        self.mlp = nn.ModuleList(nn.Sequential(nn.Linear(HIDDEN, HIDDEN), nn.LayerNorm(HIDDEN), nn.GELU())
                                 for _ in range(BLOCKS))

    def forward(self, z):
        for block in self.mlp:
            z = z + block(z)
        return z


class MindBridge(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedder = nn.ModuleDict({str(s): nn.Sequential(Adapter(), nn.Linear(POOLED, HIDDEN),
                                                             nn.LayerNorm(HIDDEN), nn.GELU()) for s in (0, 1)})
        self.builder = nn.ModuleDict({str(s): nn.Sequential(nn.Linear(HIDDEN, POOLED), nn.LayerNorm(POOLED),
                                                            nn.GELU(), Adapter()) for s in (0, 1)})
        self.translator = Translator()
        self.head_image, self.head_text = nn.Linear(HIDDEN, OUT), nn.Linear(HIDDEN, OUT)

    def heads(self, z):
        h = self.translator(z)
        return self.head_image(h), self.head_text(h)


def soft_clip(p, t):
    p, t = F.normalize(p, dim=-1), F.normalize(t, dim=-1)
    target, logits = (t @ t.T / TAU).softmax(-1), p @ t.T / TAU
    rows = -(target * logits.log_softmax(-1)).sum(-1).mean()
    columns = -(target * logits.T.log_softmax(-1)).sum(-1).mean()
    return (rows + columns) / 2


def objective(net, voxels, image, text, a, b):
    x = [F.adaptive_max_pool1d(v[:, None], POOLED)[:, 0] for v in voxels]
    z = [net.embedder[str(s)](v) for s, v in enumerate(x)]
    rebuilt = torch.cat([net.builder[str(s)](v) for s, v in enumerate(z)])
    loss = F.mse_loss(rebuilt, torch.cat(x))
    loss = loss + F.mse_loss(net.embedder[str(b)](net.builder[str(b)](z[a])), z[a])
    for p, t in zip(net.heads(torch.cat(z)), (image, text)):
        loss = loss + soft_clip(p, t) + MSE * F.mse_loss(F.normalize(p, dim=-1), F.normalize(t, dim=-1))
    return loss


net = MindBridge()
with torch.no_grad():
    for p in net.parameters():
        p.add_(0.2 * torch.randn_like(p))
        p.copy_(p.float())
voxels = [torch.randn(BATCH, v).float().double() for v in VOXELS]
image, text = (torch.randn(2 * BATCH, OUT).float().double() for _ in range(2))
out = {name: p.detach().clone() for name, p in net.named_parameters()}
out.update({"in.voxels.0": voxels[0], "in.voxels.1": voxels[1], "in.image": image, "in.text": text})
with torch.no_grad():
    z1 = net.embedder["1"](F.adaptive_max_pool1d(voxels[1][:, None], POOLED)[:, 0])
    out["out.image_embedding"], out["out.text_embedding"] = net.heads(z1)
    out["out.synthesised"] = net.builder["0"](z1)
decayed = [p for p in net.parameters() if p.dim() > 1]
others = [p for p in net.parameters() if p.dim() <= 1]
adam = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}], lr=1e-2)
loss = objective(net, voxels, image, text, 1, 0)
loss.backward()
nn.utils.clip_grad_norm_(net.parameters(), 1.0)
adam.step()
out["out.loss"] = loss.detach()
after = dict(net.named_parameters())
for name in ("embedder.0.0.up_proj.weight", "embedder.1.1.weight", "builder.0.0.weight", "builder.1.3.down_proj.weight",
             "translator.mlp.1.0.weight", "translator.mlp.0.1.bias", "head_image.weight", "head_text.bias"):
    out["out." + name] = after[name].detach()
save_file({k: v.float().contiguous() for k, v in out.items()}, os.path.join(HERE, "mindbridge.safetensors"))
print(float(loss))
