/* Damage to a checkpoint of two ranks: every bit of every file, every length, files and blocks that
 * changed places.  Verify must name the file, and for one flipped bit its byte and its tensor.
 * LT_LONG=1 flips all bits, else every 7th: every bit of a byte takes its turn. */
#include "ranks_fixture.h"
#include "save_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { WORLD = 2, MOST_PLACES = 8 };

/* What verify names. */
typedef struct places {
    lt_ckpt_watch watch;
    size_t n;
    char sentence[MOST_PLACES][LT_ERR_TEXT_BYTES];
} places;

static void note_damage(lt_ckpt_watch *w, const char *sentence)
{
    places *p = (places *)w;

    if (p->n < MOST_PLACES)
        snprintf(p->sentence[p->n], sizeof p->sentence[0], "%s", sentence);
    p->n++;
}

static lt_err verify(lt_ckpt *c, places *p)
{
    *p = (places){ .watch.damage = note_damage };
    return lt_ckpt_verify(c, &p->watch);
}

static bool names(const places *p, const char *file)
{
    for (size_t i = 0; i < p->n && i < MOST_PLACES; i++)
        if (strstr(p->sentence[i], file))
            return true;
    return false;
}

static char *step_path(const char *dir, uint64_t step)
{
    return lt_asprintf("%s/step-%08u", dir, (unsigned)step);
}

static bool put_byte(int fd, size_t at, int byte)
{
    char c = (char)byte;

    return pwrite(fd, &c, 1, (off_t)at) == 1;
}

/* Bits between two that are flipped. */
static size_t stride(void)
{
    const char *all = getenv("LT_LONG");

    return all && strcmp(all, "1") == 0 ? 1 : 7;
}

/* Where byte `at` of f lies, as the sentence says it. */
static void say_place(char dst[256], const lt_manifest *m, const lt_manifest_file *f, size_t at)
{
    if (!f->group) {
        dst[0] = '\0';
        return;
    }
    snprintf(dst, 256, ", in the header,");
    for (size_t i = 0; i < f->n_slices; i++) {
        const lt_manifest_slice *s = &f->slices[i];

        if (at >= s->offset && at < s->offset + s->count * lt_dtype_bytes(s->dtype))
            snprintf(dst, 256, ", in tensor %s,", m->tensors[s->tensor].name);
    }
}

LT_TEST(checkpoint_names_every_flipped_bit)
{
    char *dir = lt_strdup(lt_test_tmp("flips")), *path = step_path(dir, 2);
    const lt_manifest *m;
    size_t n = 0, phase = 0;
    lt_ckpt *c = NULL;
    places p;
    space s;

    space_init(&s, 1);
    LT_CHECK_OK(space_save(&s, dir, 2, 0, WORLD));
    LT_CHECK_OK(lt_ckpt_open(&c, path));
    m = lt_ckpt_manifest(c);
    LT_CHECK_OK(verify(c, &p));
    for (size_t k = 0; k < m->n_files; k++) {
        const lt_manifest_file *f = &m->files[k];
        char *file = lt_path_join(path, f->name), place[256], expected[400];
        int fd = open(file, O_RDWR);
        lt_buf b = { 0 };
        size_t bit;

        LT_CHECK_OK(lt_file_read_all(&b, file, 1 << 20));
        for (bit = phase; bit < b.size * 8; bit += stride(), n++) {
            size_t at = bit / 8;
            lt_ckpt *again = NULL;

            LT_CHECK(put_byte(fd, at, b.data[at] ^ 1 << bit % 8));
            LT_CHECK(verify(c, &p) == LT_EFORMAT && p.n == 1);
            say_place(place, m, f, at);
            snprintf(expected, sizeof expected, "%s/%s: damaged in block 0 (", path, f->name);
            LT_FAIL_IF(!strstr(p.sentence[0], expected), "%s: %s", expected, p.sentence[0]);
            snprintf(expected, sizeof expected, "; bit %zu of byte %zu flipped%s would", bit % 8,
                     at, place);
            LT_FAIL_IF(!strstr(p.sentence[0], expected), "%s: %s", expected, p.sentence[0]);
            LT_CHECK_OK(lt_ckpt_open(&again, path));
            LT_CHECK(!f->group || space_compare(&s, again, 0, 1) == LT_EFORMAT);
            lt_ckpt_close(again);
            LT_CHECK(put_byte(fd, at, b.data[at]));
        }
        phase = bit - b.size * 8;
        close(fd);
        free(file);
        lt_buf_release(&b);
    }
    LT_CHECK_OK(verify(c, &p));
    printf("# %zu bits of %zu files\n", n, m->n_files);
    lt_ckpt_close(c);
    space_release(&s);
    free(path);
    free(dir);
}

LT_TEST(checkpoint_refuses_every_flipped_bit_of_its_manifest)
{
    char *dir = lt_strdup(lt_test_tmp("manifest")), *path = step_path(dir, 2);
    char *file = lt_path_join(path, LT_MANIFEST_NAME);
    lt_buf b = { 0 };
    size_t n = 0;
    space s;
    int fd;

    space_init(&s, 1);
    LT_CHECK_OK(space_save(&s, dir, 2, 0, WORLD));
    LT_CHECK_OK(lt_file_read_all(&b, file, 1 << 20));
    fd = open(file, O_RDWR);
    for (size_t bit = 0; bit < b.size * 8; bit += stride(), n++) {
        lt_ckpt *c = NULL;

        LT_CHECK(put_byte(fd, bit / 8, b.data[bit / 8] ^ 1 << bit % 8));
        LT_CHECK_FAILS(lt_ckpt_open(&c, path), LT_EFORMAT, file);
        LT_CHECK(strstr(lt_err_text(), "MANIFEST: damaged: "));
        LT_CHECK(put_byte(fd, bit / 8, b.data[bit / 8]));
    }
    LT_CHECK_OK(space_check(&s, path));
    printf("# %zu bits\n", n);
    close(fd);
    lt_buf_release(&b);
    space_release(&s);
    free(file);
    free(path);
    free(dir);
}

LT_TEST(checkpoint_of_ranks_names_every_truncation)
{
    char *dir = lt_strdup(lt_test_tmp("cut")), *path = step_path(dir, 2);
    const lt_manifest *m;
    lt_ckpt *c = NULL, *again = NULL;
    size_t n = 0;
    space s;

    space_init(&s, 1);
    LT_CHECK_OK(space_save(&s, dir, 2, 0, WORLD));
    LT_CHECK_OK(lt_ckpt_open(&c, path));
    m = lt_ckpt_manifest(c);
    for (size_t k = 0; k <= m->n_files; k++) {
        const char *name = k < m->n_files ? m->files[k].name : LT_MANIFEST_NAME;
        char *file = lt_path_join(path, name);
        lt_buf b = { 0 };
        int fd = open(file, O_RDWR);

        LT_CHECK_OK(lt_file_read_all(&b, file, 1 << 20));
        for (size_t size = b.size; size-- > 0; n++) {
            LT_CHECK(ftruncate(fd, (off_t)size) == 0);
            LT_CHECK_FAILS(lt_ckpt_open(&again, path), LT_EFORMAT, file);
        }
        LT_CHECK(pwrite(fd, b.data, b.size, 0) == (ssize_t)b.size);
        close(fd);
        free(file);
        lt_buf_release(&b);
    }
    LT_CHECK_OK(space_check(&s, path));
    printf("# %zu lengths\n", n);
    lt_ckpt_close(c);
    space_release(&s);
    free(path);
    free(dir);
}

/* ---- files that changed places */

static bool swap_files(const char *a, const char *b)
{
    return renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) == 0;
}

/* Opens and verifies; the sentences must name the file. */
static bool damage_names(const char *path, const char *file)
{
    lt_ckpt *c = NULL;
    bool found;
    places p;

    if (lt_ckpt_open(&c, path) != LT_OK) /* of another size */
        return strstr(lt_err_text(), file) != NULL;
    found = verify(c, &p) == LT_EFORMAT && names(&p, file);
    lt_ckpt_close(c);
    return found;
}

/* Every file of checkpoint a changes places with b's of the same name: with those of another step,
 * run or attempt.  *n counts. */
static void swap_all(const char *a, const char *b, size_t *n)
{
    lt_ckpt *c = NULL;
    const lt_manifest *m;

    LT_CHECK_OK(lt_ckpt_open(&c, a));
    m = lt_ckpt_manifest(c);
    for (size_t k = 0; k <= m->n_files; k++) {
        const char *name = k < m->n_files ? m->files[k].name : LT_MANIFEST_NAME;
        char *x = lt_path_join(a, name), *y = lt_path_join(b, name);

        if (k == m->n_files || m->files[k].group) { /* blobs may well be the same */
            LT_CHECK(swap_files(x, y));
            LT_FAIL_IF(!damage_names(a, k < m->n_files ? name : m->files[2].name),
                       "%s of %s: not found", x, y);
            LT_FAIL_IF(!damage_names(b, k < m->n_files ? name : m->files[2].name),
                       "%s of %s: not found", y, x);
            LT_CHECK(swap_files(x, y));
            *n += 2;
        }
        free(x);
        free(y);
    }
    lt_ckpt_close(c);
}

LT_TEST(checkpoint_names_files_of_other_ranks_steps_and_runs)
{
    char *dir = lt_strdup(lt_test_tmp("swap")), *other = lt_strdup(lt_test_tmp("swap-run"));
    char *two = step_path(dir, 2), *three = step_path(dir, 3), *run = step_path(other, 2);
    char *again = lt_asprintf("%s/again", other);
    size_t n = 0;
    space s;

    space_init(&s, 1); /* the same values everywhere: only the headers differ */
    LT_CHECK_OK(space_save(&s, dir, 2, 0, WORLD));
    LT_CHECK_OK(space_save(&s, dir, 3, 0, WORLD));
    LT_CHECK_OK(space_save(&s, other, 2, 0, WORLD));
    LT_CHECK(rename(run, again) == 0); /* the same run and step, another attempt */
    s.run_id = "the-other-run";
    LT_CHECK_OK(space_save(&s, other, 2, 0, WORLD));
    swap_all(two, three, &n);
    swap_all(two, run, &n);
    swap_all(two, again, &n);
    LT_CHECK_INT(n, 3 * 2 * (SPACE_GROUPS * WORLD + 1));
    for (size_t g = 0; g < SPACE_GROUPS; g++) { /* ranks */
        char *x = lt_asprintf("%s/%s-00000.safetensors", two, space_groups[g].name);
        char *y = lt_asprintf("%s/%s-00001.safetensors", two, space_groups[g].name);

        LT_CHECK(swap_files(x, y));
        LT_CHECK(damage_names(two, x));
        LT_CHECK(swap_files(x, y));
        free(x);
        free(y);
    }
    LT_CHECK_OK(space_check(&s, two));
    space_release(&s);
    free(dir);
    free(other);
    free(two);
    free(three);
    free(run);
    free(again);
}

/* ---- more than one block */

/* 12 MiB of one tensor by one rank. */
static lt_err save_blocks(const char *dir, float *data, size_t count)
{
    const lt_ckpt_tensor t = { "w", LT_F32, 1, { count, 0 }, LT_HF_LINEAR, true };
    const lt_ckpt_slice slice = { LT_CKPT_WEIGHTS, "w", LT_F32, 0, count, data };
    const lt_ckpt_save_request rq = { .step = { 1, 0, 0, "r" },
                                      .tensors = &t,
                                      .n_tensors = 1,
                                      .slices = &slice,
                                      .n_slices = 1,
                                      .world = 1 };

    for (size_t i = 0; i < count; i++)
        data[i] = (float)i;
    return save_alone(dir, &rq, NULL);
}

LT_TEST(checkpoint_names_blocks_that_changed_places_and_bits_far_inside)
{
    enum { COUNT = 3 << 20 };
    float *data = lt_new_array0(COUNT, sizeof *data);
    char *dir = lt_strdup(lt_test_tmp("blocks")), *path = step_path(dir, 1);
    char *file = lt_path_join(path, "weights-00000.safetensors");
    char *x = lt_new0(LT_CKPT_BLOCK), *y = lt_new0(LT_CKPT_BLOCK), expected[200];
    lt_ckpt *c = NULL;
    places p;
    int fd;

    LT_CHECK_OK(save_blocks(dir, data, COUNT));
    LT_CHECK_OK(lt_ckpt_open(&c, path));
    fd = open(file, O_RDWR);
    LT_CHECK(pread(fd, x, LT_CKPT_BLOCK, LT_CKPT_BLOCK) == LT_CKPT_BLOCK);
    LT_CHECK(pread(fd, y, LT_CKPT_BLOCK, 2 * LT_CKPT_BLOCK) == LT_CKPT_BLOCK);
    LT_CHECK(pwrite(fd, y, LT_CKPT_BLOCK, LT_CKPT_BLOCK) == LT_CKPT_BLOCK);
    LT_CHECK(pwrite(fd, x, LT_CKPT_BLOCK, 2 * LT_CKPT_BLOCK) == LT_CKPT_BLOCK);
    LT_CHECK(verify(c, &p) == LT_EFORMAT && p.n == 2);
    LT_CHECK(
        strstr(p.sentence[0], "damaged in block 1 (bytes 4194304 to 8388607, holding tensor w"));
    LT_CHECK(strstr(p.sentence[1], "damaged in block 2 (bytes 8388608 to 12582911, holding"));
    LT_CHECK(!strstr(p.sentence[0], "flipped") && !strstr(p.sentence[1], "flipped"));
    LT_CHECK(pwrite(fd, x, LT_CKPT_BLOCK, LT_CKPT_BLOCK) == LT_CKPT_BLOCK);
    LT_CHECK(pwrite(fd, y, LT_CKPT_BLOCK, 2 * LT_CKPT_BLOCK) == LT_CKPT_BLOCK);
    for (uint64_t k = 0; k < 8; k++) {
        size_t at = lt_random_u64(7, 0, k) % LT_CKPT_BLOCK, bit = k;

        LT_CHECK(put_byte(fd, LT_CKPT_BLOCK + at, x[at] ^ 1 << bit));
        LT_CHECK(verify(c, &p) == LT_EFORMAT && p.n == 1);
        snprintf(expected, sizeof expected, "; bit %zu of byte %zu flipped, in tensor w, would",
                 bit, LT_CKPT_BLOCK + at);
        LT_CHECK(strstr(p.sentence[0], expected));
        LT_CHECK(put_byte(fd, LT_CKPT_BLOCK + at, x[at]));
    }
    LT_CHECK_OK(verify(c, &p));
    close(fd);
    lt_ckpt_close(c);
    free(data);
    free(x);
    free(y);
    free(file);
    free(path);
    free(dir);
}
