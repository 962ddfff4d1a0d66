/* The LSTM's recurrence for one type of number, forward and backward. Included once per type by lstm.c, which defines
 *
 *     NUMBER        the type that weights, activations and gradients are kept in; sums and cell states are float
 *     NAMED(name)   the name of a function for this type
 *     GROUP         how many products one lane sums in one instruction (2 for bfloat16, 1 for float)
 *     Weights, load_weights, spread, multiply_add, load_numbers, store_numbers
 *
 * Shapes: T = time, B = batch, H = hidden size (a multiple of 16); gates in PyTorch's order i, f, g, o.
 *     rows (T, B)             which row of `inputs` belongs to each place
 *     inputs (., 4H)          what the layer below adds to the gates, biases included
 *     h, c (T + 1, B, H)      states; the first is the initial one
 *     gates, dgates (T, B, 4H)
 * Streams are independent of each other, so every thread takes some streams through all of time and never waits.
 */

/* weight_hh (4H, H) -> [H / LANES][H / GROUP][gate][LANES][GROUP], so that forward reads it from front to back. */
static void NAMED(pack_forward)(const float *weight, int H, NUMBER *packed, int first, int last) {
    for (int tile = first; tile < last; tile++)
        for (int block = 0; block < H; block += 16) /* a cache line of every row, and few enough lines of the target */
            for (int column = 0; column < 4 * LANES; column++) {
                const float *row = weight + (size_t)(column / LANES * H + tile * LANES + column % LANES) * H;
                NUMBER *target = packed + ((size_t)tile * H + block) * 4 * LANES + column * GROUP;
                for (int k = block; k < block + 16; k += GROUP, target += 4 * LANES * GROUP)
                    for (int part = 0; part < GROUP; part++) target[part] = NAMED(from_float)(row[k + part]);
            }
}

/* weight_hh (4H, H) -> tiles of 4 (the last ones of 1) vectors: [4H / GROUP][vectors][LANES][GROUP], for backward. */
static void NAMED(pack_backward)(const float *weight, int H, NUMBER *packed, int first, int last) {
    int num_wide = H / LANES / 4;
    for (int tile = first; tile < last; tile++) {
        int vectors = tile < num_wide ? 4 : 1;
        int column = (tile < num_wide ? 4 * tile : 4 * num_wide + tile - num_wide) * LANES;
        NUMBER *target = packed + (size_t)column * 4 * H;
        for (int k = 0; k < 4 * H; k += GROUP)
            for (int lane = 0; lane < vectors * LANES; lane++)
                for (int part = 0; part < GROUP; part++)
                    *target++ = NAMED(from_float)(weight[(size_t)(k + part) * H + column + lane]);
    }
}

INLINE void NAMED(forward_tile)(int num_rows, int H, const NUMBER *weight, const NUMBER *h_before, const NUMBER *const *inputs,
                                int unit, const float *c_before, float *c, NUMBER *h, NUMBER *gates) {
    Vector sums[MAX_ROWS][4];
    for (int row = 0; row < num_rows; row++)
        for (int gate = 0; gate < 4; gate++) sums[row][gate] = load_numbers(inputs[row] + gate * H + unit);
    for (int k = 0; k < H; k += GROUP, weight += 4 * LANES * GROUP) {
        Weights w[4];
        for (int gate = 0; gate < 4; gate++) w[gate] = load_weights(weight + gate * LANES * GROUP);
#pragma GCC unroll 6
        for (int row = 0; row < num_rows; row++) {
            Weights before = spread(h_before + (size_t)row * H + k);
#pragma GCC unroll 4
            for (int gate = 0; gate < 4; gate++) sums[row][gate] = multiply_add(sums[row][gate], before, w[gate]);
        }
    }
    for (int row = 0; row < num_rows; row++) {
        size_t place = (size_t)row * H + unit;
        Vector i = sigmoid(sums[row][0]), f = sigmoid(sums[row][1]);
        Vector g = hyperbolic_tangent(sums[row][2]), o = sigmoid(sums[row][3]);
        Vector cell = f * load_float(c_before + place) + i * g;
        store_float(c + place, cell);
        store_numbers(h + place, o * hyperbolic_tangent(cell));
        if (gates) {
            NUMBER *kept = gates + (size_t)row * 4 * H + unit;
            store_numbers(kept, i);
            store_numbers(kept + H, f);
            store_numbers(kept + 2 * H, g);
            store_numbers(kept + 3 * H, o);
        }
    }
}

/* Streams first to last of the batch, from the first character to the last; `gates` may be NULL where no gradient is asked. */
static void NAMED(forward)(const Job *job, int first, int last) {
    const NUMBER *packed = job->arrays[0], *inputs = job->arrays[1];
    const int64_t *rows = job->arrays[2];
    NUMBER *h_all = job->arrays[3], *gates_all = job->arrays[5];
    float *c_all = job->arrays[4];
    const int B = job->B, H = job->H, num_blocks = (last - first + MAX_ROWS - 1) / MAX_ROWS;
    for (int t = 0; t < job->T; t++)
        for (int unit = 0; unit < H; unit += LANES)
            for (int block = 0; block < num_blocks; block++) {
                int begin = first + (last - first) * block / num_blocks;
                int num_rows = first + (last - first) * (block + 1) / num_blocks - begin;
                const NUMBER *taken[MAX_ROWS];
                for (int row = 0; row < num_rows; row++)
                    taken[row] = inputs + (size_t)rows[(size_t)t * B + begin + row] * 4 * H;
                const NUMBER *weight = packed + (size_t)unit * H * 4;
                size_t before = ((size_t)t * B + begin) * H, after = before + (size_t)B * H;
                NUMBER *gates = gates_all ? gates_all + 4 * before : NULL;
#define CASE(n)                                                                                                        \
    case n:                                                                                                            \
        NAMED(forward_tile)(n, H, weight, h_all + before, taken, unit, c_all + before, c_all + after, h_all + after, gates); \
        break;
                switch (num_rows) { FOR_EVERY_NUMBER_OF_ROWS }
#undef CASE
            }
}

INLINE void NAMED(backward_tile)(int num_rows, int vectors, int H, const NUMBER *weight, const NUMBER *dgates_after, int is_last,
                                 const NUMBER *dh, const NUMBER *gates, const float *c_before, const float *c, float *dc,
                                 NUMBER *dgates) {
    Vector sums[MAX_ROWS][4];
    for (int row = 0; row < num_rows; row++)
        for (int v = 0; v < vectors; v++) sums[row][v] = load_numbers(dh + (size_t)row * H + v * LANES);
    for (int k = 0; !is_last && k < 4 * H; k += GROUP, weight += vectors * LANES * GROUP) {
        Weights w[4];
        for (int v = 0; v < vectors; v++) w[v] = load_weights(weight + v * LANES * GROUP);
#pragma GCC unroll 6
        for (int row = 0; row < num_rows; row++) {
            Weights after = spread(dgates_after + (size_t)row * 4 * H + k);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) sums[row][v] = multiply_add(sums[row][v], after, w[v]);
        }
    }
    const Vector one = splat(1.0f);
    for (int row = 0; row < num_rows; row++)
        for (int v = 0; v < vectors; v++) {
            size_t place = (size_t)row * H + v * LANES;
            const NUMBER *kept = gates + (size_t)row * 4 * H + v * LANES;
            NUMBER *target = dgates + (size_t)row * 4 * H + v * LANES;
            Vector i = load_numbers(kept), f = load_numbers(kept + H);
            Vector g = load_numbers(kept + 2 * H), o = load_numbers(kept + 3 * H);
            Vector squashed = hyperbolic_tangent(load_float(c + place));
            Vector cell = sums[row][v] * o * (one - squashed * squashed);
            if (!is_last) cell += load_float(dc + place);
            store_float(dc + place, cell * f);
            store_numbers(target, cell * g * (i - i * i));
            store_numbers(target + H, cell * load_float(c_before + place) * (f - f * f));
            store_numbers(target + 2 * H, cell * i * (one - g * g));
            store_numbers(target + 3 * H, sums[row][v] * squashed * (o - o * o));
        }
}

/* Streams first to last, from the last character to the first. The state after the window gets no gradient: it is
 * detached there, which is what truncates back-propagation. */
static void NAMED(backward)(const Job *job, int first, int last) {
    const NUMBER *packed = job->arrays[0], *dh_all = job->arrays[1], *gates_all = job->arrays[2];
    const float *c_all = job->arrays[3];
    float *dc = job->arrays[4];
    NUMBER *dgates_all = job->arrays[5];
    const int B = job->B, H = job->H, num_blocks = (last - first + MAX_ROWS - 1) / MAX_ROWS;
    for (int t = job->T - 1; t >= 0; t--)
        for (int column = 0, vectors; column < H; column += vectors * LANES) {
            vectors = H - column >= 4 * LANES ? 4 : 1;
            const NUMBER *weight = packed + (size_t)column * 4 * H;
            for (int block = 0; block < num_blocks; block++) {
                int begin = first + (last - first) * block / num_blocks;
                int num_rows = first + (last - first) * (block + 1) / num_blocks - begin;
                size_t here = ((size_t)t * B + begin) * H, state = here + column;
#define TILE(n, v)                                                                                                     \
    NAMED(backward_tile)(n, v, H, weight, dgates_all + 4 * (here + (size_t)B * H), t == job->T - 1, dh_all + state,    \
                         gates_all + 4 * here + column, c_all + state, c_all + state + (size_t)B * H,                  \
                         dc + (size_t)begin * H + column, dgates_all + 4 * here + column)
#define CASE(n)                                                                                                        \
    case n:                                                                                                            \
        if (vectors == 4) TILE(n, 4); else TILE(n, 1);                                                                 \
        break;
                switch (num_rows) { FOR_EVERY_NUMBER_OF_ROWS }
#undef CASE
#undef TILE
            }
        }
}

/* Columns first to last (in vectors) of sums (., 4H): each place's gradient is added to the row it came from. */
static void NAMED(add_rows)(const Job *job, int first, int last) {
    const int64_t *rows = job->arrays[0];
    const NUMBER *dgates = job->arrays[1];
    float *sums = job->arrays[2];
    for (size_t place = 0; place < (size_t)job->T * job->B; place++)
        for (int column = first * LANES; column < last * LANES; column += LANES) {
            float *target = sums + (size_t)rows[place] * 4 * job->H + column;
            store_float(target, load_float(target) + load_numbers(dgates + place * 4 * job->H + column));
        }
}

static void NAMED(part)(const Job *job, int first, int last) {
    switch (job->task) {
        case PACK_FORWARD: NAMED(pack_forward)(job->arrays[0], job->H, job->arrays[1], first, last); break;
        case PACK_BACKWARD: NAMED(pack_backward)(job->arrays[0], job->H, job->arrays[1], first, last); break;
        case FORWARD: NAMED(forward)(job, first, last); break;
        case BACKWARD: NAMED(backward)(job, first, last); break;
        case ADD_ROWS: NAMED(add_rows)(job, first, last); break;
    }
}
