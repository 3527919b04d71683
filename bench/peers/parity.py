#!/usr/bin/env python3
"""Checkpoints written by diffusers and transformers, run by `gyrus run` and by their own library.

Random weights, saved under the official names with save_pretrained(). Every output is compared element by element:
largest difference over largest value. Prints each command, then a table; exit status 1 if a difference exceeds 1e-4.

    bench/peers/parity.py [--gyrus build/gyrus] [--folder DIR] [--tiny] [MODEL]...

Needs PyTorch, diffusers, transformers and numpy. --tiny leaves out the configurations of full size.
"""
import argparse
import os
import shlex
import subprocess
import sys
import tempfile

import numpy as np
import torch

BOUND = 1e-4


def last(x):
    """Channels last, as Gyrus keeps maps."""
    return np.ascontiguousarray(x.detach().float().numpy().transpose(0, 2, 3, 1))


def plain(x):
    return np.ascontiguousarray(x.detach().float().numpy())


def spread(model):
    """Values off the initial ones, so that no bias is zero and no norm the identity."""
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() == 1:
                p.add_(torch.randn_like(p) * 0.1)
    return model.eval()


def unet(tiny):
    from diffusers import UNet2DConditionModel
    if tiny:
        model = UNet2DConditionModel(sample_size=8, in_channels=4, out_channels=4, block_out_channels=(16, 32),
                                     down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                                     up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"), layers_per_block=1,
                                     attention_head_dim=2, norm_num_groups=4, cross_attention_dim=16)
        config, size, tokens, width = "tiny", 8, 4, 16
    else:
        model = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
        config, size, tokens, width = "sd15", 64, 77, 768
    x, t, c = torch.randn(1, 4, size, size), torch.tensor([431.0]), torch.randn(1, tokens, width)
    return (spread(model), "sd15-unet", ["--config", config],
            {"latents": last(x), "timestep": t.numpy(), "context": c.numpy()},
            lambda m: {"noise": last(m(x, t, c).sample)})


def vae(tiny):
    from diffusers import AutoencoderKL
    if tiny:
        model = AutoencoderKL(block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=4, latent_channels=4,
                              down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2)
        config, size, more = "tiny", 16, []
    else:
        model = AutoencoderKL(block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
                              down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
        config, size, more = "sd", 256, ["--set", "height=256", "--set", "width=256"]
    x = torch.rand(1, 3, size, size) * 2 - 1
    z = torch.randn(1, 4, size // (2 if tiny else 8), size // (2 if tiny else 8))

    def run(m):
        coded = m.encode(x).latent_dist
        return {"mean": last(coded.mean), "logvar": last(coded.logvar), "decoded": last(m.decode(z).sample)}
    # Gyrus divides by the scale of the latents before it decodes; at 1 in the tiny configuration, .18215 in the other.
    scale = 1.0 if tiny else 0.18215
    return spread(model), "sd-vae", ["--config", config] + more, {"image": last(x), "z": last(z * scale)}, run


def clip_text(tiny):
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection
    if tiny:
        c = CLIPTextConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
                           max_position_embeddings=16, projection_dim=24, eos_token_id=63, bos_token_id=62)
        config = "tiny"
    else:
        c = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
                           projection_dim=768, eos_token_id=49407)
        config = "vit-l-14"
    n, v = c.max_position_embeddings, c.vocab_size
    ids = torch.randint(1, v - 2, (1, n))
    ids[0, n // 2:] = v - 1

    def run(m):
        out = m(ids)
        return {"last_hidden_state": plain(out.last_hidden_state), "text_embeds": plain(out.text_embeds)}
    return spread(CLIPTextModelWithProjection(c)), "clip-text", ["--config", config], {"ids": ids.numpy()}, run


def clip_vision(tiny):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
    if tiny:
        c = CLIPVisionConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=16,
                             patch_size=4, projection_dim=24)
        config = "tiny"
    else:
        c = CLIPVisionConfig(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
                             image_size=224, patch_size=14, projection_dim=768)
        config = "vit-l-14"
    x = torch.randn(1, 3, c.image_size, c.image_size)

    def run(m):
        out = m(x)
        return {"last_hidden_state": plain(out.last_hidden_state), "image_embeds": plain(out.image_embeds)}
    return spread(CLIPVisionModelWithProjection(c)), "clip-vision", ["--config", config], {"pixels": last(x)}, run


def clip(tiny):
    from transformers import CLIPConfig, CLIPModel
    if tiny:
        layers = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
        c = CLIPConfig(text_config=dict(vocab_size=64, max_position_embeddings=16, eos_token_id=63, bos_token_id=62, **layers),
                       vision_config=dict(image_size=16, patch_size=4, **layers), projection_dim=24)
        config = "tiny"
    else:
        c = CLIPConfig(text_config=dict(eos_token_id=49407), projection_dim=512)  # the defaults are B/32
        config = "vit-b-32"
    n, v, side = c.text_config.max_position_embeddings, c.text_config.vocab_size, c.vision_config.image_size
    ids = torch.randint(1, v - 2, (2, n))
    ids[:, n // 2:] = v - 1
    x = torch.randn(2, 3, side, side)

    def run(m):
        out = m(input_ids=ids, pixel_values=x, return_loss=True)
        return {"text_embeds": plain(out.text_embeds), "image_embeds": plain(out.image_embeds),
                "logits_per_image": plain(out.logits_per_image), "loss": out.loss.detach().numpy()}
    return spread(CLIPModel(c)), "clip", ["--config", config], {"ids": ids.numpy(), "pixels": last(x)}, run


def vit_mae(tiny):
    from transformers import ViTMAEConfig, ViTMAEForPreTraining
    if tiny:
        c = ViTMAEConfig(hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=96, image_size=16,
                         patch_size=4, decoder_hidden_size=32, decoder_num_hidden_layers=2, decoder_num_attention_heads=4,
                         decoder_intermediate_size=64, mask_ratio=0.5, norm_pix_loss=False)
        options = ["--config", "tiny"]
    else:
        c = ViTMAEConfig(norm_pix_loss=True)
        options = ["--config", "base", "--set", "normalise=1"]
    x = torch.randn(1, 3, c.image_size, c.image_size)
    noise = torch.rand(1, (c.image_size // c.patch_size) ** 2)

    def run(m):
        out = m(x, noise=noise)
        return {"mask": plain(out.mask), "logits": plain(out.logits), "loss": out.loss.detach().numpy()}
    return spread(ViTMAEForPreTraining(c)), "vit-mae", options, {"pixels": last(x), "noise": noise.numpy()}, run


def gpt2(tiny):
    from transformers import GPT2Config, GPT2LMHeadModel
    c = GPT2Config(vocab_size=256, n_positions=512, n_embd=64, n_layer=3, n_head=4) if tiny else GPT2Config()
    config = "tiny" if tiny else "small"
    return language(GPT2LMHeadModel(c), "gpt2", config, c.vocab_size)


def llama(_):
    from transformers import LlamaConfig, LlamaForCausalLM
    c = LlamaConfig(vocab_size=256, hidden_size=64, intermediate_size=172, num_hidden_layers=3, num_attention_heads=4,
                    num_key_value_heads=2, max_position_embeddings=512, rms_norm_eps=1e-5, tie_word_embeddings=False)
    return language(LlamaForCausalLM(c), "llama", "tiny", 256)


def qwen2(_):
    from transformers import Qwen2Config, Qwen2ForCausalLM
    c = Qwen2Config(vocab_size=256, hidden_size=60, intermediate_size=160, num_hidden_layers=3, num_attention_heads=6,
                    num_key_value_heads=2, max_position_embeddings=512, rms_norm_eps=1e-6, tie_word_embeddings=True,
                    rope_parameters={"rope_type": "default", "rope_theta": 1000000.0})
    return language(Qwen2ForCausalLM(c), "qwen2", "tiny", 256)


def language(model, slug, config, vocabulary):
    ids = torch.randint(0, vocabulary, (1, 128))
    return (spread(model), slug, ["--config", config, "--set", "tokens=128"], {"ids": ids.numpy()},
            lambda m: {"logits": plain(m(ids).logits)})


MODELS = {"sd15-unet": unet, "sd-vae": vae, "clip-text": clip_text, "clip-vision": clip_vision, "clip": clip,
          "vit-mae": vit_mae, "gpt2": gpt2, "llama": llama, "qwen2": qwen2}
ONLY_TINY = {"llama", "qwen2"}


def compare(args, name, tiny):
    torch.manual_seed(0)
    model, slug, options, inputs, run = MODELS[name](tiny)
    folder = os.path.join(args.folder, name + ("-tiny" if tiny else ""))
    os.makedirs(folder, exist_ok=True)
    # Small shards, so that the larger checkpoints come as several files and an index.
    model.save_pretrained(folder, safe_serialization=True, max_shard_size="1GB" if name == "sd15-unet" else "300MB")
    with torch.no_grad():
        expected = run(model)
    count = sum(p.numel() for p in model.parameters())
    del model
    weights = [f for f in sorted(os.listdir(folder)) if f.endswith((".safetensors", ".safetensors.index.json"))]
    weights = next((f for f in weights if f.endswith(".json")), weights[0])
    command = [args.gyrus, "run", slug] + options + ["--weights", os.path.join(folder, weights)]
    for key, value in inputs.items():
        np.save(os.path.join(folder, key + ".npy"), value)
        command += ["--input", f"{key}={folder}/{key}.npy"]
    for key in expected:
        command += ["--output", f"{key}={folder}/out_{key}.npy"]
    print(shlex.join(command), flush=True)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{shlex.join(command[:3])}: exit status {done.returncode}\n{done.stderr}")
    rows = []
    for key, value in expected.items():
        ours = np.load(os.path.join(folder, f"out_{key}.npy"))
        if ours.shape != value.shape:
            sys.exit(f"{slug}: {key} has shape {ours.shape}, the library's {value.shape}")
        rows.append((slug, options[1], count, key, float(np.abs(ours - value).max() / np.abs(value).max())))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--gyrus", default="build/gyrus")
    parser.add_argument("--folder")
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args()
    unknown = [m for m in args.models if m not in MODELS]
    if unknown:
        parser.error(f"no model '{unknown[0]}': there are {', '.join(MODELS)}")
    import diffusers
    import transformers
    with tempfile.TemporaryDirectory() as folder:
        args.folder = args.folder or folder
        rows = []
        for name in args.models or MODELS:
            rows += compare(args, name, True)
            if not args.tiny and name not in ONLY_TINY:
                rows += compare(args, name, False)
    print(f"\nPyTorch {torch.__version__}, diffusers {diffusers.__version__}, transformers {transformers.__version__}")
    print(f"{'model':12} {'config':10} {'parameters':>11} {'output':18} difference")
    for slug, config, count, key, difference in rows:
        print(f"{slug:12} {config:10} {count:11} {key:18} {difference:.1e}")
    worst = max(r[4] for r in rows)
    print(f"largest {worst:.1e}, allowed {BOUND:.0e}")
    sys.exit(worst > BOUND or worst != worst)


if __name__ == "__main__":
    main()
