/* The directory of a run: which step is newest, what is removed, who holds the lock. */
#include "ckpt_fixture.h"

#include "base/hash.h"
#include "ckpt/checkpoint_dir.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static bool has(const char *dir, const char *name)
{
    char path[700];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    return lt_path_exists(path);
}

static bool cut(const char *dir, const char *name, off_t size)
{
    char path[700];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    return truncate(path, size) == 0;
}

static bool make(const char *dir, const char *name)
{
    char path[700];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    return mkdir(path, 0700) == 0;
}

LT_TEST(checkpoint_find_takes_the_newest_complete_step)
{
    char dir[512], *path = NULL;
    bool chosen;

    fixture_dir(dir, "find");
    LT_CHECK_FAILS(lt_ckpt_find(dir, &path), LT_ENOENT, "No such file");
    LT_CHECK_OK(lt_mkdirs(dir));
    LT_CHECK_FAILS(lt_ckpt_find(dir, &path), LT_ENOENT, "holds no complete checkpoint");
    LT_CHECK_OK(fixture_save(dir, 9));
    LT_CHECK_OK(fixture_save(dir, 99999999));
    LT_CHECK_OK(fixture_save(dir, 123456789)); /* nine digits: larger, though "1..." < "9..." */
    LT_CHECK(make(dir, "step-00000011.tmp.0123456789abcdef") && make(dir, "step-5") &&
             make(dir, "step-000000xx") && make(dir, "step-00000900"));
    LT_CHECK_OK(lt_ckpt_find(dir, &path));
    LT_CHECK_STR(lt_path_base(path), "step-123456789");
    free(path);
    LT_CHECK(cut(dir, "step-123456789/MANIFEST", 100));
    LT_CHECK_OK(lt_ckpt_find(dir, &path)); /* step-00000900 has no MANIFEST at all */
    LT_CHECK_STR(lt_path_base(path), "step-99999999");
    free(path);
    LT_CHECK(cut(dir, "step-99999999/exp_avg-00000.safetensors", 10));
    LT_CHECK_OK(lt_ckpt_resolve(dir, &path, &chosen));
    LT_CHECK(chosen);
    LT_CHECK_STR(lt_path_base(path), "step-00000009");
    LT_CHECK_OK(fixture_read(path, 9));
    free(path);
    LT_CHECK(cut(dir, "step-00000009/state.json", 0));
    LT_CHECK_FAILS(lt_ckpt_find(dir, &path), LT_ENOENT, "4 step folders looked at");
    LT_CHECK_FAILS(lt_ckpt_resolve(lt_test_tmp("nothing"), &path, &chosen), LT_ENOENT,
                   "found nothing");
}

/* A newer lt wrote it: an older step in its place would be written over it. */
LT_TEST(checkpoint_find_stops_at_a_step_of_another_version)
{
    static const char body[] = "{\"format\":\"lt-checkpoint\",\"version\":2,\"new\":[],\n";
    char dir[512], hex[LT_SHA256_HEX], name[700], *path = NULL;
    uint8_t digest[LT_SHA256_BYTES];
    lt_buf text = { 0 };
    lt_sha256 sha;

    fixture_dir(dir, "version");
    LT_CHECK_OK(fixture_save(dir, 1));
    LT_CHECK(make(dir, "step-00000002"));
    lt_sha256_init(&sha);
    lt_sha256_update(&sha, body, sizeof body - 1);
    lt_sha256_final(&sha, digest);
    lt_sha256_hex(digest, hex);
    lt_buf_printf(&text, "%s\"sha256\":\"%s\"}\n", body, hex);
    snprintf(name, sizeof name, "%s/step-00000002/MANIFEST", dir);
    LT_CHECK_OK(lt_file_write_atomic(name, text.data, text.size));
    lt_buf_release(&text);
    LT_CHECK_FAILS(lt_ckpt_find(dir, &path), LT_ENOTSUP,
                   "step-00000002/MANIFEST: version 2 is not known, expected 1");
    LT_CHECK(!path);
}

LT_TEST(checkpoint_retire_keeps_the_newest_valid_ones)
{
    char dir[512];

    fixture_dir(dir, "retire");
    for (uint64_t step = 1; step <= 5; step++)
        LT_CHECK_OK(fixture_save(dir, step));
    LT_CHECK(cut(dir, "step-00000005/MANIFEST", 7)); /* does not count as kept */
    LT_CHECK_OK(lt_ckpt_retire(dir, 0));
    LT_CHECK(has(dir, "step-00000001"));
    LT_CHECK_OK(lt_ckpt_retire(dir, 2));
    LT_CHECK(has(dir, "step-00000005") && has(dir, "step-00000004") && has(dir, "step-00000003"));
    LT_CHECK(!has(dir, "step-00000002") && !has(dir, "step-00000001"));
    LT_CHECK(!has(dir, "trash.step-00000001"));
}

LT_TEST(checkpoint_sweep_removes_what_dead_jobs_left)
{
    char dir[512];

    fixture_dir(dir, "sweep");
    LT_CHECK_OK(lt_ckpt_sweep(dir)); /* not there yet */
    LT_CHECK_OK(fixture_save(dir, 1));
    LT_CHECK(make(dir, "step-00000002.tmp.0123456789abcdef") && make(dir, "trash.step-00000000") &&
             make(dir, "mine.tmp.1") && make(dir, "trash.mine") && make(dir, "trash.step-1.txt") &&
             make(dir, "step-by-step.tmp.1") && make(dir, "step-00000002.tmp.mine") &&
             make(dir, "step-00000002.tmp.0123456789abcdef/weights"));
    LT_CHECK_OK(lt_ckpt_sweep(dir));
    LT_CHECK(!has(dir, "step-00000002.tmp.0123456789abcdef") && !has(dir, "trash.step-00000000"));
    LT_CHECK(has(dir, "mine.tmp.1") && has(dir, "step-00000001"));
    LT_CHECK(has(dir, "trash.mine") && has(dir, "trash.step-1.txt"));
    LT_CHECK(has(dir, "step-by-step.tmp.1") && has(dir, "step-00000002.tmp.mine"));
}

LT_TEST(checkpoint_lock_names_its_holder)
{
    char dir[512], pid[32];
    lt_lock *lock = NULL, *second = NULL;
    int ready[2];
    pid_t child;
    char c;

    fixture_dir(dir, "lock");
    LT_CHECK(pipe(ready) == 0);
    child = fork();
    LT_CHECK(child >= 0);
    if (child == 0) {
        lt_err err = lt_ckpt_lock(&lock, dir);

        (void)!write(ready[1], err == LT_OK ? "y" : "n", 1);
        for (;;)
            pause();
    }
    LT_CHECK(read(ready[0], &c, 1) == 1 && c == 'y');
    snprintf(pid, sizeof pid, ", pid %ld, since 20", (long)child);
    LT_CHECK_FAILS(lt_ckpt_lock(&second, dir), LT_EIO, pid);
    LT_CHECK(strstr(lt_err_text(), "another job writes checkpoints here: host "));
    LT_CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
    LT_CHECK_OK(lt_ckpt_lock(&lock, dir)); /* a dead holder holds nothing */
    LT_CHECK_FAILS(lt_ckpt_lock(&second, dir), LT_EIO, "another job");
    lt_lock_drop(lock);
    LT_CHECK_OK(lt_ckpt_lock(&second, dir));
    lt_lock_drop(second);
    close(ready[0]);
    close(ready[1]);
}
