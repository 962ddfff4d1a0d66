/* Short vectors for the target processor, and the elementary functions of an LSTM cell.
 *
 * GNU vector extensions (GCC and Clang) cover everything but bfloat16, which needs AVX512-BF16 intrinsics.
 */
#ifndef CHARLSTM_VECTORS_H
#define CHARLSTM_VECTORS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)
#define LANES 16
#define MAX_ROWS 6 /* 6 rows x 4 gates of accumulators and 4 weights fill the 32 registers */
#elif defined(__AVX__)
#define LANES 8
#define MAX_ROWS 3 /* 16 registers */
#else
#define LANES 4
#define MAX_ROWS 6
#endif

INLINE void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

typedef float Vector __attribute__((vector_size(LANES * 4)));
typedef int32_t Ints __attribute__((vector_size(LANES * 4)));
typedef uint32_t Words __attribute__((vector_size(LANES * 4)));
typedef uint16_t bfloat16;

INLINE Vector splat(float value) { return value - (Vector){0}; }

INLINE Vector load_float(const float *source) {
    Vector value;
    memcpy(&value, source, sizeof value);
    return value;
}

INLINE void store_float(float *target, Vector value) { memcpy(target, &value, sizeof value); }

INLINE Vector select_where(Ints mask, Vector yes, Vector no) {
    return (Vector)(((Ints)yes & mask) | ((Ints)no & ~mask));
}

/* e^x for |x| <= 60, and e^60 or e^-60 beyond: 2^n times a polynomial of degree 6 on [-1/2, 1/2].
 * NaN passes both comparisons unchanged, so that broken weights don't go unnoticed. */
INLINE Vector exponential(Vector x) {
    const Vector magic = splat(12582912.0f); /* 1.5 x 2^23: adding it rounds to the nearest whole number */
    x = select_where(x > splat(60.0f), splat(60.0f), x);
    x = select_where(x < splat(-60.0f), splat(-60.0f), x);
    Vector scaled = x * splat(1.44269504088896f);
    Vector shifted = scaled + magic;
    Vector rest = scaled - (shifted - magic);
    Vector power = splat(1.54035304e-4f);
    power = power * rest + splat(1.33335581e-3f);
    power = power * rest + splat(9.61812911e-3f);
    power = power * rest + splat(5.55041087e-2f);
    power = power * rest + splat(2.40226507e-1f);
    power = power * rest + splat(6.93147181e-1f);
    power = power * rest + splat(1.0f);
    return (Vector)((Ints)power + (((Ints)shifted - (Ints)magic) << 23));
}

INLINE Vector reciprocal(Vector x) {
#if defined(__AVX512F__)
    Vector guess = (Vector)_mm512_rcp14_ps((__m512)x); /* 14 bits, and one step of Newton's: a third of a division's time */
    return guess * (splat(2.0f) - x * guess);
#else
    return splat(1.0f) / x;
#endif
}

INLINE Vector sigmoid(Vector x) { return reciprocal(splat(1.0f) + exponential(-x)); }

INLINE Vector vtanh(Vector x) {
    return splat(1.0f) - splat(2.0f) * reciprocal(splat(1.0f) + exponential(x + x));
}

#endif
