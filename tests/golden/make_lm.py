# Golden values of language models, CLIP and ViT-MAE: tiny configurations with random weights, made by
# transformers 5.23.0 and torch 2.15.0 (CPU). Each file holds the weights under their official names and, under
# "test/", inputs, outputs and gradients. Run from the repository root: python tests/golden/make_lm.py
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from safetensors.torch import save_file
from transformers import (CLIPTextConfig, CLIPTextModelWithProjection, CLIPVisionConfig,
                          CLIPVisionModelWithProjection, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM,
                          Qwen2Config, Qwen2ForCausalLM, ViTMAEConfig, ViTMAEForPreTraining)
from transformers.models.vit_mae.modeling_vit_mae import build_2d_sinusoidal_position_embedding


def scramble(model, std):
    """Random values everywhere, so that no bias or gain hides behind 0 or 1."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name or "ln_" in name or "layrnorm" in name:
                p.copy_((1.0 if name.endswith("weight") else 0.0) + 0.2 * torch.randn_like(p))
            else:
                p.copy_(std * torch.randn_like(p))


def save(path, model, drop=(), official=lambda name: name, **test):
    tensors = {k: v.detach().clone().contiguous() for k, v in model.state_dict().items() if k not in drop}
    for name, p in model.named_parameters():
        if p.grad is not None:
            tensors["test/grad." + official(name)] = p.grad.detach().clone().contiguous()
    tensors.update({"test/" + k.replace("__", "."): v.detach().clone().contiguous() for k, v in test.items()})
    save_file(tensors, "tests/golden/%s.safetensors" % path)
    print(path, sum(v.numel() for v in model.parameters()), "parameters")


def last(x):
    """Channels last."""
    return x.permute(0, 2, 3, 1)


def mae_official(name):
    """The public vit-mae-* checkpoints' names; transformers 5 has others in memory."""
    for new, old in (("vit.layers.", "vit.encoder.layer."), ("attention.q_proj", "attention.attention.query"),
                     ("attention.k_proj", "attention.attention.key"), ("attention.v_proj", "attention.attention.value"),
                     ("attention.o_proj", "attention.output.dense"), ("mlp.fc1", "intermediate.dense"),
                     ("mlp.fc2", "output.dense")):
        name = name.replace(new, old)
    return name


def timm_names(state):
    """The same weights as the authors' code keeps them: q, k and v in one matrix, other names."""
    out = {}
    for key, v in state.items():
        key = key.replace("vit.layers.", "blocks.").replace("decoder.decoder_layers.", "decoder_blocks.")
        key = key.replace("layernorm_before", "norm1").replace("layernorm_after", "norm2")
        key = key.replace("attention.o_proj", "attn.proj").replace("vit.layernorm", "norm")
        key = key.replace("vit.embeddings.patch_embeddings.projection", "patch_embed.proj")
        key = key.replace("vit.embeddings.cls_token", "cls_token").replace("decoder.decoder_", "decoder_")
        key = key.replace("vit.embeddings.position_embeddings", "pos_embed").replace("decoder.mask_token", "mask_token")
        out[key] = v
    for key in [k for k in out if "attention.q_proj" in k]:
        qkv = [out.pop(key.replace("q_proj", n + "_proj")) for n in "qkv"]
        out[key.replace("attention.q_proj", "attn.qkv")] = torch.cat(qkv)
    return {k: v.detach().clone().contiguous() for k, v in out.items()}


def language(path, model, vocabulary, prompt=5, new=8):
    model.eval()
    scramble(model, 0.25)
    ids = torch.randint(0, vocabulary, (2, 9))
    labels = ids.clone()
    labels[0, :3] = -100
    out = model(input_ids=ids, labels=labels)
    out.loss.backward()
    start = ids[:1, :prompt]
    quiet = dict(max_new_tokens=new, min_new_tokens=new, do_sample=False, pad_token_id=0, eos_token_id=None)
    greedy = model.generate(start, attention_mask=torch.ones_like(start), **quiet)
    beam = model.generate(start, attention_mask=torch.ones_like(start), num_beams=3, **quiet)
    # an end token that the greedy continuation contains, so that hypotheses of different lengths compete
    end = int(greedy[0, prompt + 3])
    ended = model.generate(start, attention_mask=torch.ones_like(start), num_beams=3, max_new_tokens=new,
                           do_sample=False, pad_token_id=0, eos_token_id=end)
    # the next tokens of each position; the last has none
    target = torch.cat([labels[:, 1:], torch.full((2, 1), -100)], 1)
    save(path, model, drop=("lm_head.weight",) if model.config.tie_word_embeddings else (), ids=ids, target=target,
         logits=out.logits, loss=out.loss.reshape(1), greedy=greedy, beam=beam, ended=ended,
         end=torch.tensor([end]))


def openclip():
    """Both towers as OpenCLIP 3.3.0 keeps and runs them."""
    model = CLIP(embed_dim=10, vision_cfg=CLIPVisionCfg(layers=2, width=16, head_width=8, mlp_ratio=1.5, patch_size=4,
                                                        image_size=12),
                 text_cfg=CLIPTextCfg(context_length=9, vocab_size=31, width=16, heads=2, layers=2, mlp_ratio=1.5))
    model.eval()
    scramble(model, 0.3)
    ids = torch.tensor([[29, 4, 7, 7, 30, 0, 0, 0, 0], [29, 1, 2, 3, 4, 5, 6, 8, 30]])
    pixels = torch.randn(2, 3, 12, 12)
    save("openclip", model, ids=ids, pixels=last(pixels), text_embeds=model.encode_text(ids),
         image_embeds=model.encode_image(pixels))


def main():
    torch.manual_seed(20240)
    language("gpt2", GPT2LMHeadModel(GPT2Config(vocab_size=29, n_positions=24, n_embd=18, n_layer=2, n_head=3,
                                                bos_token_id=0, eos_token_id=0)), 29)
    llama = dict(vocab_size=29, hidden_size=24, intermediate_size=20, num_hidden_layers=2, num_attention_heads=6,
                 max_position_embeddings=64, bos_token_id=0, eos_token_id=0)
    scaling = dict(rope_type="llama3", rope_theta=500.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
                   original_max_position_embeddings=16)
    language("llama", LlamaForCausalLM(LlamaConfig(num_key_value_heads=2, rms_norm_eps=1e-5, head_dim=8,
                                                   rope_parameters=scaling, tie_word_embeddings=False, **llama)), 29)
    language("qwen2", Qwen2ForCausalLM(Qwen2Config(num_key_value_heads=2, rms_norm_eps=1e-6,
                                                   rope_parameters=dict(rope_type="default", rope_theta=1e6),
                                                   tie_word_embeddings=True, **llama)), 29)

    text = CLIPTextModelWithProjection(CLIPTextConfig(
        vocab_size=31, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=9, projection_dim=10, bos_token_id=29, eos_token_id=30, pad_token_id=30)).eval()
    scramble(text, 0.3)
    ids = torch.tensor([[29, 4, 7, 7, 30, 30, 30, 30, 30], [29, 1, 2, 3, 4, 5, 6, 8, 30]])
    out = text(input_ids=ids, output_hidden_states=True)
    ct, ct2 = torch.randn_like(out.text_embeds), torch.randn_like(out.last_hidden_state)
    ((out.text_embeds * ct).sum() + (out.last_hidden_state * ct2).sum()).backward()
    final = text.text_model.final_layer_norm if hasattr(text, "text_model") else text.final_layer_norm
    save("clip_text", text, ids=ids, text_embeds=out.text_embeds, last_hidden_state=out.last_hidden_state,
         penultimate=final(out.hidden_states[-2]), ct=ct, ct2=ct2)

    vision = CLIPVisionModelWithProjection(CLIPVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=12, patch_size=4,
        projection_dim=10)).eval()
    scramble(vision, 0.3)
    pixels = torch.randn(2, 3, 12, 12, requires_grad=True)
    out = vision(pixel_values=pixels, output_hidden_states=True)
    ct, ct2 = torch.randn_like(out.image_embeds), torch.randn_like(out.last_hidden_state)
    ((out.image_embeds * ct).sum() + (out.last_hidden_state * ct2).sum()).backward()
    save("clip_vision", vision, pixels=last(pixels), image_embeds=out.image_embeds,
         last_hidden_state=out.last_hidden_state, penultimate=out.hidden_states[-2], ct=ct, ct2=ct2,
         grad__pixels=last(pixels.grad))

    mae = ViTMAEForPreTraining(ViTMAEConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, image_size=16, patch_size=4,
        decoder_num_attention_heads=2, decoder_hidden_size=8, decoder_num_hidden_layers=1,
        decoder_intermediate_size=12, norm_pix_loss=True, mask_ratio=0.75)).eval()
    scramble(mae, 0.3)
    with torch.no_grad():  # sine tables, not trained; the constructor leaves them zero. Columns come before rows
        for table in (mae.vit.embeddings.position_embeddings, mae.decoder.decoder_pos_embed):
            made = build_2d_sinusoidal_position_embedding(4, 4, table.shape[-1], cls_token=True)
            table.copy_(torch.cat(made.chunk(2, -1)[::-1], -1)[None])
    pixels = torch.randn(2, 3, 16, 16, requires_grad=True)
    noise = torch.rand(2, 16)
    out = mae(pixel_values=pixels, noise=noise)
    out.loss.backward()
    save("vit_mae", mae, official=mae_official, pixels=last(pixels), noise=noise, logits=out.logits, mask=out.mask, loss=out.loss.reshape(1),
         grad__pixels=last(pixels.grad))
    openclip()
    save_file(timm_names(mae.state_dict()), "tests/golden/vit_mae_timm.safetensors")


main()
