# Golden values of CLIP as a whole: a tiny CLIPModel with random weights, made by transformers 5.23.0 and torch 2.15.0
# (CPU). The file holds the weights under their official names and, under "test/", inputs, outputs, the loss and its
# gradients. Run from the repository root: python tests/golden/make_clip.py
import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel


def main():
    torch.manual_seed(2103)
    layers = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2)
    model = CLIPModel(CLIPConfig(
        text_config=dict(vocab_size=31, max_position_embeddings=9, bos_token_id=29, eos_token_id=30, pad_token_id=30,
                         **layers),
        vision_config=dict(image_size=12, patch_size=4, **layers), projection_dim=10)).eval()
    with torch.no_grad():  # so that no bias or gain hides behind 0 or 1
        for name, p in model.named_parameters():
            if "norm" in name or "layrnorm" in name:
                p.copy_((1.0 if name.endswith("weight") else 0.0) + 0.2 * torch.randn_like(p))
            else:
                p.copy_(0.3 * torch.randn_like(p))
        model.logit_scale.fill_(1.7)
    ids = torch.tensor([[29, 4, 7, 7, 30, 30, 30, 30, 30], [29, 1, 2, 3, 4, 5, 6, 8, 30],
                        [29, 30, 30, 30, 30, 30, 30, 30, 30]])
    pixels = torch.randn(3, 3, 12, 12, requires_grad=True)
    out = model(input_ids=ids, pixel_values=pixels, return_loss=True)
    out.loss.backward()
    tensors = dict(model.state_dict())
    test = dict(ids=ids, pixels=pixels.permute(0, 2, 3, 1), text_embeds=out.text_embeds, image_embeds=out.image_embeds,
                logits_per_image=out.logits_per_image, logits_per_text=out.logits_per_text, loss=out.loss)
    test["grad.pixels"] = pixels.grad.permute(0, 2, 3, 1)
    test.update({"grad." + name: p.grad for name, p in model.named_parameters()})
    tensors.update({"test/" + name: v for name, v in test.items()})
    save_file({k: v.detach().clone().contiguous() for k, v in tensors.items()}, "tests/golden/clip.safetensors")
    print(sum(p.numel() for p in model.parameters()), "parameters")


main()
