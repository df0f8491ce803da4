/* The fused head: float16 product rows to scores, for MLP and interaction heads.
 *
 * Per tile of rows: rows -> float32 input -> 7-bit activations, each row with its own scale ->
 * int8 layer -> float32 -> next layer -> dot product -> sigmoid. Nothing is shared between rows, so
 * a score never depends on the company a row is scored in.
 *
 * All code paths (portable, AVX2, AVX-512 VNNI) give the same score bit by bit: the integers are
 * exact, and every float operation is done in the same order, multiplies and adds apart (compile
 * with -ffp-contract=off). AVX2 has no 8-bit dot product that adds in 32 bits, so it adds sixteen
 * products in 16 bits first; the exporter chooses each column's scale such that no such sum can
 * leave 16 bits (see `int16_safe` in export/kernel_weights.py).
 *
 * Shapes: n rows, d_p values of a row; a layer has `in` inputs and `out` outputs, padded to 16.
 */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(WINNOW_EMULATE_AVX512) /* tests run the AVX-512 path on any machine through SIMDe */
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
static simde__m512 whole_numbers(simde__m512i a) { /* SIMDe lacks this one */
    int32_t from[16];
    float to[16];
    simde_mm512_storeu_si512(from, a);
    for (int i = 0; i < 16; i++) to[i] = (float)from[i];
    return simde_mm512_loadu_ps(to);
}
#define _mm512_cvtepi32_ps whole_numbers
#define HAVE_X86 1
#define TARGET(features)
#elif defined(__x86_64__)
#include <immintrin.h>
#define HAVE_X86 1
#define TARGET(features) __attribute__((target(features)))
#else
#define HAVE_X86 0
#endif

#ifndef WINNOW_SOURCE_MARK
#define WINNOW_SOURCE_MARK ""
#endif
const char winnow_source_mark[] = WINNOW_SOURCE_MARK;

enum { LANES = 16, GROUP = 32, TILE = 12, BLOCK = 3, MAX_LAYERS = 8, MAX_WIDTH = 4096 };
enum { KIND_MLP = 1, KIND_INTERACTION = 2 };
enum { PATH_PORTABLE = 1, PATH_AVX2 = 2, PATH_AVX512 = 4 };

typedef struct {
    int in, out;     /* as the model has them */
    int in_p, out_p; /* padded to multiples of GROUP and of LANES */
    int8_t *packed;  /* [out_p / 16][in_p / 4][16 columns][4 inputs], for AVX2 and VNNI */
    float *wide;     /* [out_p / 16][in_p][16 columns], for the portable path */
    float *scale;    /* [out_p] float value of one integer step of a column's weights */
    float *sums;     /* [out_p] sum of a column's weights, in float */
    float *bias;     /* [out_p] */
} layer;

typedef struct {
    int kind, layers, rows_in; /* rows_in: d_p */
    int vectors, width;        /* interaction: L sentence vectors of D values */
    float *pool;               /* interaction: weights of the first L - 1 layers */
    float *residual;           /* interaction: [3 D, padded] weights of the logit for the input */
    float *last;               /* [outputs of the last layer, padded] weights of the logit */
    float last_bias;
    int widest; /* floats of the widest padded activation */
    layer layer[MAX_LAYERS];
} head;

static int padded(int n) { return (n + LANES - 1) / LANES * LANES; }

static void *zeros(size_t bytes) {
    void *memory = NULL;
    if (posix_memalign(&memory, 64, bytes ? bytes : 64) != 0) return NULL;
    memset(memory, 0, bytes);
    return memory;
}

void winnow_head_free(head *h) {
    if (h == NULL) return;
    for (int i = 0; i < h->layers; i++) {
        free(h->layer[i].packed);
        free(h->layer[i].wide);
        free(h->layer[i].scale);
        free(h->layer[i].sums);
        free(h->layer[i].bias);
    }
    free(h->pool);
    free(h->residual);
    free(h->last);
    free(h);
}

/* widths: int32 [layers + 1]. Returns NULL when the sizes make no head, or memory is short. */
head *winnow_head_new(int kind, int layers, const int32_t *widths, int vectors, int width,
                      const float *pool, const float *residual, const float *last,
                      float last_bias) {
    if (layers < 1 || layers > MAX_LAYERS) return NULL;
    if (kind != KIND_MLP && kind != KIND_INTERACTION) return NULL;
    for (int i = 0; i <= layers; i++)
        if (widths[i] < 1 || widths[i] > MAX_WIDTH) return NULL;
    if (kind == KIND_INTERACTION) {
        if (layers != 1 || vectors < 1 || width < 1 || width > MAX_WIDTH / 3) return NULL;
        if (vectors > MAX_WIDTH / width) return NULL;
        if (widths[0] != 3 * width || residual == NULL) return NULL;
    }
    head *h = zeros(sizeof(head));
    if (h == NULL) return NULL;
    h->kind = kind;
    h->layers = layers;
    h->vectors = vectors;
    h->width = width;
    h->rows_in = kind == KIND_MLP ? widths[0] : vectors * width;
    h->last_bias = last_bias;
    h->pool = zeros(sizeof(float) * (size_t)(vectors > 1 ? vectors : 1));
    h->residual = zeros(sizeof(float) * (size_t)padded(widths[0]));
    h->last = zeros(sizeof(float) * (size_t)padded(widths[layers]));
    h->widest = padded(h->rows_in);
    int failed = h->pool == NULL || h->residual == NULL || h->last == NULL;
    for (int i = 0; i < layers; i++) {
        layer *l = &h->layer[i];
        l->in = widths[i], l->out = widths[i + 1];
        l->in_p = (l->in + GROUP - 1) / GROUP * GROUP, l->out_p = padded(l->out);
        if (l->in_p > h->widest) h->widest = l->in_p;
        if (l->out_p > h->widest) h->widest = l->out_p;
        l->packed = zeros((size_t)l->in_p * (size_t)l->out_p);
        l->wide = zeros(sizeof(float) * (size_t)l->in_p * (size_t)l->out_p);
        l->scale = zeros(sizeof(float) * (size_t)l->out_p);
        l->sums = zeros(sizeof(float) * (size_t)l->out_p);
        l->bias = zeros(sizeof(float) * (size_t)l->out_p);
        failed |= l->packed == NULL || l->wide == NULL || l->scale == NULL;
        failed |= l->sums == NULL || l->bias == NULL;
    }
    if (failed) {
        winnow_head_free(h);
        return NULL;
    }
    if (vectors > 1 && pool != NULL) memcpy(h->pool, pool, sizeof(float) * (size_t)(vectors - 1));
    if (kind == KIND_INTERACTION)
        memcpy(h->residual, residual, sizeof(float) * (size_t)widths[0]);
    memcpy(h->last, last, sizeof(float) * (size_t)widths[layers]);
    return h;
}

/* weights: int8 [in][out]; scale, bias: float [out]. bias may be NULL: it comes with the query. */
void winnow_head_set_layer(head *h, int index, const int8_t *weights, const float *scale,
                           const float *bias) {
    layer *l = &h->layer[index];
    for (int j = 0; j < l->out; j++) {
        int32_t sum = 0;
        for (int k = 0; k < l->in; k++) {
            int8_t w = weights[(size_t)k * l->out + j];
            size_t block = (size_t)(j / LANES) * (l->in_p / 4) + k / 4;
            l->packed[block * 64 + (size_t)(j % LANES) * 4 + k % 4] = w;
            l->wide[((size_t)(j / LANES) * l->in_p + k) * LANES + j % LANES] = w;
            sum += w;
        }
        l->scale[j] = scale[j];
        l->sums[j] = (float)sum * scale[j];
        l->bias[j] = bias == NULL ? 0.0f : bias[j];
    }
}

/* What a row's activations are: x = low + step * u, u in 0..127. */
typedef struct {
    float low, step;
} range;

/* ---- portable ------------------------------------------------------------------------------- */

static float from_half(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, rest = half & 0x7fffu, bits;
    if (rest < 0x400u) { /* zero and subnormal: value = rest * 2^-24, exact */
        float value = (float)rest * 5.9604644775390625e-8f;
        memcpy(&bits, &value, 4);
        bits |= sign;
    } else {
        bits = sign | ((rest << 13) + (rest >= 0x7c00u ? 0x70000000u : 0x38000000u));
    }
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static void widen_portable(const uint16_t *row, int n, float *x) {
    for (int i = 0; i < n; i++) x[i] = from_half(row[i]);
}

/* I(p, q) = [max(p, q) ; p - q ; p + q] of each layer; r = max(pooled middle ones, last one). */
static void interact_portable(const head *h, const float *p, const float *q, float *r) {
    int D = h->width, last = h->vectors - 1;
    for (int i = 0; i < D; i++) {
        float top = 0.0f, minus = 0.0f, plus = 0.0f;
        for (int v = 0; v < last; v++) {
            float a = p[v * D + i], b = q[v * D + i];
            float larger = a > b ? a : b, weight = h->pool[v];
            top = top + weight * larger;
            minus = minus + weight * (a - b);
            plus = plus + weight * (a + b);
        }
        float a = p[last * D + i], b = q[last * D + i];
        float larger = a > b ? a : b, difference = a - b, sum = a + b;
        r[i] = last && top > larger ? top : larger;
        r[D + i] = last && minus > difference ? minus : difference;
        r[2 * D + i] = last && plus > sum ? plus : sum;
    }
}

static range range_of(float low, float high, float *inverse) {
    float spread = high - low;
    *inverse = spread > 0.0f ? 127.0f / spread : 0.0f;
    return (range){low, spread / 127.0f};
}

/* x: n values, padded with zeros to a multiple of 16. The padding's weights are 0. */
static range quantise_portable(const float *x, int n, uint8_t *u) {
    float low = x[0], high = x[0], inverse;
    for (int i = 1; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    range found = range_of(low, high, &inverse);
    for (int i = 0; i < n; i++) {
        float value = rintf((x[i] - low) * inverse);
        u[i] = value > 0.0f ? (value < 127.0f ? (uint8_t)value : 127) : 0;
    }
    return found;
}

static float affine(float sum, const layer *l, int j, range of_row, const float *bias) {
    float product = sum * (l->scale[j] * of_row.step);
    return product + (l->sums[j] * of_row.low + bias[j]);
}

typedef float four __attribute__((vector_size(16), aligned(4)));

/* Sums whole numbers in float32, which is exact: no partial sum reaches 2^24, since sixteen
 * weights of a column add up to at most 258 (int16_safe) and a layer has at most MAX_WIDTH inputs. Every
 * CPU multiplies floats four at a time; few have an 8-bit product that C can name. */
static void dense_portable(const layer *l, const uint8_t *u, int stride, int rows,
                           const range *ranges, const float *bias, float *y, int y_stride) {
    for (int block = 0; block < l->out_p / LANES; block++)
        for (int r = 0; r < rows; r++) {
            four sums[4] = {{0.0f}};
            const four *w = (const four *)(l->wide + (size_t)block * l->in_p * LANES);
            const uint8_t *row = u + (size_t)r * stride;
            for (int k = 0; k < l->in_p; k++, w += 4) {
                float value = row[k];
                four all = {value, value, value, value};
                for (int j = 0; j < 4; j++) sums[j] += all * w[j];
            }
            for (int j = 0; j < LANES; j++) {
                int column = block * LANES + j;
                float z = affine(sums[j / 4][j % 4], l, column, ranges[r], bias);
                y[(size_t)r * y_stride + column] = z > 0.0f ? z : 0.0f;
            }
        }
}

/* 16 running sums, then their fixed tree: the order that every path keeps. */
static float add_lanes(float *lanes) {
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) lanes[i] = lanes[i] + lanes[i + half];
    return lanes[0];
}

static float dot_portable(const float *a, const float *b, int n) {
    float lanes[LANES] = {0};
    for (int i = 0; i < n; i += LANES)
        for (int j = 0; j < LANES; j++) lanes[j] = lanes[j] + a[i + j] * b[i + j];
    return add_lanes(lanes);
}

/* ---- AVX2 ----------------------------------------------------------------------------------- */

#if HAVE_X86
#define AVX2 TARGET("avx2,f16c")
#define AVX512 TARGET("avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")

AVX2 static void widen_avx2(const uint16_t *row, int n, float *x) {
    int i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(x + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(row + i))));
    for (; i < n; i++) x[i] = from_half(row[i]);
}

AVX2 static void interact_avx2(const head *h, const float *p, const float *q, float *r) {
    int D = h->width, last = h->vectors - 1;
    if (D % 8 != 0) {
        interact_portable(h, p, q, r);
        return;
    }
    for (int i = 0; i < D; i += 8) {
        __m256 top = _mm256_setzero_ps(), minus = top, plus = top;
        for (int v = 0; v < last; v++) {
            __m256 a = _mm256_loadu_ps(p + v * D + i), b = _mm256_loadu_ps(q + v * D + i);
            __m256 weight = _mm256_set1_ps(h->pool[v]);
            top = _mm256_add_ps(top, _mm256_mul_ps(weight, _mm256_max_ps(a, b)));
            minus = _mm256_add_ps(minus, _mm256_mul_ps(weight, _mm256_sub_ps(a, b)));
            plus = _mm256_add_ps(plus, _mm256_mul_ps(weight, _mm256_add_ps(a, b)));
        }
        __m256 a = _mm256_loadu_ps(p + last * D + i), b = _mm256_loadu_ps(q + last * D + i);
        __m256 larger = _mm256_max_ps(a, b), difference = _mm256_sub_ps(a, b);
        __m256 sum = _mm256_add_ps(a, b);
        if (last) {
            larger = _mm256_max_ps(top, larger);
            difference = _mm256_max_ps(minus, difference);
            sum = _mm256_max_ps(plus, sum);
        }
        _mm256_storeu_ps(r + i, larger);
        _mm256_storeu_ps(r + D + i, difference);
        _mm256_storeu_ps(r + 2 * D + i, sum);
    }
}

AVX2 static range quantise_avx2(const float *x, int n, uint8_t *u) {
    if (n % LANES != 0) return quantise_portable(x, n, u);
    __m256 low = _mm256_loadu_ps(x), high = low;
    for (int i = 8; i < n; i += 8) {
        __m256 value = _mm256_loadu_ps(x + i);
        low = _mm256_min_ps(value, low);
        high = _mm256_max_ps(value, high);
    }
    float lows[8], highs[8], inverse;
    _mm256_storeu_ps(lows, low);
    _mm256_storeu_ps(highs, high);
    for (int i = 1; i < 8; i++) {
        lows[0] = lows[i] < lows[0] ? lows[i] : lows[0];
        highs[0] = highs[i] > highs[0] ? highs[i] : highs[0];
    }
    range found = range_of(lows[0], highs[0], &inverse);
    __m256 from = _mm256_set1_ps(lows[0]), by = _mm256_set1_ps(inverse);
    for (int i = 0; i < n; i += 16) {
        __m256 a = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(x + i), from), by);
        __m256 b = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(x + i + 8), from), by);
        __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(a), _mm256_cvtps_epi32(b));
        words = _mm256_permute4x64_epi64(words, 0xd8);
        __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words),
                                         _mm256_extracti128_si256(words, 1));
        _mm_storeu_si128((__m128i *)(u + i), bytes);
    }
    return found;
}

AVX2 static inline void affine_avx2(__m256i sums, const layer *l, int j, range of_row,
                                    const float *bias, float *y) {
    __m256 scale = _mm256_mul_ps(_mm256_loadu_ps(l->scale + j), _mm256_set1_ps(of_row.step));
    __m256 shift = _mm256_mul_ps(_mm256_loadu_ps(l->sums + j), _mm256_set1_ps(of_row.low));
    __m256 z = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), scale);
    z = _mm256_add_ps(z, _mm256_add_ps(shift, _mm256_loadu_ps(bias + j)));
    _mm256_storeu_ps(y + j, _mm256_max_ps(z, _mm256_setzero_ps()));
}

/* Without it the compiler moves the products of later steps up, and spills every one of them. */
#if defined(WINNOW_EMULATE_AVX512)
#define IN_REGISTERS(a, b, c, d, e, f) (void)0
#else
#define IN_REGISTERS(a, b, c, d, e, f) \
    __asm__("" : "+x"(a), "+x"(b), "+x"(c), "+x"(d), "+x"(e), "+x"(f))
#endif

/* Three rows by 16 columns: 6 sums in 32 bits and 6 in 16 bits fill the 16 registers. */
AVX2 static void dense_avx2(const layer *l, const uint8_t *u, int stride, int rows,
                            const range *ranges, const float *bias, float *y, int y_stride) {
    const __m256i ones = _mm256_set1_epi16(1);
    for (int block = 0; block < l->out_p / LANES; block++) {
        const int8_t *columns = l->packed + (size_t)block * l->in_p * LANES;
        for (int r = 0; r < rows; r += BLOCK) {
            /* A block that is not full computes its last row again. */
            int r1 = r + 1 < rows ? r + 1 : r, r2 = r + 2 < rows ? r + 2 : r;
            const uint8_t *u0 = u + (size_t)r * stride, *u1 = u + (size_t)r1 * stride;
            const uint8_t *u2 = u + (size_t)r2 * stride;
            __m256i s00 = _mm256_setzero_si256(), s01 = s00, s10 = s00, s11 = s00, s20 = s00;
            __m256i s21 = s00;
            for (int k = 0; k < l->in_p; k += GROUP) {
                __m256i t00, t01, t10, t11, t20, t21;
                const int8_t *w = columns + (size_t)k * LANES;
#define STEP(g, PUT)                                                                        \
    do {                                                                                    \
        __m256i w0 = _mm256_load_si256((const __m256i *)(w + (g) * 64));                    \
        __m256i w1 = _mm256_load_si256((const __m256i *)(w + (g) * 64 + 32));               \
        int32_t four;                                                                       \
        __m256i a;                                                                          \
        memcpy(&four, u0 + k + (g) * 4, 4), a = _mm256_set1_epi32(four);                    \
        PUT(t00, _mm256_maddubs_epi16(a, w0)), PUT(t01, _mm256_maddubs_epi16(a, w1));       \
        memcpy(&four, u1 + k + (g) * 4, 4), a = _mm256_set1_epi32(four);                    \
        PUT(t10, _mm256_maddubs_epi16(a, w0)), PUT(t11, _mm256_maddubs_epi16(a, w1));       \
        memcpy(&four, u2 + k + (g) * 4, 4), a = _mm256_set1_epi32(four);                    \
        PUT(t20, _mm256_maddubs_epi16(a, w0)), PUT(t21, _mm256_maddubs_epi16(a, w1));       \
        IN_REGISTERS(t00, t01, t10, t11, t20, t21);                                         \
    } while (0)
#define FIRST(t, value) t = value
#define THEN(t, value) t = _mm256_add_epi16(t, value)
                STEP(0, FIRST);
                STEP(1, THEN);
                STEP(2, THEN);
                STEP(3, THEN);
                STEP(4, THEN);
                STEP(5, THEN);
                STEP(6, THEN);
                STEP(7, THEN);
#undef STEP
#undef FIRST
#undef THEN
                s00 = _mm256_add_epi32(s00, _mm256_madd_epi16(t00, ones));
                s01 = _mm256_add_epi32(s01, _mm256_madd_epi16(t01, ones));
                s10 = _mm256_add_epi32(s10, _mm256_madd_epi16(t10, ones));
                s11 = _mm256_add_epi32(s11, _mm256_madd_epi16(t11, ones));
                s20 = _mm256_add_epi32(s20, _mm256_madd_epi16(t20, ones));
                s21 = _mm256_add_epi32(s21, _mm256_madd_epi16(t21, ones));
            }
            int j = block * LANES;
            affine_avx2(s00, l, j, ranges[r], bias, y + (size_t)r * y_stride);
            affine_avx2(s01, l, j + 8, ranges[r], bias, y + (size_t)r * y_stride);
            affine_avx2(s10, l, j, ranges[r1], bias, y + (size_t)r1 * y_stride);
            affine_avx2(s11, l, j + 8, ranges[r1], bias, y + (size_t)r1 * y_stride);
            affine_avx2(s20, l, j, ranges[r2], bias, y + (size_t)r2 * y_stride);
            affine_avx2(s21, l, j + 8, ranges[r2], bias, y + (size_t)r2 * y_stride);
        }
    }
}

AVX2 static float dot_avx2(const float *a, const float *b, int n) {
    __m256 low = _mm256_setzero_ps(), high = low;
    for (int i = 0; i < n; i += LANES) {
        low = _mm256_add_ps(low, _mm256_mul_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i)));
        high = _mm256_add_ps(high,
                             _mm256_mul_ps(_mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8)));
    }
    float lanes[LANES];
    _mm256_storeu_ps(lanes, low);
    _mm256_storeu_ps(lanes + 8, high);
    return add_lanes(lanes);
}

/* ---- AVX-512 VNNI --------------------------------------------------------------------------- */

/* Twelve rows by 16 columns: vpdpbusd adds four products in 32 bits at once. */
AVX512 static void dense_avx512(const layer *l, const uint8_t *u, int stride, int rows,
                                const range *ranges, const float *bias, float *y, int y_stride) {
    for (int block = 0; block < l->out_p / LANES; block++) {
        const int8_t *columns = l->packed + (size_t)block * l->in_p * LANES;
        __m512i sums[TILE];
        for (int r = 0; r < TILE; r++) sums[r] = _mm512_setzero_si512();
        for (int k = 0; k < l->in_p; k += 4) {
            __m512i w = _mm512_loadu_si512((const void *)(columns + (size_t)k * LANES));
            for (int r = 0; r < TILE; r++) { /* unrolled: all sums stay in registers */
                int32_t four; /* rows beyond the last one hold what an earlier tile left */
                memcpy(&four, u + (size_t)r * stride + k, 4);
                sums[r] = _mm512_dpbusd_epi32(sums[r], _mm512_set1_epi32(four), w);
            }
        }
        int j = block * LANES;
        __m512 scales = _mm512_loadu_ps(l->scale + j), totals = _mm512_loadu_ps(l->sums + j);
        __m512 biases = _mm512_loadu_ps(bias + j);
        for (int r = 0; r < rows; r++) {
            __m512 scale = _mm512_mul_ps(scales, _mm512_set1_ps(ranges[r].step));
            __m512 shift = _mm512_mul_ps(totals, _mm512_set1_ps(ranges[r].low));
            __m512 z = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[r]), scale);
            z = _mm512_add_ps(z, _mm512_add_ps(shift, biases));
            _mm512_storeu_ps(y + (size_t)r * y_stride + j, _mm512_max_ps(z, _mm512_setzero_ps()));
        }
    }
}
#endif

/* ---- the head ------------------------------------------------------------------------------- */

typedef struct {
    void (*widen)(const uint16_t *, int, float *);
    void (*interact)(const head *, const float *, const float *, float *);
    range (*quantise)(const float *, int, uint8_t *);
    void (*dense)(const layer *, const uint8_t *, int, int, const range *, const float *, float *,
                  int);
    float (*dot)(const float *, const float *, int);
} path;

static const path PORTABLE = {widen_portable, interact_portable, quantise_portable, dense_portable,
                              dot_portable};
#if HAVE_X86
static const path AVX2_PATH = {widen_avx2, interact_avx2, quantise_avx2, dense_avx2, dot_avx2};
static const path AVX512_PATH = {widen_avx2, interact_avx2, quantise_avx2, dense_avx512, dot_avx2};
#endif

/* Bits of the paths that this machine can run. */
int winnow_head_paths(void) {
    int paths = PATH_PORTABLE;
#if defined(WINNOW_EMULATE_AVX512)
    paths |= PATH_AVX2 | PATH_AVX512;
#elif HAVE_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c")) {
        paths |= PATH_AVX2;
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
            paths |= PATH_AVX512;
    }
#endif
    return paths;
}

static const path *path_of(int which) {
    if ((winnow_head_paths() & which) == 0) return NULL;
#if HAVE_X86
    if (which == PATH_AVX512) return &AVX512_PATH;
    if (which == PATH_AVX2) return &AVX2_PATH;
#endif
    return which == PATH_PORTABLE ? &PORTABLE : NULL;
}

/* Scratch of one call: input, activations of two layers, their integers. */
typedef struct {
    float *x, *y;
    uint8_t *u;
} scratch;

static void score_tile(const head *h, const path *with, const float *query_bias, const float *q,
                       const uint16_t *P, int rows, scratch s, float *scores) {
    range ranges[TILE];
    float from_input[TILE]; /* interaction: the residual's share of the logit */
    int wide = h->widest;
    for (int r = 0; r < rows; r++) {
        float *x = s.x + (size_t)r * wide;
        if (h->kind == KIND_MLP) {
            with->widen(P + (size_t)r * h->rows_in, h->rows_in, x);
        } else {
            float *p = s.y + (size_t)r * wide;
            with->widen(P + (size_t)r * h->rows_in, h->rows_in, p);
            with->interact(h, p, q, x);
            from_input[r] = with->dot(h->residual, x, padded(h->layer[0].in));
        }
    }
    for (int i = 0; i < h->layers; i++) {
        const layer *l = &h->layer[i];
        for (int r = 0; r < rows; r++)
            ranges[r] = with->quantise(s.x + (size_t)r * wide, l->in, s.u + (size_t)r * wide);
        const float *bias = i == 0 && query_bias != NULL ? query_bias : l->bias;
        with->dense(l, s.u, wide, rows, ranges, bias, s.y, wide);
        float *swap = s.x;
        s.x = s.y;
        s.y = swap;
    }
    int last = padded(h->layer[h->layers - 1].out);
    for (int r = 0; r < rows; r++) {
        float logit = with->dot(h->last, s.x + (size_t)r * wide, last);
        if (h->kind == KIND_INTERACTION) logit = logit + from_input[r];
        scores[r] = 1.0f / (1.0f + expf(-(logit + h->last_bias)));
    }
}

/* q: float [d_q]; P: float16 bits [n][d_p]; scores: float [n]. 0, or -1: no such path, -2: memory. */
int winnow_head_score(const head *h, int which, const float *q, const uint16_t *P, int64_t n,
                      float *scores) {
    const path *with = path_of(which);
    if (with == NULL) return -1;
    size_t wide = (size_t)h->widest;
    float *floats = zeros(sizeof(float) * wide * (2 * TILE + 1));
    uint8_t *u = zeros(wide * TILE);
    if (floats == NULL || u == NULL) {
        free(floats);
        free(u);
        return -2;
    }
    float *query_bias = NULL;
    if (h->kind == KIND_MLP) { /* the query row is the first layer's bias */
        query_bias = floats + wide * 2 * TILE;
        memcpy(query_bias, q, sizeof(float) * (size_t)h->layer[0].out);
    }
    scratch s = {floats, floats + wide * TILE, u};
    for (int64_t start = 0; start < n; start += TILE) {
        int rows = n - start < TILE ? (int)(n - start) : TILE;
        score_tile(h, with, query_bias, q, P + (size_t)start * h->rows_in, rows, s, scores + start);
    }
    free(floats);
    free(u);
    return 0;
}
