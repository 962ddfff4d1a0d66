/* The LSTM's recurrence, with everything a time step does in one place: matrix product, gates and state in registers.
 *
 * A library's LSTM goes to memory between the product and the gates, and rearranges the weights for every product; at
 * the batches of 8 to 64 streams that learn fastest that takes more time than the arithmetic. Here the weights are
 * rearranged once per window. Compiled on the user's machine by `build.py`; nothing here is needed where it can't be.
 */
#include "simd.h"

#ifdef _WIN32
#define sched_yield() pause_briefly()
#else
#include <sched.h>
#endif

enum Task { PACK_FORWARD, PACK, FORWARD, BACKWARD, ADD_ROWS, HEAD, THIN };

/* One piece of work, shared by the threads that call `work` on it. */
typedef struct {
    int32_t task, is_bfloat16, num_parts, num_items; /* items first to last make a part */
    int32_t T, B, H, V;
    int32_t taken; /* parts that a thread has begun */
    int32_t num_tiles; /* of a matrix or of the hidden units */
    int32_t num_owners; /* of hidden units: so many threads share every step, or 0 where each takes streams of its own */
    int32_t *turns; /* (T, num_owners + 1, 16), zeros: how far they are */
    float scale; /* of the loss, or of what is kept */
    uint32_t seed[2], threshold;
    void *arrays[9];
} Job;

/* Where part `index` of `parts` of a whole begins. */
INLINE int share(int whole, int index, int parts) { return (int)((int64_t)whole * index / parts); }

typedef void Step(const Job *job, int t, int first, int last, int begin, int end);

/* Streams first to last, in time or against it. They are independent of each other: who takes some needs not wait. */
INLINE void in_time(const Job *job, Step *step, int first, int last) {
    for (int s = 0; s < job->T; s++) step(job, job->task == FORWARD ? s : job->T - 1 - s, first, last, 0, job->num_tiles);
}

/* All streams, in time or against it, of the units that are thread `me`'s: so its part of the weights stays in the cache
 * next to it. All wait for each other at every step, whose states each needs whole. Who is done with its own units takes
 * others' that nobody has begun, so that any number of threads, even one, gets to the end. */
INLINE void together(const Job *job, Step *step, int me) {
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
            if (waited < 2000) /* some tens of microseconds; beyond, somebody's core does other work */
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
#define GROUP 1
#define NAMED(name) name##_float
#define Weights Vector
#define load_weights load_float
#define spread(source) splat(*(source))
#define multiply_add(sum, a, b) ((a) * (b) + (sum))
#define load_numbers load_float
#define store_numbers store_float
#define store_rows(target, source, stride) store_float(target, load_float(source))
#include "lstm.inc.c"
#undef NUMBER
#undef GROUP
#undef NAMED
#undef Weights
#undef load_weights
#undef spread
#undef multiply_add
#undef load_numbers
#undef store_numbers
#undef store_rows

#if defined(__AVX512BF16__)
#define NUMBER bfloat16
#define GROUP 2
#define NAMED(name) name##_bfloat16
#define Weights __m512bh
#define load_weights(source) ((__m512bh)_mm512_loadu_si512(source))
#define multiply_add(sum, a, b) ((Vector)_mm512_dpbf16_ps((__m512)(sum), a, b))
INLINE __m512bh spread(const bfloat16 *source) {
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
INLINE void store_rows(bfloat16 *target, const float *source, size_t stride) { /* two rows, number by number in turn */
    __m512i first = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)load_float(source)));
    __m512i second = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)load_float(source + stride)));
    _mm512_storeu_si512(target, _mm512_or_si512(first, _mm512_slli_epi32(second, 16)));
}
#include "lstm.inc.c"
int32_t has_bfloat16(void) { return 1; }
#else
int32_t has_bfloat16(void) { return 0; }
#endif

int32_t lanes(void) { return LANES; }

/* Murmur3's last step: every bit of the result depends on every bit of `x`. */
INLINE Words mixed(Words x) {
    x = (x ^ (x >> 16)) * 0x85EBCA6Bu;
    x = (x ^ (x >> 13)) * 0xC2B2AE35u;
    return x ^ (x >> 16);
}

/* Blocks of 64 numbers: each is kept, times `scale`, or dropped, as a byte of its own says that follows from the seed
 * and its place alone. So the numbers dropped once can be dropped again without keeping a note of them. */
static void thin(const Job *job, int first, int last) {
    const Vector scale = splat(job->scale), none = splat(0.0f);
    Words lanes = {0};
    for (int lane = 0; lane < LANES; lane++) lanes[lane] = lane;
    for (int block = first; block < last; block++)
        for (int begin = 0; begin < 16; begin += LANES) {
            Words words = mixed(mixed(lanes + (uint32_t)(block * 16 + begin) + job->seed[0]) ^ job->seed[1]);
            const float *source = (const float *)job->arrays[0] + (size_t)block * 64 + begin;
            float *target = (float *)job->arrays[1] + (size_t)block * 64 + begin;
            for (int quarter = 0; quarter < 64; quarter += 16, words >>= 8)
                store_float(target + quarter,
                            select_where((words & 255) < job->threshold, none, load_float(source + quarter) * scale));
        }
}

/* Called by any number of threads at once; returns when no part of the job is left to begin. */
void work(void *shared) {
    Job *job = shared;
    int32_t part;
    if (job->num_owners) {
        int me = __atomic_fetch_add(&job->taken, 1, __ATOMIC_RELAXED);
        Step *step = job->task == FORWARD ? forward_step_float : backward_step_float;
#if defined(__AVX512BF16__)
        if (job->is_bfloat16) step = job->task == FORWARD ? forward_step_bfloat16 : backward_step_bfloat16;
#endif
        together(job, step, me);
        return;
    }
    while ((part = __atomic_fetch_add(&job->taken, 1, __ATOMIC_RELAXED)) < job->num_parts) {
        int first = share(job->num_items, part, job->num_parts), last = share(job->num_items, part + 1, job->num_parts);
        if (job->task == THIN) {
            thin(job, first, last);
            continue;
        }
#if defined(__AVX512BF16__)
        if (job->is_bfloat16) {
            part_bfloat16(job, first, last);
            continue;
        }
#endif
        part_float(job, first, last);
    }
}

#include "decoder.inc.c"
