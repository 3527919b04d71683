"""Reference values for strega: strega.safetensors.

    pip install torch numpy safetensors && python tests/golden/make_strega.py

Written with torch 2.15.0, numpy 2.4.6, safetensors 0.8.0; f32 results of an f64 computation. The network is written here
from the official code's classes, with its parameter names: maps 2, 4, latent 3, 16 x 16 slices, batch 3.
    states, in.image, in.blotted, out.latents, out.reconstruction
    out.loss, grad.NAME     0.5 (0.01 KL + rebuilt) + 0.5 filled, without sampling noise
"""
import os
import torch
import torch.nn as nn
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
torch.manual_seed(20261124)
torch.set_default_dtype(torch.float64)
MAPS, Z, S = (2, 4), 3, 16


class Part(nn.Module):
    def __init__(self, conv, act=True):
        super().__init__()
        self.conv = conv
        self.activation = nn.PReLU() if act else None

    def forward(self, x):
        x = self.conv(x)
        return self.activation(x) if self.activation else x


class Half(nn.Module):
    def __init__(self, parts):
        super().__init__()
        self.start, self.end = parts[0], parts[-1]
        blocks = []
        for p in parts[1:-1]:
            blocks += [nn.Identity(), p]
        self.middle_blocks = nn.Sequential(*blocks)

    def forward(self, x):
        return self.end(self.middle_blocks(self.start(x)))


net = nn.Module()
full = S // 4
net.enc = Half([Part(nn.Conv2d(1, 2, 3, 2, 1, bias=False)), Part(nn.Conv2d(2, 4, 3, 2, 1, bias=False)),
                Part(nn.Conv2d(4, 2 * Z, full, bias=False), False)])
net.dec = Half([Part(nn.ConvTranspose2d(Z, 4, full, bias=False)), Part(nn.ConvTranspose2d(4, 2, 4, 2, 1, bias=False)),
                Part(nn.ConvTranspose2d(2, 1, 4, 2, 1, bias=False), False)])
for p in net.parameters():
    p.data = p.data.float().double()
x, blotted = torch.rand(3, 1, S, S).float().double(), torch.rand(3, 1, S, S).float().double()
out = {n: p.detach().clone() for n, p in net.named_parameters()}


def redrawn(seen):
    mean, log_std = net.enc(seen).chunk(2, 1)
    kl = (0.5 * (torch.exp(log_std) ** 2 + mean ** 2) - log_std - 0.5).mean()
    return net.dec(mean), (net.dec(mean) - x).abs().mean(), kl, mean


rec, rebuilt, kl, mean = redrawn(x)
filled = redrawn(blotted)[1]
out.update({'in.image': x.permute(0, 2, 3, 1), 'in.blotted': blotted.permute(0, 2, 3, 1), 'out.latents': mean[:, :, 0, 0],
            'out.reconstruction': rec.permute(0, 2, 3, 1), 'out.kl': kl})
loss = 0.5 * (0.01 * kl + rebuilt) + 0.5 * filled
out['out.loss'] = loss
loss.backward()
for n, p in net.named_parameters():
    out['grad.' + n] = p.grad
save_file({k: v.detach().float().contiguous() for k, v in out.items()}, os.path.join(HERE, 'strega.safetensors'))
print(loss.item())
