/* device/cuda/cuda_pack.cuh - neighbouring elements of a row moved as one,
 * up to 16 bytes at a time.
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

/* Kernels read it through unpack() and make it by pack_of(): two elements a register at a time,
 * which is half the instructions of one at a time. */
template <typename T, int N> struct pack {
    typedef typename word_of<N * sizeof(T)>::type word;
    union {
        word bits;
        T v[N];
    };
};

template <int N, typename T> __device__ inline pack<T, N> load_pack(const T *p)
{
    typedef typename pack<T, N>::word word;
    pack<T, N> x;

    x.bits = *(const word *)p;
    return x;
}

/* To device memory.  Left to itself the compiler may cut a predicated store into words. */
template <typename T, int N> __device__ inline void store_pack(T *p, pack<T, N> x)
{
    typedef typename pack<T, N>::word word;

    __stwb((word *)p, x.bits);
}

/* Two neighbours in a register, the first in the low half. */
__device__ inline void unpack_two(float *x, uint32_t two, const bf16 *)
{
    x[0] = __uint_as_float(two << 16);
    x[1] = __uint_as_float(two & 0xffff0000u);
}

__device__ inline void unpack_two(float *x, uint32_t two, const __half *)
{
    float2 f = __half22float2(*(const __half2 *)&two);

    x[0] = f.x;
    x[1] = f.y;
}

__device__ inline void pack_two(uint32_t *two, const float *x, const bf16 *)
{
    *(__nv_bfloat162 *)two = __floats2bfloat162_rn(x[0], x[1]);
}

__device__ inline void pack_two(uint32_t *two, const float *x, const __half *)
{
    *(__half2 *)two = __floats2half2_rn(x[0], x[1]);
}

template <typename T, int N> __device__ inline void unpack(float *x, const pack<T, N> &p)
{
    if constexpr (sizeof(T) == 2 && N > 1) {
        const uint32_t *words = (const uint32_t *)&p.bits;

#pragma unroll
        for (int i = 0; i < N; i += 2)
            unpack_two(x + i, words[i / 2], (const T *)NULL);
    } else {
#pragma unroll
        for (int i = 0; i < N; i++)
            x[i] = load(&p.v[i]);
    }
}

template <typename T, int N> __device__ inline pack<T, N> pack_of(const float *x)
{
    pack<T, N> p;

    if constexpr (sizeof(T) == 2 && N > 1) {
        uint32_t *words = (uint32_t *)&p.bits;

#pragma unroll
        for (int i = 0; i < N; i += 2)
            pack_two(words + i / 2, x + i, (const T *)NULL);
    } else {
#pragma unroll
        for (int i = 0; i < N; i++)
            store(&p.v[i], x[i]);
    }
    return p;
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

/* Lets a kernel's blocks have that much dynamic shared memory each, and as many at once as fit. */
template <typename F> static inline cudaError_t cuda_take_shared(F kernel, int bytes)
{
    cudaError_t err =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);

    return err ? err
               : cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                      cudaSharedmemCarveoutMaxShared);
}

/* A matrix without gaps as one row, so that its width does not matter to elementwise work. */
static inline lt_tensor cuda_flat(lt_tensor t)
{
    return t.stride == t.cols ? lt_matrix(t.data, t.dtype, 1, t.rows * t.cols) : t;
}

#endif
