/* bench_job.c - command lines of jobs. */
#include "bench_job.h"

#include "base/file.h"
#include "base/log.h"
#include "bench.h"
#include "child.h"
#include "comm/group.h"
#include "device/device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char usual_peer[] = "tests/peers/gpt2_torch.py";

bench_job bench_job_default(void)
{
    return (bench_job){ .model = "gpt2",
                        .device = "auto",
                        .precision = "fp32",
                        .recompute = "none",
                        .mpirun = "mpirun",
                        .python = "python3",
                        .seq = 1024,
                        .steps = 10 };
}

/* Asked by a child, so that this process holds no memory of a GPU while others are measured. */
static bool has_cuda(void)
{
    int status = 1;
    pid_t pid = fork();

    if (pid == 0) {
        lt_dev_options o = { 0 };
        lt_dev *dev;

        _exit(lt_dev_open(&dev, "cuda", &o) == LT_OK ? 0 : 1);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

lt_err bench_job_check(bench_job *j, const char *subcommand)
{
    int rank = 0, world = 1;
    lt_model_config config;
    lt_recompute keep;
    lt_dtype act;
    lt_err err;

    (void)lt_group_peek(&rank, &world);
    if (world > 1)
        return lt_fail(LT_EUSAGE, "%s starts its ranks itself: expected one process, found %d",
                       subcommand, world);
    if (!lt_model_config_named(&config, j->model))
        return bench_fail_model(j->model);
    LT_TRY(err = bench_parse_precision(&act, j->precision));
    LT_TRY(err = bench_parse_recompute(&keep, j->recompute));
    if (strcmp(j->device, "auto") == 0)
        j->device = has_cuda() ? "cuda" : "cpu";
    if (!lt_backend_find(j->device))
        err = lt_fail(LT_EUSAGE, "--device: expected auto, cpu or cuda, found \"%s\"", j->device);
fail:
    return err;
}

/* Ranks may be root, as in a container; they share processors by lt's own rule; multicast over
 * NVLink is more than some virtual machines can do. */
static void set_environment(void)
{
    static const char *const all[][2] = { { "OMPI_ALLOW_RUN_AS_ROOT", "1" },
                                          { "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1" },
                                          { "OMPI_MCA_hwloc_base_binding_policy", "none" },
                                          { "PRTE_MCA_hwloc_default_binding_policy", "none" },
                                          { "NCCL_NVLS_ENABLE", "0" } };

    for (size_t i = 0; i < LT_COUNT(all); i++)
        setenv(all[i][0], all[i][1], 0);
}

static lt_err own_path(char *out, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", out, size - 1);

    if (n < 0)
        return lt_fail(LT_EIO, "/proc/self/exe: %s", strerror(errno));
    out[n] = 0;
    return LT_OK;
}

static void add_shape(child_command *c, const bench_job *j, int64_t batch)
{
    child_add(c, "--model=%s", j->model);
    child_add(c, "--device=%s", j->device);
    child_add(c, "--precision=%s", j->precision);
    child_add(c, "--batch=%lld", (long long)batch);
    child_add(c, "--seq=%lld", (long long)j->seq);
    child_add(c, "--steps=%lld", (long long)j->steps);
    if (j->layers)
        child_add(c, "--layers=%lld", (long long)j->layers);
    if (j->threads)
        child_add(c, "--threads=%lld", (long long)j->threads);
    child_add(c, "--json");
}

lt_err bench_job_train(json_t **out, const bench_job *j, int64_t n, int64_t batch, int64_t stage)
{
    child_command c = { 0 };
    char self[4096];
    lt_err err;

    LT_TRY(err = own_path(self, sizeof self));
    set_environment();
    if (n > 1) {
        child_add_split(&c, j->mpirun);
        child_add(&c, "-n");
        child_add(&c, "%lld", (long long)n);
    }
    child_add(&c, "%s", self);
    child_add(&c, "train");
    add_shape(&c, j, batch);
    child_add(&c, "--stage=%lld", (long long)stage);
    child_add(&c, "--recompute=%s", j->recompute);
    child_add(&c, "--gemm-size=256"); /* nobody asks for the peak */
    err = child_json(out, &c);
    if (err == LT_ENOENT && n > 1)
        err = lt_fail_in("--mpirun");
fail:
    child_release(&c);
    return err;
}

static const char *peer_of(const bench_job *j)
{
    return j->peer ? j->peer : usual_peer;
}

bool bench_job_has_peer(const bench_job *j)
{
    child_command c = { 0 };
    bool has = false;

    if (!lt_path_exists(peer_of(j))) {
        lt_log_info("%s is not there (--peer): no rows of PyTorch", peer_of(j));
        return false;
    }
    child_add(&c, "%s", j->python);
    child_add(&c, "-c");
    child_add(&c, "import numpy, torch");
    has = child_succeeds(&c);
    if (!has)
        lt_log_info("%s has no PyTorch (--python): no rows of it", j->python);
    child_release(&c);
    return has;
}

lt_err bench_job_peer(json_t **out, const bench_job *j, int64_t n, int64_t batch,
                      const char *parallel)
{
    child_command c = { 0 };
    lt_err err;

    set_environment();
    child_add(&c, "%s", j->python);
    child_add(&c, "%s", peer_of(j));
    add_shape(&c, j, batch);
    child_add(&c, "--parallel=%s", parallel);
    child_add(&c, "--gpus=%lld", (long long)n);
    if (strcmp(parallel, "ddp") == 0 && strcmp(j->device, "cuda") == 0)
        child_add(&c, "--compile");
    err = child_json(out, &c);
    child_release(&c);
    return err;
}
