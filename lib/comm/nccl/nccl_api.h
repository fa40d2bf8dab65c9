/* comm/nccl/nccl_api.h - NCCL as lt sees it: a few calls found at run time.
 *
 * NCCL is opened with dlopen when GPU ranks need it and never linked, so neither its header nor the
 * library is needed to build.  The types and numbers below are part of NCCL 2's ABI (nccl.h).  The
 * library stays loaded until the process ends. */
#ifndef LT_COMM_NCCL_NCCL_API_H
#define LT_COMM_NCCL_NCCL_API_H

#include "comm/comm.h"

typedef struct lt_nccl_handle lt_nccl_handle; /* a communicator of the library */

/* A communicator's identity, made by one rank and given to all; passed by value. */
typedef struct lt_nccl_id {
    char bytes[128];
} lt_nccl_id;

typedef enum lt_nccl_result {
    LT_NCCL_SUCCESS = 0,
    LT_NCCL_IN_PROGRESS = 7, /* of calls that do not block: ask get_async_error */
} lt_nccl_result;

typedef enum lt_nccl_type {
    LT_NCCL_INT8 = 0,
    LT_NCCL_FLOAT16 = 6,
    LT_NCCL_FLOAT32 = 7,
    LT_NCCL_BFLOAT16 = 9,
} lt_nccl_type;

enum { LT_NCCL_SUM = 0 };

/* The configuration as it was in NCCL 2.14, which introduced it.  Later fields follow; the library
 * copies no more than `size` bytes and takes its own defaults for what `version` did not have. */
typedef struct lt_nccl_config {
    size_t size;
    unsigned magic, version;
    int blocking;
    int undefined; /* the first later field, in what was padding */
} lt_nccl_config;
enum { LT_NCCL_CONFIG_VERSION = 21400 };
#define LT_NCCL_CONFIG_MAGIC 0xcafebeefu

typedef struct lt_nccl_api {
    char name[32]; /* "NCCL 2.28.9" */
    int (*get_version)(int *version);
    int (*get_unique_id)(lt_nccl_id *id);
    int (*init)(lt_nccl_handle **out, int world, lt_nccl_id id, int rank, lt_nccl_config *config);
    int (*finalize)(lt_nccl_handle *h);
    int (*destroy)(lt_nccl_handle *h);
    int (*abort)(lt_nccl_handle *h);
    int (*get_async_error)(lt_nccl_handle *h, int *result);
    const char *(*error_string)(int result);
    const char *(*last_error)(lt_nccl_handle *h);
    int (*reduce_scatter)(const void *in, void *out, size_t n_out, int type, int op,
                          lt_nccl_handle *h, void *stream);
    int (*all_gather)(const void *in, void *out, size_t n_in, int type, lt_nccl_handle *h,
                      void *stream);
    int (*broadcast)(const void *in, void *out, size_t n, int type, int root, lt_nccl_handle *h,
                     void *stream);
    int (*group_start)(void);
    int (*group_end)(void);
} lt_nccl_api;

/* Loads libnccl.so.2 by the dynamic linker's search path, or what the environment variable
 * LT_NCCL_LIBRARY names.  Switches NVLS off unless the environment asks for it: its sums differ
 * from call to call.  LT_ENOTSUP with a sentence when the library is absent or too old. */
LT_MUST_USE lt_err lt_nccl_api_open(lt_nccl_api *api);

/* How long lt waits for NCCL, in seconds. */
typedef struct lt_nccl_limits {
    double open; /* until all ranks have met */
    double call; /* until a collective is launched: at first it connects, later it is at once */
} lt_nccl_limits;

/* lt_comm_nccl_open with calls of the caller's, for tests.  All ranks come out of it with the same
 * verdict. */
LT_MUST_USE lt_err lt_comm_nccl_open_api(lt_comm **out, lt_dev *dev, lt_group *group, bool debug,
                                         const lt_nccl_api *api, lt_nccl_limits limits);

#endif
