/* device/cuda/cuda_attention.cuh - what attention forward and backward share.
 *
 * A block has 16 x 16 threads and works on tiles of TILE queries by TILE keys in shared memory, in
 * fp32, padded to LD = HEAD + 1 floats a row so that 16 rows lie in 16 banks.  Thread (ty, tx) owns
 * rows ty R .. ty R + R-1 and columns tx, tx + 16, ... of a product, R = TILE / 16; the 16 threads
 * of a row are half a warp.  HEAD, the head width as compiled (64, 128, 256), is at least head_dim;
 * what lies between is zero. */
#ifndef LT_DEVICE_CUDA_ATTENTION_CUH
#define LT_DEVICE_CUDA_ATTENTION_CUH

#include "device/cuda/cuda.cuh"

enum { SIDE = 16, ATTENTION_THREADS = SIDE * SIDE };

template <typename T> struct attention_args {
    view<T> out, q, k, v;
    view<T> dq, dk, dv, dout; /* backward only */
    view<float> lse;          /* (B H, Tq) */
    float *delta;             /* (B H, Tq), backward: sum of dout out over a head's row */
    const int32_t *doc_start; /* NULL: none */
    int64_t n_head, n_kv_head, t_q, t_k, kv_rows;
    int head_dim;
    float scale;
    bool causal;
};

template <typename T> static inline attention_args<T> attention_args_of(const lt_attention *f)
{
    attention_args<T> a = {};

    a.out = view_of<T>(f->out);
    a.q = view_of<T>(f->q);
    a.k = view_of<T>(f->k);
    a.v = view_of<T>(f->v);
    a.lse = view_of<float>(f->lse);
    a.doc_start = f->doc_start.data ? lt_i32(f->doc_start) : NULL;
    a.n_head = f->n_head;
    a.n_kv_head = f->n_kv_head;
    a.t_q = f->t_q;
    a.t_k = f->t_k;
    a.kv_rows = f->kv_rows;
    a.head_dim = (int)f->head_dim;
    a.scale = f->scale;
    a.causal = f->causal;
    return a;
}

static inline void attention_check(const lt_attention *a)
{
    lt_dtype type = a->q.dtype;

    LT_BUG_ON(a->head_dim > CUDA_MAX_HEAD_DIM || a->n_head % a->n_kv_head != 0);
    LT_BUG_ON(a->n_batch > CUDA_MAX_GRID_Y || a->n_head > CUDA_MAX_GRID_Y);
    LT_BUG_ON(a->k.dtype != type || a->v.dtype != type || a->out.dtype != type);
    LT_BUG_ON(a->q.cols != a->n_head * a->head_dim || a->out.cols != a->q.cols);
    LT_BUG_ON(a->k.cols != a->n_kv_head * a->head_dim || a->v.cols != a->k.cols);
    LT_BUG_ON(a->q.rows != a->n_batch * a->t_q || a->out.rows != a->q.rows);
    LT_BUG_ON(a->kv_rows < a->t_k || a->k.rows < (a->n_batch - 1) * a->kv_rows + a->t_k);
    LT_BUG_ON(a->v.rows < (a->n_batch - 1) * a->kv_rows + a->t_k);
    LT_BUG_ON(a->doc_start.data && a->doc_start.cols != a->q.rows);
    LT_BUG_ON(a->lse.data && (a->lse.dtype != LT_F32 || a->lse.cols != a->t_q));
    LT_BUG_ON(a->lse.data && a->lse.rows != a->n_batch * a->n_head);
}

/* Has cuDNN done it, or failed, which is noted?  g NULL: the forward. */
bool cuda_attention_by_dnn(lt_dev *dev, const lt_attention *f, const lt_attention_grad *g);

/* May query t of sequence b see key s? */
template <typename T>
__device__ inline bool visible(const attention_args<T> &a, int64_t b, int64_t t, int64_t s)
{
    if (t >= a.t_q || s >= a.t_k || (a.causal && s > t + a.t_k - a.t_q))
        return false;
    return !a.doc_start || s >= a.doc_start[b * a.t_q + t];
}

/* Keys from here on are seen by no query of the tile that begins with query t0. */
template <typename T>
__device__ inline int64_t keys_end(const attention_args<T> &a, int64_t t0, int tile)
{
    int64_t end = t0 + tile + a.t_k - a.t_q;

    return a.causal && end < a.t_k ? end : a.t_k;
}

/* Queries before this one see no key of the tile that begins with key s0. */
template <typename T>
__device__ inline int64_t queries_begin(const attention_args<T> &a, int64_t s0)
{
    int64_t begin = s0 - (a.t_k - a.t_q);

    return a.causal && begin > 0 ? begin : 0;
}

/* TILE rows of one head from `row` on into shared memory; rows from n_rows on and columns from
 * head_dim on are zero. */
template <typename T, int TILE, int HEAD>
__device__ inline void load_heads(float *tile, view<T> m, int64_t row, int64_t n_rows, int64_t col,
                                  int head_dim)
{
    for (int i = threadIdx.x; i < TILE * HEAD; i += ATTENTION_THREADS) {
        int r = i / HEAD, c = i % HEAD;
        bool inside = r < n_rows && c < head_dim;

        tile[r * (HEAD + 1) + c] = inside ? load(at(m, row + r, col + c)) : 0.0f;
    }
}

/* s[i][j] = dot of row ty R + i of a and row tx + 16 j of b, over HEAD columns. */
template <int TILE, int HEAD>
__device__ inline void rows_dot_rows(float s[TILE / SIDE][TILE / SIDE], const float *a,
                                     const float *b)
{
    constexpr int R = TILE / SIDE, LD = HEAD + 1;
    int tx = threadIdx.x % SIDE, ty = threadIdx.x / SIDE;

    for (int i = 0; i < R; i++)
        for (int j = 0; j < R; j++)
            s[i][j] = 0;
#pragma unroll 8
    for (int c = 0; c < HEAD; c++) {
        float x[R], y[R];

        for (int i = 0; i < R; i++) {
            x[i] = a[(ty * R + i) * LD + c];
            y[i] = b[(tx + SIDE * i) * LD + c];
        }
        for (int i = 0; i < R; i++)
            for (int j = 0; j < R; j++)
                s[i][j] += x[i] * y[j];
    }
}

/* acc[i][j] += sum over m of p[ty R + i][m] b[m][tx + 16 j]; p is (TILE, TILE + 1), transposed
 * when TRANS: p[m][ty R + i]. */
template <int TILE, int HEAD, bool TRANS>
__device__ inline void add_product(float acc[TILE / SIDE][HEAD / SIDE], const float *p,
                                   const float *b)
{
    constexpr int R = TILE / SIDE, LD = HEAD + 1, LP = TILE + 1;
    int tx = threadIdx.x % SIDE, ty = threadIdx.x / SIDE;

#pragma unroll 4
    for (int m = 0; m < TILE; m++) {
        float x[R];

        for (int i = 0; i < R; i++)
            x[i] = TRANS ? p[m * LP + ty * R + i] : p[(ty * R + i) * LP + m];
        for (int j = 0; j < HEAD / SIDE; j++) {
            float y = b[m * LD + tx + SIDE * j];

            for (int i = 0; i < R; i++)
                acc[i][j] += x[i] * y;
        }
    }
}

/* Row i of acc, n_rows of them, to the head at (row, col) of m. */
template <typename T, int TILE, int HEAD>
__device__ inline void store_heads(view<T> m, int64_t row, int64_t n_rows, int64_t col,
                                   int head_dim, const float acc[TILE / SIDE][HEAD / SIDE])
{
    constexpr int R = TILE / SIDE;
    int tx = threadIdx.x % SIDE, ty = threadIdx.x / SIDE;

    for (int i = 0; i < R; i++)
        for (int j = 0; j < HEAD / SIDE; j++) {
            int r = ty * R + i, c = tx + SIDE * j;

            if (r < n_rows && c < head_dim)
                store(at(m, row + r, col + c), acc[i][j]);
        }
}

#endif
