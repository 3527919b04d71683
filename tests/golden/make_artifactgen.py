"""Reference values for ArtifactGen: artifactgen.safetensors.

    python make_artifactgen.py        # made with torch 2.15.0, safetensors 0.8.0

The published formulas (generator, critic with projection, gradient penalty, FiLM blocks), written here once more with the
parameter names of the published modules, computed in f64, kept in f32; the U-Net's blocks are joined with skips as
models/blocks/unet.h says (sin and cos of the time change places). Sizes: 3 channels, 16 samples (GAN: 10), 2 classes,
U-Net width 4, one block a level, GAN width 8, latent 5, batch 2. The file has
    every parameter under the model's name (random)
    test/x, test/t                a noised batch      test/noise        the U-Net's answer to test/unet_label, 2 = no class
    test/z                        latent              test/generated    the generator's
    test/candidate                GAN windows         test/score        the critic's
    test/mix                      interpolation       test/critic_loss  eq. (3), of candidate as real
    test/grad.P                   its gradient for every parameter P of the critic: a second derivative
    test/grad.unet.P              gradients of mean((noise - test/eps)^2) for some of the U-Net's
"""
import math, os, torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(7)
torch.set_default_dtype(torch.float64)
C, T, TG, K, W, D, Z, B = 3, 16, 10, 2, 4, 8, 5, 2


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(Z + K, D * (TG // 8))
        self.net = nn.Sequential(nn.ConvTranspose1d(D, D // 2, 4, 2, 1), nn.ReLU(),
                                 nn.ConvTranspose1d(D // 2, D // 4, 4, 2, 1), nn.ReLU(),
                                 nn.ConvTranspose1d(D // 4, C, 6, 2, 1), nn.Tanh())

    def forward(self, z, y):
        return self.net(self.fc(torch.cat([z, F.one_hot(y, K).double()], 1)).view(-1, D, TG // 8))


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(*[m for i in range(3) for m in
                                    (nn.Conv1d(C if i == 0 else D >> (3 - i), D >> (2 - i), 5, 2, 2), nn.LeakyReLU(0.2))])
        self.fc = nn.Linear(D, 1)
        self.proj = nn.ModuleDict({"embed": nn.Embedding(K, D)})

    def forward(self, x, y):
        phi = self.conv(x).mean(2)
        return self.fc(phi)[:, 0] + (phi * self.proj["embed"](y)).sum(1)


class Block(nn.Module):
    def __init__(self, i, o, dilation=1):
        super().__init__()
        self.conv1 = nn.Conv1d(i, o, 3, padding=dilation, dilation=dilation)
        self.conv2 = nn.Conv1d(o, o, 3, padding=1)
        self.film1, self.film2 = nn.Linear(2 * W, 2 * o), nn.Linear(2 * W, 2 * o)
        if i != o:
            self.conv_shortcut = nn.Conv1d(i, o, 1)

    def forward(self, x, cond):
        h = F.silu(self.conv1(x))
        for film, conv in ((self.film1, None), (self.film2, self.conv2)):
            h = h if conv is None else F.silu(conv(h))
            s, b = film(cond)[:, :, None].chunk(2, 1)
            h = h * (1 + s) + b
        return h + (self.conv_shortcut(x) if hasattr(self, "conv_shortcut") else x)


class Level(nn.Module):
    pass


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        w = [W, 2 * W, 4 * W]
        self.time_embedding = nn.ModuleDict({"linear_1": nn.Linear(2 * W, 2 * W), "linear_2": nn.Linear(2 * W, 2 * W)})
        self.class_embedding = nn.Embedding(K + 1, 2 * W)
        self.conv_in, self.conv_out = nn.Conv1d(C, W, 3, padding=1), nn.Conv1d(W, C, 3, padding=1)
        self.down_blocks, self.up_blocks, self.mid_block = nn.ModuleList(), nn.ModuleList(), Level()
        skips, now = [W], W
        for i, c in enumerate(w):
            l = Level()
            l.resnets = nn.ModuleList([Block(now, c, 2 ** i)])
            skips.append(c)
            if i < 2:
                l.downsamplers = nn.ModuleList([nn.Conv1d(c, c, 4, 2, 1)])
                skips.append(c)
            now = c
            self.down_blocks.append(l)
        self.mid_block.resnets = nn.ModuleList([Block(now, now), Block(now, now)])
        for i in (2, 1, 0):
            l = Level()
            l.resnets = nn.ModuleList()
            for _ in range(2):
                l.resnets.append(Block(now + skips.pop(), w[i]))
                now = w[i]
            if i:
                l.upsamplers = nn.ModuleList([nn.ConvTranspose1d(now, now, 4, 2, 1)])
            self.up_blocks.append(l)

    def forward(self, x, t, y):
        half = W
        f = torch.exp(-math.log(10000) * torch.arange(half) / half)
        a = t[:, None] * f
        cond = torch.cat([torch.cos(a), torch.sin(a)], 1) + self.class_embedding(y)
        cond = self.time_embedding["linear_2"](F.silu(self.time_embedding["linear_1"](cond)))
        h = self.conv_in(x)
        skips = [h]
        for l in self.down_blocks:
            h = l.resnets[0](h, cond)
            skips.append(h)
            if hasattr(l, "downsamplers"):
                h = l.downsamplers[0](h)
                skips.append(h)
        for r in self.mid_block.resnets:
            h = r(h, cond)
        for l in self.up_blocks:
            for r in l.resnets:
                h = r(torch.cat([h, skips.pop()], 1), cond)
            if hasattr(l, "upsamplers"):
                h = l.upsamplers[0](h)
        return self.conv_out(h)


G, Dn, U = Generator(), Critic(), UNet()
out = {}
for prefix, net in (("generator.", G), ("critic.", Dn), ("unet.", U)):
    for n, p in net.named_parameters():
        p.data = p.data.float().double()
        for s in ("downsamplers", "upsamplers"):
            n = n.replace(s + ".0.", s + ".0.conv.")
        out[prefix + n] = p.data

x, eps = torch.randn(2, B, C, T).float().double()
t, y, yu = torch.tensor([20.0, 700.0]), torch.tensor([1, 0]), torch.tensor([1, K])
z, cand, mix = torch.randn(B, Z).float().double(), torch.randn(B, C, TG).float().double(), torch.rand(B, 1, 1).float().double()
noise = U(x, t, yu)
((noise - eps) ** 2).mean().backward()
fake = G(z, y).detach()
mid = (mix * cand + (1 - mix) * fake).requires_grad_(True)
g, = torch.autograd.grad(Dn(mid, y).sum(), mid, create_graph=True)
penalty = ((g.flatten(1).norm(2, 1) - 1) ** 2).mean()
loss = Dn(fake, y).mean() - Dn(cand, y).mean() + 10 * penalty
loss.backward()
last = lambda a: a.detach().transpose(1, 2)
out |= {"test/x": last(x), "test/eps": last(eps), "test/t": t, "test/label": y, "test/unet_label": yu, "test/z": z,
        "test/candidate": last(cand), "test/mix": mix, "test/noise": last(noise), "test/generated": last(G(z, y)),
        "test/score": Dn(cand, y).detach(), "test/critic_loss": loss.detach().reshape(1),
        "test/penalty": penalty.detach().reshape(1)}
out |= {"test/grad.critic." + n: p.grad for n, p in Dn.named_parameters()}
for n in ("conv_in.weight", "class_embedding.weight", "mid_block.resnets.1.film2.weight", "up_blocks.1.upsamplers.0.weight"):
    out["test/grad.unet." + n.replace("upsamplers.0.", "upsamplers.0.conv.")] = U.get_parameter(n).grad
out = {k: (v if v.dtype == torch.int64 else v.float()).contiguous().clone() for k, v in out.items()}
save_file(out, os.path.join(os.path.dirname(os.path.abspath(__file__)), "artifactgen.safetensors"))
print(sum(p.numel() for p in U.parameters()), os.path.getsize("tests/golden/artifactgen.safetensors"))
