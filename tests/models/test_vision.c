/* CLIP's towers and the masked autoencoder against transformers (tests/golden/make_lm.py), and the names of other
 * files. */
#include "../harness/golden_model.h"

#include "io/run.h"
#include "models/blocks/clip.h"

#include <math.h>
#include <stdio.h>

static const gy_clip_text_config text = {31, 9, 16, 2, 2, 24, 10, 1};
static const gy_clip_vision_config vision = {12, 4, 16, 2, 2, 24, 10, 1};
static const gy_mae_config mae = {16, 4, 3, 16, 2, 2, 24, 8, 1, 2, 12, 0.75, 1, 1e-12};

static gy_t weighted(golden_model *t, gy_t x, const char *ct) {
    return gy_sum(gy_mul(x, golden_const(t, ct)), GY_ALL);
}

static void the_text_tower_matches_transformers(void **state) {
    golden_model t;
    golden_open(&t, *state, "clip_text");
    gy_clip_out o = gy_clip_text(&t.m, &text, golden_input(&t, "ids"));
    gy_output(o.states, "last_hidden_state");
    gy_output(o.penultimate, "penultimate");
    gy_output(o.embeds, "text_embeds");
    golden_gradients(&t, gy_add(weighted(&t, o.embeds, "ct"), weighted(&t, o.states, "ct2")), 0, NULL, NULL);
    golden_run(&t, "clip_text", gy_clip_text_rules, gy_clip_text_ignorable);
    golden_compare(&t, "last_hidden_state", 1e-5);
    golden_compare(&t, "penultimate", 1e-5);
    golden_compare(&t, "text_embeds", 1e-5);
    golden_compare_gradients(&t, 1e-4);
    golden_close(&t);
}

static void the_vision_tower_matches_transformers(void **state) {
    golden_model t;
    golden_open(&t, *state, "clip_vision");
    static const char *const names[] = {"pixels"};
    gy_t pixels = golden_input(&t, "pixels");
    gy_clip_out o = gy_clip_vision(&t.m, &vision, pixels);
    gy_output(o.states, "last_hidden_state");
    gy_output(o.penultimate, "penultimate");
    gy_output(o.embeds, "image_embeds");
    gy_output(o.tokens, "tokens");
    golden_gradients(&t, gy_add(weighted(&t, o.embeds, "ct"), weighted(&t, o.states, "ct2")), 1, names, &pixels);
    golden_run(&t, "clip_vision", gy_clip_vision_rules, gy_clip_vision_ignorable);
    golden_compare(&t, "last_hidden_state", 1e-5);
    golden_compare(&t, "penultimate", 1e-5);
    golden_compare(&t, "image_embeds", 1e-5);
    golden_compare_gradients(&t, 1e-4);
    /* every token on the scale of the class token */
    gy_tensor tokens = gy_plan_output(t.plan, "tokens");
    for (int64_t b = 0; b < 2; b++) {
        double sum = 0;
        for (int64_t i = 0; i < 10; i++) {
            double x = gy_tensor_get(&tokens, b * 10 * 10 + i);
            sum += x * x;
        }
        assert_close(sum, 1, 1e-5);
    }
    golden_close(&t);
}

/* The loss that training descends, through both towers and the temperature. */
static void both_towers_and_their_loss_match_transformers(void **state) {
    golden_model t;
    golden_open(&t, *state, "clip");
    static const char *const names[] = {"pixels"};
    gy_t pixels = golden_input(&t, "pixels");
    gy_clip_pair p = gy_clip_both(&t.m, &text, &vision, golden_input(&t, "ids"), pixels);
    gy_t loss = gy_clip_loss(p);
    gy_output(gy_l2_normalize(p.text), "text_embeds");
    gy_output(gy_l2_normalize(p.image), "image_embeds");
    gy_output(p.per_image, "logits_per_image");
    gy_output(p.per_text, "logits_per_text");
    gy_output(loss, "loss");
    golden_gradients(&t, loss, 1, names, &pixels);
    golden_run(&t, "clip", gy_clip_rules, gy_clip_ignorable);
    golden_compare(&t, "text_embeds", 1e-5);
    golden_compare(&t, "image_embeds", 1e-5);
    golden_compare(&t, "logits_per_image", 1e-5);
    golden_compare(&t, "logits_per_text", 1e-5);
    golden_compare(&t, "loss", 1e-5);
    golden_compare_gradients(&t, 1e-4);
    golden_close(&t);
}

/* Each tower reads its part of a file of both. */
static void a_tower_reads_its_part_of_the_whole(void **state) {
    for (int i = 0; i < 2; i++) {
        golden_model t;
        golden_open(&t, *state, "clip");
        const char *name = i ? "image_embeds" : "text_embeds";
        gy_t y = i ? gy_clip_vision(&t.m, &vision, golden_input(&t, "pixels")).embeds
                   : gy_clip_text(&t.m, &text, golden_input(&t, "ids")).embeds;
        gy_output(gy_l2_normalize(y), name);
        golden_run(&t, "clip", i ? gy_clip_vision_rules : gy_clip_text_rules,
                   i ? gy_clip_vision_ignorable : gy_clip_text_ignorable);
        golden_compare(&t, name, 1e-5);
        golden_close(&t);
    }
}

static void open_clip_files_fill_both_towers(void **state) {
    gy_clip_text_config c = text;
    gy_clip_vision_config v = vision;
    golden_model t;
    c.quick = v.quick = 0;
    golden_open(&t, *state, "openclip");
    gy_clip_pair p = gy_clip_both(&t.m, &c, &v, golden_input(&t, "ids"), golden_input(&t, "pixels"));
    gy_output(p.text, "text_embeds");
    gy_output(p.image, "image_embeds");
    golden_run(&t, "openclip", gy_clip_rules, gy_clip_ignorable);
    golden_compare(&t, "text_embeds", 1e-5);
    golden_compare(&t, "image_embeds", 1e-5);
    golden_close(&t);
}

static void towers_without_a_common_space_are_refused(void **state) {
    gy_ctx *ctx = *state;
    static const int64_t widths[][2] = {{10, 12}, {0, 0}};
    for (int i = 0; i < 2; i++) {
        gy_store *store = gy_store_new(ctx);
        gy_graph *g = gy_graph_new(ctx);
        gy_mod m = gy_mod_make(g, store, 1, false);
        gy_clip_text_config c = text;
        gy_clip_vision_config v = vision;
        c.projection = widths[i][0];
        v.projection = widths[i][1];
        gy_clip_both(&m, &c, &v, gy_input(g, "ids", GY_I64, GY_S(2, 9)),
                     gy_input(g, "pixels", GY_F32, GY_S(2, 12, 12, 3)));
        assert_message(ctx, gy_graph_status(g), i ? "widths of 0 and 0" : "widths of 10 and 12");
        gy_graph_free(g);
        gy_store_free(store);
    }
}

/* Another file format of the same towers: fused q, k, v, projections the other way round, exact gelu. */
static void open_clip_files_load_and_give_open_clips_answers(void **state) {
    gy_clip_text_config c = text;
    gy_clip_vision_config v = vision;
    c.quick = v.quick = 0;
    for (int i = 0; i < 2; i++) {
        golden_model t;
        golden_open(&t, *state, "openclip");
        if (i)
            gy_output(gy_clip_vision(&t.m, &v, golden_input(&t, "pixels")).embeds, "image_embeds");
        else
            gy_output(gy_clip_text(&t.m, &c, golden_input(&t, "ids")).embeds, "text_embeds");
        golden_run(&t, "openclip", i ? gy_clip_vision_rules : gy_clip_text_rules,
                   i ? gy_clip_vision_ignorable : gy_clip_text_ignorable);
        golden_compare(&t, i ? "image_embeds" : "text_embeds", 1e-5);
        golden_close(&t);
    }
}

static void the_masked_autoencoder_matches_transformers(void **state) {
    golden_model t;
    golden_open(&t, *state, "vit_mae");
    static const char *const names[] = {"pixels"};
    gy_t pixels = golden_input(&t, "pixels");
    gy_mae e = gy_mae_encode(&t.m, &mae, pixels, golden_input(&t, "noise"));
    gy_t predicted = gy_mae_decode(&t.m, &mae, e), loss = gy_mae_loss(&mae, pixels, predicted, e.mask);
    gy_output(predicted, "logits");
    gy_output(e.mask, "mask");
    gy_output(loss, "loss");
    golden_gradients(&t, loss, 1, names, &pixels);
    /* the sine tables that the model makes are those of the file */
    gy_tensor made[2];
    static const char *const tables[] = {"vit.embeddings.position_embeddings", "decoder.decoder_pos_embed"};
    for (int i = 0; i < 2; i++)
        assert_ok(*state, gy_tensor_cast(*state, &gy_state_find(t.store, tables[i])->value, GY_F64, &made[i]));
    golden_run(&t, "vit_mae", gy_mae_rules, NULL);
    for (int i = 0; i < 2; i++) {
        gy_tensor *file = &gy_state_find(t.store, tables[i])->value;
        for (int64_t k = 0; k < gy_shape_count(file->shape); k++)
            assert_close(gy_tensor_get(&made[i], k), gy_tensor_get(file, k), 1e-6);
        gy_tensor_free(*state, &made[i]);
    }
    golden_compare(&t, "mask", 0);
    golden_compare(&t, "logits", 1e-5);
    golden_compare(&t, "loss", 1e-5);
    int64_t compared = 0, trained = 0;
    for (int64_t i = 0; i < t.file.n; i++) compared += strncmp(t.file.entries[i].name, "test/grad.", 10) == 0;
    for (int64_t i = 0; i < gy_store_count(t.store); i++) trained += !gy_store_at(t.store, i)->frozen;
    assert_int_equal(compared, trained + 1); /* all but the tables, and the pixels */
    golden_compare_gradients(&t, 1e-4);
    golden_close(&t);
}

static void the_authors_names_load_too(void **state) {
    golden_model t;
    golden_open(&t, *state, "vit_mae");
    gy_mae e = gy_mae_encode(&t.m, &mae, golden_input(&t, "pixels"), golden_input(&t, "noise"));
    gy_output(gy_mae_decode(&t.m, &mae, e), "logits");
    golden_run(&t, "vit_mae", gy_mae_rules, NULL);
    for (int64_t i = 0; i < gy_store_count(t.store); i++) gy_state_reset(gy_store_at(t.store, i), (gy_init){0}, 0);
    assert_ok(*state,
              gy_weights_load_as(*state, "tests/golden/vit_mae_timm.safetensors", NULL, t.store, NULL, gy_mae_rules));
    assert_ok(*state, gy_plan_run(t.plan));
    golden_compare(&t, "logits", 1e-5);
    golden_close(&t);
}

/* The rules rename; they excuse nothing. */
static void what_does_not_fit_is_named(void **state) {
    gy_ctx *ctx = *state;
    static const char *const path = "tests/golden/openclip.safetensors";
    static const struct {
        int64_t width, layers;
        bool ignore;
        const char *message;
    } cases[] = {{16, 2, false, "'visual.conv1.weight'"},
                 {16, 3, true, "'text_model.encoder.layers.2.self_attn.q_proj.weight'"},
                 {24, 2, true,
                  "'text_model.encoder.layers.0.self_attn.k_proj.weight' is f32 [48, 16], the model expects "
                  "f32 [24, 24] in a part of 3"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gy_clip_text_config c = text;
        gy_store *store = gy_store_new(ctx);
        gy_graph *g = gy_graph_new(ctx);
        gy_mod m = gy_mod_make(g, store, 1, false);
        c.width = cases[i].width;
        c.layers = cases[i].layers;
        gy_clip_text(&m, &c, gy_input(g, "ids", GY_I64, GY_S(1, 4)));
        static const char *const all[] = {"test/*", "logit_scale", "visual.*", NULL};
        const char *some[] = {"test/*", "logit_scale", NULL};
        assert_message(ctx,
                       gy_weights_load_as(ctx, path, NULL, store, cases[i].ignore ? all : some, gy_clip_text_rules),
                       cases[i].message);
        gy_graph_free(g);
        gy_store_free(store);
    }
}

static void without_noise_every_patch_is_encoded_in_order(void **state) {
    golden_model t;
    golden_open(&t, *state, "vit_mae");
    gy_mae_config c = mae;
    c.mask_ratio = 0;
    gy_t pixels = golden_input(&t, "pixels");
    gy_mae all = gy_mae_encode(&t.m, &c, pixels, GY_NONE),
           drawn = gy_mae_encode(&t.m, &c, pixels, golden_input(&t, "noise"));
    gy_output(gy_mae_decode(&t.m, &c, all), "plain");
    gy_output(gy_mae_decode(&t.m, &c, drawn), "drawn"); /* another order of the same patches, put back by the decoder */
    golden_run(&t, "vit_mae", gy_mae_rules, NULL);
    gy_tensor a = gy_plan_output(t.plan, "plain"), b = gy_plan_output(t.plan, "drawn");
    for (int64_t i = 0; i < gy_shape_count(a.shape); i++)
        assert_close(gy_tensor_get(&a, i), gy_tensor_get(&b, i), 2e-5);
    golden_close(&t);
}

static void pictures_of_another_size_are_refused(void **state) {
    gy_ctx *ctx = *state;
    for (int i = 0; i < 2; i++) {
        gy_store *store = gy_store_new(ctx);
        gy_graph *g = gy_graph_new(ctx);
        gy_mod m = gy_mod_make(g, store, 1, false);
        gy_t pixels = gy_input(g, "pixels", GY_F32, GY_S(1, 20, 16, 3));
        if (i)
            gy_clip_vision(&m, &vision, pixels);
        else
            gy_mae_decode(&m, &mae, gy_mae_encode(&m, &mae, pixels, GY_NONE));
        assert_message(ctx, gy_graph_status(g), "20");
        gy_graph_free(g);
        gy_store_free(store);
    }
}

static int64_t count(gy_ctx *ctx, const gy_clip_text_config *t, const gy_clip_vision_config *v,
                     const gy_mae_config *a) {
    gy_store *store = gy_store_new_dry(ctx);
    gy_graph *g = gy_graph_new(ctx);
    gy_mod m = gy_mod_make(g, store, 0, false);
    int64_t side = v ? v->image : a ? a->image : 1;
    gy_t pixels = gy_input(g, "pixels", GY_F32, GY_S(1, side, side, 3));
    if (t) gy_clip_text(&m, t, gy_input(g, "ids", GY_I64, GY_S(1, 4)));
    if (v) gy_clip_vision(&m, v, pixels);
    if (a) gy_mae_decode(&m, a, gy_mae_encode(&m, a, pixels, GY_NONE));
    if (gy_graph_status(g) != GY_OK) fail_msg("%s", gy_error(ctx));
    int64_t n = gy_store_parameters(store);
    gy_graph_free(g);
    gy_store_free(store);
    return n;
}

static void full_sizes_have_the_published_parameter_counts(void **state) {
    static const struct {
        gy_clip_text_config c;
        int64_t n;
    } texts[] = {{{GY_CLIP_TEXT_B_32}, 63428096},
                 {{GY_CLIP_TEXT_L_14}, 123650304},
                 {{GY_CLIP_TEXT_SD15}, 123060480},
                 {{GY_CLIP_TEXT_H_14}, 354032640},
                 {{GY_CLIP_TEXT_BIG_G_14}, 694659840}};
    static const struct {
        gy_clip_vision_config c;
        int64_t n;
    } visions[] = {{{GY_CLIP_VISION_B_32}, 87849216},
                   {{GY_CLIP_VISION_B_16}, 86192640},
                   {{GY_CLIP_VISION_L_14}, 303966208},
                   {{GY_CLIP_VISION_H_14}, 632076800},
                   {{GY_CLIP_VISION_BIG_G_14}, 1844907264}};
    static const struct {
        gy_mae_config c;
        int64_t n;
    } maes[] = {{{GY_MAE_BASE}, 111907840}, {{GY_MAE_LARGE}, 329541888}, {{GY_MAE_HUGE}, 657074508}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(count(*state, &texts[i].c, NULL, NULL), texts[i].n);
    for (size_t i = 0; i < sizeof visions / sizeof *visions; i++)
        assert_int_equal(count(*state, NULL, &visions[i].c, NULL), visions[i].n);
    for (size_t i = 0; i < sizeof maes / sizeof *maes; i++)
        assert_int_equal(count(*state, NULL, NULL, &maes[i].c), maes[i].n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_text_tower_matches_transformers),
        TEST(the_vision_tower_matches_transformers),
        TEST(both_towers_and_their_loss_match_transformers),
        TEST(a_tower_reads_its_part_of_the_whole),
        TEST(open_clip_files_fill_both_towers),
        TEST(towers_without_a_common_space_are_refused),
        TEST(open_clip_files_load_and_give_open_clips_answers),
        TEST(the_masked_autoencoder_matches_transformers),
        TEST(the_authors_names_load_too),
        TEST(what_does_not_fit_is_named),
        TEST(without_noise_every_patch_is_encoded_in_order),
        TEST(pictures_of_another_size_are_refused),
        TEST(full_sizes_have_the_published_parameter_counts),
    };
    return cmocka_run_group_tests_name("vision", tests, NULL, NULL);
}
