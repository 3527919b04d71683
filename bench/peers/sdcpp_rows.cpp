// stable-diffusion.cpp as a peer of `gyrus bench models --peers`: one evaluation of its U-Net of SD 1.5, as a step of its
// samplers runs it, with the weights of bench/models.h. Matrices are f32; its convolutions keep their weights in f16,
// whatever the checkpoint holds. Its options are at their defaults: attention with a score matrix took 22.9 s on two
// threads of an AMD EPYC (Zen 4), its flash attention 45.7 s.
#include "rows.h"

#include "unet.hpp"


static std::unique_ptr<UNetModelRunner> unet;
static sd::Tensor<float> latents, timestep, context;
static int threads;

static void replace(std::string &s, const char *from, const std::string &to) {
    size_t at = s.find(from);
    if (at != std::string::npos) s.replace(at, strlen(from), to);
}

// The diffusers name of a parameter that is called by the original code's name.
static std::string diffusers(std::string s) {
    int n = 0, part = 0, read = 0;
    auto number = [](int i) { return std::to_string(i); };
    if (sscanf(s.c_str(), "input_blocks.%d.%d.%n", &n, &part, &read) == 2) {
        std::string rest = s.substr(read), down = "down_blocks." + number((n - 1) / 3);
        if (n == 0) return "conv_in." + rest;
        if ((n - 1) % 3 == 2) {
            replace(rest, "op.", "");
            return down + ".downsamplers.0.conv." + rest;
        }
        s = down + (part == 0 ? ".resnets." : ".attentions.") + number((n - 1) % 3) + "." + rest;
    } else if (sscanf(s.c_str(), "output_blocks.%d.%d.%n", &n, &part, &read) == 2) {
        std::string rest = s.substr(read), up = "up_blocks." + number(n / 3);
        if (rest.rfind("conv.", 0) == 0) return up + ".upsamplers.0." + rest;
        s = up + (part == 0 ? ".resnets." : ".attentions.") + number(n % 3) + "." + rest;
    } else if (sscanf(s.c_str(), "middle_block.%d.%n", &n, &read) == 1) {
        std::string rest = s.substr(read);
        s = n == 1 ? "mid_block.attentions.0." + rest : "mid_block.resnets." + number(n / 2) + "." + rest;
    }
    static const char *const parts[][2] = {{"time_embed.0", "time_embedding.linear_1"},
                                           {"time_embed.2", "time_embedding.linear_2"},
                                           {"in_layers.0", "norm1"},
                                           {"in_layers.2", "conv1"},
                                           {"emb_layers.1", "time_emb_proj"},
                                           {"out_layers.0", "norm2"},
                                           {"out_layers.3", "conv2"},
                                           {"skip_connection", "conv_shortcut"}};
    for (auto &p : parts) replace(s, p[0], p[1]);
    if (s.rfind("out.0.", 0) == 0) s = "conv_norm_out." + s.substr(6);
    if (s.rfind("out.2.", 0) == 0) s = "conv_out." + s.substr(6);
    return s;
}

static void fill(const std::string &name, ggml_tensor *t) {
    int64_t n = ggml_nelements(t), outputs = t->ne[3] > 1 ? t->ne[3] : t->ne[2] > 1 ? t->ne[2] : t->ne[1];
    std::vector<float> f(static_cast<size_t>(n));
    bool vector = n == t->ne[0];
    row_parameter(name.c_str(), vector ? n : outputs, vector ? 0 : n / outputs, false, f.data());
    if (t->type == GGML_TYPE_F16) {
        std::vector<ggml_fp16_t> h(static_cast<size_t>(n));
        ggml_fp32_to_fp16_row(f.data(), h.data(), n);
        ggml_backend_tensor_set(t, h.data(), 0, ggml_nbytes(t));
    } else {
        ggml_backend_tensor_set(t, f.data(), 0, ggml_nbytes(t));
    }
}

static float input(const char *name, int64_t k) {
    return row_real(row_start(name), k, sqrt(12.0), 0);
}

static sd::Tensor<float> once() {
    return unet->compute(threads, latents, timestep, context);
}

static double run(int n) {
    double t0 = row_now();
    for (int i = 0; i < n; i++) once();
    return (row_now() - t0) / n;
}

static bool prepare(const row_task *t) {
    const int64_t size = 64, channels = 4, tokens = 77, width = 768;
    if (strcmp(t->kernel, "sd15-unet forward") != 0 || strcmp(t->dtype, "f32") != 0) return false;
    threads = t->threads;
    unet = std::make_unique<UNetModelRunner>(ggml_backend_cpu_init(), false, String2TensorStorage(), "", VERSION_SD1);
    std::map<std::string, ggml_tensor *> parameters;
    if (!unet->alloc_params_buffer()) return false;
    unet->get_param_tensors(parameters, "");
    for (auto &p : parameters) fill(diffusers(p.first[0] == '.' ? p.first.substr(1) : p.first), p.second);

    latents = sd::Tensor<float>({size, size, channels, 1}); // the innermost first
    timestep = sd::Tensor<float>({1}, {500.0f});
    context = sd::Tensor<float>({width, tokens, 1});
    for (int64_t i = 0; i < size * size; i++)
        for (int64_t c = 0; c < channels; c++) latents.data()[c * size * size + i] = input("latents", i * channels + c);
    for (int64_t i = 0; i < tokens * width; i++) context.data()[i] = input("context", i);

    double before = row_memory_begin();
    sd::Tensor<float> y = once();
    row_memory_end(before);
    if (y.numel() != size * size * channels) return false;
    std::vector<float> ours(static_cast<size_t>(y.numel()));
    for (int64_t i = 0; i < size * size; i++)
        for (int64_t c = 0; c < channels; c++) ours[i * channels + c] = y.data()[c * size * size + i];
    row_output(t, ours.data(), y.numel());
    return true;
}

int main() {
    char version[128];
    snprintf(version, sizeof version, "stable-diffusion.cpp %s, ggml %s", SDCPP_COMMIT, ggml_version());
    return rows_main(version);
}
