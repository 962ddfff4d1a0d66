/* Writing: character after character, each read as soon as it is chosen, without leaving C in between.
 *
 * One stream is bound by how fast the weights come from the cache, so a step reads each of them once, from front to
 * back; a batch reads them once for up to ROWS texts. The weights of layers may be whole numbers of 8 bits with a scale
 * for each unit's gate, and hidden states, which lie between -1 and 1, are multiplied as 0 to 255: a quarter of the
 * bytes, and sums that are exact. It pays with AVX512-VNNI; elsewhere it is there for the same text. All else is float.
 *
 * A row's numbers do not depend on the rows beside it: each of its sums runs over k in order, whatever ROWS is. With 8
 * bits no state depends on the processor either, nor on the compiler: the cell fuses no product with a sum and takes no
 * approximate reciprocal, so that a page's WebAssembly, which has neither, comes to the same bits (`export/kernel.c`).
 * Shapes: B = rows, L = layers, H = hidden size rounded up to 16 (weights of what was added are 0), V = vocabulary
 * size; K = what a layer multiplies: its own hidden state, and before it, above the first, that of the layer below.
 */
#include <math.h>
#include <stdlib.h>

#define ROWS 6
#define STEP_LAYERS 8

typedef struct {
    int32_t is_int8, V, H, L;
    const float *table;               /* (V, 4H): what a character gives the gates of the first layer, biases included */
    const void *weights[STEP_LAYERS]; /* [H / LANES][K / GROUP][gate][LANES][GROUP], GROUP 4 for int8 and 1 for float */
    const float *biases[STEP_LAYERS]; /* (4H), but for the first layer */
    const float *scales[STEP_LAYERS]; /* (4H), int8 only: what one unit of a product is worth */
    const int32_t *offsets[STEP_LAYERS]; /* (4H), int8 only: -128 x the sum of the weights */
    const float *head;                   /* [blocks of LANES characters][H][LANES] */
    const float *head_bias;              /* (blocks x LANES) */
} Network;

typedef struct {
    const Network *network;
    int32_t B, T;        /* characters to read or to write */
    int32_t is_reading;  /* `history` (B, T) holds what to read; nothing is chosen */
    int32_t has_logits;  /* `logits` are computed all the same, and are those after the last character that was read */
    int32_t is_given;    /* what would be written is in `history` already, and only thought about */
    int32_t window;      /* `history` (B, window + T): what was read last, and room for what is written */
    int32_t no_repeat, top_k, num_likeliest;
    double temperature, top_p;
    uint64_t seed;
    const int64_t *positions; /* (B) of the first character that is written, in its text */
    int32_t *history;
    float *h, *c;        /* (L, B, H) */
    const float *held;   /* (L, H): cell states that units keep, infinity for those that are free; or NULL */
    float *hidden, *cells; /* (B, T, L, H): states after each character that was read, or NULL */
    void *inputs;        /* (L, B, 2H) numbers, scratch */
    float *logits;       /* (B, blocks x LANES), scratch */
    float *allowed, *shares; /* (B, blocks x LANES), scratch */
    void *ranked;        /* (B, V) of `Ranked`, scratch */
    float *surprises;    /* (B, T) nats */
    int32_t *likeliest;  /* (B, T, num_likeliest) characters, the likeliest first */
    float *probabilities; /* (B, T, num_likeliest) */
} Writing;

typedef struct {
    float logit;
    int32_t id;
} Ranked;

/* A product that is rounded before anything is added to it: the compiler can't see that it is one. */
INLINE Vector rounded(Vector product) {
#if defined(__AVX512F__)
    __asm__("" : "+v"(product));
#elif defined(__x86_64__)
    __asm__("" : "+x"(product));
#elif defined(__aarch64__)
    __asm__("" : "+w"(product));
#else
    __asm__("" : "+m"(product));
#endif
    return product;
}

/* `exponential`, the same steps without fusing. */
INLINE Vector unfused_exponential(Vector x) {
    const Vector magic = splat(12582912.0f);
    x = select_where(x > splat(60.0f), splat(60.0f), x);
    x = select_where(x < splat(-60.0f), splat(-60.0f), x);
    Vector scaled = rounded(x * splat(1.44269504088896f));
    Vector shifted = scaled + magic;
    Vector rest = scaled - (shifted - magic);
    Vector power = splat(1.54035304e-4f);
    power = rounded(power * rest) + splat(1.33335581e-3f);
    power = rounded(power * rest) + splat(9.61812911e-3f);
    power = rounded(power * rest) + splat(5.55041087e-2f);
    power = rounded(power * rest) + splat(2.40226507e-1f);
    power = rounded(power * rest) + splat(6.93147181e-1f);
    power = rounded(power * rest) + splat(1.0f);
    return (Vector)((Ints)power + (((Ints)shifted - (Ints)magic) << 23));
}

INLINE Vector step_sigmoid(Vector x) { return splat(1.0f) / (splat(1.0f) + unfused_exponential(-x)); }

INLINE Vector step_tanh(Vector x) {
    return splat(1.0f) - splat(2.0f) * (splat(1.0f) / (splat(1.0f) + unfused_exponential(x + x)));
}

INLINE void step_cell(const Vector *sums, const float *held, float *c, float *h) {
    Vector i = step_sigmoid(sums[0]), f = step_sigmoid(sums[1]), g = step_tanh(sums[2]), o = step_sigmoid(sums[3]);
    Vector cell = rounded(f * load_float(c)) + rounded(i * g);
    if (held) {
        Vector kept = load_float(held);
        cell = select_where(kept < splat(INFINITY), kept, cell);
    }
    store_float(c, cell);
    store_float(h, o * step_tanh(cell));
}

/* `num_rows` rows, LANES units; `given[row]` is what the gates get beside the product. */
INLINE void step_tile_float(int num_rows, int H, int K, const float *weight, const float *x, const float *const *given,
                            const float *held, float *c, float *h) {
    Vector sums[ROWS][4];
    for (int row = 0; row < num_rows; row++)
        for (int gate = 0; gate < 4; gate++) sums[row][gate] = load_float(given[row] + gate * H);
    for (int k = 0; k < K; k++, weight += 4 * LANES)
#pragma GCC unroll 6
        for (int row = 0; row < num_rows; row++) {
            Vector before = splat(x[(size_t)row * K + k]);
#pragma GCC unroll 4
            for (int gate = 0; gate < 4; gate++) sums[row][gate] += before * load_float(weight + gate * LANES);
        }
    for (int row = 0; row < num_rows; row++) step_cell(sums[row], held, c + (size_t)row * H, h + (size_t)row * H);
}

#if defined(__AVX512VNNI__)
/* Sums in variables of their own, and not the intrinsic: *measured*, GCC 12 moves what is in an array or in an intrinsic's
 * result to another register and back, and at 6 rows to memory. */
#define MULTIPLY_INT8(sum, a, b) __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b))
#define UP_TO_1(DO) DO(0)
#define UP_TO_2(DO) UP_TO_1(DO) DO(1)
#define UP_TO_3(DO) UP_TO_2(DO) DO(2)
#define UP_TO_4(DO) UP_TO_3(DO) DO(3)
#define UP_TO_5(DO) UP_TO_4(DO) DO(4)
#define UP_TO_6(DO) UP_TO_5(DO) DO(5)
#define BEGIN_ROW(row) __m512i i##row = start[0], f##row = start[1], g##row = start[2], o##row = start[3];
#define MULTIPLY_ROW(row)                                                                                              \
    {                                                                                                                  \
        int32_t four;                                                                                                  \
        memcpy(&four, x + (size_t)row * K + k, sizeof four);                                                           \
        __m512i before = _mm512_set1_epi32(four);                                                                      \
        MULTIPLY_INT8(i##row, before, w0);                                                                             \
        MULTIPLY_INT8(f##row, before, w1);                                                                             \
        MULTIPLY_INT8(g##row, before, w2);                                                                             \
        MULTIPLY_INT8(o##row, before, w3);                                                                             \
    }
#define END_ROW(row)                                                                                                   \
    {                                                                                                                  \
        const __m512i products[4] = {i##row, f##row, g##row, o##row};                                                  \
        Vector sums[4];                                                                                                \
        for (int gate = 0; gate < 4; gate++)                                                                           \
            sums[gate] = rounded((Vector)_mm512_cvtepi32_ps(products[gate]) * load_float(scale + gate * H)) +          \
                         load_float(given[row] + gate * H);                                                            \
        step_cell(sums, held, c + (size_t)row * H, h + (size_t)row * H);                                               \
    }
#define STEP_TILE_INT8(n)                                                                                              \
    static void step_tile_int8_##n(int H, int K, const int8_t *weight, const uint8_t *x, const float *const *given,    \
                                   const float *scale, const int32_t *offset, const float *held, float *c, float *h) { \
        __m512i start[4];                                                                                              \
        for (int gate = 0; gate < 4; gate++) start[gate] = _mm512_loadu_si512(offset + gate * H);                      \
        UP_TO_##n(BEGIN_ROW) for (int k = 0; k < K; k += 4, weight += 16 * LANES) {                                    \
            __m512i w0 = _mm512_loadu_si512(weight), w1 = _mm512_loadu_si512(weight + 4 * LANES);                      \
            __m512i w2 = _mm512_loadu_si512(weight + 8 * LANES), w3 = _mm512_loadu_si512(weight + 12 * LANES);         \
            UP_TO_##n(MULTIPLY_ROW)                                                                                    \
        }                                                                                                              \
        UP_TO_##n(END_ROW)                                                                                             \
    }
STEP_TILE_INT8(1)
STEP_TILE_INT8(2)
STEP_TILE_INT8(3)
STEP_TILE_INT8(4)
STEP_TILE_INT8(5)
STEP_TILE_INT8(6)
#else
static void step_tile_int8(int num_rows, int H, int K, const int8_t *weight, const uint8_t *x, const float *const *given,
                           const float *scale, const int32_t *offset, const float *held, float *c, float *h) {
    for (int row = 0; row < num_rows; row++) {
        int32_t products[4][LANES];
        for (int gate = 0; gate < 4; gate++) memcpy(products[gate], offset + gate * H, sizeof products[gate]);
        const int8_t *w = weight;
        for (int k = 0; k < K; k += 4)
            for (int gate = 0; gate < 4; gate++)
                for (int lane = 0; lane < LANES; lane++, w += 4)
                    for (int each = 0; each < 4; each++) products[gate][lane] += w[each] * x[(size_t)row * K + k + each];
        Vector sums[4];
        for (int gate = 0; gate < 4; gate++) {
            float numbers[LANES];
            for (int lane = 0; lane < LANES; lane++) numbers[lane] = (float)products[gate][lane];
            sums[gate] = rounded(load_float(numbers) * load_float(scale + gate * H)) + load_float(given[row] + gate * H);
        }
        step_cell(sums, held, c + (size_t)row * H, h + (size_t)row * H);
    }
}
#endif

/* Rows first to last of one layer: from `inputs` to `c` and `h`. `tokens[row * stride]` is what the first layer reads. */
static void step_layer(const Writing *job, int layer, int first, int last, const int32_t *tokens, size_t stride) {
    const Network *net = job->network;
    const int H = net->H, K = layer ? 2 * H : H, num_blocks = (last - first + ROWS - 1) / ROWS;
    for (int unit = 0; unit < H; unit += LANES)
        for (int block = 0; block < num_blocks; block++) {
            int begin = first + (last - first) * block / num_blocks;
            int num_rows = first + (last - first) * (block + 1) / num_blocks - begin;
            size_t weight = (size_t)unit * K * 4, x = ((size_t)layer * job->B * 2 * H) + (size_t)begin * K;
            size_t state = ((size_t)layer * job->B + begin) * H + unit;
            const float *held = job->held ? job->held + (size_t)layer * H + unit : NULL, *given[ROWS];
            for (int row = 0; row < num_rows; row++)
                given[row] = (layer ? net->biases[layer] : net->table + (size_t)tokens[(begin + row) * stride] * 4 * H) + unit;
#define FLOAT_ROWS(n)                                                                                                  \
    case n:                                                                                                            \
        step_tile_float(n, H, K, (const float *)net->weights[layer] + weight, (const float *)job->inputs + x, given,   \
                        held, job->c + state, job->h + state);                                                         \
        break;
#define INT8_ROWS(n)                                                                                                   \
    case n:                                                                                                            \
        step_tile_int8_##n(H, K, (const int8_t *)net->weights[layer] + weight, (const uint8_t *)job->inputs + x, given, \
                       net->scales[layer] + unit, net->offsets[layer] + unit, held, job->c + state, job->h + state);   \
        break;
#if defined(__AVX512VNNI__)
            if (net->is_int8) switch (num_rows) { INT8_ROWS(1) INT8_ROWS(2) INT8_ROWS(3) INT8_ROWS(4) INT8_ROWS(5) INT8_ROWS(6) }
#else
            if (net->is_int8)
                step_tile_int8(num_rows, H, K, (const int8_t *)net->weights[layer] + weight, (const uint8_t *)job->inputs + x,
                               given, net->scales[layer] + unit, net->offsets[layer] + unit, held, job->c + state,
                               job->h + state);
#endif
            else switch (num_rows) { FLOAT_ROWS(1) FLOAT_ROWS(2) FLOAT_ROWS(3) FLOAT_ROWS(4) FLOAT_ROWS(5) FLOAT_ROWS(6) }
#undef FLOAT_ROWS
#undef INT8_ROWS
        }
}

/* A row's hidden state of `source` becomes part of what `layer` multiplies: its own part, or that of the layer below. */
static void step_pass_on(const Writing *job, int source, int layer, int row) {
    const int H = job->network->H, K = layer ? 2 * H : H;
    const float *h = job->h + ((size_t)source * job->B + row) * H;
    size_t x = (size_t)layer * job->B * 2 * H + (size_t)row * K + (layer && source == layer ? H : 0);
    if (!job->network->is_int8) memcpy((float *)job->inputs + x, h, (size_t)H * sizeof *h);
#if defined(__AVX512VNNI__)
    else
        for (int unit = 0; unit < H; unit += 16) {
            __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(h + unit), _mm512_set1_ps(127.0f)));
            whole = _mm512_add_epi32(whole, _mm512_set1_epi32(128));
            _mm_storeu_si128((__m128i *)((uint8_t *)job->inputs + x + unit), _mm512_cvtepi32_epi8(whole));
        }
#else
    else
        for (int unit = 0; unit < H; unit += LANES) {
            const Vector magic = splat(12582912.0f); /* 1.5 x 2^23: adding it rounds to the nearest whole number */
            Ints whole = (Ints)(rounded(load_float(h + unit) * splat(127.0f)) + magic) - (Ints)magic + 128;
            for (int lane = 0; lane < LANES; lane++) ((uint8_t *)job->inputs)[x + unit + lane] = (uint8_t)whole[lane];
        }
#endif
}

INLINE void step_head_tile(const Writing *job, int blocks, int begin, int num_rows, int block) {
    const Network *net = job->network;
    const int H = net->H, width = (net->V + LANES - 1) / LANES * LANES;
    const float *h = job->h + ((size_t)(net->L - 1) * job->B + begin) * H;
    const float *weight = net->head + (size_t)block * H * LANES;
    Vector sums[ROWS][4];
    for (int row = 0; row < num_rows; row++)
        for (int each = 0; each < blocks; each++) sums[row][each] = load_float(net->head_bias + (block + each) * LANES);
    for (int k = 0; k < H; k++)
#pragma GCC unroll 6
        for (int row = 0; row < num_rows; row++) {
            Vector unit = splat(h[(size_t)row * H + k]);
#pragma GCC unroll 4
            for (int each = 0; each < blocks; each++)
                sums[row][each] += unit * load_float(weight + ((size_t)each * H + k) * LANES);
        }
    for (int row = 0; row < num_rows; row++)
        for (int each = 0; each < blocks; each++)
            store_float(job->logits + (size_t)(begin + row) * width + (block + each) * LANES, sums[row][each]);
}

static void step_head(const Writing *job, int first, int last) {
    const int num_blocks = (job->network->V + LANES - 1) / LANES;
    for (int block = 0, blocks; block < num_blocks; block += blocks) {
        blocks = num_blocks - block >= 4 ? 4 : 1;
        for (int begin = first, num_rows; begin < last; begin += num_rows) {
            num_rows = last - begin >= 4 ? 4 : 1;
            if (blocks == 4) {
                if (num_rows == 4) step_head_tile(job, 4, begin, 4, block);
                else step_head_tile(job, 4, begin, 1, block);
            } else if (num_rows == 4) step_head_tile(job, 1, begin, 4, block);
            else step_head_tile(job, 1, begin, 1, block);
        }
    }
}

static uint64_t step_hash64(uint64_t x) { /* the finaliser of SplitMix64 (Steele, Lea and Flood 2014) */
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

/* In [0, 1): number `position` of the SplitMix64 generator whose state follows from seed and sample. */
double step_uniform(uint64_t seed, uint64_t sample, uint64_t position) {
    const uint64_t golden = 0x9E3779B97F4A7C15u;
    uint64_t state = step_hash64(step_hash64(seed + golden) + sample);
    return (double)(step_hash64(state + (position + 1) * golden) >> 11) * 0x1p-53;
}

static int step_by_logit(const void *left, const void *right) {
    const Ranked *a = left, *b = right;
    return a->logit != b->logit ? (a->logit < b->logit ? 1 : -1) : (a->id > b->id) - (a->id < b->id);
}

/* `allowed` (V): the logits, but -infinity for characters that would complete a stretch of `no_repeat` that is within the
 * window already, unless that left none. `end` is the place after the last character. */
static void step_guard(const Writing *job, const int32_t *end, const float *logits, float *allowed) {
    const int V = job->network->V, before = job->no_repeat - 1;
    memcpy(allowed, logits, (size_t)V * sizeof *logits);
    if (before < 0) return;
    int num_left = 0;
    for (int id = 0; id < V; id++) num_left += allowed[id] != -INFINITY;
    for (const int32_t *each = end - job->window; each + before < end; each++) {
        if (*each < 0 || (before && each[before - 1] != end[-1])) continue;
        if (before && memcmp(each, end - before, (size_t)before * sizeof *each)) continue;
        num_left -= allowed[each[before]] != -INFINITY;
        allowed[each[before]] = -INFINITY;
    }
    if (!num_left) memcpy(allowed, logits, (size_t)V * sizeof *logits);
}

/* `shares` (V): what is chosen from, 0 where a filter drops a character. */
static void step_filter(const Writing *job, const float *logits, float *shares, Ranked *ranked) {
    const int V = job->network->V, is_k = job->top_k > 0 && job->top_k < V, is_p = job->top_p < 1.0;
    float largest = -INFINITY, temperature = (float)(job->temperature < 1e-30 ? 1e-30 : job->temperature);
    for (int id = 0; id < V; id++) largest = logits[id] > largest ? logits[id] : largest;
    for (int id = 0; id < V; id += LANES)
        store_float(shares + id, exponential((load_float(logits + id) - splat(largest)) / splat(temperature)));
    for (int id = 0; id < V; id++)
        if (logits[id] == -INFINITY) shares[id] = 0.0f;
    if (!is_k && !is_p) return;
    for (int id = 0; id < V; id++) ranked[id] = (Ranked){logits[id], id};
    qsort(ranked, (size_t)V, sizeof *ranked, step_by_logit);
    int kept = is_k ? job->top_k : V;
    double total = 0.0, before = 0.0;
    for (int rank = 0; rank < kept; rank++) total += shares[ranked[rank].id];
    for (int rank = 0; rank < V; rank++) {
        float share = shares[ranked[rank].id];
        if (rank >= kept || (is_p && rank && before >= job->top_p * total)) shares[ranked[rank].id] = 0.0f;
        before += share;
    }
}

/* One of the V characters. `uniform` in [0, 1) is not looked at when temperature is 0, which takes the likeliest. */
static int32_t step_choose(const Writing *job, const float *logits, float *shares, Ranked *ranked, double uniform) {
    const int V = job->network->V;
    int32_t chosen = 0;
    if (job->temperature == 0.0) {
        for (int id = 1; id < V; id++)
            if (logits[id] > logits[chosen]) chosen = id;
        return chosen;
    }
    step_filter(job, logits, shares, ranked);
    double total = 0.0, sum = 0.0;
    for (int id = 0; id < V; id++) total += shares[id];
    for (int id = 0; id < V; id++) {
        if (shares[id] > 0.0f) chosen = id;
        sum += shares[id];
        if (sum > uniform * total) break;
    }
    return chosen;
}

/* What to subtract from logits for logarithms of the model's own probabilities. */
static float step_normaliser(const Writing *job, const float *logits, float *shares) {
    const int V = job->network->V;
    float largest = -INFINITY;
    double total = 0.0;
    for (int id = 0; id < V; id++) largest = logits[id] > largest ? logits[id] : largest;
    for (int id = 0; id < V; id += LANES) store_float(shares + id, exponential(load_float(logits + id) - splat(largest)));
    for (int id = 0; id < V; id++) total += shares[id];
    return largest + (float)log(total);
}

/* The `num_likeliest` characters, no more than V, and their probabilities. */
static void step_rank(const Writing *job, const float *logits, float normaliser, size_t place) {
    const int n = job->num_likeliest;
    int32_t *ids = job->likeliest + place * n;
    int num = 0;
    for (int id = 0; id < job->network->V; id++) {
        if (num == n && !(logits[id] > logits[ids[n - 1]])) continue;
        int at = num < n ? num++ : n - 1;
        for (; at > 0 && logits[id] > logits[ids[at - 1]]; at--) ids[at] = ids[at - 1];
        ids[at] = id;
    }
    for (int rank = 0; rank < n; rank++)
        job->probabilities[place * n + rank] = expf(logits[ids[rank]] - normaliser);
}

/* Choose what follows in a row, after which `t` characters have been written before. */
static void step_write(const Writing *job, int row, int t, size_t stride) {
    const size_t V = job->network->V, width = (V + LANES - 1) / LANES * LANES, place = (size_t)row * job->T + t;
    const float *logits = job->logits + row * width;
    float *allowed = job->allowed + row * width, *shares = job->shares + row * width;
    int32_t *end = job->history + row * stride + job->window + t;
    float normaliser = step_normaliser(job, logits, shares);
    if (job->num_likeliest) step_rank(job, logits, normaliser, place);
    if (!job->is_given) {
        step_guard(job, end, logits, allowed);
        double uniform = step_uniform(job->seed, (uint64_t)row, (uint64_t)(job->positions[row] + t));
        *end = step_choose(job, allowed, shares, (Ranked *)job->ranked + row * V, uniform);
    }
    job->surprises[place] = normaliser - logits[*end];
}

/* Keep the states of a row after the character that was read at place `t`. */
static void step_record(const Writing *job, int row, int t) {
    const size_t H = job->network->H;
    for (int layer = 0; layer < job->network->L; layer++) {
        size_t from = ((size_t)layer * job->B + row) * H, to = (((size_t)row * job->T + t) * job->network->L + layer) * H;
        memcpy(job->hidden + to, job->h + from, H * sizeof *job->h);
        memcpy(job->cells + to, job->c + from, H * sizeof *job->c);
    }
}

/* Rows first to last, from the first character to the last. What was read or written last is left in `history` for the
 * next call, which begins by reading it. */
void step_rows(const Writing *job, int32_t first, int32_t last) {
    const Network *net = job->network;
    const int num_before = job->is_reading ? 0 : job->window - 1;
    const size_t stride = (size_t)num_before + job->T + !job->is_reading;
    for (int layer = 0; layer < net->L; layer++)
        for (int row = first; row < last; row++) step_pass_on(job, layer, layer, row);
    for (int t = 0; t < job->T; t++) {
        for (int layer = 0; layer < net->L; layer++) {
            step_layer(job, layer, first, last, job->history + num_before + t, stride);
            for (int row = first; row < last; row++) {
                step_pass_on(job, layer, layer, row);
                if (layer + 1 < net->L) step_pass_on(job, layer, layer + 1, row);
            }
        }
        for (int row = first; row < last && job->cells; row++) step_record(job, row, t);
        if (!job->is_reading || (job->has_logits && t == job->T - 1)) step_head(job, first, last);
        if (job->is_reading) continue;
        for (int row = first; row < last; row++) step_write(job, row, t, stride);
    }
}

int32_t step_has_int8(void) {
#if defined(__AVX512VNNI__)
    return 1;
#else
    return 0;
#endif
}
