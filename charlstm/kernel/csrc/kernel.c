/* The LSTM's recurrence with fused time steps: matrix product, gates and state update stay in registers.
 *
 * A library's LSTM goes through memory between the product and the gates, and repacks the weights for every product; at
 * the batches of 8 to 64 streams that learn fastest, that takes more time than the arithmetic. Here the weights are
 * packed once per window. Compiled on the user's machine by `build.py`; optional, as PyTorch's LSTM is the fallback.
 */
#include "simd.h"

#ifdef _WIN32
#define sched_yield() pause_briefly()
#else
#include <sched.h>
#endif

enum Numbers { FLOAT, BFLOAT16, MIXED }; /* MIXED: float, and packed weights in bfloat16 */
enum Task { PACK_FORWARD, PACK, FORWARD, BACKWARD, ADD_ROWS, HEAD, DROP };

/* The places of each task's arrays in `Job.arrays`; shapes as in lstm.inc.c, NUMBER is float or bfloat16. */
enum PackArray {
    PACK_MATRIX, /* input, float: (K, N); for PACK_FORWARD weight_hh (4H, H) */
    PACK_PACKED, /* output, NUMBER: the same numbers in tiles */
};
enum ForwardArray {
    FORWARD_PACKED, /* input, NUMBER: packed weight_hh */
    FORWARD_INPUTS, /* input, NUMBER (., 4H) */
    FORWARD_ROWS,   /* input, int64 (T, B): the row of the inputs at each position */
    FORWARD_H,      /* input and output, NUMBER (T + 1, B, H); the first is the initial state */
    FORWARD_C,      /* input and output, float (T + 1, B, H); the first is the initial state */
    FORWARD_GATES,  /* output, NUMBER (T, B, 4H), or NULL if no gradient is needed */
    FORWARD_BIAS,   /* input, float (4H), or NULL */
};
enum BackwardArray {
    BACKWARD_PACKED, /* input, NUMBER: packed weight_hh */
    BACKWARD_DH,     /* input, NUMBER (T, B, H): gradients of the hidden states */
    BACKWARD_GATES,  /* input, NUMBER (T, B, 4H), of the forward pass */
    BACKWARD_C,      /* input, float (T + 1, B, H), of the forward pass */
    BACKWARD_DC,     /* scratch, float (B, H): gradients of the cell states */
    BACKWARD_DGATES, /* output, NUMBER (T, B, 4H) */
};
enum AddRowsArray {
    ADD_ROWS_ROWS,   /* input, int64 (T, B): the row of the sums for each position, or NULL for the first */
    ADD_ROWS_DGATES, /* input, NUMBER (T, B, 4H) */
    ADD_ROWS_SUMS,   /* input and output, float (., 4H) */
};
enum HeadArray {
    HEAD_HIDDEN,    /* input, NUMBER (N, H) */
    HEAD_TO_LOGITS, /* input, NUMBER: packed transposed weight (H, V) */
    HEAD_TO_HIDDEN, /* input, NUMBER: packed weight (V, H) */
    HEAD_BIAS,      /* input, float (V) */
    HEAD_TARGETS,   /* input, int64 (N), negative for none */
    HEAD_LOGITS,    /* scratch, float (N, V) */
    HEAD_DLOGITS,   /* output, NUMBER (N, V) */
    HEAD_DHIDDEN,   /* output, NUMBER (N, H) */
    HEAD_NATS,      /* output, float (N, 2): -log p = log of the first + the second */
};
enum DropArray {
    DROP_SOURCE, /* input, float */
    DROP_TARGET, /* output, float, of the same shape; may be the source */
};
#define MAX_ARRAYS 9

/* A job, shared by the threads that call `run_job` on it. */
typedef struct {
    int32_t task, numbers, num_parts, num_items; /* `numbers` as in `enum Numbers`; a part is a range of items */
    int32_t T, B, H, V;
    int32_t taken; /* parts started so far */
    int32_t num_tiles; /* of a matrix or of the hidden units */
    int32_t num_owners; /* threads that share the hidden units of every step, or 0 if each thread takes streams */
    int32_t *turns; /* (T, num_owners + 1, 16), initially zero: progress of the steps */
    float scale; /* of the loss, or of the numbers that are not dropped */
    uint32_t seed[2], threshold;
    void *arrays[MAX_ARRAYS]; /* see the enum of the task */
} Job;

/* Return the start of part `index` of `parts` equal parts of a whole. */
INLINE int share(int whole, int index, int parts) { return (int)((int64_t)whole * index / parts); }

typedef void Step(const Job *job, int t, int first, int last, int begin, int end);

/* Run streams first to last through all time steps, forward or backward. Streams are independent: threads need not wait. */
INLINE void run_sequence(const Job *job, Step *step, int first, int last) {
    for (int s = 0; s < job->T; s++) step(job, job->task == FORWARD ? s : job->T - 1 - s, first, last, 0, job->num_tiles);
}

/* Run all streams through all time steps, forward or backward, with the hidden units shared by threads: each owns some, so
 * that its part of the weights stays in its core's cache. Threads synchronize at every step, as each needs the whole
 * previous state. A thread that is done with its own units steals pieces of others' that are not started, so that any
 * number of threads, even one, completes the job. */
INLINE void run_units_parallel(const Job *job, Step *step, int me) {
    const int owners = job->num_owners, pieces = job->num_tiles < 4 * owners ? job->num_tiles : 4 * owners;
    for (int s = 0; s < job->T; s++) {
        int32_t *done = job->turns + (size_t)s * (owners + 1) * 16, mine = 0;
        for (int turn = 0; turn < owners; turn++) {
            int owner = (me + turn) % owners, end = share(pieces, owner + 1, owners), piece;
            int32_t *taken = done + (owner + 1) * 16;
            while ((piece = share(pieces, owner, owners) + __atomic_fetch_add(taken, 1, __ATOMIC_RELAXED)) < end) {
                step(job, job->task == FORWARD ? s : job->T - 1 - s, 0, job->B, share(job->num_tiles, piece, pieces),
                     share(job->num_tiles, piece + 1, pieces));
                mine++;
            }
        }
        if (mine) __atomic_fetch_add(done, mine, __ATOMIC_RELEASE);
        for (int waited = 0; __atomic_load_n(done, __ATOMIC_ACQUIRE) < pieces; waited++)
            if (waited < 2000) /* some tens of microseconds; after that, a thread is probably descheduled */
                pause_briefly();
            else
                sched_yield();
    }
}

#if defined(__AVX512F__)
#define FOR_EVERY_NUMBER_OF_ROWS CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#elif defined(__AVX__)
#define FOR_EVERY_NUMBER_OF_ROWS CASE(1) CASE(2) CASE(3)
#else
#define FOR_EVERY_NUMBER_OF_ROWS CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#endif

#define NUMBER float
#define WEIGHT float
#define GROUP 1
#define NAMED(name) name##_float
#define Weights Vector
#define Factors Vector
#define load_weights load_float
#define store_weights store_float
#define broadcast(source) splat(*(source))
#define multiply_add(sum, a, b) ((a) * (b) + (sum))
#define load_numbers load_float
#define store_numbers store_float
#define store_rows(target, source, stride) store_float(target, load_float(source))
#include "lstm.inc.c"

/* Weights of half the size in the products of floats: more of them stay in a core's cache. */
#if defined(__AVX512F__)
#define NUMBER float
#define WEIGHT bfloat16
#define GROUP 2
#define NAMED(name) name##_mixed
typedef struct {
    Vector even, odd;
} Pair; /* of two rows of weights, or of two factors */
#define Weights Pair
#define Factors Pair
INLINE Pair load_pair(const bfloat16 *source) {
    __m512i both = _mm512_loadu_si512(source);
    return (Pair){(Vector)_mm512_slli_epi32(both, 16), (Vector)_mm512_and_si512(both, _mm512_set1_epi32(0xffff0000))};
}
INLINE Words round_to_bfloat16(Vector value) { /* to the nearest, ties to even; in the lower halves */
    Words bits = (Words)value;
    return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}
INLINE void store_rounded(bfloat16 *target, Vector value) {
    _mm256_storeu_si256((__m256i *)target, _mm512_cvtepi32_epi16((__m512i)round_to_bfloat16(value)));
}
INLINE void store_rounded_rows(bfloat16 *target, const float *source, size_t stride) { /* two rows, interleaved */
    Words both = round_to_bfloat16(load_float(source)) | round_to_bfloat16(load_float(source + stride)) << 16;
    memcpy(target, &both, sizeof both);
}
#define load_weights load_pair
#define store_weights store_rounded
#define broadcast(source) ((Pair){splat((source)[0]), splat((source)[1])})
#define multiply_add(sum, a, b) ((a).odd * (b).odd + ((a).even * (b).even + (sum)))
#define load_numbers load_float
#define store_numbers store_float
#define store_rows store_rounded_rows
#include "lstm.inc.c"
#endif

#if defined(__AVX512BF16__)
#define NUMBER bfloat16
#define WEIGHT bfloat16
#define GROUP 2
#define NAMED(name) name##_bfloat16
#define Weights __m512bh
#define Factors __m512bh
#define store_weights store_numbers
#define load_weights(source) ((__m512bh)_mm512_loadu_si512(source))
#define multiply_add(sum, a, b) ((Vector)_mm512_dpbf16_ps((__m512)(sum), a, b))
INLINE __m512bh broadcast(const bfloat16 *source) {
    int32_t pair;
    memcpy(&pair, source, sizeof pair);
    return (__m512bh)_mm512_set1_epi32(pair);
}
INLINE Vector load_numbers(const bfloat16 *source) {
    __m256i narrow = _mm256_loadu_si256((const __m256i *)source);
    return (Vector)_mm512_slli_epi32(_mm512_cvtepu16_epi32(narrow), 16);
}
INLINE void store_numbers(bfloat16 *target, Vector value) {
    _mm256_storeu_si256((__m256i *)target, (__m256i)_mm512_cvtneps_pbh((__m512)value));
}
INLINE void store_rows(bfloat16 *target, const float *source, size_t stride) { /* two rows, interleaved */
    __m512i first = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)load_float(source)));
    __m512i second = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)load_float(source + stride)));
    _mm512_storeu_si512(target, _mm512_or_si512(first, _mm512_slli_epi32(second, 16)));
}
#include "lstm.inc.c"
int32_t has_bfloat16(void) { return 1; }
#else
int32_t has_bfloat16(void) { return 0; }
#endif

#if defined(__AVX512F__)
int32_t has_mixed(void) { return 1; }
#else
int32_t has_mixed(void) { return 0; }
#endif

int32_t lanes(void) { return LANES; }

/* The finalizer of MurmurHash3: every bit of the result depends on every bit of `x`. */
INLINE Words hash32(Words x) {
    x = (x ^ (x >> 16)) * 0x85EBCA6Bu;
    x = (x ^ (x >> 13)) * 0xC2B2AE35u;
    return x ^ (x >> 16);
}

/* Drop numbers in blocks of 64 and multiply the rest by `scale`. A byte hashed from the seed and the number's position
 * alone decides, so that the backward pass can drop the same numbers again without a stored mask. */
static void drop(const Job *job, int first, int last) {
    const Vector scale = splat(job->scale), none = splat(0.0f);
    Words lanes = {0};
    for (int lane = 0; lane < LANES; lane++) lanes[lane] = lane;
    for (int block = first; block < last; block++)
        for (int begin = 0; begin < 16; begin += LANES) {
            Words words = hash32(hash32(lanes + (uint32_t)(block * 16 + begin) + job->seed[0]) ^ job->seed[1]);
            const float *source = (const float *)job->arrays[DROP_SOURCE] + (size_t)block * 64 + begin;
            float *target = (float *)job->arrays[DROP_TARGET] + (size_t)block * 64 + begin;
            for (int quarter = 0; quarter < 64; quarter += 16, words >>= 8)
                store_float(target + quarter,
                            select_where((words & 255) < job->threshold, none, load_float(source + quarter) * scale));
        }
}

#if defined(__AVX512BF16__)
#define BFLOAT16_OR_FLOAT(name) name##_bfloat16
#else
#define BFLOAT16_OR_FLOAT(name) name##_float /* not asked for, see `has_bfloat16` */
#endif
#if defined(__AVX512F__)
#define MIXED_OR_FLOAT(name) name##_mixed
#else
#define MIXED_OR_FLOAT(name) name##_float /* nor is this, see `has_mixed` */
#endif
#define OF_NUMBERS(job, name)                                                                                          \
    ((job)->numbers == MIXED ? MIXED_OR_FLOAT(name) : (job)->numbers == BFLOAT16 ? BFLOAT16_OR_FLOAT(name) : name##_float)

/* Work on a job, called by any number of threads at once; return when no part is left to start. */
void run_job(void *shared) {
    Job *job = shared;
    int32_t part;
    if (job->num_owners) {
        int me = __atomic_fetch_add(&job->taken, 1, __ATOMIC_RELAXED);
        run_units_parallel(job, job->task == FORWARD ? OF_NUMBERS(job, forward_step) : OF_NUMBERS(job, backward_step), me);
        return;
    }
    while ((part = __atomic_fetch_add(&job->taken, 1, __ATOMIC_RELAXED)) < job->num_parts) {
        int first = share(job->num_items, part, job->num_parts), last = share(job->num_items, part + 1, job->num_parts);
        if (job->task == DROP) drop(job, first, last);
        else OF_NUMBERS(job, part)(job, first, last);
    }
}

#include "decoder.inc.c"
