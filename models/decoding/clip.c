/* CLIP: pictures and sentences in one space, learned from which belongs to which.
 *
 * Radford, Kim, Hallacy, Ramesh, Goh, Agarwal, Sastry, Askell, Mishkin, Clark, Krueger, Sutskever: "Learning
 * Transferable Visual Models From Natural Language Supervision", ICML 2021, arXiv:2103.00020.
 *
 * A batch of N pictures and their N captions gives N x N cosines; the towers learn to make those of the N pairs large
 * and the others small (sec. 2.3, fig. 3), at a temperature that is learned too. What a picture shows can then be told
 * among any names that one cares to write down, seen in training or not: "zero-shot". Both towers are in
 * models/blocks/clip.h and alone in clip-text.c and clip-vision.c, which read what was trained here. Public weights of
 * transformers' CLIPModel and of OpenCLIP load by name.
 *
 * The claim: each of the twelve objects is kept from one of the four places. Pictures that show it there all the same
 * are told among all 48 names, though no caption of the training said theirs. The ablations take away what the paper
 * rests on: `pairs` shuffles captions over the pictures of a batch, `negatives` only pulls pairs together.
 *
 * The miniature draws the pictures of a batch so that no two show the same (clip_data.c): every other caption of the
 * batch is wrong for a picture, as the loss assumes. Pairs of a file are taken as they are; equal captions in a batch
 * then count as each other's negatives, as in the paper. Where several processes train together, each contrasts its own
 * rows. */
#include "clip.h"

#include <inttypes.h>

/* ---- configurations ---- */

#define INT(member, name, lo, hi, help)                                                                                \
    { name, help, GY_OPT_INT, offsetof(config, member), lo, hi }
#define REAL(member, name, lo, hi, help)                                                                               \
    { name, help, GY_OPT_REAL, offsetof(config, member), lo, hi }
static const gy_option options[] = {
    INT(tokens, "tokens", 1, 1 << 16, "of a sentence, begin, end and padding included"),
    INT(texts, "texts", 0, 1 << 24, "sentences that run compares each picture with; 0: as many as pictures"),
    INT(text.vocabulary, "vocabulary", 1, 1 << 24, "tokens that there are; the last one ends a sentence"),
    INT(text.positions, "positions", 1, 1 << 16, "most tokens of a sentence"),
    INT(text.width, "text_width", 1, 1 << 16, "of the text tower's states"),
    INT(text.layers, "text_layers", 1, 1024, "blocks of the text tower"),
    INT(text.heads, "text_heads", 1, 1024, "attention heads of its blocks"),
    INT(text.inner, "text_inner", 1, 1 << 20, "neurons of its MLPs"),
    INT(vision.image, "image", 1, 1 << 14, "pixels a side"),
    INT(vision.patch, "patch", 1, 1 << 12, "pixels a side of a patch"),
    INT(vision.width, "vision_width", 1, 1 << 16, "of the vision tower's states"),
    INT(vision.layers, "vision_layers", 1, 1024, "blocks of the vision tower"),
    INT(vision.heads, "vision_heads", 1, 1024, "attention heads of its blocks"),
    INT(vision.inner, "vision_inner", 1, 1 << 20, "neurons of its MLPs"),
    INT(text.projection, "projection", 1, 1 << 16, "width of the shared space"),
    INT(text.quick, "quick", 0, 1, "1: x sigmoid(1.702 x) (OpenAI); 0: exact gelu (OpenCLIP)"),
    INT(batch, "batch", 2, 1 << 16, "pairs of a step, each other's negatives"),
    INT(steps, "steps", 1, 1e9, "training steps"),
    REAL(two, "two", 0, 1, "share of generated pictures with two objects"),
    REAL(lr, "lr", 0, 10, "largest learning rate; falls to 0 along a cosine"),
    REAL(warmup, "warmup", 0, 1, "share of the steps in which it rises"),
    REAL(weight_decay, "weight_decay", 0, 10, "of matrices"),
    {NULL},
};

/* The towers are those of clip-text's and clip-vision's tiny. */
static const config tiny = {.text = {64, 16, 32, 2, 2, 64, 24, 1},
                            .vision = {16, 4, 32, 2, 2, 64, 24, 1},
                            .tokens = 16,
                            .batch = 64,
                            .steps = 800,
                            .two = 0.5,
                            .lr = 2e-3,
                            .warmup = 0.05,
                            .weight_decay = 0.05};
/* Tables 18 and 19; the paper's batch is 32,768 and its 32 epochs are these steps. */
#define FULL(t, v, rate)                                                                                               \
    {                                                                                                                  \
        .text = {t}, .vision = {v}, .tokens = 77, .batch = 32, .steps = 390625, .lr = rate, .warmup = 0.005,           \
        .weight_decay = 0.2                                                                                            \
    }
static const config b32 = FULL(GY_CLIP_TEXT_B_32, GY_CLIP_VISION_B_32, 5e-4),
                    b16 = FULL(GY_CLIP_TEXT_B_32, GY_CLIP_VISION_B_16, 5e-4),
                    l14 = FULL(GY_CLIP_TEXT_L_14, GY_CLIP_VISION_L_14, 4e-4),
                    h14 = FULL(GY_CLIP_TEXT_H_14, GY_CLIP_VISION_H_14, 5e-4);
static const gy_config configs[] = {{"tiny", "pictures of 16 x 16, two towers of 2 blocks: trains in a minute", &tiny},
                                    {"vit-b-32", "OpenAI's: 151,277,313 parameters", &b32},
                                    {"vit-b-16", "OpenAI's: 149,620,737 parameters", &b16},
                                    {"vit-l-14", "OpenAI's: 427,616,513 parameters", &l14},
                                    {"vit-h-14", "OpenCLIP's: 986,109,441 parameters", &h14},
                                    {NULL}};

gy_clip_vision_config gy_clip_vision_of(const config *c) {
    gy_clip_vision_config v = c->vision;
    v.projection = c->text.projection;
    v.quick = c->text.quick;
    return v;
}

static gy_status check(gy_ctx *ctx, const void *cfg) {
    const config *c = cfg;
    if (c->text.width % c->text.heads || c->vision.width % c->vision.heads || c->vision.image % c->vision.patch)
        return gy_fail(
            ctx, GY_ERR_USAGE,
            "clip: text_width=%" PRId64 ", vision_width=%" PRId64 ": expected multiples of text_heads=%" PRId64
            ", vision_heads=%" PRId64 "; image=%" PRId64 ": of patch=%" PRId64,
            c->text.width, c->vision.width, c->text.heads, c->vision.heads, c->vision.image, c->vision.patch);
    if (c->tokens > c->text.positions)
        return gy_fail(ctx, GY_ERR_USAGE, "clip: tokens=%" PRId64 ": at most positions=%" PRId64, c->tokens,
                       c->text.positions);
    return GY_OK;
}

/* ---- the model ---- */

static gy_clip_pair both(gy_build *b, int64_t texts) {
    const config *c = b->cfg;
    gy_clip_vision_config v = gy_clip_vision_of(c);
    gy_t ids = gy_input(b->m->g, "ids", GY_I64, GY_S(texts, c->tokens));
    gy_t pixels = gy_input(b->m->g, "pixels", GY_F32, GY_S(b->batch, v.image, v.image, 3));
    return gy_clip_both(b->m, &c->text, &v, ids, pixels);
}

/* As transformers' CLIPModel: embeddings of length 1. */
static void build(gy_build *b) {
    const config *c = b->cfg;
    gy_clip_pair p = both(b, c->texts ? c->texts : b->batch);
    gy_output(gy_l2_normalize(p.text), "text_embeds");   /* [texts, projection] */
    gy_output(gy_l2_normalize(p.image), "image_embeds"); /* [B, projection] */
    gy_output(p.per_image, "logits_per_image");          /* [B, texts] */
    gy_output(p.per_text, "logits_per_text");            /* [texts, B] */
    if (!c->texts || c->texts == b->batch) gy_output(gy_clip_loss(p), "loss");
}

static void objective(gy_build *b) {
    const config *c = b->cfg;
    gy_clip_pair p = both(b, b->batch);
    gy_t loss = gy_clip_loss(p);
    if (gy_ablates(b->ablate, "negatives"))
        loss = gy_add_scalar(gy_neg(gy_mean(gy_cosine_similarity(p.image, p.text), GY_ALL)), 1);
    gy_output(loss, "loss");
    gy_optim_adamw(b->m->g, b->m->store, loss, .beta2 = 0.98, .eps = 1e-6, .weight_decay = c->weight_decay,
                   .decays = gy_decays_matrices, .clip_norm = 1);
    gy_clip_bound_scale(b->m);
}

static double lr(const gy_job *j, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    gy_schedule s = {
        .kind = GY_SCHEDULE_COSINE, .lr = c->lr, .warmup = (int64_t)(c->warmup * (double)j->steps), .total = j->steps};
    (void)phase;
    return gy_schedule_lr(&s, step);
}

static const char *const ablations[] = {
    "pairs - captions are shuffled over the pictures of a batch: nothing says what belongs to what",
    "negatives - the loss is 1 - cos of each pair: nothing says what does not belong together", NULL};

static const char *const equations[] = {
    "fig. 3: I = image_tower(pixels) W_i, T = text_tower(ids) W_t, both brought to length 1",
    "fig. 3: logits = exp(s) I T^T; s = logit_scale, ln(1 / 0.07) at first, at most ln 100",
    "fig. 3: L = (CE(rows of logits, i) + CE(columns of logits, i)) / 2",
    "sec. 3.1: the class of a picture is that of the nearest name; a class has the mean of its captions' embeddings",
    NULL};

const gy_model_def gy_model_clip = {.slug = "clip",
                                    .family = "decoding",
                                    .title = "CLIP: learning transferable visual models from natural language "
                                             "supervision",
                                    .cite = "Radford et al. ICML 2021, arXiv 2103.00020",
                                    .job = "pictures and token ids of sentences in; how well each picture fits each "
                                           "sentence out",
                                    .year = 2021,
                                    .equations = equations,
                                    .config_size = sizeof(config),
                                    .options = options,
                                    .configs = configs,
                                    .ablations = ablations,
                                    .weights = gy_clip_rules,
                                    .ignorable = gy_clip_ignorable,
                                    .check = check,
                                    .build = build,
                                    .objective = objective,
                                    .open = gy_clip_open,
                                    .close = gy_clip_close,
                                    .batch = gy_clip_batch,
                                    .lr = lr,
                                    .evaluate = gy_clip_evaluate,
                                    .panels = gy_clip_panels,
                                    .claim = gy_clip_claim};
