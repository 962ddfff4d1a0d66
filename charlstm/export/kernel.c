/* One step of a network in a web page, in WebAssembly with 128-bit vectors.
 *
 * clang --target=wasm32 -O3 -msimd128 -ffreestanding -nostdlib -mllvm -disable-lsr -Wl,--no-entry -Wl,--import-memory
 *   -Wl,--strip-all -Wl,--stack-first -Wl,-z,stack-size=4096 -Wl,--export=__heap_base -o kernel.wasm kernel.c
 * (kernel.wasm was made by clang 14.0.6. Without loop strength reduction addresses stay constant offsets of one pointer:
 * *measured*, 8 % faster.)
 *
 * The page (network.js) lays out the memory, all of it from __heap_base on; nothing here keeps anything between calls.
 * WebAssembly rounds after every operation, so the numbers are those of the package and of plain JavaScript to the bit;
 * only the order of sums of floats matters, and that of whole numbers doesn't.
 * Shapes: H = hidden size rounded up to UNITS (weights of what was added are 0), K = what a layer multiplies: its own
 * hidden state, and before it, above the first layer, that of the layer below.
 */
#include <stdint.h>
#include <wasm_simd128.h>

#define UNITS 8 /* computed together, as two vectors for each of 4 gates */
#define EXPORT(name) __attribute__((export_name(name), visibility("default")))
#define INLINE static inline __attribute__((always_inline))

typedef v128_t Floats;

INLINE Floats splat(float value) { return wasm_f32x4_splat(value); }
INLINE Floats multiply_add(Floats a, Floats b, Floats c) { return wasm_f32x4_add(wasm_f32x4_mul(a, b), c); }

/* e^x for |x| <= 60, and e^60 or e^-60 beyond: 2^n times a polynomial of degree 6 on [-1/2, 1/2]. */
INLINE Floats exponential(Floats x) {
    const Floats magic = splat(12582912.0f); /* 1.5 x 2^23: adding it rounds to the nearest whole number */
    x = wasm_v128_bitselect(splat(60.0f), x, wasm_f32x4_gt(x, splat(60.0f)));
    x = wasm_v128_bitselect(splat(-60.0f), x, wasm_f32x4_lt(x, splat(-60.0f)));
    Floats scaled = wasm_f32x4_mul(x, splat(1.44269504088896f)), shifted = wasm_f32x4_add(scaled, magic);
    Floats rest = wasm_f32x4_sub(scaled, wasm_f32x4_sub(shifted, magic)), power = splat(1.54035304e-4f);
    power = multiply_add(power, rest, splat(1.33335581e-3f));
    power = multiply_add(power, rest, splat(9.61812911e-3f));
    power = multiply_add(power, rest, splat(5.55041087e-2f));
    power = multiply_add(power, rest, splat(2.40226507e-1f));
    power = multiply_add(power, rest, splat(6.93147181e-1f));
    power = multiply_add(power, rest, splat(1.0f));
    return wasm_i32x4_add(power, wasm_i32x4_shl(wasm_i32x4_sub(shifted, magic), 23));
}

INLINE Floats reciprocal_above_one(Floats x) { return wasm_f32x4_div(splat(1.0f), wasm_f32x4_add(splat(1.0f), x)); }
INLINE Floats sigmoid(Floats x) { return reciprocal_above_one(exponential(wasm_f32x4_neg(x))); }
INLINE Floats hyperbolic_tangent(Floats x) {
    Floats share = reciprocal_above_one(exponential(wasm_f32x4_add(x, x)));
    return wasm_f32x4_sub(splat(1.0f), wasm_f32x4_mul(splat(2.0f), share));
}

/* `sums[gate][half]` of UNITS units become their states. */
INLINE void step_cells(Floats sums[4][2], float *c, float *h) {
    for (int half = 0; half < 2; half++) {
        Floats kept = wasm_f32x4_mul(sigmoid(sums[1][half]), wasm_v128_load(c + 4 * half));
        Floats added = wasm_f32x4_mul(sigmoid(sums[0][half]), hyperbolic_tangent(sums[2][half]));
        Floats cell = wasm_f32x4_add(kept, added);
        wasm_v128_store(c + 4 * half, cell);
        wasm_v128_store(h + 4 * half, wasm_f32x4_mul(sigmoid(sums[3][half]), hyperbolic_tangent(cell)));
    }
}

/* Hidden states (H) as steps of 1/127. */
EXPORT("round_states") void round_states(int H, const float *h, int16_t *rounded) {
    for (int unit = 0; unit < H; unit += UNITS) {
        Floats low = wasm_f32x4_mul(wasm_v128_load(h + unit), splat(127.0f));
        Floats high = wasm_f32x4_mul(wasm_v128_load(h + unit + 4), splat(127.0f));
        low = wasm_i32x4_trunc_sat_f32x4(wasm_f32x4_nearest(low));
        high = wasm_i32x4_trunc_sat_f32x4(wasm_f32x4_nearest(high));
        wasm_v128_store(rounded + unit, wasm_i16x8_narrow_i32x4(low, high));
    }
}

/* weights [H / UNITS][K / 2][gate][UNITS][2]; scales and given (4H); inputs (K), K even; c and h (H). */
EXPORT("step_int8")
void step_int8(int H, int K, const int8_t *weights, const float *scales, const float *given, const int16_t *inputs,
               float *c, float *h) {
    for (int unit = 0; unit < H; unit += UNITS) {
        v128_t products[4][2] = {{wasm_i32x4_const_splat(0)}};
        Floats sums[4][2];
        for (int k = 0; k < K; k += 2, weights += 8 * UNITS) {
            v128_t two = wasm_v128_load32_splat(inputs + k);
#pragma unroll
            for (int gate = 0; gate < 4; gate++)
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    v128_t weight = wasm_i16x8_load8x8(weights + gate * 2 * UNITS + half * UNITS);
                    products[gate][half] = wasm_i32x4_add(products[gate][half], wasm_i32x4_dot_i16x8(weight, two));
                }
        }
        for (int gate = 0; gate < 4; gate++)
            for (int half = 0; half < 2; half++) {
                int at = gate * H + unit + 4 * half;
                Floats product = wasm_f32x4_convert_i32x4(products[gate][half]);
                sums[gate][half] = multiply_add(product, wasm_v128_load(scales + at), wasm_v128_load(given + at));
            }
        step_cells(sums, c + unit, h + unit);
    }
}

/* The same with weights [H / UNITS][K][gate][UNITS] that are floats. */
EXPORT("step_float")
void step_float(int H, int K, const float *weights, const float *given, const float *inputs, float *c, float *h) {
    for (int unit = 0; unit < H; unit += UNITS) {
        Floats sums[4][2];
        for (int gate = 0; gate < 4; gate++)
            for (int half = 0; half < 2; half++)
                sums[gate][half] = wasm_v128_load(given + gate * H + unit + 4 * half);
        for (int k = 0; k < K; k++, weights += 4 * UNITS) {
            Floats input = wasm_v128_load32_splat(inputs + k);
#pragma unroll
            for (int gate = 0; gate < 4; gate++)
#pragma unroll
                for (int half = 0; half < 2; half++)
                    sums[gate][half] =
                        multiply_add(input, wasm_v128_load(weights + gate * UNITS + 4 * half), sums[gate][half]);
        }
        step_cells(sums, c + unit, h + unit);
    }
}

/* Logits of 16 x num_blocks characters; weights [num_blocks][K][16], biases (16 x num_blocks). */
EXPORT("head")
void head(int num_blocks, int K, const float *weights, const float *biases, const float *h, float *logits) {
    for (int block = 0; block < num_blocks; block++) {
        Floats sums[4];
        for (int each = 0; each < 4; each++) sums[each] = wasm_v128_load(biases + 16 * block + 4 * each);
        for (int k = 0; k < K; k++, weights += 16) {
            Floats state = wasm_v128_load32_splat(h + k);
#pragma unroll
            for (int each = 0; each < 4; each++)
                sums[each] = multiply_add(state, wasm_v128_load(weights + 4 * each), sums[each]);
        }
        for (int each = 0; each < 4; each++) wasm_v128_store(logits + 16 * block + 4 * each, sums[each]);
    }
}

/* Shares (N) of logits (N) less the largest, over a temperature; 0 for -infinity. N is a multiple of 4. */
EXPORT("weigh") void weigh(int N, const float *logits, float largest, float temperature, float *shares) {
    for (int id = 0; id < N; id += 4) {
        Floats logit = wasm_v128_load(logits + id);
        Floats scaled = wasm_f32x4_div(wasm_f32x4_sub(logit, splat(largest)), splat(temperature));
        v128_t is_possible = wasm_f32x4_ne(logit, splat(-__builtin_inff()));
        wasm_v128_store(shares + id, wasm_v128_and(exponential(scaled), is_possible));
    }
}
