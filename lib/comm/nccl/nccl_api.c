/* comm/nccl/nccl_api.c - finding NCCL and its calls. */
#include "comm/nccl/nccl_api.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OLDEST = LT_NCCL_CONFIG_VERSION }; /* the first whose calls need not block */

static const struct symbol {
    const char *name;
    size_t offset; /* of a function pointer in lt_nccl_api */
} symbols[] = {
    { "ncclGetVersion", offsetof(lt_nccl_api, get_version) },
    { "ncclGetUniqueId", offsetof(lt_nccl_api, get_unique_id) },
    { "ncclCommInitRankConfig", offsetof(lt_nccl_api, init) },
    { "ncclCommFinalize", offsetof(lt_nccl_api, finalize) },
    { "ncclCommDestroy", offsetof(lt_nccl_api, destroy) },
    { "ncclCommAbort", offsetof(lt_nccl_api, abort) },
    { "ncclCommGetAsyncError", offsetof(lt_nccl_api, get_async_error) },
    { "ncclGetErrorString", offsetof(lt_nccl_api, error_string) },
    { "ncclGetLastError", offsetof(lt_nccl_api, last_error) },
    { "ncclReduceScatter", offsetof(lt_nccl_api, reduce_scatter) },
    { "ncclAllGather", offsetof(lt_nccl_api, all_gather) },
    { "ncclBroadcast", offsetof(lt_nccl_api, broadcast) },
    { "ncclGroupStart", offsetof(lt_nccl_api, group_start) },
    { "ncclGroupEnd", offsetof(lt_nccl_api, group_end) },
};

/* Until 2.8 the code of X.Y.Z was X * 1000 + Y * 100 + Z. */
static void name_version(lt_nccl_api *api, int code)
{
    int major = code < 10000 ? code / 1000 : code / 10000;
    int minor = code < 10000 ? code / 100 % 10 : code / 100 % 100;

    (void)snprintf(api->name, sizeof api->name, "NCCL %d.%d.%d", major, minor, code % 100);
}

lt_err lt_nccl_api_open(lt_nccl_api *api)
{
    const char *file = getenv("LT_NCCL_LIBRARY");
    lt_nccl_api found;
    void *library;
    int version = 0;

    if (!file)
        file = "libnccl.so.2";
    (void)setenv("NCCL_NVLS_ENABLE", "0", 0);
    library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return lt_fail(LT_ENOTSUP,
                       "%s; GPU ranks need NCCL: install it or name its folder in LD_LIBRARY_PATH",
                       dlerror());
    for (size_t i = 0; i < LT_COUNT(symbols); i++) {
        void *address = dlsym(library, symbols[i].name);

        if (!address)
            return lt_fail(LT_ENOTSUP, "%s has no %s: expected NCCL 2.14 or newer", file,
                           symbols[i].name);
        memcpy((char *)&found + symbols[i].offset, &address, sizeof address);
    }
    if (found.get_version(&version) != LT_NCCL_SUCCESS)
        return lt_fail(LT_ENOTSUP, "%s does not tell its version", file);
    name_version(&found, version);
    if (version < OLDEST)
        return lt_fail(LT_ENOTSUP, "expected NCCL 2.14 or newer, found %s in %s", found.name, file);
    *api = found;
    return LT_OK;
}
