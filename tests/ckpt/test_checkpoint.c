/* A checkpoint as a tensor space: ranges from any layout, and every damage named. */
#include "base/hash.h"
#include "ckpt/checkpoint_dir.h"
#include "ckpt_fixture.h"

#include <fcntl.h>
#include <unistd.h>

LT_TEST(checkpoint_round_trip)
{
    char dir[512];
    lt_ckpt *c = NULL;
    fixture f;
    char *path = NULL;
    size_t n;

    fixture_init(&f, 100, 0, 1);
    LT_CHECK_OK(save_alone(fixture_dir(dir, "round"), &f.rq, &path));
    LT_CHECK_STR(lt_path_base(path), "step-00000100");
    LT_CHECK_OK(fixture_read(path, 100));
    LT_CHECK_OK(lt_ckpt_open(&c, path));
    LT_CHECK_INT(lt_ckpt_manifest(c)->step.samples, 800);
    LT_CHECK_INT(lt_ckpt_manifest(c)->step.tokens, 51200);
    LT_CHECK_STR(lt_ckpt_manifest(c)->step.run_id, "test-run");
    LT_CHECK(lt_manifest_pieces(lt_ckpt_manifest(c), "exp_avg", 0, &n) && n == 1);
    (void)lt_manifest_pieces(lt_ckpt_manifest(c), "master", 0, &n);
    LT_CHECK_INT(n, 0);
    LT_CHECK(lt_ckpt_has_blob(c, "state.json") &&
             !lt_ckpt_has_blob(c, "weights-00000.safetensors"));
    LT_CHECK_OK(lt_ckpt_verify(c, NULL));
    LT_CHECK_OK(lt_ckpt_check(c, fix_tensors, FIX_TENSORS));
    lt_ckpt_close(c);
    free(path);
}

LT_TEST(checkpoint_reads_any_range_of_any_world)
{
    for (uint32_t world = 1; world <= 11; world += 2) {
        char dir[512], path[600];
        lt_ckpt *c = NULL;
        float got[FIX_MOST];

        snprintf(path, sizeof path, "world-%u", world);
        LT_CHECK_OK(fixture_save_world(fixture_dir(dir, path), 3, world));
        snprintf(path, sizeof path, "%s/step-00000003/", dir);
        LT_CHECK_OK(fixture_read(path, 3));
        LT_CHECK_OK(lt_ckpt_open(&c, path));
        LT_CHECK_OK(lt_ckpt_verify(c, NULL));
        for (uint64_t first = 0; first <= 35; first++)
            for (uint64_t n = 0; first + n <= 35; n++) {
                LT_CHECK_OK(lt_ckpt_read(c, "exp_avg", fix_tensors[0].name, first, n, got, LT_F32));
                for (uint64_t i = 0; i < n; i++)
                    LT_CHECK(got[i] == fixture_value(1, 0, first + i, 3));
            }
        lt_ckpt_close(c);
    }
}

LT_TEST(checkpoint_converts_while_reading)
{
    static const uint16_t bf16[4] = { 0x3f80, 0xc000, 0x4049, 0x0000 };
    const lt_ckpt_tensor t = { "w", LT_BF16, 1, { 4, 0 }, LT_HF_LINEAR, true };
    const lt_ckpt_slice s = { LT_CKPT_WEIGHTS, "w", LT_BF16, 0, 4, bf16 };
    const lt_ckpt_save_request rq = { .step = { 1, 0, 0, "r" },
                                      .tensors = &t,
                                      .n_tensors = 1,
                                      .slices = &s,
                                      .n_slices = 1,
                                      .world = 1 };
    char dir[512], *path = NULL;
    lt_ckpt *c = NULL;
    float got[4];
    uint16_t raw[4];

    LT_CHECK_OK(save_alone(fixture_dir(dir, "convert"), &rq, &path));
    LT_CHECK_OK(lt_ckpt_open(&c, path));
    LT_CHECK_OK(lt_ckpt_read(c, LT_CKPT_WEIGHTS, "w", 0, 4, got, LT_F32));
    LT_CHECK(got[0] == 1 && got[1] == -2 && got[2] == 3.140625f && got[3] == 0);
    LT_CHECK_OK(lt_ckpt_read(c, LT_CKPT_WEIGHTS, "w", 1, 3, raw, LT_BF16));
    LT_CHECK(memcmp(raw, bf16 + 1, 6) == 0);
    lt_ckpt_close(c);
    free(path);
}

/* More than the reader converts at once. */
LT_TEST(checkpoint_converts_long_slices)
{
    enum { N = 100003 };
    const lt_ckpt_tensor t = { "w", LT_BF16, 1, { N, 0 }, LT_HF_LINEAR, true };
    uint16_t *bf16 = lt_new_array0(N, sizeof *bf16);
    const lt_ckpt_slice s = { LT_CKPT_WEIGHTS, "w", LT_BF16, 0, N, bf16 };
    const lt_ckpt_save_request rq = { .step = { 1, 0, 0, "r" },
                                      .tensors = &t,
                                      .n_tensors = 1,
                                      .slices = &s,
                                      .n_slices = 1,
                                      .world = 1 };
    float *got = lt_new_array0(N, sizeof *got);
    char dir[512], *path = NULL;
    lt_ckpt *c = NULL;
    int wrong = 0;

    for (int i = 0; i < N; i++)
        bf16[i] = (uint16_t)(0x3f80 + i % 997);
    LT_CHECK_OK(save_alone(fixture_dir(dir, "convert_long"), &rq, &path));
    LT_CHECK_OK(lt_ckpt_open(&c, path));
    LT_CHECK_OK(lt_ckpt_read(c, LT_CKPT_WEIGHTS, "w", 5, N - 5, got, LT_F32));
    for (int i = 5; i < N; i++)
        wrong += got[i - 5] != lt_bf16_to_f32(bf16[i]);
    lt_ckpt_close(c);
    free(path);
    free(got);
    free(bf16);
    LT_CHECK_INT(wrong, 0);
}

LT_TEST(checkpoint_read_says_what_is_not_there)
{
    char dir[512], path[600];
    lt_ckpt *c = NULL;
    float got[FIX_MOST];

    LT_CHECK_OK(fixture_save(fixture_dir(dir, "absent"), 1));
    snprintf(path, sizeof path, "%s/step-00000001", dir);
    LT_CHECK_OK(lt_ckpt_open(&c, path));
    LT_CHECK_FAILS(lt_ckpt_read(c, "weights", "nope", 0, 1, got, LT_F32), LT_ENOENT,
                   "no tensor nope");
    LT_CHECK_FAILS(lt_ckpt_read(c, "master", "wte.weight", 0, 1, got, LT_F32), LT_ENOENT,
                   "group master does not hold tensor wte.weight");
    LT_CHECK_FAILS(lt_ckpt_read(c, "weights", "wte.weight", 20, 5, got, LT_F32), LT_EMISMATCH,
                   "it has 24");
    LT_CHECK_FAILS(lt_ckpt_read(c, "weights", "wte.weight", UINT64_MAX, 2, got, LT_F32),
                   LT_EMISMATCH, "it has 24");
    lt_ckpt_close(c);
}

LT_TEST(checkpoint_check_names_what_differs)
{
    char dir[512], path[600];
    lt_ckpt *c = NULL;
    lt_ckpt_tensor t[4];

    LT_CHECK_OK(fixture_save(fixture_dir(dir, "check"), 1));
    snprintf(path, sizeof path, "%s/step-00000001", dir);
    LT_CHECK_OK(lt_ckpt_open(&c, path));
    memcpy(t, fix_tensors, sizeof fix_tensors);
    t[3] = (lt_ckpt_tensor){ "extra", LT_F32, 1, { 1, 0 }, LT_HF_LINEAR, true };
    LT_CHECK_FAILS(lt_ckpt_check(c, t, 4), LT_EMISMATCH, "tensor extra is missing");
    LT_CHECK_FAILS(lt_ckpt_check(c, t, 2), LT_EMISMATCH, "tensor ln_f.bias does not belong");
    t[1].dims[0] = 8;
    LT_CHECK_FAILS(lt_ckpt_check(c, t, 3), LT_EMISMATCH,
                   "tensor wte.weight: expected shape [8, 4], found [6, 4]");
    memcpy(t, fix_tensors, sizeof fix_tensors);
    t[0].layout = LT_HF_LINEAR;
    LT_CHECK_FAILS(lt_ckpt_check(c, t, 3), LT_EMISMATCH,
                   "tensor h.0.c_fc.weight: the Hugging Face layout differs");
    lt_ckpt_close(c);
}

/* Puts `to` for every `from` into the MANIFEST, under a digest that is right again. */
static lt_err forge(const char *step, const char *from, const char *to)
{
    char *path = lt_path_join(step, LT_MANIFEST_NAME), hex[LT_SHA256_HEX];
    uint8_t digest[LT_SHA256_BYTES];
    lt_buf old = { 0 }, new = { 0 };
    const char *end, *at, *hit;
    lt_sha256 sha;
    lt_err err;

    LT_TRY(err = lt_file_read_all(&old, path, 1 << 20));
    end = strstr(lt_buf_cstr(&old), "\"sha256\"");
    for (at = old.data; (hit = strstr(at, from)) && hit < end; at = hit + strlen(from))
        lt_buf_printf(&new, "%.*s%s", (int)(hit - at), at, to);
    lt_buf_append(&new, at, (size_t)(end - at));
    lt_sha256_init(&sha);
    lt_sha256_update(&sha, new.data, new.size);
    lt_sha256_final(&sha, digest);
    lt_sha256_hex(digest, hex);
    lt_buf_printf(&new, "\"sha256\":\"%s\"}\n", hex);
    err = lt_file_write_atomic(path, new.data, new.size);
fail:
    lt_buf_release(&old);
    lt_buf_release(&new);
    free(path);
    return err;
}

/* Every sum is right, but the MANIFEST is another one's. */
LT_TEST(checkpoint_verify_compares_headers_with_the_manifest)
{
    static const struct {
        const char *from, *to, *found;
    } lies[] = {
        { "\"group\":\"exp_avg\"", "\"group\":\"exp_abc\"", "header: group is \"exp_avg\"" },
        { "[2,\"F32\"", "[2,\"F16\"", "tensor ln_f.bias is not where the MANIFEST says" },
        { NULL, "0123456789abcdef", "header: attempt is \"" },
    };
    char dir[512], path[600], attempt[LT_CKPT_ATTEMPT_BYTES];
    lt_ckpt *c = NULL;

    for (size_t i = 0; i < LT_COUNT(lies); i++) {
        LT_CHECK_OK(fixture_save(fixture_dir(dir, "forged"), 1));
        snprintf(path, sizeof path, "%s/step-00000001", dir);
        LT_CHECK_OK(lt_ckpt_open(&c, path));
        LT_CHECK_OK(lt_ckpt_verify(c, NULL));
        snprintf(attempt, sizeof attempt, "%s", lt_ckpt_manifest(c)->attempt);
        lt_ckpt_close(c);
        LT_CHECK_OK(forge(path, lies[i].from ? lies[i].from : attempt, lies[i].to));
        LT_CHECK_OK(lt_ckpt_open(&c, path));
        LT_CHECK_FAILS(lt_ckpt_verify(c, NULL), LT_EFORMAT, lies[i].found);
        lt_ckpt_close(c);
    }
}

/* Holes and overlaps between ranks are found before the commit; nothing is left behind. */
LT_TEST(checkpoint_save_refuses_incomplete_slices)
{
    char dir[512];
    fixture f;

    fixture_dir(dir, "holes");
    fixture_init(&f, 5, 0, 1);
    f.slices[1].count--;
    LT_CHECK_FAILS(save_alone(dir, &f.rq, NULL), LT_EFORMAT,
                   "tensor wte.weight: slices meet up to element 23 of 24");
    fixture_init(&f, 5, 0, 1);
    f.slices[0].first = 1;
    f.slices[0].count--;
    LT_CHECK_FAILS(save_alone(dir, &f.rq, NULL), LT_EFORMAT, "up to element 0 of 35");
    fixture_init(&f, 5, 0, 1);
    f.slices[0].first = 3;
    LT_CHECK_FAILS(save_alone(dir, &f.rq, NULL), LT_EFORMAT, "the tensor has 35");
    fixture_init(&f, 5, 0, 1);
    f.rq.n_slices = 2;
    LT_CHECK_FAILS(save_alone(dir, &f.rq, NULL), LT_EFORMAT, "weights holds 2 of 3 tensors");
    fixture_init(&f, 5, 0, 1);
    f.slices[0].name = "unknown";
    LT_CHECK_FAILS(save_alone(dir, &f.rq, NULL), LT_EMISMATCH, "slice of unknown");
    LT_CHECK(rmdir(dir) == 0); /* empty: no temporary folder */
}

LT_TEST(checkpoint_replaces_a_step_of_the_same_name)
{
    char dir[512], path[600];

    LT_CHECK_OK(fixture_save(fixture_dir(dir, "again"), 7));
    LT_CHECK_OK(fixture_save_world(dir, 7, 2));
    snprintf(path, sizeof path, "%s/step-00000007", dir);
    LT_CHECK_OK(fixture_read(path, 7));
    LT_CHECK_OK(lt_remove_tree(path));
    LT_CHECK(rmdir(dir) == 0);
}

/* ---- slices without data */

enum { PULLED = 3 * (1 << 20) + 5 }; /* values: more than two blocks of fp32 */

typedef struct counting_source {
    lt_ckpt_source base;
    uint64_t next, most, fails_at; /* what is asked for next, most at once */
} counting_source;

static lt_err pull_counted(lt_ckpt_source *base, const lt_ckpt_slice *slice, uint64_t first,
                           uint64_t count, void *dst)
{
    counting_source *s = (counting_source *)base;

    LT_BUG_ON(first != s->next || slice->first != 0);
    s->next = first + count;
    s->most = count > s->most ? count : s->most;
    for (uint64_t i = 0; i < count; i++)
        ((float *)dst)[i] = (float)(first + i);
    return s->next > s->fails_at ? lt_fail(LT_EFAULT, "the source has failed") : LT_OK;
}

LT_TEST(checkpoint_pulls_what_has_no_data_block_by_block)
{
    static const lt_ckpt_tensor t = { "w", LT_F32, 1, { PULLED, 0 }, LT_HF_LINEAR, true };
    lt_ckpt_slice slice = { LT_CKPT_WEIGHTS, "w", LT_F32, 0, PULLED, NULL };
    counting_source source = { .base = { pull_counted }, .fails_at = PULLED };
    lt_ckpt_save_request rq = { .step = { 1, 0, 0, "r" },
                                .tensors = &t,
                                .n_tensors = 1,
                                .slices = &slice,
                                .n_slices = 1,
                                .world = 1,
                                .source = &source.base };
    float *got = lt_new_array0(PULLED, sizeof *got);
    char dir[512], *path = NULL;
    lt_ckpt *c = NULL;

    LT_CHECK_OK(save_alone(fixture_dir(dir, "pulled"), &rq, &path));
    LT_CHECK_INT(source.next, PULLED);
    LT_CHECK_INT(source.most, 1 << 20);
    LT_CHECK_OK(lt_ckpt_open(&c, path));
    LT_CHECK_OK(lt_ckpt_verify(c, NULL));
    LT_CHECK_OK(lt_ckpt_read(c, LT_CKPT_WEIGHTS, "w", 0, PULLED, got, LT_F32));
    for (uint64_t i = 0; i < PULLED; i++)
        LT_CHECK(got[i] == (float)i);
    lt_ckpt_close(c);
    free(path);
    /* A source that fails ends the save and leaves the older one. */
    source = (counting_source){ .base = { pull_counted }, .fails_at = PULLED / 2 };
    rq.step.step = 2;
    LT_CHECK_FAILS(save_alone(dir, &rq, NULL), LT_EFAULT, "the source has failed");
    LT_CHECK_INT(source.next, 2 << 20);
    LT_CHECK_OK(lt_ckpt_find(dir, &path));
    LT_CHECK_STR(lt_path_base(path), "step-00000001");
    free(path);
    free(got);
}

/* ---- damage ---- */

static const char *const files[] = { "MANIFEST",
                                     "weights-00000.safetensors",
                                     "exp_avg-00000.safetensors",
                                     "exp_avg_sq-00000.safetensors",
                                     "config.json",
                                     "state.json" };

/* Opens and verifies; the sentence must name the file. */
static lt_err open_and_verify(const char *path)
{
    lt_ckpt *c = NULL;
    lt_err err;

    LT_TRY(err = lt_ckpt_open(&c, path));
    LT_TRY(err = lt_ckpt_verify(c, NULL));
fail:
    lt_ckpt_close(c);
    return err;
}

/* Overwrites in place, without the atomic writer: this is the damage. */
static bool overwrite(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    bool ok = f && fwrite(data, 1, n, f) == n;

    return f && fclose(f) == 0 && ok;
}

LT_TEST(checkpoint_names_every_flipped_byte)
{
    char dir[512], path[600], file[700];

    LT_CHECK_OK(fixture_save(fixture_dir(dir, "flip"), 2));
    snprintf(path, sizeof path, "%s/step-00000002", dir);
    for (size_t k = 0; k < LT_COUNT(files); k++) {
        lt_buf b = { 0 };

        snprintf(file, sizeof file, "%s/%s", path, files[k]);
        LT_CHECK_OK(lt_file_read_all(&b, file, 1 << 20));
        for (size_t i = 0; i < b.size; i++) {
            b.data[i] ^= (char)(1 << i % 8);
            LT_CHECK(overwrite(file, b.data, b.size));
            LT_CHECK_FAILS(open_and_verify(path), LT_EFORMAT, files[k]);
            LT_CHECK(fixture_read(path, 2) == LT_EFORMAT); /* never a wrong number */
            b.data[i] ^= (char)(1 << i % 8);
        }
        LT_CHECK(overwrite(file, b.data, b.size));
        lt_buf_release(&b);
    }
    LT_CHECK_OK(fixture_read(path, 2));
}

LT_TEST(checkpoint_names_every_truncation)
{
    char dir[512], path[600], file[700];

    LT_CHECK_OK(fixture_save(fixture_dir(dir, "cut"), 2));
    snprintf(path, sizeof path, "%s/step-00000002", dir);
    for (size_t k = 0; k < LT_COUNT(files); k++) {
        lt_buf b = { 0 };

        snprintf(file, sizeof file, "%s/%s", path, files[k]);
        LT_CHECK_OK(lt_file_read_all(&b, file, 1 << 20));
        for (size_t n = b.size; n-- > 0;) {
            LT_CHECK(truncate(file, (off_t)n) == 0);
            LT_CHECK_FAILS(open_and_verify(path), LT_EFORMAT, files[k]);
        }
        LT_CHECK(unlink(file) == 0);
        LT_CHECK(open_and_verify(path) == (k == 0 ? LT_ENOENT : LT_EFORMAT));
        LT_CHECK(strstr(lt_err_text(), files[k]));
        lt_buf_append(&b, "x", 1);
        LT_CHECK(overwrite(file, b.data, b.size));
        LT_CHECK_FAILS(open_and_verify(path), LT_EFORMAT, files[k]);
        LT_CHECK(overwrite(file, b.data, b.size - 1));
        lt_buf_release(&b);
    }
    LT_CHECK_OK(fixture_read(path, 2));
}

/* Same names, same sizes, other contents: between ranks, steps and runs. */
LT_TEST(checkpoint_names_swapped_files)
{
    char dir[512], a[600], b[600];

    LT_CHECK_OK(fixture_save_world(fixture_dir(dir, "swap"), 2, 3));
    LT_CHECK_OK(fixture_save_world(dir, 3, 3));
    snprintf(a, sizeof a, "%s/step-00000002/weights-00000.safetensors", dir);
    snprintf(b, sizeof b, "%s/step-00000003/weights-00000.safetensors", dir);
    LT_CHECK(renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) == 0);
    snprintf(a, sizeof a, "%s/step-00000002", dir);
    LT_CHECK_FAILS(open_and_verify(a), LT_EFORMAT, "weights-00000.safetensors: damaged in block 0");
    snprintf(a, sizeof a, "%s/step-00000003/exp_avg-00000.safetensors", dir);
    snprintf(b, sizeof b, "%s/step-00000003/exp_avg_sq-00000.safetensors", dir);
    LT_CHECK(renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) == 0);
    snprintf(a, sizeof a, "%s/step-00000003", dir);
    LT_CHECK(open_and_verify(a) == LT_EFORMAT);
}

/* More than one block: the sentence says which, and what lies there. */
LT_TEST(checkpoint_names_block_offset_and_tensor)
{
    enum { N = 3 << 20 }; /* 12 MiB of fp32 in two tensors */
    const lt_ckpt_tensor t[2] = { { "first", LT_F32, 1, { N / 2, 0 }, LT_HF_LINEAR, true },
                                  { "second", LT_F32, 1, { N / 2, 0 }, LT_HF_LINEAR, true } };
    float *data = lt_new_array0(N, sizeof *data), one;
    const lt_ckpt_slice s[2] = { { LT_CKPT_WEIGHTS, "first", LT_F32, 0, N / 2, data },
                                 { LT_CKPT_WEIGHTS, "second", LT_F32, 0, N / 2, data + N / 2 } };
    const lt_ckpt_save_request rq = { .step = { 9, 0, 0, "r" },
                                      .tensors = t,
                                      .n_tensors = 2,
                                      .slices = s,
                                      .n_slices = 2,
                                      .world = 1 };
    char dir[512], file[700], *path = NULL;
    lt_ckpt *c = NULL;
    FILE *f;

    for (size_t i = 0; i < N; i++)
        data[i] = (float)i;
    LT_CHECK_OK(save_alone(fixture_dir(dir, "blocks"), &rq, &path));
    LT_CHECK_OK(lt_ckpt_open(&c, path));
    LT_CHECK_OK(lt_ckpt_read(c, LT_CKPT_WEIGHTS, "second", N / 2 - 1, 1, &one, LT_F32));
    LT_CHECK(one == N - 1);
    lt_ckpt_close(c);
    snprintf(file, sizeof file, "%s/weights-00000.safetensors", path);
    f = fopen(file, "r+b");
    LT_CHECK(f && fseek(f, 9 << 20, SEEK_SET) == 0 && fputc(0x55, f) == 0x55 && fclose(f) == 0);
    LT_CHECK_OK(lt_ckpt_open(&c, path));
    LT_CHECK_FAILS(lt_ckpt_verify(c, NULL), LT_EFORMAT,
                   "weights-00000.safetensors: damaged in block 2 (bytes 8388608 to 12582911, "
                   "holding tensor second)");
    /* Reads that do not touch the block go on; one that does fails, also the second time. */
    LT_CHECK_OK(lt_ckpt_read(c, LT_CKPT_WEIGHTS, "first", 0, N / 2, data, LT_F32));
    LT_CHECK(data[77] == 77);
    for (int k = 0; k < 2; k++)
        LT_CHECK_FAILS(lt_ckpt_read(c, LT_CKPT_WEIGHTS, "second", N / 4, 1, &one, LT_F32),
                       LT_EFORMAT, "block 2");
    LT_CHECK_FAILS(lt_ckpt_read(c, LT_CKPT_WEIGHTS, "second", 0, N / 2, data, LT_F32), LT_EFORMAT,
                   "block 2");
    lt_ckpt_close(c);
    free(path);
    free(data);
}
