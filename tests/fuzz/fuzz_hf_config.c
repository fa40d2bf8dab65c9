/* fuzz_hf_config.c - a hostile config.json; what is accepted must be written and read the same. */
#include "config/model_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* The parser reads files: one in memory, under its /proc name. */
static lt_err from_bytes(lt_model_config *m, double *dropout, const void *data, size_t n)
{
    char path[64];
    int fd = memfd_create("config.json", MFD_CLOEXEC);
    lt_err err;

    if (fd < 0 || write(fd, data, n) != (ssize_t)n)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    err = lt_model_config_from_hf(m, dropout, path);
    close(fd);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    lt_model_config m = { 0 }, back = { 0 };
    lt_buf b = { 0 };
    double dropout = -1;

    if (from_bytes(&m, &dropout, data, n) != LT_OK)
        return 0;
    if (lt_model_config_check(&m) != LT_OK || !(dropout >= 0 && dropout < 1))
        abort();
    lt_model_config_to_hf(&b, &m, "float32");
    if (from_bytes(&back, &dropout, b.data, b.size) != LT_OK || dropout != 0)
        abort();
    if (back.n_inner != m.n_inner || back.norm_eps != m.norm_eps || back.act != m.act ||
        back.init_std != m.init_std || back.tied != m.tied || back.eos_id != m.eos_id)
        abort();
    lt_buf_clear(&b);
    lt_generation_config_to_hf(&b, &m);
    lt_buf_release(&b);
    return 0;
}
