/* The background writer: the same bytes as in the foreground, its errors, and its end.
 *
 * A FIFO under the name of a slice file holds the thread still for as long as a test needs: its
 * open waits until somebody reads. */
#include "ranks_fixture.h"

#include "ckpt/checkpoint_dir.h"
#include "ckpt/checkpoint_writer.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORLD = 3 };

static char *tmp_path(const char *name)
{
    return lt_strdup(lt_test_tmp(name));
}

LT_TEST(checkpoint_writers_of_many_ranks_make_one_checkpoint)
{
    char *dir = tmp_path("many"), *tmp = NULL, *path = lt_path_join(dir, "step-00000003");
    lt_ckpt_writer *w[WORLD];
    lt_buf parts[WORLD] = { { 0 } };
    const char *texts[WORLD];
    space_rank r[WORLD];
    bool published;
    space s;

    space_init(&s, 1);
    for (int k = 0; k < WORLD; k++)
        LT_CHECK_OK(lt_ckpt_writer_open(&w[k]));
    for (uint64_t seed = 0; seed < 4; seed++) { /* the same writers, save after save */
        LT_CHECK_OK(lt_ckpt_begin(dir, 3, &tmp));
        for (uint32_t k = 0; k < WORLD; k++)
            lt_ckpt_writer_start(w[k], tmp, space_request(&s, &r[k], 3, seed, k, WORLD));
        for (int k = 0; k < WORLD; k++) {
            while (lt_ckpt_writer_busy(w[k]))
                sched_yield();
            LT_CHECK_OK(lt_ckpt_writer_join(w[k], &parts[k]));
            LT_CHECK_OK(lt_ckpt_writer_join(w[k], &parts[k])); /* says the same again */
            LT_CHECK_OK(lt_ckpt_writer_join(w[k], NULL));
            texts[k] = lt_buf_cstr(&parts[k]);
        }
        LT_CHECK_OK(lt_ckpt_commit(tmp, &r[0].rq, texts, WORLD, &published));
        LT_CHECK_OK(space_check(&s, path));
        free(tmp);
    }
    for (int k = 0; k < WORLD; k++) {
        lt_ckpt_writer_close(w[k]);
        lt_buf_release(&parts[k]);
    }
    lt_ckpt_writer_close(NULL);
    space_release(&s);
    free(path);
    free(dir);
}

LT_TEST(checkpoint_writer_reports_and_goes_on)
{
    char *dir = tmp_path("errors"), *tmp = NULL, *gone, *path;
    const char *text;
    lt_ckpt_writer *w;
    lt_buf part = { 0 };
    space_rank r;
    bool published;
    space s;

    space_init(&s, 1);
    space_request(&s, &r, 7, 0, 0, 1);
    LT_CHECK_OK(lt_ckpt_begin(dir, 7, &tmp));
    gone = lt_asprintf("%s/step-00000007.tmp.0123456789abcdef", dir);
    LT_CHECK_OK(lt_ckpt_writer_open(&w));
    lt_ckpt_writer_start(w, gone, &r.rq);
    for (int k = 0; k < 2; k++)
        LT_CHECK_FAILS(lt_ckpt_writer_join(w, &part), LT_ENOENT, gone);
    LT_CHECK(part.size == 0);
    lt_ckpt_writer_start(w, tmp, &r.rq);
    LT_CHECK_OK(lt_ckpt_writer_join(w, &part));
    text = part.data;
    LT_CHECK_OK(lt_ckpt_commit(tmp, &r.rq, &text, 1, &published));
    path = lt_path_join(dir, "step-00000007");
    LT_CHECK_OK(space_check(&s, path));
    lt_ckpt_writer_close(w);
    lt_buf_release(&part);
    space_release(&s);
    free(path);
    free(gone);
    free(tmp);
    free(dir);
}

/* In a child: files may have 600 bytes, then any size. */
static lt_err save_limited(const char *dir)
{
    struct rlimit limit = { 600, RLIM_INFINITY };
    lt_buf part = { 0 };
    char *tmp = NULL;
    lt_ckpt_writer *w;
    space_rank r;
    space s;
    lt_err err;

    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
        return LT_ENOTSUP;
    space_init(&s, 1);
    LT_TRY(err = lt_ckpt_begin(dir, 1, &tmp));
    LT_TRY(err = lt_ckpt_writer_open(&w));
    space_request(&s, &r, 1, 0, 0, 1);
    lt_ckpt_writer_start(w, tmp, &r.rq);
    err = lt_ckpt_writer_join(w, &part);
    if (err != LT_EIO || !strstr(lt_err_text(), "File too large"))
        return LT_EUSAGE;
    limit.rlim_cur = RLIM_INFINITY;
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
        return LT_ENOTSUP;
    lt_ckpt_writer_start(w, tmp, &r.rq);
    err = lt_ckpt_writer_join(w, &part);
    lt_ckpt_writer_close(w);
    lt_ckpt_discard(tmp);
fail:
    return err;
}

LT_TEST(checkpoint_writer_on_a_full_disk)
{
    char *dir = tmp_path("limit");
    int status = -1;
    pid_t pid = fork();

    LT_CHECK(pid >= 0);
    if (pid == 0)
        _exit((int)save_limited(dir));
    LT_CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    LT_CHECK_INT(WEXITSTATUS(status), LT_OK);
    LT_CHECK(rmdir(dir) == 0); /* empty */
    free(dir);
}

/* A writer whose thread waits in the open of its first slice file, and the process that will let it
 * go on by reading. */
typedef struct held {
    space s;
    space_rank r;
    char *dir, *tmp, *fifo;
    lt_ckpt_writer *w;
} held;

static lt_err hold(held *h, const char *name)
{
    lt_err err;

    *h = (held){ .dir = tmp_path(name) };
    space_init(&h->s, 1);
    LT_TRY(err = lt_ckpt_begin(h->dir, 1, &h->tmp));
    h->fifo = lt_path_join(h->tmp, "weights-00000.safetensors");
    if (mkfifo(h->fifo, 0666) != 0)
        return lt_fail(LT_EIO, "mkfifo");
    LT_TRY(err = lt_ckpt_writer_open(&h->w));
    lt_ckpt_writer_start(h->w, h->tmp, space_request(&h->s, &h->r, 1, 0, 0, 1));
fail:
    return err;
}

/* A child that reads the FIFO to its end, after a moment. */
static pid_t let_go(const held *h)
{
    char sink[4096];
    pid_t pid = fork();
    int fd;

    if (pid != 0)
        return pid;
    usleep(20000);
    fd = open(h->fifo, O_RDONLY);
    while (fd >= 0 && read(fd, sink, sizeof sink) > 0)
        ;
    _exit(0);
}

static void held_release(held *h, pid_t child)
{
    (void)waitpid(child, NULL, 0);
    lt_ckpt_discard(h->tmp);
    LT_CHECK(rmdir(h->dir) == 0); /* nothing is left */
    space_release(&h->s);
    free(h->fifo);
    free(h->tmp);
    free(h->dir);
}

LT_TEST(checkpoint_write_gives_up)
{
    const atomic_bool give_up = true;
    char *dir = tmp_path("give-up"), *tmp = NULL;
    lt_buf part = { 0 };
    space_rank r;
    space s;

    space_init(&s, 1);
    LT_CHECK_OK(lt_ckpt_begin(dir, 1, &tmp));
    space_request(&s, &r, 1, 0, 0, 1);
    r.rq.give_up = &give_up;
    LT_CHECK_FAILS(lt_ckpt_write(tmp, &r.rq, &part), LT_EIO, "weights-00000.safetensors: given up");
    LT_CHECK_INT(part.size, 0);
    lt_ckpt_discard(tmp);
    LT_CHECK(rmdir(dir) == 0); /* nothing is left */
    space_release(&s);
    free(tmp);
    free(dir);
}

LT_TEST(checkpoint_writer_is_closed_while_busy)
{
    pid_t child;
    held h;

    LT_CHECK_OK(hold(&h, "close"));
    LT_CHECK(lt_ckpt_writer_busy(h.w));
    child = let_go(&h);
    lt_ckpt_writer_close(h.w);
    held_release(&h, child);
}

LT_TEST(checkpoint_writer_retires)
{
    char *dir = tmp_path("retire"), *path = NULL;
    lt_ckpt_writer *w;
    space s;

    space_init(&s, 1);
    LT_CHECK_OK(lt_ckpt_writer_open(&w));
    for (uint64_t step = 1; step <= 3; step++)
        LT_CHECK_OK(space_save(&s, dir, step, step, 2));
    lt_ckpt_writer_start_retire(w, dir, 0); /* keeps all */
    LT_CHECK_OK(lt_ckpt_writer_join(w, NULL));
    path = lt_path_join(dir, "step-00000001");
    LT_CHECK(lt_path_exists(path));
    lt_ckpt_writer_start_retire(w, dir, 1);
    LT_CHECK_OK(lt_ckpt_writer_join(w, NULL));
    LT_CHECK(!lt_path_exists(path));
    free(path);
    LT_CHECK_OK(lt_ckpt_find(dir, &path));
    LT_CHECK_STR(lt_path_base(path), "step-00000003");
    lt_ckpt_writer_start_retire(w, "/nowhere", 1);
    LT_CHECK_FAILS(lt_ckpt_writer_join(w, NULL), LT_ENOENT, "/nowhere");
    lt_ckpt_writer_close(w);
    space_release(&s);
    free(path);
    free(dir);
}

/* Threads of this process whose nice value is `nice`. */
static int count_threads(int nice)
{
    DIR *d = opendir("/proc/self/task");
    int n = 0;

    for (const struct dirent *e; d && (e = readdir(d)) != NULL;) {
        long tid = strtol(e->d_name, NULL, 10);

        n += tid > 0 && getpriority(PRIO_PROCESS, (id_t)tid) == nice;
    }
    if (d)
        closedir(d);
    return n;
}

LT_TEST(checkpoint_writer_alone_has_low_priority)
{
    int before = getpriority(PRIO_PROCESS, 0);
    lt_ckpt_writer *w;

    if (before >= 10) {
        lt_test_skip("this process is nice already");
        return;
    }
    LT_CHECK_OK(lt_ckpt_writer_open(&w));
    lt_ckpt_writer_start_retire(w, lt_test_tmp(""), 1); /* after a job it is what it will be */
    LT_CHECK_OK(lt_ckpt_writer_join(w, NULL));
    LT_CHECK_INT(getpriority(PRIO_PROCESS, 0), before);
    LT_CHECK_INT(count_threads(10), 1);
    lt_ckpt_writer_close(w);
}
