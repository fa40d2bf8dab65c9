/* device/cuda/cuda_dnn_api.h - cuDNN's backend API as lt sees it: a few calls found at run time.
 *
 * cuDNN is opened with dlopen when it is there and never linked, so neither its headers nor the
 * library are needed to build.  A descriptor is a bag of attributes that is created, filled and
 * finalized; what a descriptor means is said by the numbers below, which are part of cuDNN 9's ABI
 * (cudnn_graph.h).  The library stays loaded until the process ends: CUDA libraries register exit
 * handlers and do not like to go. */
#ifndef LT_DEVICE_CUDA_DNN_API_H
#define LT_DEVICE_CUDA_DNN_API_H

#include "base/err.h"

typedef int dnn_status; /* 0: success */
typedef void *dnn_handle;
typedef void *dnn_desc;

typedef struct dnn_api {
    size_t version; /* 91900 is 9.19.0 */
    char name[32];  /* "cuDNN 9.19.0" */
    size_t (*get_version)(void);
    const char *(*error_string)(dnn_status status);
    void (*last_error)(char *text, size_t size);
    dnn_status (*create)(dnn_handle *out);
    dnn_status (*destroy)(dnn_handle handle);
    dnn_status (*set_stream)(dnn_handle handle, void *stream);
    dnn_status (*desc_create)(int kind, dnn_desc *out);
    dnn_status (*desc_destroy)(dnn_desc desc);
    dnn_status (*desc_finalize)(dnn_desc desc);
    dnn_status (*desc_set)(dnn_desc desc, int attribute, int type, int64_t n, const void *values);
    dnn_status (*desc_get)(dnn_desc desc, int attribute, int type, int64_t room, int64_t *n,
                           void *values);
    dnn_status (*execute)(dnn_handle handle, dnn_desc plan, dnn_desc variant_pack);
} dnn_api;

/* Loads libcudnn.so.9 by the dynamic linker's search path (LD_LIBRARY_PATH for a copy of one's
 * own).  LT_ENOTSUP with a sentence when it is absent, too old or known to be wrong. */
LT_MUST_USE lt_err cuda_dnn_api_open(dnn_api *api);

enum { /* kinds of descriptors */
       DNN_POINTWISE = 0,
       DNN_ENGINECFG = 3,
       DNN_ENGINEHEUR = 4,
       DNN_EXECUTION_PLAN = 5,
       DNN_OPERATION_POINTWISE = 13,
       DNN_OPERATION_GRAPH = 15,
       DNN_VARIANT_PACK = 16,
       DNN_TENSOR = 17,
       DNN_MATMUL = 18,
       DNN_OPERATION_MATMUL = 19,
       DNN_REDUCTION = 21,
       DNN_OPERATION_REDUCTION = 22,
       DNN_OPERATION_RESHAPE = 31,
};

enum { /* types of attributes */
       DNN_TYPE_HANDLE = 0,
       DNN_TYPE_DATA_TYPE = 1,
       DNN_TYPE_BOOLEAN = 2,
       DNN_TYPE_INT64 = 3,
       DNN_TYPE_VOID_PTR = 6,
       DNN_TYPE_HEUR_MODE = 8,
       DNN_TYPE_POINTWISE_MODE = 14,
       DNN_TYPE_DESCRIPTOR = 15,
       DNN_TYPE_REDUCTION_OPERATOR = 18,
};

enum { /* attributes */
       DNN_POINTWISE_MODE = 0,
       DNN_POINTWISE_COMPUTE_TYPE = 1,
       DNN_POINTWISE_AXIS = 9,
       DNN_ENGINEHEUR_MODE = 200,
       DNN_ENGINEHEUR_GRAPH = 201,
       DNN_ENGINEHEUR_RESULTS = 202,
       DNN_PLAN_HANDLE = 400,
       DNN_PLAN_ENGINECFG = 401,
       DNN_PLAN_WORKSPACE_BYTES = 402,
       DNN_OP_POINTWISE_DESC = 750,
       DNN_OP_POINTWISE_X = 751,
       DNN_OP_POINTWISE_B = 752,
       DNN_OP_POINTWISE_Y = 753,
       DNN_OP_POINTWISE_T = 758,
       DNN_GRAPH_HANDLE = 800,
       DNN_GRAPH_OPS = 801,
       DNN_TENSOR_ALIGNMENT = 900,
       DNN_TENSOR_DATA_TYPE = 901,
       DNN_TENSOR_DIMENSIONS = 902,
       DNN_TENSOR_STRIDES = 903,
       DNN_TENSOR_UID = 906,
       DNN_TENSOR_IS_VIRTUAL = 907,
       DNN_TENSOR_IS_BY_VALUE = 908,
       DNN_PACK_UIDS = 1000,
       DNN_PACK_POINTERS = 1001,
       DNN_PACK_WORKSPACE = 1003,
       DNN_MATMUL_COMPUTE_TYPE = 1500,
       DNN_OP_MATMUL_A = 1520,
       DNN_OP_MATMUL_B = 1521,
       DNN_OP_MATMUL_C = 1522,
       DNN_OP_MATMUL_DESC = 1523,
       DNN_REDUCTION_OPERATOR = 1600,
       DNN_REDUCTION_COMPUTE_TYPE = 1601,
       DNN_OP_REDUCTION_X = 1610,
       DNN_OP_REDUCTION_Y = 1611,
       DNN_OP_REDUCTION_DESC = 1612,
       DNN_OP_RESHAPE_X = 2200,
       DNN_OP_RESHAPE_Y = 2201,
};

typedef enum dnn_type {
    DNN_F32 = 0,
    DNN_F16 = 2,
    DNN_I32 = 4,
    DNN_BF16 = 9,
    DNN_BOOL = 11,
} dnn_type;

typedef enum dnn_mode { /* of a pointwise operation y = f(x, b, t) */
                        DNN_ADD = 0,
                        DNN_MUL = 1,
                        DNN_DIV = 6,
                        DNN_SUB = 9,
                        DNN_EXP = 13,
                        DNN_LOG = 15,
                        DNN_IDENTITY = 21,
                        DNN_CMP_GE = 303,
                        DNN_INDEX = 501,  /* y = the element's index along an axis */
                        DNN_SELECT = 601, /* y = t ? x : b */
} dnn_mode;

typedef enum dnn_reduce { DNN_REDUCE_ADD = 0, DNN_REDUCE_MAX = 3 } dnn_reduce;

typedef enum dnn_heur { DNN_HEUR_FALLBACK = 2, DNN_HEUR_A = 3 } dnn_heur;

#endif
