/* device/cuda/cuda_norm_grad.cu - the gradient of residual_norm.
 *
 * With xh = (r - mean) rstd and g = dout w:
 *     dx = dresid + rstd (g - mean(g) - xh mean(g xh)),  RMSNorm has no mean(g)
 *     dweight (+)= column sums of dout xh,  dbias (+)= column sums of dout
 * The column sums come first, since dx may be written over dout. */
#include "device/cuda/cuda.cuh"

enum { WARPS = 4, THREADS = WARPS * WARP };
enum { COLS = 32, LANES = 8 }; /* a block of the column sums, as in cuda_col_sum.cu */

template <typename T> struct norm_grad_args {
    view<T> dx, dout, dresid, resid;
    const T *weight;
    const float *mean, *rstd; /* mean NULL: RMSNorm */
};

/* One part of the rows for COLS columns: dweight's sums into parts[0], dbias's into parts[1]. */
template <typename T>
__global__ static void weight_parts_kernel(float *dweight, float *dbias, norm_grad_args<T> a)
{
    __shared__ float lanes[2][LANES][COLS];
    int64_t col = (int64_t)blockIdx.x * COLS + threadIdx.x, part = blockIdx.y;
    int64_t first = a.dout.rows * part / CUDA_REDUCE_PARTS;
    int64_t last = a.dout.rows * (part + 1) / CUDA_REDUCE_PARTS;
    float sum_gx = 0, sum_g = 0;

    if (col < a.dout.cols)
        for (int64_t row = first + threadIdx.y; row < last; row += LANES) {
            float d = load(at(a.dout, row, col)), mean = a.mean ? a.mean[row] : 0.0f;

            sum_gx += d * (load(at(a.resid, row, col)) - mean) * a.rstd[row];
            sum_g += d;
        }
    lanes[0][threadIdx.y][threadIdx.x] = sum_gx;
    lanes[1][threadIdx.y][threadIdx.x] = sum_g;
    __syncthreads();
    if (threadIdx.y > 0 || col >= a.dout.cols)
        return;
    for (int lane = 1; lane < LANES; lane++) {
        sum_gx += lanes[0][lane][threadIdx.x];
        sum_g += lanes[1][lane][threadIdx.x];
    }
    dweight[part * a.dout.cols + col] = sum_gx;
    dbias[part * a.dout.cols + col] = sum_g;
}

/* A warp a row.  A lane reads dout and dresid of an element before it writes dx there. */
template <typename T> __global__ static void dx_kernel(norm_grad_args<T> a)
{
    int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP, n = a.dout.cols;
    int lane = threadIdx.x % WARP;
    float sum_g = 0, sum_gx = 0, mean, rstd;

    if (row >= a.dout.rows)
        return;
    mean = a.mean ? a.mean[row] : 0.0f;
    rstd = a.rstd[row];
    for (int64_t c = lane; c < n; c += WARP) {
        float g = load(at(a.dout, row, c)) * load(a.weight + c);

        sum_g += g;
        sum_gx += g * (load(at(a.resid, row, c)) - mean) * rstd;
    }
    sum_g = a.mean ? warp_sum(sum_g) / (float)n : 0.0f;
    sum_gx = warp_sum(sum_gx) / (float)n;
    for (int64_t c = lane; c < n; c += WARP) {
        float g = load(at(a.dout, row, c)) * load(a.weight + c);
        float xh = (load(at(a.resid, row, c)) - mean) * rstd;
        float dx = rstd * (g - sum_g - xh * sum_gx);

        store(at(a.dx, row, c), a.dresid.data ? load(at(a.dresid, row, c)) + dx : dx);
    }
}

template <typename T>
static void launch(const lt_norm_grad *n, float *dweight, float *dbias, cudaStream_t stream)
{
    int64_t rows = n->dout.rows, cols = n->dout.cols;
    dim3 grid((unsigned)cuda_ceil_div(cols, COLS), CUDA_REDUCE_PARTS);
    norm_grad_args<T> a = {
        .dx = view_of<T>(n->dx),
        .dout = view_of<T>(n->dout),
        .dresid = view_of<T>(n->dresid),
        .resid = view_of<T>(n->resid),
        .weight = (const T *)n->weight.data,
        .mean = n->kind == LT_NORM_LAYER ? lt_f32(n->mean) : NULL,
        .rstd = lt_f32(n->rstd),
    };

    weight_parts_kernel<T><<<grid, dim3(COLS, LANES), 0, stream>>>(dweight, dbias, a);
    dx_kernel<T><<<(unsigned)cuda_ceil_div(rows, WARPS), THREADS, 0, stream>>>(a);
}

static void check(const lt_norm_grad *n)
{
    lt_dtype type = n->dout.dtype;

    LT_BUG_ON(!cuda_same_shape(n->dx, n->dout) || !cuda_same_shape(n->resid, n->dout));
    LT_BUG_ON(n->dx.dtype != type || n->resid.dtype != type || n->weight.dtype != type);
    LT_BUG_ON(n->dresid.data && (!cuda_same_shape(n->dresid, n->dout) || n->dresid.dtype != type));
    LT_BUG_ON(n->weight.cols != n->dout.cols || n->dweight.cols != n->dout.cols);
    LT_BUG_ON(n->dweight.dtype != LT_F32 && n->dweight.dtype != type);
    LT_BUG_ON(n->dbias.data && n->dbias.cols != n->dout.cols);
    LT_BUG_ON(n->rstd.cols < n->dout.rows);
    LT_BUG_ON(n->kind == LT_NORM_LAYER && (!n->mean.data || n->mean.cols < n->dout.rows));
}

void cuda_norm_grad(lt_dev *dev, const lt_norm_grad *n)
{
    cudaStream_t stream = cuda_begin(dev, "norm_grad");
    size_t part = CUDA_REDUCE_PARTS * (size_t)n->dout.cols;
    float *dweight = (float *)cuda_scratch(dev, 2 * part * sizeof(float)), *dbias = dweight + part;

    check(n);
    CUDA_BY_ACT(n->dout.dtype, launch<T>(n, dweight, dbias, stream));
    cuda_add_parts(n->dweight, dweight, n->add, stream);
    if (n->dbias.data)
        cuda_add_parts(n->dbias, dbias, n->add, stream);
    cuda_end(dev);
    if (n->col_sum.data)
        cuda_col_sum(dev, n->col_sum, n->dx, n->add);
}
