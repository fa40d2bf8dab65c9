/* device/cuda/cuda_dnn_api.c - finding cuDNN and its calls. */
#include "device/cuda/cuda_dnn_api.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#define LIBRARY "libcudnn.so.9"

enum { OLDEST = 91002 }; /* 9.10.0 and 9.10.1 compute wrong attention; older ones mask otherwise */

static const struct symbol {
    const char *name;
    size_t offset; /* of a function pointer in dnn_api */
} symbols[] = {
    { "cudnnGetVersion", offsetof(dnn_api, get_version) },
    { "cudnnGetErrorString", offsetof(dnn_api, error_string) },
    { "cudnnGetLastErrorString", offsetof(dnn_api, last_error) },
    { "cudnnCreate", offsetof(dnn_api, create) },
    { "cudnnDestroy", offsetof(dnn_api, destroy) },
    { "cudnnSetStream", offsetof(dnn_api, set_stream) },
    { "cudnnBackendCreateDescriptor", offsetof(dnn_api, desc_create) },
    { "cudnnBackendDestroyDescriptor", offsetof(dnn_api, desc_destroy) },
    { "cudnnBackendFinalize", offsetof(dnn_api, desc_finalize) },
    { "cudnnBackendSetAttribute", offsetof(dnn_api, desc_set) },
    { "cudnnBackendGetAttribute", offsetof(dnn_api, desc_get) },
    { "cudnnBackendExecute", offsetof(dnn_api, execute) },
};

lt_err cuda_dnn_api_open(dnn_api *api)
{
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    dnn_api found;

    if (!library)
        return lt_fail(LT_ENOTSUP, "%s; install cuDNN 9 or name its folder in LD_LIBRARY_PATH",
                       dlerror());
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *address = dlsym(library, symbols[i].name);

        if (!address)
            return lt_fail(LT_ENOTSUP, LIBRARY " has no %s", symbols[i].name);
        memcpy((char *)&found + symbols[i].offset, &address, sizeof address);
    }
    found.version = found.get_version();
    (void)snprintf(found.name, sizeof found.name, "cuDNN %zu.%zu.%zu", found.version / 10000,
                   found.version / 100 % 100, found.version % 100);
    if (found.version < OLDEST)
        return lt_fail(LT_ENOTSUP, "expected cuDNN 9.10.2 or newer, found %s", found.name);
    *api = found;
    return LT_OK;
}
