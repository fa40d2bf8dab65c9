/* device/cuda/cuda.cuh - shared by the CUDA kernels; private to this folder.
 *
 * One file per operation: kernel, launcher, entry.  An entry checks shapes and types once, unwraps
 * tensors into view<T> and launches on the compute stream; nothing waits for the device and nothing
 * allocates.  Kernels compute in fp32, load and store narrow types through load() and store(), and
 * never add floats atomically, so a run gives the same bits every time on the same kind of GPU.
 * Sums over rows are cut into parts by shape alone, at most CUDA_REDUCE_PARTS, which are then added
 * in order.
 * cuda_device.cu owns memory, streams, events and the stuck fault; cuda_graph.cu recording;
 * cuda_table.cu the table. */
#ifndef LT_DEVICE_CUDA_CUH
#define LT_DEVICE_CUDA_CUH

#include "device/device.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

typedef __nv_bfloat16 bf16;

typedef struct lt_cuda_dev {
    lt_dev base;
    int ordinal;
    cudaStream_t streams[LT_N_STREAMS];
    struct lt_cuda_blas *blas; /* NULL: the matrix products are our own */
    const char *op;            /* the operation that was launched last */
    const char *fault_op;      /* the operation at which `fault` was seen */
    cudaError_t fault;         /* the first one since the last sync */
    struct cuda_dnn *dnn;      /* attention through cuDNN; NULL: never */
    bool capturing;            /* the compute stream records */
} lt_cuda_dev;

enum {
    CUDA_REDUCE_PARTS = 264,   /* most parts of a sum over rows; norm_grad's may have twice that */
    CUDA_SUM_BLOCKS = 1024,    /* most blocks of a sum of squares */
    CUDA_TABLE_ROWS = 1 << 18, /* least rows of an embedding table that scratch is planned for */
    CUDA_MAX_HEAD_DIM = 256,
    CUDA_MAX_GRID_Y = 65535,
};

/* ---- host side: every entry starts with cuda_begin and ends with cuda_end */

/* Makes dev's GPU current, remembers the operation's name; returns the compute stream. */
cudaStream_t cuda_begin(lt_dev *dev, const char *op);
/* Makes a failed launch stick to the device. */
void cuda_end(lt_dev *dev);
void cuda_note(lt_dev *dev, cudaError_t err);
/* The stuck fault as a sentence; it stays where it is. */
lt_err cuda_fault(lt_dev *dev);
/* The device's scratch, at least `bytes` long: less means that the plan did not know the shape. */
void *cuda_scratch(lt_dev *dev, size_t bytes);

__host__ __device__ static inline int64_t cuda_ceil_div(int64_t n, int64_t by)
{
    return (n + by - 1) / by;
}

/* Blocks of `threads` along the columns; rows along y, where kernels step by gridDim.y. */
static inline dim3 cuda_grid(int64_t rows, int64_t cols, int threads)
{
    int64_t y = CUDA_MAX_GRID_Y;

    y = rows < y ? rows : y;
    return dim3((unsigned)cuda_ceil_div(cols, threads), (unsigned)y);
}

static inline bool cuda_same_shape(lt_tensor a, lt_tensor b)
{
    return a.rows == b.rows && a.cols == b.cols;
}

/* Runs the statement with T = the element type. */
#define CUDA_BY_ACT(act_dtype, ...)                                                                \
    do {                                                                                           \
        LT_BUG_ON((act_dtype) != LT_F32 && (act_dtype) != LT_BF16 && (act_dtype) != LT_F16);       \
        if ((act_dtype) == LT_F32) {                                                               \
            using T = float;                                                                       \
            __VA_ARGS__;                                                                           \
        } else if ((act_dtype) == LT_BF16) {                                                       \
            using T = bf16;                                                                        \
            __VA_ARGS__;                                                                           \
        } else {                                                                                   \
            using T = __half;                                                                      \
            __VA_ARGS__;                                                                           \
        }                                                                                          \
    } while (0)

/* The same with G = the type of gradients besides: fp32, or T. */
#define CUDA_BY_ACT_GRAD(act_dtype, grad_dtype, ...)                                               \
    CUDA_BY_ACT(                                                                                   \
        act_dtype, LT_BUG_ON((grad_dtype) != LT_F32 && (grad_dtype) != (act_dtype));               \
        if ((grad_dtype) == LT_F32) {                                                              \
            using G = float;                                                                       \
            __VA_ARGS__;                                                                           \
        } else {                                                                                   \
            using G = T;                                                                           \
            __VA_ARGS__;                                                                           \
        })

/* ---- what a kernel gets to see of a tensor */

template <typename T> struct view {
    T *data; /* NULL: absent */
    int64_t rows, cols, stride;
};

/* The caller has checked the type; absent tensors may have any. */
template <typename T> static inline view<T> view_of(lt_tensor t)
{
    return { (T *)t.data, t.rows, t.cols, t.stride };
}

template <typename T> __device__ inline T *at(view<T> v, int64_t row, int64_t col)
{
    return v.data + row * v.stride + col;
}

__device__ inline float load(const float *p)
{
    return *p;
}
__device__ inline float load(const bf16 *p)
{
    return __bfloat162float(*p);
}
__device__ inline float load(const __half *p)
{
    return __half2float(*p);
}
__device__ inline void store(float *p, float x)
{
    *p = x;
}
__device__ inline void store(bf16 *p, float x)
{
    *p = __float2bfloat16_rn(x);
}
__device__ inline void store(__half *p, float x)
{
    *p = __float2half_rn(x);
}

/* x as it will be read back after a store. */
template <typename T> __device__ inline float rounded(float x)
{
    T narrow;

    store(&narrow, x);
    return load(&narrow);
}

/* ---- reductions; every thread of the warp or block takes part and gets the result */

enum { WARP = 32 };

template <typename A> __device__ inline A warp_sum(A x)
{
    for (int step = WARP / 2; step > 0; step /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

__device__ inline float warp_max(float x)
{
    for (int step = WARP / 2; step > 0; step /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
    return x;
}

/* Sum over a block of whole warps, at most 1024 threads, in a fixed order. */
template <typename A> __device__ inline A block_sum(A x)
{
    __shared__ A parts[WARP];
    A sum = 0;

    x = warp_sum(x);
    __syncthreads(); /* a previous call may still be reading parts */
    if (threadIdx.x % WARP == 0)
        parts[threadIdx.x / WARP] = x;
    __syncthreads();
    for (int w = 0; w < blockDim.x / WARP; w++)
        sum += parts[w];
    return sum;
}

__device__ inline float block_max(float x)
{
    __shared__ float parts[WARP];

    x = warp_max(x);
    __syncthreads();
    if (threadIdx.x % WARP == 0)
        parts[threadIdx.x / WARP] = x;
    __syncthreads();
    for (int w = 0; w < blockDim.x / WARP; w++)
        x = fmaxf(x, parts[w]);
    return x;
}

/* Partial sums of rows in scratch: out[i] (+)= sum over the n_parts rows of parts[i]
 * (n_parts, cols), in a fixed order.  An absent out[i] is passed over.  Entry in
 * cuda_col_sum.cu. */
enum { CUDA_MAX_SUMS = 3 };

typedef struct cuda_sums {
    lt_tensor out[CUDA_MAX_SUMS]; /* (1, cols) each, any float type */
    const float *parts[CUDA_MAX_SUMS];
    int64_t cols;
    int n_parts;
    bool add;
} cuda_sums;

void cuda_add_parts(const cuda_sums *sums, cudaStream_t stream);

/* ---- recording (cuda_graph.cu), slots of the backend */

lt_err cuda_capture_begin(lt_dev *dev);
lt_err cuda_capture_end(lt_dev *dev, lt_graph **out);
void cuda_graph_launch(lt_dev *dev, lt_graph *graph);
void cuda_graph_free(lt_dev *dev, lt_graph *graph);
/* Makes it a fault of the last operation when it spoiled the recording. */
void cuda_watch_capture(lt_dev *dev);

/* ---- the table's entries */

extern "C" {
void cuda_zero(lt_dev *dev, void *data, size_t bytes);
void cuda_copy(lt_dev *dev, lt_tensor dst, lt_tensor src);
void cuda_matmul(lt_dev *dev, const lt_matmul *m);
void cuda_col_sum(lt_dev *dev, lt_tensor out, lt_tensor x, bool add);
void cuda_act(lt_dev *dev, lt_tensor out, lt_tensor x, lt_act kind);
void cuda_embed(lt_dev *dev, lt_tensor out, lt_tensor ids, lt_tensor positions, lt_tensor wte,
                lt_tensor wpe);
void cuda_embed_grad(lt_dev *dev, lt_tensor dwte, lt_tensor dwpe, lt_tensor dout, lt_tensor ids,
                     lt_tensor positions, bool add_wte, bool add_wpe);
void cuda_residual_norm(lt_dev *dev, const lt_residual_norm *n);
void cuda_norm_grad(lt_dev *dev, const lt_norm_grad *n);
void cuda_attention(lt_dev *dev, const lt_attention *a);
void cuda_attention_grad(lt_dev *dev, const lt_attention_grad *a);
void cuda_head_loss(lt_dev *dev, const lt_head_loss *h);
void cuda_step_begin(lt_dev *dev, lt_step_state *state);
void cuda_loss_scale_update(lt_dev *dev, lt_step_state *state, const lt_loss_scaling *run);
void cuda_sum_losses(lt_dev *dev, lt_step_state *state, lt_tensor losses);
void cuda_sum_squares(lt_dev *dev, double *sum, lt_tensor g);
void cuda_grad_norm_finish(lt_dev *dev, lt_step_state *state, const double *sums, int n_ranks,
                           int n, float max_norm, const lt_adamw *run);
void cuda_find_nonfinite(lt_dev *dev, lt_step_state *state, const lt_range *ranges, int n,
                         lt_dtype dtype);
void cuda_accumulate(lt_dev *dev, lt_tensor dst, lt_tensor src, bool add);
void cuda_adamw(lt_dev *dev, lt_tensor p, lt_tensor copy, lt_tensor m, lt_tensor v, lt_tensor g,
                const lt_step_state *state, const lt_adamw *run);
extern const lt_ops cuda_ops;
}

#endif
