/* Every reader against damaged files (fuzz.h). The valid ones come from our own writers, from builders of the other
 * tests and, for what only others write, from tests/golden. */
#include "edf_files.h"
#include "fuzz.h"
#include "mat_files.h"

#include "io/formats/deflate.h"
#include "io/formats/json.h"
#include "io/formats/mat.h"
#include "io/formats/nifti.h"
#include "io/formats/npy.h"
#include "io/formats/png.h"
#include "io/formats/pth.h"
#include "io/formats/safetensors.h"
#include "io/formats/table.h"
#include "io/formats/tokenizer.h"
#include "io/run.h"

#include <ctype.h>

static buf of_bytes(const void *p, size_t n) {
    buf b = buf_new();
    put(&b, p, n);
    return b;
}
static buf of_text(const char *s) {
    return of_bytes(s, strlen(s));
}
/* What one of our writers has just put under the name; the file is taken away. */
static buf taken(const char *name) {
    buf b = slurp(in_folder(name));
    assert_int_equal(remove(in_folder(name)), 0);
    return b;
}
/* A small tensor of the dtype: 0, 1, 2, ... */
static gy_tensor counting(gy_ctx *ctx, gy_dtype dtype, gy_shape shape) {
    gy_tensor t;
    assert_ok(ctx, gy_tensor_new(ctx, &t, dtype, shape));
    for (int64_t i = 0; i < gy_shape_count(shape); i++) gy_tensor_set(&t, i, (double)i);
    return t;
}

static void pack_with(gy_ctx *ctx, buf *b, gy_deflate_wrap wrap) {
    uint8_t *z;
    uint64_t n;
    assert_ok(ctx, gy_deflate(ctx, b->d, b->n, wrap, 1, &z, &n));
    b->n = 0;
    put(b, z, n);
    gy_free(ctx, z);
}
static void gzip(gy_ctx *ctx, buf *b) {
    pack_with(ctx, b, GY_DEFLATE_GZIP);
}

/* ---- compressed streams ---- */

static buf stream(gy_ctx *ctx, int k) {
    static const char words[] = "the cat sat on the mat, the cat sat on the hat, 0123456789";
    buf b = buf_new();
    for (int i = 0; i < 300; i++)
        put8(&b, k < 3 ? (unsigned)(i * i * 37 >> 5) : (unsigned)words[i * i % (int)sizeof words]);
    uint8_t *z;
    uint64_t n;
    assert_ok(ctx, gy_deflate(ctx, b.d, b.n, (gy_deflate_wrap)(k % 3), k ? 6 : 0, &z, &n));
    b.n = 0;
    put8(&b, (unsigned)(k % 3)); /* says which */
    put(&b, z, n);
    gy_free(ctx, z);
    return b;
}
static gy_status read_stream(gy_ctx *ctx, const char *path) {
    gy_bytes b;
    uint8_t *out;
    uint64_t n;
    gy_status s = gy_bytes_open(ctx, path, NULL, &b);
    if (s != GY_OK) return s;
    if (b.size == 0 || b.data[0] > 2)
        s = gy_bytes_fail(&b, 0, "no stream");
    else if ((s = gy_inflate(&b, 1, b.size - 1, (gy_deflate_wrap)b.data[0], UINT64_MAX, &out, &n)) == GY_OK)
        gy_free(ctx, out);
    gy_bytes_close(&b);
    return s;
}

/* ---- arrays ---- */

static buf npy(gy_ctx *ctx, int k) {
    static const gy_dtype dtype[] = {GY_F32, GY_I16, GY_BOOL};
    if (k == 3) { /* what NumPy writes and we do not */
        static const char header[] = "{'descr': '>f8', 'fortran_order': True, 'shape': (2, 1), }";
        buf b = of_bytes("\x93NUMPY\1\0\x76", 9);
        put8(&b, 0);
        put_s(&b, header);
        while (b.n < 10 + 0x76) put8(&b, b.n == 9 + 0x76 ? '\n' : ' ');
        put(&b, "0123456789abcdef", 16);
        return b;
    }
    gy_tensor t = counting(ctx, dtype[k], k == 1 ? GY_S0 : GY_S(2, 3, 4));
    assert_ok(ctx, gy_npy_write(ctx, in_folder("new"), &t));
    gy_tensor_free(ctx, &t);
    return taken("new");
}
static gy_status read_npy(gy_ctx *ctx, const char *path) {
    gy_tensor t;
    gy_status s = gy_npy_read(ctx, path, &t);
    if (s == GY_OK) gy_tensor_free(ctx, &t);
    return s;
}

static buf npz(gy_ctx *ctx, int k) {
    static const char *const names[] = {"weights", "b"};
    gy_tensor t[] = {counting(ctx, GY_F64, GY_S(3, 4)), counting(ctx, GY_U8, GY_S(7))};
    assert_ok(ctx, gy_npz_write(ctx, in_folder("new"), names, t, 2, k ? 6 : 0));
    gy_tensor_free(ctx, &t[0]);
    gy_tensor_free(ctx, &t[1]);
    return taken("new");
}
static gy_status read_npz(gy_ctx *ctx, const char *path) {
    gy_npz z;
    gy_status s = gy_npz_open(ctx, path, NULL, &z);
    if (s != GY_OK) return s;
    for (int64_t i = 0; s == GY_OK && i < gy_npz_count(&z); i++) {
        char name[256];
        gy_tensor t;
        s = gy_npz_read(&z, gy_npz_name(&z, i, name, sizeof name), &t);
        if (s == GY_OK) gy_tensor_free(ctx, &t);
    }
    gy_npz_close(ctx, &z);
    return s;
}

static buf safetensors(gy_ctx *ctx, int k) {
    gy_tensor a = counting(ctx, k ? GY_BF16 : GY_F32, GY_S(2, 3)), b = counting(ctx, GY_I64, GY_S0);
    gy_st_tensor t[] = {{"layer.0.weight", &a}, {"step", &b}};
    gy_st_pair about[] = {{"format", "pt"}, {"note", "\"quoted\" \xc2\xb5"}};
    assert_ok(ctx, gy_safetensors_write(ctx, in_folder("new"), t, 2, about, k ? 0 : 2));
    gy_tensor_free(ctx, &a);
    gy_tensor_free(ctx, &b);
    return taken("new");
}
static gy_status read_safetensors(gy_ctx *ctx, const char *path) {
    gy_safetensors st;
    gy_status s = gy_safetensors_open(ctx, path, NULL, &st);
    if (s != GY_OK) return s;
    for (int64_t i = 0; s == GY_OK && i < st.n; i++) {
        gy_tensor t;
        s = gy_safetensors_get(&st, st.entries[i].name, &t);
        if (s == GY_OK) gy_tensor_free(ctx, &t);
    }
    (void)gy_safetensors_metadata(&st, "format");
    if (s == GY_OK && gy_safetensors_verify(&st) != GY_OK) gy_error_clear(ctx); /* refuses most of these, rightly */
    gy_safetensors_close(&st);
    return s;
}
/* Two shards beside the index. */
static buf shards(gy_ctx *ctx, int k) {
    (void)k;
    for (int i = 0; i < 2; i++) {
        buf b = safetensors(ctx, i);
        store(in_folder(i ? "b.safetensors" : "a.safetensors"), b.d, b.n);
        buf_free(&b);
    }
    gy_tensor t = counting(ctx, GY_F16, GY_S(4));
    gy_st_tensor one = {"other", &t};
    assert_ok(ctx, gy_safetensors_write(ctx, in_folder("b.safetensors"), &one, 1, NULL, 0));
    gy_tensor_free(ctx, &t);
    return of_text("{\"metadata\": {\"total_size\": 40}, \"weight_map\": {\"layer.0.weight\": \"a.safetensors\", "
                   "\"step\": \"a.safetensors\", \"other\": \"b.safetensors\"}}");
}

static buf pth(gy_ctx *ctx, int k) {
    (void)ctx;
    return slurp(k ? "tests/golden/state_dict.pth" : "tests/golden/state_dict_legacy.pth");
}
static gy_status read_pth(gy_ctx *ctx, const char *path) {
    gy_pth p;
    gy_status s = gy_pth_open(ctx, path, NULL, &p);
    if (s != GY_OK) return s;
    for (int64_t i = 0; s == GY_OK && i < p.n; i++) {
        gy_tensor t;
        s = gy_pth_read(&p, i, &t);
        if (s == GY_OK) gy_tensor_free(ctx, &t);
    }
    gy_pth_close(&p);
    return s;
}

static buf mat(gy_ctx *ctx, int k) {
    static const double six[] = {1, 2, 3, 4, 5, 6};
    (void)ctx;
    big = k == 1;
    buf b = buf_new();
    put_header(&b);
    put_doubles(&b, "numbers", 2, 3, six);
    put_text(&b, "t", "text");
    size_t c = open_matrix(&b, 1, 2, (uint32_t[]){1, 2}, "list");
    put_number(&b, "", 9);
    put_text(&b, "", "in");
    close_element(&b, c);
    c = open_matrix(&b, 5, 2, (uint32_t[]){3, 2}, "sparse");
    for (uint32_t part = 0; part < 3; part++) {
        size_t e = open_element(&b, part < 2 ? 5 : 9);
        for (uint32_t i = 0; part < 2 && i < 2 + part; i++) put_u32(&b, i);
        if (part == 2) put_double(&b, 5), put_double(&b, -6);
        close_element(&b, e);
    }
    close_element(&b, c);
    big = false;
    return b;
}
static gy_status read_mat(gy_ctx *ctx, const char *path) {
    gy_mat m;
    gy_limits limits;
    gy_limits_init(&limits);
    limits.v[GY_LIMIT_IMAGE_PIXELS] = 1 << 16; /* sparse arrays made dense: the limit is what bounds their memory */
    gy_status s = gy_mat_open(ctx, path, &limits, &m);
    if (s != GY_OK) return s;
    for (int64_t i = 0; i < m.n; i++) { /* a kind that is not asked for right is refused; here all are */
        gy_tensor t;
        double v;
        char *words = gy_mat_text(&m, i);
        gy_free(ctx, words);
        if (gy_mat_tensor(&m, i, &t) == GY_OK) gy_tensor_free(ctx, &t);
        (void)gy_mat_number(&m, i, 0, &v);
        (void)gy_mat_cell(&m, i, 1);
        (void)gy_mat_field(&m, i, 0, "labels");
    }
    gy_mat_close(&m);
    return GY_OK;
}

/* ---- recordings ---- */

static gy_status read_recording(gy_ctx *ctx, const char *path) {
    gy_recording r;
    gy_status s = gy_recording_open(ctx, path, NULL, &r);
    if (s != GY_OK) return s;
    gy_tensor t;
    double v;
    if (gy_recording_tensor(&r, 0, &t) == GY_OK) gy_tensor_free(ctx, &t);
    for (int64_t i = 0; s == GY_OK && i < r.n_channels; i++)
        if (r.channel[i].samples > 0) s = gy_recording_read(&r, i, r.channel[i].samples - 1, 1, &v);
    gy_recording_close(&r);
    return s;
}

static buf edf(gy_ctx *ctx, int k) {
    static const char a[] = "+10\x14\x14\0+10.5\x15"
                            "0.25\x14left\x14right\x14\0",
                      c[] = "+12\x14\x14\0";
    static const char *const list[] = {a, c};
    static const size_t len[] = {sizeof a - 1, sizeof c - 1};
    static const sig status[] = {{"A1", "uV", "-8388608", "8388607", "-8388608", "8388607", "3"},
                                 {"Status", "Boolean", "-8388608", "8388607", "-8388608", "8388607", "3"}};
    (void)ctx;
    if (k == 0) return small(&(head){0});
    if (k == 1) return plus("EDF+D", list, len, 2);
    buf b = buf_new();
    put_head(&b, &(head){.version = "B", .records = "1"}, status, 2);
    put(&b, "\1\0\0\xff\xff\xff\0\0\x80\0\0\1\7\0\1\7\0\1", 18);
    return b;
}

static const char vhdr[] = "Brain Vision Data Exchange Header File Version 1.0\n[Common Infos]\nCodepage=UTF-8\n"
                           "DataFile=a.eeg\nMarkerFile=a.vmrk\nDataFormat=BINARY\nDataOrientation=MULTIPLEXED\n"
                           "NumberOfChannels=2\nSamplingInterval=4000\n[Binary Infos]\nBinaryFormat=INT_16\n"
                           "[Channel Infos]\nCh1=F\\1z,,0.5,\xc2\xb5V\nCh2=Cz,Ref,10\n",
                  vhdr_text[] = "Brain Vision Data Exchange Header File Version 2.0\n[Common Infos]\nDataFile=a.dat\n"
                                "DataFormat=ASCII\nDataOrientation=VECTORIZED\nNumberOfChannels=2\n"
                                "SamplingInterval=2000\n[ASCII Infos]\nDecimalSymbol=,\nSkipLines=1\nSkipColumns=1\n"
                                "[Channel Infos]\nCh1=Fz,,,uV\nCh2=Cz,,,uV\n",
                  vmrk[] = "Brain Vision Data Exchange Marker File, Version 1.0\n[Marker Infos]\n"
                           "Mk1=New Segment,,1,1,0,20130321102312794311\nMk2=Stimulus,S  1,2,1,0\n"
                           "Mk3=Comment,a\\1b,3,2,2\n",
                  dat[] = "two channels\nFz 1,25 -4 3e1\nCz 0,5 8 -,25\n";

static void store_brainvision(void) {
    store(in_folder("a.eeg"), "\1\0\2\0\3\0\4\0\xfb\xff\xfa\xff", 12);
    store(in_folder("a.vmrk"), vmrk, strlen(vmrk));
    store(in_folder("a.dat"), dat, strlen(dat));
}
static buf headers(gy_ctx *ctx, int k) {
    (void)ctx;
    store_brainvision();
    return of_text(k ? vhdr_text : vhdr);
}
static buf markers(gy_ctx *ctx, int k) {
    (void)ctx, (void)k;
    store_brainvision();
    store(in_folder("a.vhdr"), vhdr, strlen(vhdr));
    return of_text(vmrk);
}
static buf decimals(gy_ctx *ctx, int k) {
    (void)ctx, (void)k;
    store_brainvision();
    store(in_folder("a.vhdr"), vhdr_text, strlen(vhdr_text));
    return of_text(dat);
}

static buf eeglab(gy_ctx *ctx, int k) {
    static const float beside[] = {1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6};
    (void)ctx;
    store(in_folder("a.fdt"), beside, sizeof beside);
    return set(2, 2, 3, 100, k ? "a.fdt" : NULL);
}
/* The file's one variable, damaged, becomes a compressed element. */
static void pack_variable(gy_ctx *ctx, buf *b) {
    if (b->n <= 128) return;
    buf z = of_bytes(b->d + 128, b->n - 128);
    pack_with(ctx, &z, GY_DEFLATE_ZLIB);
    b->n = 128;
    put32(b, 15);
    put32(b, (uint32_t)z.n);
    put(b, z.d, z.n);
    buf_free(&z);
}

/* ---- images ---- */

static buf nifti(gy_ctx *ctx, int k) {
    gy_tensor t = counting(ctx, k ? GY_F32 : GY_I16, k ? GY_S(2, 3, 2, 2) : GY_S(4, 3, 2));
    assert_ok(ctx, gy_nifti_write(ctx, in_folder("new.nii"), &t,
                                  (gy_nifti_write_args){.version = k + 1, .slope = k ? 0.5 : 0, .inter = 1}));
    gy_tensor_free(ctx, &t);
    return taken("new.nii");
}
static buf pair(gy_ctx *ctx, int k) {
    gy_tensor t = counting(ctx, GY_U8, GY_S(4, 3, 2));
    assert_ok(ctx, gy_nifti_write(ctx, in_folder("a.hdr"), &t, (gy_nifti_write_args){.version = k + 1}));
    gy_tensor_free(ctx, &t);
    buf b = taken("a.hdr");
    if (k == 2) memset(b.d + 344, 0, 4); /* Analyze 7.5 */
    return b;
}
static gy_status read_nifti(gy_ctx *ctx, const char *path) {
    gy_nifti img;
    gy_tensor t;
    gy_status s = gy_nifti_open(ctx, path, NULL, &img);
    if (s != GY_OK) return s;
    s = gy_nifti_read(&img, GY_F32, &t);
    if (s == GY_OK) gy_tensor_free(ctx, &t);
    if (s == GY_OK && img.ndim >= 4) {
        s = gy_nifti_read_volumes(&img, gy_nifti_shape(&img).dim[0] - 1, 1, GY_DTYPE_DEFAULT, &t);
        if (s == GY_OK) gy_tensor_free(ctx, &t);
    }
    gy_nifti_close(&img);
    return s;
}

static buf png(gy_ctx *ctx, int k) {
    uint8_t pixels[5 * 4 * 4 * 2];
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(i * i);
    gy_image img = {.width = 5, .height = 4, .channels = k + 1, .bit_depth = k % 2 ? 8 : 16, .pixels = pixels};
    uint8_t *out;
    uint64_t n;
    assert_ok(ctx, gy_png_encode(ctx, &img, k ? NULL : "a text", &out, &n));
    buf b = of_bytes(out, n);
    gy_free(ctx, out);
    return b;
}
/* The checksums of chunks as far as their lengths make sense. */
static void correct_chunks(gy_ctx *ctx, buf *b) {
    (void)ctx;
    for (size_t at = 8; at + 12 <= b->n;) {
        size_t n = gy_be32(b->d + at);
        if (n > b->n - at - 12) return;
        gy_put_be32(b->d + at + 8 + n, gy_crc32(0, b->d + at + 4, n + 4));
        at += 12 + n;
    }
}
static gy_status read_png(gy_ctx *ctx, const char *path) {
    gy_image img;
    gy_status s = gy_png_read(ctx, path, &img);
    if (s == GY_OK) gy_image_free(ctx, &img);
    return s;
}

/* ---- text ---- */

static buf table(gy_ctx *ctx, int k) {
    static const char *const text[] = {"onset\tduration\ttrial_type\n0.5\t1\tface\n2\tn/a\t\"a \"\"b\"\"\"\n",
                                       "\xef\xbb\xbfonset,duration,x\r\n1,2,3\r\n-4,5e-1,\"6\"\r\n"};
    (void)ctx;
    return of_text(text[k]);
}
static gy_status read_table(gy_ctx *ctx, const char *path) {
    gy_table t;
    gy_events e;
    if (gy_events_read(ctx, path, NULL, &e) == GY_OK) gy_events_free(&e);
    gy_error_clear(ctx);
    if (gy_table_read(ctx, path, NULL, (gy_table_args){.headerless = true, .separator = ' '}, &t) == GY_OK)
        gy_table_free(&t);
    gy_error_clear(ctx);
    gy_status s = gy_table_read(ctx, path, NULL, (gy_table_args){0}, &t);
    if (s != GY_OK) return s;
    for (int64_t c = 0; c < t.columns; c++) {
        double *v;
        int64_t *w;
        const char **texts;
        if (gy_table_numbers(&t, c, &v) == GY_OK) gy_free(ctx, v);
        if (gy_table_integers(&t, c, &w) == GY_OK) gy_free(ctx, w);
        if (gy_table_strings(&t, c, &texts) == GY_OK) gy_free(ctx, (void *)texts);
    }
    gy_table_free(&t);
    return GY_OK;
}

static buf json(gy_ctx *ctx, int k) {
    (void)ctx, (void)k;
    return of_text(
        "{\"layers\": [1, -2, 3.5e-2, true, null], \"\\u00b5V\": \"\\ud83d\\ude00 \\\"x\\\"\\n\", \"o\": {\"\": "
        "[[], {}], \"big\": 9223372036854775807}}");
}
static gy_status read_json(gy_ctx *ctx, const char *path) {
    gy_bytes b;
    gy_json j;
    gy_status s = gy_bytes_open(ctx, path, NULL, &b);
    if (s != GY_OK) return s;
    s = gy_json_parse(&b, 0, b.size, &j);
    if (s == GY_OK) {
        for (int64_t i = 0; i < j.n; i++)
            for (int64_t c = gy_json_first(&j, i); c >= 0; c = j.nodes[c].next) (void)gy_json_string(&j, c);
        gy_json_free(&j);
    }
    gy_bytes_close(&b);
    return s;
}

/* ---- vocabularies ---- */

static buf tokenizer(gy_ctx *ctx, int k) {
    static const char *const kinds[] = {"gpt2", "clip", "llama2", "unigram", "metaspace"};
    char path[64];
    (void)ctx;
    snprintf(path, sizeof path, "tests/golden/tokenizer_%s.json", kinds[k]);
    return slurp(path);
}
static buf ranks(gy_ctx *ctx, int k) {
    (void)ctx, (void)k;
    return slurp("tests/golden/tokenizer_ranks.tiktoken");
}
static const char merges[] = "#version: 0.2\na b\nab c\n\xc4\xa0 z\n";
/* GPT-2's alphabet: printable bytes stand for themselves, others for characters from U+0100 on. */
static buf vocabulary(gy_ctx *ctx) {
    static const char *const more[] = {"ab", "abc", "\xc4\xa0z", "<|endoftext|>"};
    gy_json_writer w;
    char *out;
    size_t n;
    int64_t id = 0;
    uint32_t other = 0x100;
    gy_json_start(ctx, &w, false);
    gy_json_open_object(&w, NULL);
    for (uint32_t c = 0; c < 256; c++) {
        bool plain = (c > 0x20 && c < 0x7f) || (c > 0xa0 && c != 0xad);
        uint32_t code = plain ? c : other++;
        char name[3] = {(char)code};
        if (code >= 0x80) name[0] = (char)(0xc0 | code >> 6), name[1] = (char)(0x80 | (code & 0x3f));
        gy_json_put_int(&w, name, id++);
    }
    for (int i = 0; i < 4; i++) gy_json_put_int(&w, more[i], id++);
    gy_json_close(&w);
    assert_ok(ctx, gy_json_finish(&w, &out, &n));
    buf b = of_bytes(out, n);
    gy_free(ctx, out);
    return b;
}
static buf vocab(gy_ctx *ctx, int k) {
    (void)k;
    store(in_folder("merges.txt"), merges, strlen(merges));
    return vocabulary(ctx);
}
static buf merge_list(gy_ctx *ctx, int k) {
    (void)k;
    buf b = vocabulary(ctx);
    store(in_folder("vocab.json"), b.d, b.n);
    buf_free(&b);
    return of_text(merges);
}
static gy_status there_and_back(gy_ctx *ctx, const gy_tokenizer *t, const char *text, size_t n_text) {
    gy_tokens out;
    int32_t ids[128];
    char *back;
    uint64_t n;
    gy_status s = gy_tokenizer_encode(t, text, n_text, (gy_encode_args){0}, &out);
    if (s != GY_OK) return s;
    int64_t count = out.n < 128 ? out.n : 128;
    for (int64_t i = 0; i < count; i++) ids[i] = out.t[i].id;
    s = gy_tokenizer_decode(t, ids, count, false, &back, &n);
    if (s == GY_OK) gy_free(ctx, back);
    gy_tokens_free(&out);
    return s;
}
static gy_status read_tokenizer(gy_ctx *ctx, const char *path) {
    static const char any[] = "abc a  cab, H\xc3\xa9llo 12345 <|endoftext|>\n\xff don't";
    gy_tokenizer *t;
    gy_status s = gy_tokenizer_open(ctx, path, NULL, &t);
    if (s != GY_OK) return s;
    s = there_and_back(ctx, t, "abca", 4);
    /* a small vocabulary lacks tokens for the rest */
    if (s == GY_OK && there_and_back(ctx, t, any, sizeof any - 1) != GY_OK) gy_error_clear(ctx);
    gy_tokenizer_free(t);
    return s;
}

/* ---- a run's folder ---- */

static buf description(gy_ctx *ctx, int k) {
    gy_job j;
    gy_run_folder *run;
    char *argv[] = {"gyrus", "train", NULL};
    assert_ok(ctx, gy_job_init(&j, ctx, gy_model_find(k ? "titans" : "haxby"), NULL, NULL, 0));
    assert_ok(ctx, gy_run_open(ctx, folder, false, &run));
    assert_ok(ctx, gy_run_describe(run, &j, argv));
    gy_run_close(run);
    gy_job_free(&j);
    return taken("run.json");
}
static gy_status read_description(gy_ctx *ctx, const char *path) {
    gy_job j;
    gy_status s = gy_run_job(ctx, path, &j);
    if (s == GY_OK) gy_job_free(&j);
    return s;
}
static buf metrics(gy_ctx *ctx, int k) {
    (void)ctx, (void)k;
    return of_text("step,loss,lr\n1,0.5,1e-3\n2,0.25,\n");
}
static gy_status read_metrics(gy_ctx *ctx, const char *path) {
    gy_run_curve c;
    gy_status s = gy_run_read_log(ctx, path, &c);
    if (s == GY_OK) gy_run_curve_free(ctx, &c);
    return s;
}

/* ---- all of them ---- */

#define BV_WORDS                                                                                                       \
    { "VECTORIZED", "MULTIPLEXED", "ASCII", "BINARY", "IEEE_FLOAT_32", "INT_32", "Infos", "Ch1", "Mk2", "eeg", "dat" }
static const subject subjects[] = {
    {"a.z", NULL, 6, stream, NULL, read_stream, {NULL}},
    {"a.npy", NULL, 4, npy, NULL, read_npy, {"descr", "fortran_order", "shape", "True", "f8", "i1", "c16", "O"}},
    {"a.npz", NULL, 2, npz, NULL, read_npz, {"b", "npy", "weights", "PK"}},
    {"a.safetensors",
     NULL,
     2,
     safetensors,
     NULL,
     read_safetensors,
     {"F64", "F16", "I8", "BOOL", "F4", "shape", "step"}},
    {"i.index.json", NULL, 1, shards, NULL, read_safetensors, {"a", "b", "other", "safetensors", "weight_map"}},
    {"a.pth", NULL, 2, pth, NULL, read_pth, {"torch", "LongStorage", "collections", "cpu", "storage", "t", "R", "q"}},
    {"a.mat", NULL, 2, mat, NULL, read_mat, {"MI", "IM", "MATLAB"}},
    {"a.edf", NULL, 3, edf, NULL, read_recording, {"Status", "EDF Annotations", "EDF+C", "uV", "nan"}},
    {"a.vhdr", NULL, 2, headers, NULL, read_recording, BV_WORDS},
    {"a.vmrk", "a.vhdr", 1, markers, NULL, read_recording, BV_WORDS},
    {"a.dat", "a.vhdr", 1, decimals, NULL, read_recording, {"e", "nan"}},
    {"a.set", NULL, 2, eeglab, NULL, read_recording, {"a", "nbchan", "pnts", "data", "type", "labels"}},
    {"z.set", NULL, 2, eeglab, pack_variable, read_recording, {"a", "nbchan", "pnts", "data", "type", "labels"}},
    {"a.nii", NULL, 2, nifti, NULL, read_nifti, {"n+1", "ni1", "n+2"}},
    {"a.nii.gz", NULL, 2, nifti, gzip, read_nifti, {"n+1", "ni1", "n+2"}},
    {"a.hdr", NULL, 2, pair, NULL, read_nifti, {"n+1", "ni1", "n+2"}},
    {"a.png", NULL, 4, png, correct_chunks, read_png, {"PLTE", "tRNS", "IDAT", "IEND", "IHDR", "zTXt"}},
    {"a.tsv", NULL, 2, table, NULL, read_table, {"onset", "duration", "n/a", "\"", "\t", ","}},
    {"a.csv.gz", NULL, 2, table, gzip, read_table, {"onset", "duration", "n/a", "\"", "\t", ","}},
    {"a.json", NULL, 1, json, NULL, read_json, {"true", "null", "{", "[", "\\u0000", "\\ud800", "layers"}},
    {"tokenizer.json",
     NULL,
     5,
     tokenizer,
     NULL,
     read_tokenizer,
     {"BPE", "Unigram", "ByteLevel", "Metaspace", "null", "true", "false", "vocab", "merges", "Sequence", "Split",
      "NFC"}},
    {"r.tiktoken", NULL, 1, ranks, NULL, read_tokenizer, {"IQ==", "="}},
    {"vocab.json", "", 1, vocab, NULL, read_tokenizer, {"a", "ab", "<|endoftext|>", "</w>"}},
    {"run.json", "", 2, description, NULL, read_description, {"haxby", "titans", "bf16", "options", "null", "seed"}},
    {"metrics.csv", "", 1, metrics, NULL, read_metrics, {"step", "loss", "nan", ","}},
    {"merges.txt", "", 1, merge_list, NULL, read_tokenizer, {"a", "abc", "b"}},
};

static void damaged(void **state, size_t first, size_t last) {
    for (size_t i = first; i < last; i++) fuzz(*state, &subjects[i]);
}
static void damaged_arrays_are_read_or_refused(void **state) {
    damaged(state, 0, 7);
}
static void damaged_recordings_are_read_or_refused(void **state) {
    damaged(state, 7, 13);
}
static void damaged_images_are_read_or_refused(void **state) {
    damaged(state, 13, 17);
}
static void damaged_text_is_read_or_refused(void **state) {
    damaged(state, 17, 20);
}
static void damaged_vocabularies_and_runs_are_read_or_refused(void **state) {
    damaged(state, 20, sizeof subjects / sizeof *subjects);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(damaged_arrays_are_read_or_refused),
        TEST(damaged_recordings_are_read_or_refused),
        TEST(damaged_images_are_read_or_refused),
        TEST(damaged_text_is_read_or_refused),
        TEST(damaged_vocabularies_and_runs_are_read_or_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
