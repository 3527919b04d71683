"""Reference values for braindive's guided denoising: braindive.safetensors.

    pip install torch numpy diffusers safetensors && python tests/golden/make_braindive.py

Written with torch 2.15.0, diffusers 0.42.1, safetensors 0.8.0, computed in f64. The generator is diffusers'
UNet2DConditionModel with the weights of data/tinysd.safetensors, the steps are its DDIMScheduler's; guidance follows
the official code's formulas (aluo-x/BrainDiVE, brain_guide_pipeline.py: cond_fn and sag_masking), except that the
miniature has no decoder and sees the blended picture itself. The encoder has random weights. Two pictures, six voxels,
of which 2 and 3 are the region. Pictures are channels last.
    features.*, head.*    the encoder's weights, f16
    in.{x, timestep, alpha, sigma, roi, gamma}
    out.{noise, activation, ratio}    one step without self-attention guidance
    gradient                          d sum(activation) / dx
    sag.noise                         the same step with s = 0.75
    path.start, path.end              four DDIM steps of guidance with s = 0.75, x0 clamped to [-1.2, 1.2]"""
import os
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from safetensors.torch import load_file, save_file

HERE = os.path.dirname(os.path.abspath(__file__))
torch.manual_seed(20261124)
B, VOXELS, GAMMA, SAG = 2, 6, 120.0, 0.75

# ---- the generator ----
saved = {k: v.double() for k, v in load_file(os.path.join(HERE, '../../data/tinysd.safetensors')).items()}
context = (saved.pop('token_embedding.weight')[0] + saved.pop('position_embedding.weight'))[None].repeat(B, 1, 1)
unet = UNet2DConditionModel(sample_size=16, in_channels=3, out_channels=3, block_out_channels=(16, 32),
                            layers_per_block=1, norm_num_groups=4, cross_attention_dim=32, attention_head_dim=2,
                            down_block_types=('DownBlock2D', 'CrossAttnDownBlock2D'),
                            up_block_types=('CrossAttnUpBlock2D', 'UpBlock2D'))
unet.time_proj, unet.time_embedding = Timesteps(32, True, 0), TimestepEmbedding(32, 64)  # tinySD: 32 time features
unet.double().load_state_dict(saved)
unet.requires_grad_(False)


class Watch:
    """Attention written out, so that its probabilities can be seen."""
    def __call__(self, attn, x, encoder_hidden_states=None, attention_mask=None, **_):
        to = x if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = (attn.head_to_batch_dim(t) for t in (attn.to_q(x), attn.to_k(to), attn.to_v(to)))
        self.p = attn.get_attention_scores(q, k, attention_mask)
        return attn.to_out[0](attn.batch_to_head_dim(self.p @ v))


watch = Watch()
unet.mid_block.attentions[0].transformer_blocks[0].attn1.processor = watch
eps = lambda x, t: unet(x, t, context).sample

# ---- the encoder ----
weights = {}
for name, shape in {'features.conv1': (16, 3, 3, 3), 'features.conv2': (32, 16, 3, 3), 'features.conv3': (64, 32, 3, 3),
                    'features.out': (64, 64), 'head': (VOXELS, 64)}.items():
    weights[name + '.weight'] = (torch.randn(shape) * 1.5 / torch.Size(shape[1:]).numel() ** 0.5).half()
    weights[name + '.bias'] = (0.2 * torch.randn(shape[0])).half()


def response(x):
    w = {k: v.double() for k, v in weights.items()}
    for i in (1, 2, 3):
        x = torch.relu(F.conv2d(x, w[f'features.conv{i}.weight'], w[f'features.conv{i}.bias'], stride=2, padding=1))
    f = F.linear(x.mean((2, 3)), w['features.out.weight'], w['features.out.bias'])
    return F.linear(f / f.norm(dim=-1, keepdim=True), w['head.weight'], w['head.bias'])


# ---- guidance ----
def blur(x):
    k = torch.exp(-0.5 * torch.linspace(-4, 4, 9, dtype=torch.float64) ** 2)
    k = (k / k.sum())[:, None] @ (k / k.sum())[None]
    return F.conv2d(F.pad(x, [4] * 4, mode='reflect'), k.expand(3, 1, 9, 9), groups=3)


def guided(x, t, alpha, sigma, roi, sag):
    """-> noise, mean response of the region [B], its gradient, |change| / |noise predicted|"""
    e = eps(x, t)
    noise = e
    if sag > 0:
        p = watch.p.reshape(B, -1, *watch.p.shape[1:])
        side = int(p.shape[-1] ** 0.5)
        mask = (p.mean(1).sum(1) > 1.0).reshape(B, 1, side, side).double()
        mask = F.interpolate(mask, x.shape[2:])
        x0 = (x - sigma * e) / alpha
        bad = blur(x0) * mask + x0 * (1 - mask)
        noise = e + sag * (e - eps(alpha * bad + sigma * e, t))
    x = x.detach().requires_grad_()
    x0 = (x - sigma * eps(x, t)) / alpha
    activation = (response((x0 * sigma + x * (1 - sigma)).clamp(-1, 1)) * roi).sum(1)
    gradient = torch.autograd.grad(activation.sum(), x)[0]
    change = sigma * GAMMA * gradient
    return noise - change, activation.detach(), gradient, change.norm() / e.norm()


roi = torch.tensor([0, 0, .5, .5, 0, 0]).double()
x = (0.7 * torch.randn(B, 3, 16, 16)).double()
alpha, sigma, t = 0.6, 0.8, torch.tensor([400, 400])
last = lambda v: v.permute(0, 2, 3, 1)
noise, activation, gradient, ratio = guided(x, t, alpha, sigma, roi, 0)
out = {'in.x': last(x), 'in.timestep': t.double(), 'in.alpha': torch.tensor(alpha), 'in.sigma': torch.tensor(sigma),
       'in.roi': roi, 'in.gamma': torch.tensor(GAMMA), 'out.noise': last(noise), 'out.activation': activation,
       'out.ratio': ratio, 'gradient': last(gradient), 'sag.noise': last(guided(x, t, alpha, sigma, roi, SAG)[0])}

steps = DDIMScheduler(1000, 0.00085, 0.012, 'scaled_linear', clip_sample=True, clip_sample_range=1.2,
                      set_alpha_to_one=True, steps_offset=1, timestep_spacing='leading')
steps.set_timesteps(4)
x = torch.randn(B, 3, 16, 16).double()
out['path.start'] = last(x)
for t in steps.timesteps:
    a = steps.alphas_cumprod[t].double()
    noise = guided(x, t.repeat(B), a.sqrt(), (1 - a).sqrt(), roi, SAG)[0]
    x = steps.step(noise, t, x, use_clipped_model_output=True).prev_sample
out['path.end'] = last(x)
out = {k: v.float().contiguous() for k, v in out.items()}
save_file({**weights, **out}, os.path.join(HERE, 'braindive.safetensors'))
print(activation, ratio, (out['sag.noise'] - out['out.noise']).norm(), x.abs().max())
