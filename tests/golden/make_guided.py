"""Reference values for guided-attention-seg: guided.safetensors.

    pip install torch numpy safetensors && python tests/golden/make_guided.py

Written with torch 2.15.0, numpy 2.4.6, safetensors 0.8.0; f32 results of an f64 computation. The model is written
here from the official code's formulas and with its parameter names; the backbone is the miniature's. Two scales, C = 2,
one query feature, 32 x 32 pictures, batch 2. The file has every state under its name (gains gamma are not 0),
    in.image, in.target, in.lr          a batch
    out.logits                          with running statistics (evaluation)
    out.loss, grad.NAME                 with batch statistics (training)
    out.NAME                            running statistics after the step; a shared module's moved twice
"""
import os
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
torch.manual_seed(20261124)
torch.set_default_dtype(torch.float64)
C, Q, CLASSES, SIZE, STAGES, WIDTHS = 2, 1, 3, 32, 2, (8, 16)


def unit(cin, cout, k, act=nn.PReLU):
    return [nn.Conv2d(cin, cout, k, padding=k // 2), nn.BatchNorm2d(cout), act()]


class Position(nn.Module):
    def __init__(self):
        super().__init__()
        self.query_conv, self.key_conv, self.value_conv = nn.Conv2d(C, Q, 1), nn.Conv2d(C, Q, 1), nn.Conv2d(C, C, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        q, k, v = (f(x).flatten(2) for f in (self.query_conv, self.key_conv, self.value_conv))
        weights = torch.softmax(torch.einsum('bci,bcj->bij', q, k), dim=-1)
        return self.gamma * torch.einsum('bij,bcj->bci', weights, v).view_as(x) + x


class Channel(nn.Module):
    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        f = x.flatten(2)
        e = f @ f.transpose(1, 2)
        a = torch.softmax(e.max(-1, keepdim=True)[0] - e, dim=-1)
        return self.gamma * (a @ f).view_as(x) + x


class Attended(nn.Module):
    def __init__(self, position):
        super().__init__()
        self.attn = nn.Sequential(*unit(2 * C, C, 3), Position() if position else Channel(), *unit(C, C, 3))

    def forward(self, u):
        return self.attn(u)


class Encode(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.encode = nn.Sequential(*unit(a, b, 3, nn.ReLU), *unit(b, b, 3, nn.ReLU), nn.MaxPool2d(2))


class Decode(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.decode = nn.Sequential(*unit(a, b, 3, nn.ReLU), *unit(b, b, 3, nn.ReLU), nn.ConvTranspose2d(b, b, 2, 2))


class Semantic(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.enc1, self.enc2, self.dec2, self.dec1 = Encode(d, 2 * d), Encode(2 * d, 4 * d), Decode(4 * d, 2 * d), \
            Decode(2 * d, d)

    def forward(self, u):
        e = self.enc2.encode(self.enc1.encode(u))
        return e, self.dec1.decode(self.dec2.decode(e))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        before = 1
        for k in range(1, STAGES + 1):
            self.add_module(f'stage{k}', nn.Sequential(*unit(before, WIDTHS[k - 1], 3)))
            self.add_module(f'down{k}', nn.Sequential(*unit(WIDTHS[k - 1], C, 1)))
            self.add_module(f'predict{k}', nn.Conv2d(C, CLASSES, 1))
            self.add_module(f'predict{k}_2', nn.Conv2d(C, CLASSES, 1))
            self.add_module(f'conv8_{k}', nn.Conv2d(C, C, 1))
            self.add_module(f'conv8_1{k}', nn.Conv2d(C, C, 1))
            for s in (1, 2):
                self.add_module(f'pam_attention_{s}_{k}', Attended(True))
                self.add_module(f'cam_attention_{s}_{k}', Attended(False))
                self.add_module(f'conv_sem_{s}_{k}', nn.Conv2d(2 * C, C, 3, padding=1))
            before = WIDTHS[k - 1]
        self.semanticModule_1_1, self.semanticModule_2_1 = Semantic(2 * C), Semantic(2 * C)
        self.fuse1 = nn.Module()
        self.fuse1.fuse_attn = nn.Sequential(*unit(STAGES * C, C, 3), *unit(C, C, 1), *unit(C, C, 1))

    def part(self, name):
        return dict(self.named_modules())[name]

    def forward(self, x):
        grid, f = (SIZE // 4, SIZE // 4), {}
        for k in range(1, STAGES + 1):
            x = self.part(f'stage{k}')(F.max_pool2d(x, 2) if k > 1 else x)
            f[k] = F.interpolate(self.part(f'down{k}')(x), grid, mode='bilinear')
        scales = range(STAGES, 0, -1)
        fused = self.fuse1.fuse_attn(torch.cat([f[k] for k in scales], 1))
        a = {k: torch.ones_like(fused) for k in scales}
        e, u, r, coarse, fine = {}, {}, {}, {}, {}
        up = lambda name, h: F.interpolate(self.part(name)(h), (SIZE, SIZE), mode='bilinear')
        for s in (1, 2):
            for k in scales:
                u[s, k] = torch.cat((f[k], a[k] * fused), 1)
                at = STAGES + 1 - k
                e[s, k], r[s, k] = self.part(f'semanticModule_{s}_1')(u[s, k])
                both = self.part(f'pam_attention_{s}_{k}')(u[s, k]) + self.part(f'cam_attention_{s}_{k}')(u[s, k])
                gate = self.part(f'conv_sem_{s}_{at}')(r[s, k])
                a[k] = self.part(f'conv8_{at}' if s == 1 else f'conv8_1{at}')(both * gate)
        for k in scales:
            coarse[k], fine[k] = up(f'predict{k}', f[k]), up(f'predict{k}_2', a[k])
        return coarse, fine, e, u, r


net = Net()
with torch.no_grad():
    for p in net.parameters():
        p.add_(0.2 * torch.randn_like(p))
        p.copy_(p.float())
    for name, b in net.named_buffers():
        if 'running' in name:
            b.copy_((b + 0.3 * torch.rand_like(b)).float())
image = torch.randn(2, 1, SIZE, SIZE).float().double()
target = torch.randint(0, CLASSES, (2, SIZE, SIZE))
out = {n: v.detach().clone().float() for n, v in net.state_dict().items() if 'num_batches' not in n}
out.update({'in.image': image.permute(0, 2, 3, 1).float(), 'in.target': target, 'in.lr': torch.tensor(0.0)})
net.eval()
with torch.no_grad():
    fine = net(image)[1]
    out['out.logits'] = (sum(fine.values()) / STAGES).permute(0, 2, 3, 1).float()
net.train()
coarse, fine, e, u, r = net(image)
scales = range(1, STAGES + 1)
loss = sum(F.cross_entropy(h[k], target) for h in (coarse, fine) for k in scales)
loss = loss + 0.25 * sum(F.mse_loss(e[1, k], e[2, k]) for k in scales)
loss = loss + 0.1 * sum(F.mse_loss(u[s, k], r[s, k]) for s in (1, 2) for k in scales)
loss.backward()
out['out.loss'] = loss.detach().float()
for n, p in net.named_parameters():
    if '.enc2.' not in n and '.dec2.' not in n:  # the same layers as enc1 and dec1
        out['grad.' + n] = p.grad.float()
for n, b in net.named_buffers():
    if n.startswith('semanticModule_1_1.enc1.encode.1.running') or n.startswith('down1.1.running'):
        out['out.' + n] = b.float()
save_file({k: v.contiguous() for k, v in out.items()}, os.path.join(HERE, 'guided.safetensors'))
print(loss.item(), sum(p.numel() for p in net.parameters()))
