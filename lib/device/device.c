/* device/device.c - choosing a backend and reserving its scratch. */
#include "device/device.h"
#include "base/log.h"

#include <string.h>

static const lt_backend *const backends[] = { &lt_backend_cuda, &lt_backend_cpu };

const lt_backend *lt_backend_find(const char *name)
{
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++)
        if (strcmp(backends[i]->name, name) == 0)
            return backends[i];
    return NULL;
}

lt_err lt_dev_open(lt_dev **out, const char *name, const lt_dev_options *options)
{
    const lt_backend *backend = lt_backend_find(name);

    if (strcmp(name, "auto") == 0) {
        if (lt_backend_cuda.open(out, options) == LT_OK)
            return LT_OK;
        lt_log_debug("device: auto: %s; using the CPU", lt_err_text());
        backend = &lt_backend_cpu;
    }
    if (!backend)
        return lt_fail(LT_EUSAGE, "device: expected auto, cpu or cuda, found \"%s\"", name);
    return backend->open(out, options);
}

void lt_dev_close(lt_dev *dev)
{
    if (!dev)
        return;
    lt_dev_free(dev, LT_MEMORY_DEVICE, dev->scratch);
    dev->backend->close(dev);
}

lt_err lt_dev_reserve(lt_dev *dev, const lt_dev_need *need)
{
    size_t bytes = 0;
    lt_err err;

    LT_TRY(err = dev->backend->plan(need, &bytes));
    if (bytes <= dev->scratch_bytes)
        return LT_OK;
    lt_dev_free(dev, LT_MEMORY_DEVICE, dev->scratch);
    dev->scratch = NULL;
    dev->scratch_bytes = 0;
    LT_TRY(err = lt_dev_alloc(dev, LT_MEMORY_DEVICE, bytes, &dev->scratch));
    dev->scratch_bytes = bytes;
fail:
    return err;
}
