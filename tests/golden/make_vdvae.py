"""Golden file of models/blocks/vdvae: a small hierarchical autoencoder with random weights.

    python make_vdvae.py        # made with torch 2.15.0

Written from the formulas of Child 2021 (arXiv:2011.10650) and Salimans et al. 2017 (arXiv:1701.05517), with the keys of
the public checkpoints. vdvae.safetensors holds the weights (f16), vdvae_io.safetensors in f32 (computed in f64) inputs, outputs and the
gradients of sum(out * ct): in full with respect to the picture, and of each parameter p "dot.p" = sum_i grad_i cos(i)
over its elements in row-major order (i = 0, 1, ...) and "norm.p". Arrays of the io file are channels last."""
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

WIDTH, BOTTLENECK, ZDIM, K, SIZE = 8, 4, 2, 3, 8
ENCODER = [(8, 0), (8, 2), (4, 0), (4, 2), (2, 2), (1, 0)]           # "8x1,8d2,4x1,4d2,2d2,1x1"
DECODER = [(1, 0), (2, 1), (4, 2), (4, 0), (8, 4), (8, 0)]           # "1x1,2m1,4m2,4x1,8m4,8x1"


class Block(nn.Module):
    def __init__(self, size, cin, cout):
        super().__init__()
        k = 3 if size > 2 else 1
        self.c1 = nn.Conv2d(cin, BOTTLENECK, 1)
        self.c2 = nn.Conv2d(BOTTLENECK, BOTTLENECK, k, padding=k // 2)
        self.c3 = nn.Conv2d(BOTTLENECK, BOTTLENECK, k, padding=k // 2)
        self.c4 = nn.Conv2d(BOTTLENECK, cout, 1)

    def forward(self, x):
        for c in (self.c1, self.c2, self.c3, self.c4):
            x = c(F.gelu(x))
        return x


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.in_conv = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.enc_blocks = nn.ModuleList(Block(r, WIDTH, WIDTH) for r, _ in ENCODER)

    def forward(self, x):
        x = self.in_conv(x)
        seen = {x.shape[2]: x}
        for (_, down), b in zip(ENCODER, self.enc_blocks):
            x = x + b(x)
            if down:
                x = F.avg_pool2d(x, down)
            seen[x.shape[2]] = x
        return seen


class DecBlock(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.enc = Block(size, 2 * WIDTH, 2 * ZDIM)
        self.prior = Block(size, WIDTH, 2 * ZDIM + WIDTH)
        self.z_proj = nn.Conv2d(ZDIM, WIDTH, 1)
        self.resnet = Block(size, WIDTH, WIDTH)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.dec_blocks = nn.ModuleList(DecBlock(r) for r, _ in DECODER)
        self.bias_xs = nn.ParameterList(nn.Parameter(torch.zeros(1, WIDTH, r, r)) for r in (1, 2, 4, 8))
        self.out_net = nn.Module()
        self.out_net.out_conv = nn.Conv2d(WIDTH, 10 * K, 1)
        self.gain = nn.Parameter(torch.ones(1, WIDTH, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, WIDTH, 1, 1))

    def forward(self, batch, noise, seen=None, given=()):
        state = {b.shape[2]: b.expand(batch, -1, -1, -1) for b in self.bias_xs}
        zs, kls = [], []
        for i, ((r, mixin), b) in enumerate(zip(DECODER, self.dec_blocks)):
            x = state[r]
            if mixin:
                x = x + F.interpolate(state[mixin], scale_factor=r // mixin)
            h = b.prior(x)
            pm, ps, xpp = h[:, :ZDIM], h[:, ZDIM:2 * ZDIM], h[:, 2 * ZDIM:]
            m, s = pm, ps
            if seen is not None:
                m, s = b.enc(torch.cat([x, seen[r]], 1)).chunk(2, 1)
                kl = -0.5 + ps - s + 0.5 * (torch.exp(s) ** 2 + (m - pm) ** 2) / torch.exp(ps) ** 2
                kls.append(kl.sum((1, 2, 3)))
            x = x + xpp
            z = given[i] if i < len(given) else m + torch.exp(s) * noise[i]
            zs.append(z)
            x = x + b.z_proj(z)
            state[r] = x + b.resnet(x)
        return state[SIZE] * self.gain + self.bias, zs, kls


class VDVAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder()


def mixture(l):
    l = l.permute(0, 2, 3, 1)
    rest = l[..., K:].reshape(*l.shape[:3], 3, 3 * K)
    return l[..., :K], rest[..., :K], rest[..., K:2 * K].clamp(min=-7), torch.tanh(rest[..., 2 * K:])


def mixture_loss(l, x):
    """x [B, H, W, 3] -> mean negative log likelihood of each picture"""
    logit, mean, scale, mix = mixture(l)
    v = x[..., None]
    mean = torch.stack([mean[..., 0, :], mean[..., 1, :] + mix[..., 0, :] * v[..., 0, :],
                        mean[..., 2, :] + mix[..., 1, :] * v[..., 0, :] + mix[..., 2, :] * v[..., 1, :]], 3)
    d, inv = v - mean, torch.exp(-scale)
    hi, lo, mid = inv * (d + 1 / 255), inv * (d - 1 / 255), inv * d
    mass = torch.sigmoid(hi) - torch.sigmoid(lo)
    density = mid - scale - 2 * F.softplus(mid) - torch.log(torch.tensor(127.5, dtype=l.dtype))
    inside = torch.where(mass > 1e-5, torch.log(mass.clamp(min=1e-12)), density)
    p = torch.where(v < -.999, hi - F.softplus(hi), torch.where(v > .999, -F.softplus(lo), inside))
    p = torch.logsumexp(p.sum(3) + F.log_softmax(logit, -1), -1)
    return -p.sum((1, 2)) / x[0].numel()


def mixture_sample(l, gumbel, logistic):
    logit, mean, scale, mix = mixture(l)
    one = F.one_hot((logit + gumbel).argmax(-1), K).to(l.dtype)[..., None, :]
    mean, scale, mix = ((t * one).sum(-1) for t in (mean, scale, mix))
    x = mean + torch.exp(scale) * logistic
    r = x[..., 0].clamp(-1, 1)
    g = (x[..., 1] + mix[..., 0] * r).clamp(-1, 1)
    b = (x[..., 2] + mix[..., 1] * r + mix[..., 2] * g).clamp(-1, 1)
    return torch.stack([r, g, b], -1)


def last(t):
    return t.permute(0, 2, 3, 1) if t.dim() == 4 else t


if __name__ == "__main__":
    gen = torch.Generator().manual_seed(1)
    net = VDVAE()
    for name, p in net.named_parameters():
        r = torch.randn(p.shape, generator=gen)
        fan = p[0].numel() if name.endswith("weight") else 1
        p.data = (1 + 0.2 * r if name.endswith("gain") else 0.8 * r / fan ** 0.5 if name.endswith("weight")
                  else 0.2 * r).half().float()
    net = net.double()
    f64 = dict(generator=gen, dtype=torch.float64)
    image = (torch.randint(0, 256, (2, SIZE, SIZE, 3), generator=gen).double() / 127.5 - 1)
    image[0, 0, 0], image[1, 1, 1] = -1, 1
    image.requires_grad_(True)
    noise = [torch.randn(2, ZDIM, r, r, **f64) for r, _ in DECODER]
    gumbel = -torch.log(-torch.log(torch.rand(2, SIZE, SIZE, K, **f64)))
    u = torch.rand(2, SIZE, SIZE, 3, **f64)
    logistic = torch.log(u) - torch.log(1 - u)
    x, zs, kls = net.decoder(2, noise, net.encoder(image.permute(0, 3, 1, 2)))
    l = net.decoder.out_net.out_conv(x)
    out = {"features": last(x), "mixture": last(l), "kl": torch.stack(kls, 1), "loss": mixture_loss(l, image)}
    out["latents"] = torch.cat([z.flatten(1) for z in zs], 1)
    io = {"image": image, "gumbel": gumbel, "logistic": logistic, "picture": mixture_sample(l, gumbel, logistic)}
    io |= {f"noise.{i}": last(n) for i, n in enumerate(noise)}
    x, _, _ = net.decoder(2, [0.5 * n for n in noise], None, [z.detach() for z in zs[:3]])
    io["replayed"] = last(net.decoder.out_net.out_conv(x))
    total = 0
    for k, v in out.items():
        io["ct." + k] = torch.randn(v.shape, **f64)
        total = total + (v * io["ct." + k]).sum()
    total.backward()
    io |= out
    io["grad.image"] = image.grad
    for name, p in net.named_parameters():
        i = torch.arange(p.numel(), dtype=torch.float64)
        io["dot." + name] = (p.grad.flatten() * torch.cos(i)).sum().reshape(1)
        io["norm." + name] = p.grad.norm().reshape(1)
    save_file({k: v.detach().half().contiguous() for k, v in net.state_dict().items()}, "vdvae.safetensors")
    save_file({k: v.detach().float().contiguous() for k, v in io.items()}, "vdvae_io.safetensors")
