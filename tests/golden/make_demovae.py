"""Reference values for demovae: demovae.safetensors.

    pip install torch numpy scikit-learn safetensors && python tests/golden/make_demovae.py

Written with torch 2.15.0, numpy 2.4.6, scikit-learn 1.9.1, safetensors 0.8.0; f32 results of an f64 computation. Losses
are written here from the official code's formulas (aorliche/demo-vae, model.py); the guides are scikit-learn's. 40
subjects, 30 features, hidden 16, latent 5, one continuous and one two-way column. The generated latents of the guide
are an input of the file only as their loss: with weight 0 here, for their random numbers are the engine's own.
    states, in.x, in.demographics, in.lr, out.latents, out.reconstruction, out.loss, grad.NAME
    guide.weight [30, 3], guide.bias [3]        of in.x, the continuous column standardised
    guide.wanted [4, 3], guide.seen [4, 30], guide.loss     generated rows and what the guides say of them
"""
import os
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression, Ridge

HERE = os.path.dirname(os.path.abspath(__file__))
torch.manual_seed(20261124)
torch.set_default_dtype(torch.float64)
N, D, H, Z, Q = 40, 30, 16, 5, 3
f32 = lambda t: t.float().double()

x = f32(0.3 * torch.randn(N, D) + 0.2)
age = torch.randn(N)
age = f32((age - age.mean()) / age.std(unbiased=False))
sex = torch.randint(0, 2, (N,))
x = f32(x + 0.1 * age[:, None] + 0.2 * sex[:, None] * torch.linspace(-1, 1, D))
demo = torch.stack([age, (sex == 0).double(), (sex == 1).double()], 1)
net = {'enc1': torch.nn.Linear(D, H), 'enc2': torch.nn.Linear(H, Z), 'dec1': torch.nn.Linear(Z + Q, H),
       'dec2': torch.nn.Linear(H, D)}
out = {}
for name, layer in net.items():
    for part, p in layer.named_parameters():
        p.data = f32(p.data)
        out[f'{name}.{part}'] = p.detach().clone()
rmse = lambda a, b: ((a - b) ** 2).mean() ** 0.5
enc = lambda v: net['enc2'](torch.relu(net['enc1'](v)))
dec = lambda z, d: net['dec2'](torch.relu(net['dec1'](torch.cat([z, d], 1))))
z = enc(x)
y = dec(z, demo)
loss = rmse(z.T @ z, N * torch.eye(Z)) + rmse(z.mean(0), torch.zeros(Z)) + 100 * rmse(x, y)
for j in range(Q):
    d = demo[:, j] - demo[:, j].mean()
    p = torch.einsum('n,nz->z', d, z) / demo[:, j].std() / torch.einsum('nz,nz->z', z, z)
    loss = loss + 10 * rmse(p, torch.zeros(Z))
loss.backward()
out.update({'in.x': x, 'in.demographics': demo, 'in.lr': torch.tensor(0.0), 'out.latents': z.detach(),
            'out.reconstruction': y.detach(), 'out.loss': loss.detach()})
for name, layer in net.items():
    for part, p in layer.named_parameters():
        out[f'grad.{name}.{part}'] = p.grad
ridge = Ridge(alpha=100).fit(x.numpy(), age.numpy())
logistic = LogisticRegression(C=100, tol=1e-12, max_iter=100000).fit(x.numpy(), sex.numpy())
w = torch.tensor(np.stack([ridge.coef_, -logistic.coef_[0], logistic.coef_[0]], 1))
b = torch.tensor(np.array([ridge.intercept_, -logistic.intercept_[0], logistic.intercept_[0]]))
wanted = torch.tensor([[0.5, 0, 1], [-1.5, 0, 1], [0.1, 0, 1], [2.0, 0, 1]])
seen = f32(0.3 * torch.randn(4, D))
yy = seen @ w + b
guide, running = rmse(wanted[:, 0], yy[:, 0]), 0
for k in (1, 2):  # the code's running sum: the first category counts twice
    running = running + F.cross_entropy(torch.stack([-yy[:, k], yy[:, k]], 1), wanted[:, k].long())
    guide = guide + running
out.update({'guide.weight': w, 'guide.bias': b, 'guide.wanted': wanted, 'guide.seen': seen, 'guide.loss': guide})
save_file({k: v.float().contiguous() for k, v in out.items()}, os.path.join(HERE, 'demovae.safetensors'))
print(loss.item(), guide.item())
