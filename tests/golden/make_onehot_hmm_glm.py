"""Reference values for the one-hot HMM-GLM: onehot_hmm_glm.safetensors.

    pip install torch numpy safetensors hmmlearn && python tests/golden/make_onehot_hmm_glm.py

Written with torch 2.15.0, numpy 2.4.6, safetensors 0.8.0, hmmlearn 0.3.3; f32 results of an f64 computation. The
emissions are written here once more from the paper (torch.distributions.Poisson on sigmoid rates), the marginal
likelihood is a plain forward loop, its gradients are autograd's, posteriors and Viterbi paths are hmmlearn's, the
concrete density is torch's RelaxedOneHotCategorical. 5 neurons, 3 states, 2 sequences of 40 bins. The file has
    glm.theta, glm.eta, glm.theta0, glm.bias, glm.log_transition    parameters
    test/counts                                                     [2, 40, 5]
    test/posterior, test/path, test/log_likelihood, test/weight     what they give
    test/grad.eta, test/grad.bias                                   of the summed log-likelihood
    test/logits, test/logits0, test/density, test/grad.logits, test/grad.logits0   the concrete density, tau 0.7
"""
import os
import numpy as np
import torch
from hmmlearn import _hmmc
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
torch.manual_seed(20260407)
torch.set_default_dtype(torch.float64)
B, T, N, S, K = 2, 40, 5, 3, 5

theta, eta = torch.randn(S, N, N, 3) * 2, torch.randn(S, N, N)
theta0, bias = torch.randn(N, N, 3), torch.randn(1, 1, N) * 0.3
A = torch.softmax(torch.randn(S, S) + 2 * torch.eye(S), -1)
counts = torch.poisson(torch.full((B, T, N), 0.6))
eta.requires_grad_()
bias.requires_grad_()

kind = torch.nn.functional.one_hot(theta.argmax(-1), 3).to(eta.dtype)
W = (kind[..., 2] - kind[..., 0]) * torch.nn.functional.softplus(eta) * (1 - torch.eye(N))
phi = torch.exp(-torch.arange(K).to(eta.dtype))
phi = phi / phi.sum()
h = torch.zeros(B, T, N)
for t in range(T):
    for k in range(1, K + 1):
        if t - k >= 0:
            h[:, t] += phi[k - 1] * counts[:, t - k]
rate = torch.sigmoid(bias[0, 0] + torch.einsum("btm,snm->btsn", h, W))
emission = torch.distributions.Poisson(rate).log_prob(counts[:, :, None, :]).sum(-1)  # [B, T, S]
alpha = emission[:, 0] - np.log(S)
for t in range(1, T):
    alpha = emission[:, t] + torch.logsumexp(alpha[:, :, None] + A.log(), 1)
ll = torch.logsumexp(alpha, 1)
ll.sum().backward()

start, e, a = np.full(S, 1.0 / S), emission.detach().numpy(), A.numpy()
posterior, path = np.zeros((B, T, S)), np.zeros((B, T), dtype=np.int64)
for b in range(B):
    total, fwd = _hmmc.forward_log(start, a, e[b])
    bwd = _hmmc.backward_log(start, a, e[b])
    posterior[b] = np.exp(fwd + bwd - total)
    assert abs(total - ll[b].item()) < 1e-10
    path[b] = _hmmc.viterbi(start, a, e[b])[1]

logits, logits0 = torch.randn(6, 3, requires_grad=True), torch.randn(6, 3, requires_grad=True)
d = torch.distributions.RelaxedOneHotCategorical(torch.tensor(0.7), logits=logits0)
density = d.log_prob(torch.softmax(logits, -1))
(density * torch.arange(1.0, 7.0)).sum().backward()

out = {"glm.theta": theta, "glm.eta": eta, "glm.theta0": theta0, "glm.bias": bias,
       "glm.log_transition": A.log()[None], "test/counts": counts, "test/posterior": torch.tensor(posterior),
       "test/log_likelihood": ll, "test/weight": W, "test/grad.eta": eta.grad, "test/grad.bias": bias.grad,
       "test/logits": logits, "test/logits0": logits0, "test/density": density, "test/grad.logits": logits.grad,
       "test/grad.logits0": logits0.grad}
out = {k: v.detach().float().contiguous() for k, v in out.items()}
out["test/path"] = torch.tensor(path)
save_file(out, os.path.join(HERE, "onehot_hmm_glm.safetensors"))
