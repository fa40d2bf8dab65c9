/* device/cuda/cuda_blas_api.c - opening libcublasLt. */
#include "device/cuda/cuda_blas_api.h"
#include "base/mem.h"

#include <dlfcn.h>

#define NAME_AND_PLACE(name) { "cublasLt" #name, offsetof(cuda_blas_api, name) },

static const struct {
    const char *name;
    size_t offset;
} calls[] = { CUDA_BLAS_CALLS(NAME_AND_PLACE) };

lt_err cuda_blas_api_open(cuda_blas_api *api)
{
    static const char *const names[] = { "libcublasLt.so.13", "libcublasLt.so.12",
                                         "libcublasLt.so" };

    for (size_t i = 0; i < LT_COUNT(names) && !api->library; i++)
        api->library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!api->library)
        return lt_fail(LT_ENOTSUP, "device: cuda: no %s on this machine", names[0]);
    for (size_t i = 0; i < LT_COUNT(calls); i++) {
        void *call = dlsym(api->library, calls[i].name);

        if (!call) {
            cuda_blas_api_close(api);
            return lt_fail(LT_ENOTSUP, "device: cuda: libcublasLt has no %s", calls[i].name);
        }
        *(void **)((char *)api + calls[i].offset) = call;
    }
    return LT_OK;
}

void cuda_blas_api_close(cuda_blas_api *api)
{
    if (api->library)
        (void)dlclose(api->library);
    *api = (cuda_blas_api){ 0 };
}
