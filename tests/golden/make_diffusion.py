"""Golden files for models/blocks/{unet,control,vae}: tiny networks of diffusers and MONAI with random weights.

    python make_diffusion.py        # made with diffusers 0.42.1, monai 1.6.1, torch 2.15.0

For each case X: X.safetensors holds the weights (f16, under the library's own names) and X_io.safetensors inputs,
outputs and gradients of sum(out * ct) in f64: with respect to inputs in full, and of each parameter p, as
"dot.p" = sum_i grad_i cos(i) over its elements in row-major order (i = 0, 1, ...) and "norm.p".
All arrays are as PyTorch has them: channels first."""
import torch, warnings
from diffusers import AutoencoderKL, ControlNetModel, T2IAdapter, UNet2DConditionModel
from diffusers.models.transformers.dual_transformer_2d import DualTransformer2DModel
from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet, DiffusionUNetResnetBlock
from safetensors.torch import save_file

warnings.simplefilter("ignore")


def randomised(net, seed):
    g = torch.Generator().manual_seed(seed)
    for name, p in net.named_parameters():
        r = torch.randn(p.shape, generator=g)
        fan = p[0].numel() if p.dim() > 1 else 1
        is_gain = p.dim() == 1 and name.endswith("weight")
        p.data = ((1 + 0.2 * r) if is_gain else 0.2 * r if p.dim() == 1 else r / fan ** 0.5).half().float()
    return net


def noise(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def save(case, net, inputs, outputs, extra=None):
    """inputs: name -> tensor; those that require gradients get them. outputs: name -> tensor."""
    io = {k: v.detach() for k, v in inputs.items()}
    loss = 0
    for i, (k, v) in enumerate(outputs.items()):
        io[k] = v.detach()
        io["ct." + k] = noise(900 + i, *v.shape)
        loss = loss + (v * io["ct." + k]).sum()
    loss.backward()
    for k, v in inputs.items():
        if v.grad is not None:
            io["grad." + k] = v.grad
    for name, p in net.named_parameters():
        if p.grad is not None:
            i = torch.arange(p.numel(), dtype=torch.float64)
            io["dot." + name] = (p.grad.flatten() * torch.cos(i)).sum().reshape(1)
            io["norm." + name] = p.grad.norm().reshape(1)
    io.update(extra or {})
    save_file({k: v.detach().half().contiguous() for k, v in net.state_dict().items()}, case + ".safetensors")
    save_file({k: v.contiguous() for k, v in io.items()}, case + "_io.safetensors")


def leaf(t):
    return t.requires_grad_(True)


SD = dict(sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, norm_num_groups=4, cross_attention_dim=8)


def unet():
    net = randomised(UNet2DConditionModel(block_out_channels=(8, 16), attention_head_dim=2,
                                          down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                                          up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), **SD), 1).double()
    x, t, c = leaf(noise(2, 2, 4, 8, 6)), torch.tensor([7.0, 801.0]).double(), leaf(noise(3, 2, 5, 8))
    save("unet", net, {"latents": x, "timestep": t, "context": c}, {"noise": net(x, t, c).sample})


def unet_linear():
    net = randomised(UNet2DConditionModel(block_out_channels=(4, 8), attention_head_dim=(1, 4), use_linear_projection=True,
                                          num_class_embeds=3, transformer_layers_per_block=2,
                                          down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                                          up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
                                          **{**SD, "layers_per_block": 1}), 4).double()
    x, t, c = leaf(noise(5, 2, 4, 7, 5)), torch.tensor([999.0, 0.0]).double(), leaf(noise(6, 2, 3, 8))
    k = torch.tensor([2, 0])
    save("unet_linear", net, {"latents": x, "timestep": t, "context": c, "labels": k}, {"noise": net(x, t, c, class_labels=k).sample})


def unet_dual():
    """Versatile Diffusion: 4 text tokens through transformers.1, 3 image tokens through transformers.0, weight 0.3."""
    net = randomised(UNet2DConditionModel(block_out_channels=(4, 8), attention_head_dim=2, dual_cross_attention=True,
                                          down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                                          mid_block_type="UNetMidBlock2DCrossAttn",
                                          up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), **SD), 11).double()
    forward = DualTransformer2DModel.forward  # does not know the mask that its caller passes (None)
    DualTransformer2DModel.forward = lambda self, *a, encoder_attention_mask=None, **k: forward(self, *a, **k)
    for m in net.modules():
        if isinstance(m, DualTransformer2DModel):
            m.condition_lengths, m.mix_ratio = [4, 3], 0.3
    x, t = leaf(noise(12, 2, 4, 8, 6)), torch.tensor([7.0, 801.0]).double()
    text, image = leaf(noise(13, 2, 4, 8)), leaf(noise(14, 2, 3, 8))
    y = net(x, t, torch.cat([text, image], 1)).sample
    save("unet_dual", net, {"latents": x, "timestep": t, "context": text, "context_image": image}, {"noise": y})


def control():
    """The weights of `unet` steered by a ControlNet and by an adapter."""
    net = UNet2DConditionModel(block_out_channels=(8, 16), attention_head_dim=2,
                               down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                               up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), **SD)
    randomised(net, 1).double()
    side = randomised(ControlNetModel(block_out_channels=(8, 16), attention_head_dim=2, layers_per_block=1,
                                      norm_num_groups=4, cross_attention_dim=8, in_channels=4,
                                      down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                                      conditioning_embedding_out_channels=(4, 6)), 7).double()
    for p in net.parameters():
        p.requires_grad_(False)
    x, t, c = leaf(noise(2, 2, 4, 8, 6)), torch.tensor([7.0, 801.0]).double(), noise(3, 2, 5, 8)
    hint = leaf(noise(8, 2, 3, 16, 12))
    down, mid = side(x, t, c, controlnet_cond=hint, conditioning_scale=0.7, return_dict=False)
    y = net(x, t, c, down_block_additional_residuals=down, mid_block_additional_residual=mid).sample
    save("controlnet", side, {"latents": x, "timestep": t, "context": c, "hint": hint}, {"noise": y})
    side = randomised(T2IAdapter(in_channels=3, channels=(8, 16), num_res_blocks=1, downscale_factor=2), 9).double()
    x, hint = leaf(noise(2, 2, 4, 8, 6)), leaf(noise(10, 2, 3, 16, 12))
    y = net(x, t, c, down_intrablock_additional_residuals=side(hint)).sample
    save("adapter", side, {"latents": x, "timestep": t, "context": c, "hint": hint}, {"noise": y})


def resnet_1d(self, x, emb):
    """MONAI's residual block adds the time embedding in two and three dimensions only."""
    h = self.conv1(self.nonlinearity(self.norm1(x))) + self.time_emb_proj(self.nonlinearity(emb))[:, :, None]
    return self.skip_connection(x) + self.conv2(self.nonlinearity(self.norm2(h)))


def monai(case, dims, shape, seed):
    net = randomised(DiffusionModelUNet(dims, 2, 3, num_res_blocks=(1, 1), channels=(4, 8), attention_levels=(False, True),
                                        norm_num_groups=2, num_head_channels=(0, 4)), seed).double()
    x, t = leaf(noise(seed + 1, 2, 2, *shape)), torch.tensor([3.0, 950.0]).double()
    save(case, net, {"latents": x, "timestep": t}, {"noise": net(x, t)})


def vae():
    net = randomised(AutoencoderKL(block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=2, latent_channels=3,
                                   down_block_types=("DownEncoderBlock2D",) * 2,
                                   up_block_types=("UpDecoderBlock2D",) * 2), 20).double()
    x, z = leaf(noise(21, 2, 3, 8, 12)), leaf(noise(22, 2, 3, 4, 6))
    q = net.encode(x).latent_dist
    save("vae", net, {"image": x, "latents": z}, {"mean": q.mean, "logvar": q.logvar, "decoded": net.decode(z).sample})


if __name__ == "__main__":
    unet()
    unet_linear()
    unet_dual()
    control()
    monai("unet_monai_3d", 3, (4, 6, 4), 30)
    DiffusionUNetResnetBlock.forward = resnet_1d
    monai("unet_monai_1d", 1, (10,), 40)
    vae()
