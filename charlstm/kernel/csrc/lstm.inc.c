/* The LSTM's recurrence for given types of numbers, forward and backward. kernel.c includes it once for each choice, and defines
 *
 *     NUMBER        the type that activations and gradients are kept in; sums and cell states are float
 *     WEIGHT        the type that packed weights are kept in
 *     NAMED(name)   the name of a function for these types
 *     GROUP         weights of one lane that lie side by side, and are multiplied together (2 for bfloat16, 1 for float)
 *     Weights, Factors, load_weights, broadcast, multiply_add, load_numbers, store_numbers, store_weights, store_rows
 *
 * Shapes: T = time, B = batch, H = hidden size (a multiple of 16), V = vocabulary size, padded to whole vectors;
 * gates in PyTorch's order i, f, g, o.
 *     rows (T, B)             the row of `inputs` for each position
 *     inputs (., 4H)          the gate inputs from the layer below, biases included
 *     h, c (T + 1, B, H)      states; the first is the initial one
 *     gates, dgates (T, B, 4H)
 * Each step covers some streams and some tiles of the hidden units, as `run_sequence` and `run_units_parallel` divide them.
 */

/* weight_hh (4H, H) -> [H / LANES][H / GROUP][gate][LANES][GROUP], in the order in which forward reads it. */
static void NAMED(pack_forward)(const float *weight, int H, WEIGHT *packed, int first, int last) {
    for (int tile = first; tile < last; tile++)
        for (int block = 0; block < H; block += 16) /* a cache line of every row, and few enough lines of the target */
            for (int gate = 0; gate < 4; gate++) {
                WEIGHT narrow[LANES][16]; /* whole rows are converted at once, then moved by groups */
                for (int lane = 0; lane < LANES; lane++)
                    for (int k = 0; k < 16; k += LANES)
                        store_weights(narrow[lane] + k,
                                      load_float(weight + (size_t)(gate * H + tile * LANES + lane) * H + block + k));
                WEIGHT *target = packed + ((size_t)tile * H + block) * 4 * LANES + gate * LANES * GROUP;
                for (int k = 0; k < 16; k += GROUP, target += 4 * LANES * GROUP)
                    for (int lane = 0; lane < LANES; lane++)
                        memcpy(target + lane * GROUP, narrow[lane] + k, GROUP * sizeof(WEIGHT));
            }
}

/* A matrix (K, N) -> tiles of at most 4 vectors of columns: [K / GROUP][vectors][LANES][GROUP]. */
static void NAMED(pack)(const float *matrix, int K, int N, WEIGHT *packed, int num_tiles, int first, int last) {
    for (int tile = first; tile < last; tile++) {
        int begin = share(N / LANES, tile, num_tiles), vectors = share(N / LANES, tile + 1, num_tiles) - begin;
        int column = begin * LANES;
        WEIGHT *target = packed + (size_t)column * K;
        for (int k = 0; k < K; k += GROUP)
            for (int v = 0; v < vectors; v++, target += LANES * GROUP)
                store_rows(target, matrix + (size_t)k * N + column + v * LANES, N);
    }
}

/* sums += rows of `a` (K numbers each, `stride` apart) times a packed tile: the loop that takes most of the time. */
INLINE void NAMED(multiply)(int num_rows, int vectors, int K, const WEIGHT *weight, const NUMBER *a, size_t stride,
                            Vector sums[MAX_ROWS][4]) {
    for (int k = 0; k < K; k += GROUP, weight += vectors * LANES * GROUP) {
        Weights w[4];
        for (int v = 0; v < vectors; v++) w[v] = load_weights(weight + v * LANES * GROUP);
#pragma GCC unroll 6
        for (int row = 0; row < num_rows; row++) {
            Factors factor = broadcast(a + row * stride + k);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) sums[row][v] = multiply_add(sums[row][v], factor, w[v]);
        }
    }
}

INLINE void NAMED(forward_tile)(int num_rows, int H, const WEIGHT *weight, const NUMBER *h_before, const NUMBER *const *inputs,
                                const float *bias, int unit, const float *c_before, float *c, NUMBER *h, NUMBER *gates) {
    Vector sums[MAX_ROWS][4];
    for (int row = 0; row < num_rows; row++)
        for (int gate = 0; gate < 4; gate++) {
            sums[row][gate] = load_numbers(inputs[row] + gate * H + unit);
            if (bias) sums[row][gate] += load_float(bias + gate * H + unit);
        }
    NAMED(multiply)(num_rows, 4, H, weight, h_before, H, sums);
    for (int row = 0; row < num_rows; row++) {
        size_t place = (size_t)row * H + unit;
        Vector i = sigmoid(sums[row][0]), f = sigmoid(sums[row][1]);
        Vector g = vtanh(sums[row][2]), o = sigmoid(sums[row][3]);
        Vector cell = f * load_float(c_before + place) + i * g;
        store_float(c + place, cell);
        store_numbers(h + place, o * vtanh(cell));
        if (gates) {
            NUMBER *kept = gates + (size_t)row * 4 * H + unit;
            store_numbers(kept, i);
            store_numbers(kept + H, f);
            store_numbers(kept + 2 * H, g);
            store_numbers(kept + 3 * H, o);
        }
    }
}

/* Run one forward step of streams first to last, tiles begin to end; `gates` may be NULL if no gradient is needed. */
static void NAMED(forward_step)(const Job *job, int t, int first, int last, int begin, int end) {
    const WEIGHT *packed = job->arrays[FORWARD_PACKED];
    const NUMBER *inputs = job->arrays[FORWARD_INPUTS];
    const int64_t *rows = job->arrays[FORWARD_ROWS];
    NUMBER *h_all = job->arrays[FORWARD_H], *gates_all = job->arrays[FORWARD_GATES];
    float *c_all = job->arrays[FORWARD_C];
    const float *bias = job->arrays[FORWARD_BIAS]; /* or NULL */
    const int B = job->B, H = job->H, num_blocks = (last - first + MAX_ROWS - 1) / MAX_ROWS;
    for (int tile = begin; tile < end; tile++)
        for (int block = 0; block < num_blocks; block++) {
            int stream = first + share(last - first, block, num_blocks), unit = tile * LANES;
            int num_rows = first + share(last - first, block + 1, num_blocks) - stream;
            const NUMBER *taken[MAX_ROWS];
            for (int row = 0; row < num_rows; row++) taken[row] = inputs + (size_t)rows[(size_t)t * B + stream + row] * 4 * H;
            const WEIGHT *weight = packed + (size_t)unit * H * 4;
            size_t before = ((size_t)t * B + stream) * H, after = before + (size_t)B * H;
            NUMBER *gates = gates_all ? gates_all + 4 * before : NULL;
#define CASE(n)                                                                                                        \
    case n:                                                                                                            \
        NAMED(forward_tile)(n, H, weight, h_all + before, taken, bias, unit, c_all + before, c_all + after, h_all + after, \
                            gates);                                                                                    \
        break;
            switch (num_rows) { FOR_EVERY_NUMBER_OF_ROWS }
#undef CASE
        }
}

INLINE void NAMED(backward_tile)(int num_rows, int vectors, int H, const WEIGHT *weight, const NUMBER *dgates_after, int is_last,
                                 const NUMBER *dh, const NUMBER *gates, const float *c_before, const float *c, float *dc,
                                 NUMBER *dgates) {
    Vector sums[MAX_ROWS][4];
    for (int row = 0; row < num_rows; row++)
        for (int v = 0; v < vectors; v++) sums[row][v] = load_numbers(dh + (size_t)row * H + v * LANES);
    if (!is_last) NAMED(multiply)(num_rows, vectors, 4 * H, weight, dgates_after, 4 * H, sums);
    const Vector one = splat(1.0f);
    for (int row = 0; row < num_rows; row++)
        for (int v = 0; v < vectors; v++) {
            size_t place = (size_t)row * H + v * LANES;
            const NUMBER *kept = gates + (size_t)row * 4 * H + v * LANES;
            NUMBER *target = dgates + (size_t)row * 4 * H + v * LANES;
            Vector i = load_numbers(kept), f = load_numbers(kept + H);
            Vector g = load_numbers(kept + 2 * H), o = load_numbers(kept + 3 * H);
            Vector squashed = vtanh(load_float(c + place));
            Vector cell = sums[row][v] * o * (one - squashed * squashed);
            if (!is_last) cell += load_float(dc + place);
            store_float(dc + place, cell * f);
            store_numbers(target, cell * g * (i - i * i));
            store_numbers(target + H, cell * load_float(c_before + place) * (f - f * f));
            store_numbers(target + 2 * H, cell * i * (one - g * g));
            store_numbers(target + 3 * H, sums[row][v] * squashed * (o - o * o));
        }
}

/* Run one backward step of streams first to last, tiles begin to end. The state after the window gets no gradient: it is
 * detached, which truncates back-propagation. */
static void NAMED(backward_step)(const Job *job, int t, int first, int last, int begin, int end) {
    const WEIGHT *packed = job->arrays[BACKWARD_PACKED];
    const NUMBER *dh_all = job->arrays[BACKWARD_DH];
    const NUMBER *gates_all = job->arrays[BACKWARD_GATES];
    const float *c_all = job->arrays[BACKWARD_C];
    float *dc = job->arrays[BACKWARD_DC];
    NUMBER *dgates_all = job->arrays[BACKWARD_DGATES];
    const int B = job->B, H = job->H, num_blocks = (last - first + MAX_ROWS - 1) / MAX_ROWS;
    for (int tile = begin; tile < end; tile++) {
        int column = share(H / LANES, tile, job->num_tiles) * LANES;
        int vectors = share(H / LANES, tile + 1, job->num_tiles) - column / LANES;
        const WEIGHT *weight = packed + (size_t)column * 4 * H;
        for (int block = 0; block < num_blocks; block++) {
            int stream = first + share(last - first, block, num_blocks);
            int num_rows = first + share(last - first, block + 1, num_blocks) - stream;
            size_t here = ((size_t)t * B + stream) * H, state = here + column;
#define TILE(n, v)                                                                                                     \
    case v:                                                                                                            \
        NAMED(backward_tile)(n, v, H, weight, dgates_all + 4 * (here + (size_t)B * H), t == job->T - 1, dh_all + state, \
                             gates_all + 4 * here + column, c_all + state, c_all + state + (size_t)B * H,              \
                             dc + (size_t)stream * H + column, dgates_all + 4 * here + column);                        \
        break;
#define CASE(n)                                                                                                        \
    case n:                                                                                                            \
        switch (vectors) { TILE(n, 1) TILE(n, 2) TILE(n, 3) TILE(n, 4) }                                               \
        break;
            switch (num_rows) { FOR_EVERY_NUMBER_OF_ROWS }
#undef CASE
#undef TILE
        }
    }
}

/* Add each position's gradient to its row of sums (., 4H), or to the first without rows; columns first to last, in vectors. */
static void NAMED(add_rows)(const Job *job, int first, int last) {
    const int64_t *rows = job->arrays[ADD_ROWS_ROWS];
    const NUMBER *dgates = job->arrays[ADD_ROWS_DGATES];
    float *sums = job->arrays[ADD_ROWS_SUMS];
    for (size_t place = 0; place < (size_t)job->T * job->B; place++)
        for (int column = first * LANES; column < last * LANES; column += LANES) {
            float *target = sums + (rows ? (size_t)rows[place] * 4 * job->H : 0) + column;
            store_float(target, load_float(target) + load_numbers(dgates + place * 4 * job->H + column));
        }
}

/* rows x (K, N) packed, plus `bias` (N) unless it is NULL, to `wide` (float) or `narrow`. */
INLINE void NAMED(product_tile)(int num_rows, int vectors, int K, const WEIGHT *weight, const NUMBER *a, size_t stride,
                                const float *bias, float *wide, NUMBER *narrow, size_t width) {
    Vector sums[MAX_ROWS][4];
    for (int row = 0; row < num_rows; row++)
        for (int v = 0; v < vectors; v++) sums[row][v] = bias ? load_float(bias + v * LANES) : splat(0.0f);
    NAMED(multiply)(num_rows, vectors, K, weight, a, stride, sums);
    for (int row = 0; row < num_rows; row++)
        for (int v = 0; v < vectors; v++)
            if (wide) store_float(wide + row * width + v * LANES, sums[row][v]);
            else store_numbers(narrow + row * width + v * LANES, sums[row][v]);
}

static void NAMED(product)(int num_rows, int K, int N, const WEIGHT *packed, const NUMBER *a, const float *bias, float *wide,
                           NUMBER *narrow) {
    const int num_tiles = (N / LANES + 3) / 4;
    for (int tile = 0; tile < num_tiles; tile++) {
        int column = share(N / LANES, tile, num_tiles) * LANES;
        int vectors = share(N / LANES, tile + 1, num_tiles) - column / LANES;
        const WEIGHT *weight = packed + (size_t)column * K;
#define TILE(n, v)                                                                                                     \
    case v:                                                                                                            \
        NAMED(product_tile)(n, v, K, weight, a, K, bias ? bias + column : NULL, wide ? wide + column : NULL,           \
                            narrow ? narrow + column : NULL, N);                                                       \
        break;
#define CASE(n)                                                                                                        \
    case n:                                                                                                            \
        switch (vectors) { TILE(n, 1) TILE(n, 2) TILE(n, 3) TILE(n, 4) }                                               \
        break;
        switch (num_rows) { FOR_EVERY_NUMBER_OF_ROWS }
#undef CASE
#undef TILE
    }
}

/* Compute logits, nats of the targets and the gradients of `scale` times their sum, for positions first to last. The
 * vocabulary's padding has a bias so low that its probability is negligible. */
static void NAMED(head)(const Job *job, int first, int last) {
    const NUMBER *hidden = job->arrays[HEAD_HIDDEN];
    const WEIGHT *to_logits = job->arrays[HEAD_TO_LOGITS], *to_hidden = job->arrays[HEAD_TO_HIDDEN];
    const float *bias = job->arrays[HEAD_BIAS];
    const int64_t *targets = job->arrays[HEAD_TARGETS];
    float *logits_all = job->arrays[HEAD_LOGITS], *nats = job->arrays[HEAD_NATS];
    NUMBER *dlogits_all = job->arrays[HEAD_DLOGITS], *dhidden = job->arrays[HEAD_DHIDDEN];
    const int H = job->H, V = job->V, num_blocks = (last - first + MAX_ROWS - 1) / MAX_ROWS;
    for (int block = 0; block < num_blocks; block++) {
        int begin = first + (last - first) * block / num_blocks;
        int num_rows = first + (last - first) * (block + 1) / num_blocks - begin;
        float *logits = logits_all + (size_t)begin * V;
        NUMBER *dlogits = dlogits_all + (size_t)begin * V;
        NAMED(product)(num_rows, H, V, to_logits, hidden + (size_t)begin * H, bias, logits, NULL);
        for (int row = 0; row < num_rows; row++, logits += V, dlogits += V) {
            int64_t target = targets[begin + row];
            Vector peak = load_float(logits), sum = splat(0.0f);
            for (int v = LANES; v < V; v += LANES) {
                Vector here = load_float(logits + v);
                peak = select_where(here > peak, here, peak);
            }
            float highest = peak[0], total = 0.0f;
            for (int lane = 1; lane < LANES; lane++) highest = peak[lane] > highest ? peak[lane] : highest;
            float own = target < 0 ? 0.0f : logits[target];
            for (int v = 0; v < V; v += LANES) {
                Vector likely = exponential(load_float(logits + v) - splat(highest));
                store_float(logits + v, likely);
                sum += likely;
            }
            for (int lane = 0; lane < LANES; lane++) total += sum[lane];
            float share = target < 0 ? 0.0f : job->scale / total; /* a position without a target has no gradient */
            nats[2 * (begin + row)] = target < 0 ? 1.0f : total;
            nats[2 * (begin + row) + 1] = target < 0 ? 0.0f : highest - own;
            if (target >= 0) logits[target] -= total;
            for (int v = 0; v < V; v += LANES) store_numbers(dlogits + v, load_float(logits + v) * splat(share));
        }
        NAMED(product)(num_rows, V, H, to_hidden, dlogits_all + (size_t)begin * V, NULL, NULL, dhidden + (size_t)begin * H);
    }
}

static void NAMED(part)(const Job *job, int first, int last) {
    switch (job->task) {
        case PACK_FORWARD: NAMED(pack_forward)(job->arrays[PACK_MATRIX], job->H, job->arrays[PACK_PACKED], first, last); break;
        case PACK:
            NAMED(pack)(job->arrays[PACK_MATRIX], job->V, job->H, job->arrays[PACK_PACKED], job->num_tiles, first, last);
            break;
        case FORWARD: run_sequence(job, NAMED(forward_step), first, last); break;
        case BACKWARD: run_sequence(job, NAMED(backward_step), first, last); break;
        case ADD_ROWS: NAMED(add_rows)(job, first, last); break;
        case HEAD: NAMED(head)(job, first, last); break;
    }
}

/* For the next types. */
#undef NUMBER
#undef WEIGHT
#undef GROUP
#undef NAMED
#undef Weights
#undef Factors
#undef load_weights
#undef store_weights
#undef broadcast
#undef multiply_add
#undef load_numbers
#undef store_numbers
#undef store_rows
