/* device/cuda/cuda_pack.cuh - neighbouring elements of a row moved as one, up to 16 bytes at a time.
 *
 * Kernels that live on memory bandwidth are templates over the width N of a pack.  Their launchers
 * take the widest that every operand allows (cuda_packs) and N = 1 for odd addresses, widths and
 * strides, so one kernel serves both. */
#ifndef LT_DEVICE_CUDA_PACK_CUH
#define LT_DEVICE_CUDA_PACK_CUH

#include "device/cuda/cuda.cuh"

template <int BYTES> struct word_of;
template <> struct word_of<2> {
    typedef uint16_t type;
};
template <> struct word_of<4> {
    typedef uint32_t type;
};
template <> struct word_of<8> {
    typedef uint2 type;
};
template <> struct word_of<16> {
    typedef uint4 type;
};

template <typename T, int N> struct pack {
    typedef typename word_of<N * sizeof(T)>::type word;
    alignas(word) T v[N];
};

template <int N, typename T> __device__ inline pack<T, N> load_pack(const T *p)
{
    typedef typename pack<T, N>::word word;
    pack<T, N> x;

    *(word *)&x = *(const word *)p;
    return x;
}

/* To device memory.  Left to itself the compiler may cut a predicated store into words. */
template <typename T, int N> __device__ inline void store_pack(T *p, pack<T, N> x)
{
    typedef typename pack<T, N>::word word;

    __stwb((word *)p, *(const word *)&x);
}

template <typename T, int N> __device__ inline pack<T, N> pack_of(const float *x)
{
    pack<T, N> y;

#pragma unroll
    for (int i = 0; i < N; i++)
        store(&y.v[i], x[i]);
    return y;
}

/* Elements of type T in 16 bytes. */
template <typename T> __host__ __device__ constexpr int pack_size()
{
    return 16 / (int)sizeof(T);
}

/* May every row of t be moved in packs of n elements?  An absent tensor says yes. */
static inline bool cuda_packs(lt_tensor t, int n)
{
    size_t bytes = (size_t)n * lt_dtype_bytes(t.dtype);

    return !t.data || ((uintptr_t)t.data % bytes == 0 && t.cols % n == 0 &&
                       (t.rows == 1 || t.stride % n == 0));
}

/* A matrix without gaps as one row, so that its width does not matter to elementwise work. */
static inline lt_tensor cuda_flat(lt_tensor t)
{
    return t.stride == t.cols ? lt_matrix(t.data, t.dtype, 1, t.rows * t.cols) : t;
}

#endif
