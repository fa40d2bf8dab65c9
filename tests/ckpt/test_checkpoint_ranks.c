/* Saves by many ranks: any cut reads back at any other, merges to the same bytes, and what does not
 * belong together is never committed. */
#include "ranks_fixture.h"

#include "ckpt/hf_export.h"
#include "ckpt/hf_model.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint32_t worlds[] = { 1, 2, 3, 4, 7 };

static char *tmp_path(const char *name)
{
    return lt_strdup(lt_test_tmp(name));
}

static size_t count_entries(const char *dir)
{
    DIR *d = opendir(dir);
    size_t n = 0;

    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n > 2 ? n - 2 : 0; /* . and .. */
}

LT_TEST(checkpoint_of_any_world_reads_at_any_other)
{
    char *dir = tmp_path("worlds");
    int n = 0;
    space s;

    space_init(&s, 1);
    for (size_t w = 0; w < LT_COUNT(worlds); w++)
        for (uint64_t seed = 0; seed < 6; seed++) {
            uint64_t step = w * 10 + seed;
            char *path = lt_asprintf("%s/step-%08u", dir, (unsigned)step);
            lt_ckpt *c = NULL;

            LT_CHECK_OK(space_save(&s, dir, step, seed, worlds[w]));
            LT_CHECK_OK(lt_ckpt_open(&c, path));
            LT_CHECK_OK(lt_ckpt_verify(c, NULL));
            LT_CHECK_INT(lt_ckpt_manifest(c)->world, worlds[w]);
            for (size_t r = 0; r < LT_COUNT(worlds); r++, n++)
                LT_CHECK_OK(space_compare(&s, c, seed + 100 * r, worlds[r]));
            lt_ckpt_close(c);
            free(path);
        }
    LT_CHECK_INT(n, 150);
    space_release(&s);
    free(dir);
}

/* ---- merge */

/* The weights of a Hugging Face folder as a space, without moments. */
static lt_err space_from_hf(space *s, const char *folder, lt_param_table **table, lt_buf *config,
                            lt_ckpt_blob *blob)
{
    char *path = lt_path_join(folder, "config.json");
    lt_hf_model *model = NULL;
    lt_model_config dims;
    double dropout;
    lt_err err;

    LT_TRY(err = lt_model_config_from_hf(&dims, &dropout, path));
    LT_TRY(err = lt_file_read_all(config, path, 1 << 20));
    *blob = (lt_ckpt_blob){ "config.json", config->data, config->size };
    *table = lt_param_table_new(&dims);
    LT_BUG_ON((*table)->n_params > SPACE_TENSORS);
    *s = (space){ .n = (size_t)(*table)->n_params, .blobs = blob, .n_blobs = 1, .run_id = "hf" };
    LT_TRY(err = lt_hf_model_open(&model, folder));
    for (int i = 0; i < (*table)->n_params; i++) {
        const lt_param *p = &(*table)->params[i];

        s->tensors[i] = lt_ckpt_tensor_of(p, LT_F32);
        s->data[0][i] = lt_new_array0((size_t)p->count, sizeof(float));
        LT_TRY(err = lt_hf_model_read(model, p, 0, (uint64_t)p->count, s->data[0][i]));
    }
fail:
    lt_hf_model_close(model);
    free(path);
    return err;
}

/* Merges a step folder; *out gets the bytes of the model file. */
static lt_err merged(const char *path, lt_dtype dtype, lt_buf *out)
{
    const lt_hf_export_options o = { .dtype = dtype, .force = true };
    char *folder = tmp_path("merged"), *file = lt_path_join(folder, "model.safetensors");
    lt_ckpt *c = NULL;
    lt_err err;

    LT_TRY(err = lt_ckpt_open(&c, path));
    LT_TRY(err = lt_hf_export(c, folder, &o, NULL, NULL));
    LT_TRY(err = lt_file_read_all(out, file, 1 << 24));
fail:
    lt_ckpt_close(c);
    free(file);
    free(folder);
    return err;
}

LT_TEST(checkpoint_merges_to_the_same_bytes_from_any_layout)
{
    static const lt_dtype types[] = { LT_F32, LT_BF16, LT_F16 };
    char *folder = lt_strdup(lt_test_data("ckpt/tiny-gpt2")), *dir = tmp_path("merge");
    char *source = lt_path_join(folder, "model.safetensors");
    lt_buf first[LT_COUNT(types)] = { { 0 } }, b = { 0 }, config = { 0 };
    lt_param_table *table = NULL;
    lt_ckpt_blob blob;
    space s;

    LT_CHECK_OK(space_from_hf(&s, folder, &table, &config, &blob));
    LT_CHECK_OK(lt_file_read_all(&first[0], source, 1 << 24)); /* as transformers wrote it */
    for (uint32_t world = 1; world <= 4; world++)
        for (uint64_t seed = 0; seed < 3; seed++) {
            char *path = lt_asprintf("%s/step-%08u", dir, (unsigned)(world * 10 + seed));

            LT_CHECK_OK(space_save(&s, dir, world * 10 + seed, seed, world));
            for (size_t k = 0; k < LT_COUNT(types); k++) {
                LT_CHECK_OK(merged(path, types[k], &b));
                if (first[k].size == 0)
                    lt_buf_append(&first[k], b.data, b.size);
                LT_CHECK(b.size == first[k].size && memcmp(b.data, first[k].data, b.size) == 0);
            }
            free(path);
        }
    LT_CHECK(first[1].size > 0 && first[1].size < first[0].size);
    for (size_t k = 0; k < LT_COUNT(types); k++)
        lt_buf_release(&first[k]);
    lt_buf_release(&b);
    lt_buf_release(&config);
    space_release(&s);
    lt_param_table_free(table);
    free(source);
    free(folder);
    free(dir);
}

/* ---- what is not committed */

/* Two ranks that have written step 5 of the space in a folder of their own. */
typedef struct pair {
    space s;
    space_rank rank[2];
    lt_buf parts[2];
    char *dir, *tmp;
} pair;

static lt_err pair_write(pair *p, const char *name, uint64_t salt)
{
    lt_err err;

    *p = (pair){ .dir = tmp_path(name) };
    space_init(&p->s, salt);
    LT_TRY(err = lt_ckpt_begin(p->dir, 5, &p->tmp));
    for (uint32_t k = 0; k < 2; k++)
        LT_TRY(err = lt_ckpt_write(p->tmp, space_request(&p->s, &p->rank[k], 5, 0, k, 2),
                                   &p->parts[k]));
fail:
    return err;
}

static void pair_release(pair *p)
{
    for (int k = 0; k < 2; k++)
        lt_buf_release(&p->parts[k]);
    space_release(&p->s);
    free(p->dir);
    free(p->tmp);
}

static lt_err commit(const pair *p, const char *a, const char *b)
{
    const char *parts[2] = { a, b };
    bool published = false;
    lt_err err = lt_ckpt_commit(p->tmp, &p->rank[0].rq, parts, b ? 2 : 1, &published);

    LT_BUG_ON(published != (err == LT_OK));
    return err;
}

LT_TEST(checkpoint_commit_takes_one_part_of_each_rank_of_its_attempt)
{
    pair p, other;
    const char *a, *b, *c;

    LT_CHECK_OK(pair_write(&p, "parts", 1));
    LT_CHECK_OK(pair_write(&other, "parts", 1)); /* the same step and directory, again */
    a = p.parts[0].data;
    b = p.parts[1].data;
    c = other.parts[1].data;
    LT_CHECK_FAILS(commit(&p, a, a), LT_EMISMATCH, "part 1: expected \"rank 1 of 2, step 5, ");
    LT_CHECK_FAILS(commit(&p, a, a), LT_EMISMATCH, "found \"rank 0 of 2, step 5, ");
    LT_CHECK_FAILS(commit(&p, b, a), LT_EMISMATCH, "part 0: expected \"rank 0 of 2");
    LT_CHECK_FAILS(commit(&p, a, c), LT_EMISMATCH, strstr(other.tmp, ".tmp.") + 5);
    LT_CHECK_FAILS(commit(&p, a, ""), LT_EMISMATCH, "found \"\"");
    LT_CHECK_FAILS(commit(&p, a, NULL), LT_EMISMATCH, "1 parts of 2 ranks");
    LT_CHECK_OK(commit(&p, a, b));
    LT_CHECK_INT(count_entries(p.dir), 2); /* the other attempt is still there */
    lt_ckpt_discard(other.tmp);
    LT_CHECK_INT(count_entries(p.dir), 1);
    pair_release(&p);
    pair_release(&other);
}

LT_TEST(checkpoint_rank_that_lost_step_writes_nothing)
{
    lt_buf part = { 0 };
    space_rank r;
    pair p;

    LT_CHECK_OK(pair_write(&p, "lost", 1));
    LT_CHECK_FAILS(lt_ckpt_write(p.tmp, space_request(&p.s, &r, 6, 0, 1, 2), &part), LT_EMISMATCH,
                   "rank 1 is at step 6");
    LT_CHECK_FAILS(lt_ckpt_write(p.tmp, space_request(&p.s, &r, 50, 0, 1, 2), &part), LT_EMISMATCH,
                   "rank 1 is at step 50");
    p.rank[0].rq.step.step = 6;
    LT_CHECK_FAILS(commit(&p, p.parts[0].data, p.parts[1].data), LT_EMISMATCH,
                   "rank 0 is at step 6");
    LT_CHECK(part.size == 0);
    lt_ckpt_discard(p.tmp);
    LT_CHECK_INT(count_entries(p.dir), 0);
    pair_release(&p);
}

LT_TEST(checkpoint_commit_refuses_ranges_that_do_not_meet)
{
    static const struct {
        int64_t first, count; /* added to rank 1's slice of the first tensor */
        const char *part;
    } cases[] = {
        { -1, 1, "h.0.c_fc.weight: slices meet up to element 71 of 143, then leave a hole or" },
        { 1, -1, "h.0.c_fc.weight: slices meet up to element 71 of 143" },
        { 0, -1, "h.0.c_fc.weight: slices meet up to element 142 of 143" },
        { 1, 0, "slice of 72 elements at 72, the tensor has 143" },
    };

    for (size_t i = 0; i < LT_COUNT(cases); i++) {
        space_rank *r;
        pair p;

        LT_CHECK_OK(pair_write(&p, "ranges", 1));
        r = &p.rank[1];
        LT_CHECK(r->slices[0].first == 71 && r->slices[0].count == 72);
        r->slices[0].first += (uint64_t)cases[i].first;
        r->slices[0].count += (uint64_t)cases[i].count;
        r->slices[0].data = p.s.data[0][0];
        LT_CHECK_OK(lt_ckpt_write(p.tmp, &r->rq, &p.parts[1]));
        LT_CHECK_FAILS(commit(&p, p.parts[0].data, p.parts[1].data), LT_EFORMAT, cases[i].part);
        lt_ckpt_discard(p.tmp);
        LT_CHECK_INT(count_entries(p.dir), 0);
        pair_release(&p);
    }
}

/* A rank on a host with another file system under the same name. */
LT_TEST(checkpoint_commit_misses_files_that_rank_0_does_not_see)
{
    char *file;
    pair p;

    LT_CHECK_OK(pair_write(&p, "elsewhere", 1));
    file = lt_path_join(p.tmp, "exp_avg-00001.safetensors");
    LT_CHECK(truncate(file, 10) == 0);
    LT_CHECK_FAILS(commit(&p, p.parts[0].data, p.parts[1].data), LT_EIO,
                   "exp_avg-00001.safetensors: truncated: 10 bytes");
    LT_CHECK(unlink(file) == 0);
    LT_CHECK_FAILS(commit(&p, p.parts[0].data, p.parts[1].data), LT_EIO,
                   "exp_avg-00001.safetensors: missing from the checkpoint; do all ranks");
    lt_ckpt_discard(p.tmp);
    LT_CHECK_INT(count_entries(p.dir), 0);
    free(file);
    pair_release(&p);
}

LT_TEST(checkpoint_of_a_failed_rank_is_discarded_whole)
{
    char *block, *old;
    space s;
    pair p;

    LT_CHECK_OK(pair_write(&p, "failed", 1));
    space_init(&s, 2);
    LT_CHECK_OK(space_save(&s, p.dir, 4, 3, 3));
    block = lt_path_join(p.tmp, "exp_avg_sq-00001.safetensors");
    LT_CHECK(unlink(block) == 0 && mkdir(block, 0777) == 0);
    LT_CHECK_FAILS(lt_ckpt_write(p.tmp, &p.rank[1].rq, &p.parts[1]), LT_EIO,
                   "expected a file to write, found a directory");
    lt_ckpt_discard(p.tmp);
    LT_CHECK_INT(count_entries(p.dir), 1);
    old = lt_path_join(p.dir, "step-00000004");
    LT_CHECK_OK(space_check(&s, old));
    space_release(&s);
    pair_release(&p);
    free(block);
    free(old);
}
