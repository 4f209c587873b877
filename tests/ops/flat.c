/* reid_flat --backend NAME [--threads N]
 *
 * What a backend does outside of operations, against `ref`: update rules, reductions and scaling on
 * lists of ranges; layouts to and from plain; sums of gradients; images from bytes, also against
 * the loader's own arithmetic. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/op.h"
#include "base/alloc.h"
#include "base/compiler.h"
#include "base/rng.h"
#include "base/str.h"
#include "data/transform.h"

static int failures;

static void expect(bool ok, const char *what)
{
    if (!ok)
        printf("FAILED %s\n", what);
    failures += !ok;
}

static bool near(const float *want, const float *got, size_t count, double tolerance)
{
    double top = 1e-6, worst = 0.0;
    for (size_t i = 0; i < count; i++) {
        double d = fabs((double)want[i] - got[i]);
        worst = !(d <= worst) ? d : worst;
        top = fmax(top, fabs((double)want[i]));
    }
    return worst <= tolerance * top;
}

static float *random_floats(size_t count, uint32_t stream)
{
    float *data = reid_xcalloc(count, sizeof *data);
    reid_rng rng = reid_rng_stream(17, REID_RNG_TEST, stream, 0);
    for (size_t i = 0; i < count; i++)
        data[i] = (float)reid_rng_normal(&rng);
    return data;
}

/* A copy on the device. */
static void *store(reid_backend *backend, const void *data, size_t bytes)
{
    void *memory = reid_backend_alloc(backend, bytes);
    REID_ASSERT(memory);
    reid_backend_copy_in(backend, memory, data, bytes);
    return memory;
}

/* ---- ranges ---- */

#define COUNT 20011
enum { VALUE, GRAD, FIRST, SECOND, TOP, BUFFERS };
#define NORMS 4

/* Odd beginnings and ends, a single number, an empty range, more than one launch's worth. */
#define RANGES 75
static void make_ranges(reid_range ranges[RANGES])
{
    size_t at = 0;
    for (size_t i = 0; i < RANGES; i++) {
        size_t size = i == 3 ? 9001 : i == 5 ? 0 : 1 + i * 7 % 61;
        ranges[i] = (reid_range){at + i % 5, size};
        at += i % 5 + size + (i % 3 == 0);
    }
    REID_ASSERT(ranges[RANGES - 1].offset + ranges[RANGES - 1].size <= COUNT);
}

typedef struct flat_result {
    float *buffer[BUFFERS];
    double squares, nonfinite;
    double norms[NORMS], undefined;
} flat_result;

static const double orders[NORMS] = {1, 2, 3.5, INFINITY};

static void update(reid_backend *backend, float *const b[BUFFERS], const reid_range *ranges)
{
    const reid_adam adam = {1e-2, 0.9, 0.999, 1e-8, 5e-3, .step = 2, .grad_factor = 0.25};
    const reid_adam decoupled = {1e-2, 0.9, 0.999, 1e-8, 5e-3, .step = 1, .decoupled = true};
    const reid_sgd first = {1e-2, 0.9, 0.0, 5e-3, .first = true};
    const reid_sgd nesterov = {1e-2, 0.9, 0.0, 5e-3, .nesterov = true, .grad_factor = 2.0};
    const reid_sgd plain = {1e-2};
    reid_backend_adam(backend, &adam, ranges, RANGES, b[VALUE], b[GRAD], b[FIRST], b[SECOND],
                      b[TOP]);
    reid_backend_adam(backend, &decoupled, ranges, RANGES, b[VALUE], b[GRAD], b[FIRST], b[SECOND],
                      NULL);
    reid_backend_sgd(backend, &first, ranges, RANGES, b[VALUE], b[GRAD], b[TOP]);
    reid_backend_sgd(backend, &nesterov, ranges, RANGES, b[VALUE], b[GRAD], b[TOP]);
    reid_backend_sgd(backend, &plain, ranges, RANGES, b[VALUE], b[GRAD], NULL);
    reid_backend_scale(backend, ranges, RANGES, b[GRAD], 1.5);
    reid_backend_clamp(backend, ranges, RANGES, b[GRAD], 1.75);
}

static flat_result run_flat(reid_backend *backend)
{
    flat_result r = {0};
    reid_range ranges[RANGES];
    float *b[BUFFERS];
    make_ranges(ranges);
    for (int i = 0; i < BUFFERS; i++) {
        r.buffer[i] = random_floats(COUNT, 1 + (uint32_t)i);
        for (size_t k = 0; i >= SECOND && k < COUNT; k++)
            r.buffer[i][k] = fabsf(r.buffer[i][k]);
        b[i] = store(backend, r.buffer[i], COUNT * sizeof(float));
    }
    update(backend, b, ranges);
    r.squares = reid_backend_sum_squares(backend, ranges, RANGES, b[GRAD]);
    expect(r.squares == reid_backend_sum_squares(backend, ranges, RANGES, b[GRAD]),
           "a sum of squares has the same bits twice");
    for (int i = 0; i < NORMS; i++)
        r.norms[i] = reid_backend_norm(backend, ranges, RANGES, b[VALUE], orders[i]);
    for (int i = 0; i < BUFFERS; i++)
        reid_backend_copy_out(backend, r.buffer[i], b[i], COUNT * sizeof(float));
    const float infinite = INFINITY;
    reid_backend_copy_in(backend, b[GRAD] + ranges[3].offset + 4999, &infinite, sizeof infinite);
    r.nonfinite = reid_backend_sum_squares(backend, ranges, RANGES, b[GRAD]);
    const float nan = NAN;
    reid_backend_copy_in(backend, b[GRAD] + ranges[3].offset + 17, &nan, sizeof nan);
    reid_backend_clamp(backend, ranges, RANGES, b[GRAD], 2);
    r.undefined = reid_backend_norm(backend, ranges, RANGES, b[GRAD], INFINITY);
    for (int i = 0; i < BUFFERS; i++)
        reid_backend_release(backend, b[i], COUNT * sizeof(float));
    return r;
}

static void check_flat(reid_backend *ref, reid_backend *backend)
{
    static const char *const names[BUFFERS] = {"value", "gradient", "first moment", "second moment",
                                               "maximum"};
    flat_result want = run_flat(ref), got = run_flat(backend);
    for (int i = 0; i < BUFFERS; i++) {
        expect(near(want.buffer[i], got.buffer[i], COUNT, 1e-6), names[i]);
        free(want.buffer[i]);
        free(got.buffer[i]);
    }
    expect(fabs(want.squares - got.squares) <= 1e-10 * want.squares, "sum of squares");
    for (int i = 0; i < NORMS; i++)
        expect(fabs(want.norms[i] - got.norms[i]) <= 1e-6 * want.norms[i], "a norm");
    expect(isnan(got.undefined) && isnan(want.undefined), "NaN stays, and is larger than all");
    expect(!isfinite(got.nonfinite), "a sum of squares tells of an infinite number");
}

/* ---- layouts ---- */

static void check_layout(reid_backend *backend, const reid_layout *layout, double tolerance,
                         const char *what)
{
    size_t count = reid_shape_count(&layout->shape);
    float *plain = random_floats(count, 31), *other = random_floats(count, 32),
          *back = reid_xcalloc(count, sizeof *back);
    void *a = reid_backend_alloc(backend, layout->bytes),
         *b = reid_backend_alloc(backend, layout->bytes);
    REID_ASSERT(a && b);
    reid_backend_from_plain(backend, layout, plain, a);
    reid_backend_from_plain(backend, layout, other, b);
    reid_backend_to_plain(backend, layout, a, back);
    expect(near(plain, back, count, tolerance), what);
    backend->impl->accumulate(backend, layout, a, b);
    reid_backend_to_plain(backend, layout, a, back);
    for (size_t i = 0; i < count; i++)
        plain[i] += other[i];
    expect(near(plain, back, count, tolerance), "a sum of gradients");
    reid_backend_release(backend, a, layout->bytes);
    reid_backend_release(backend, b, layout->bytes);
    free(plain);
    free(other);
    free(back);
}

static void check_layouts(reid_backend *backend)
{
    const reid_shape shapes[] = {reid_shape_4d(2, 37, 9, 5), reid_shape_4d(3, 64, 4, 8),
                                 reid_shape_4d(1, 1, 33, 1), reid_shape_2d(5, 77)};
    for (size_t i = 0; i < REID_COUNT_OF(shapes); i++) {
        const reid_shape *s = &shapes[i];
        check_layout(backend,
                     backend->impl->activation_layout(backend, REID_ROLE_INNER, s, REID_F32), 1e-7,
                     "f32 to the device and back");
        if (s->rank == 4 && reid_backend_supports(backend, REID_BF16))
            check_layout(backend,
                         backend->impl->activation_layout(backend, REID_ROLE_INNER, s, REID_BF16),
                         6e-3, "bf16 to the device and back");
        if (s->rank == 4 && reid_backend_supports(backend, REID_F16))
            check_layout(backend,
                         backend->impl->activation_layout(backend, REID_ROLE_INNER, s, REID_F16),
                         6e-4, "fp16 to the device and back");
    }
}

/* ---- images ---- */

#define IMAGES 5
#define HEIGHT 23
#define WIDTH 18
#define PIXELS ((size_t)HEIGHT * WIDTH)

static reid_image_rule rule_of(const reid_transform *t)
{
    reid_image_rule rule = {t->height, t->width, t->pad, (reid_image_pad)t->pad_mode};
    for (int c = 0; c < REID_IMAGE_CHANNELS; c++) {
        rule.mean[c] = t->mean[c];
        rule.inverse_std[c] = 1.0f / t->std[c];
        rule.erase_value[c] = t->erase_value[c];
    }
    return rule;
}

static void check_batch(reid_backend *backend, const reid_transform *transform, reid_rng *rng,
                        const uint8_t *planes)
{
    reid_image_choice choices[IMAGES];
    float *want = reid_xcalloc(IMAGES * 3 * PIXELS, sizeof *want),
          *got = reid_xcalloc(IMAGES * 3 * PIXELS, sizeof *got);
    for (size_t i = 0; i < IMAGES; i++) {
        reid_transform_choice c = reid_transform_draw(transform, rng);
        choices[i] = (reid_image_choice){c.crop_y,  c.crop_x,       c.flip,       c.erase_y,
                                         c.erase_x, c.erase_height, c.erase_width};
        reid_transform_apply(transform, &c, planes + i * 3 * PIXELS, want + i * 3 * PIXELS);
    }
    reid_image_rule rule = rule_of(transform);
    uint8_t *bytes = store(backend, planes, IMAGES * 3 * PIXELS);
    reid_image_choice *drawn = store(backend, choices, sizeof choices);
    const reid_shape shape = reid_shape_4d(IMAGES, 3, HEIGHT, WIDTH);
    for (int bf16 = 0; bf16 < 1 + reid_backend_supports(backend, REID_BF16); bf16++) {
        const reid_layout *layout = backend->impl->activation_layout(
            backend, REID_ROLE_IMAGES, &shape, bf16 ? REID_BF16 : REID_F32);
        void *images = reid_backend_alloc(backend, layout->bytes);
        REID_ASSERT(images);
        reid_backend_images(backend, &rule, layout, bytes, drawn, images);
        reid_backend_to_plain(backend, layout, images, got);
        for (size_t i = 0; bf16 && i < IMAGES * 3 * PIXELS; i++)
            want[i] = reid_bf16_to_f32(reid_f32_to_bf16(want[i]));
        expect(memcmp(want, got, IMAGES * 3 * PIXELS * sizeof *want) == 0,
               bf16 ? "images in bf16" : "images");
        reid_backend_release(backend, images, layout->bytes);
    }
    reid_backend_release(backend, bytes, IMAGES * 3 * PIXELS);
    reid_backend_release(backend, drawn, sizeof choices);
    free(want);
    free(got);
}

/* More than a grid of a GPU has in one direction. */
#define MANY 4500
static void check_many_images(reid_backend *backend)
{
    const reid_image_rule rule = {
        .height = 2, .width = 1, .mean = {1, 2, 3}, .inverse_std = {1, 0.5f, 0.25f}};
    const reid_shape shape = reid_shape_4d(MANY, 3, 2, 1);
    const reid_layout *layout =
        backend->impl->activation_layout(backend, REID_ROLE_IMAGES, &shape, REID_F32);
    size_t count = reid_shape_count(&shape);
    uint8_t *planes = reid_xcalloc(count, 1);
    reid_image_choice *choices = reid_xcalloc(MANY, sizeof *choices);
    float *want = reid_xcalloc(count, sizeof *want), *got = reid_xcalloc(count, sizeof *got);
    for (size_t i = 0; i < count; i++) {
        size_t c = i / 2 % 3;
        planes[i] = (uint8_t)(i % 251);
        want[i] = ((float)planes[i] - rule.mean[c]) * rule.inverse_std[c];
    }
    uint8_t *bytes = store(backend, planes, count);
    reid_image_choice *drawn = store(backend, choices, MANY * sizeof *choices);
    void *images = reid_backend_alloc(backend, layout->bytes);
    REID_ASSERT(images);
    reid_backend_images(backend, &rule, layout, bytes, drawn, images);
    reid_backend_to_plain(backend, layout, images, got);
    expect(near(want, got, count, 1e-6), "many images");
    reid_backend_release(backend, images, layout->bytes);
    reid_backend_release(backend, bytes, count);
    reid_backend_release(backend, drawn, MANY * sizeof *choices);
    free(planes);
    free(choices);
    free(want);
    free(got);
}

static void check_images(reid_backend *backend)
{
    reid_transform transform = {.height = HEIGHT,
                                .width = WIDTH,
                                .pad = 7,
                                .flips = true,
                                .erases = true,
                                .flip_probability = 0.5,
                                .erase_probability = 0.7,
                                .erase_value = {123.675f, 116.28f, 103.53f},
                                .mean = {123.675f, 116.28f, 103.53f},
                                .std = {58.395f, 57.12f, 57.375f}};
    reid_rng rng = reid_rng_stream(5, REID_RNG_TEST, 3, 0);
    uint8_t *planes = reid_xmalloc(IMAGES * 3 * PIXELS);
    for (size_t i = 0; i < IMAGES * 3 * PIXELS; i++)
        planes[i] = (uint8_t)reid_rng_below(&rng, 256);
    for (int mode = REID_PAD_CONSTANT; mode <= REID_PAD_SYMMETRIC; mode++)
        for (int turn = 0; turn < 8; turn++) {
            transform.pad_mode = (reid_pad_mode)mode;
            check_batch(backend, &transform, &rng, planes);
        }
    transform.pad = 0;
    check_batch(backend, &transform, &rng, planes);
    check_many_images(backend);
    free(planes);
}

int main(int argc, char **argv)
{
    const char *name = "cpu";
    int64_t threads = 2;
    for (int i = 1; i + 1 < argc; i += 2)
        if (strcmp(argv[i], "--backend") == 0)
            name = argv[i + 1];
        else if (strcmp(argv[i], "--threads") != 0 ||
                 reid_parse_int64(argv[i + 1], &threads) != REID_OK)
            return 2;
    reid_error err = {0};
    reid_backend *ref = NULL, *backend = NULL;
    if (reid_backend_open("ref", 1, &ref, &err) != REID_OK ||
        reid_backend_open(name, (int)threads, &backend, &err) != REID_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    check_flat(ref, backend);
    check_layouts(backend);
    if (reid_backend_takes_bytes(backend))
        check_images(backend);
    expect(reid_backend_status(backend, &err) == REID_OK, err.text);
    reid_backend_free(backend);
    reid_backend_free(ref);
    printf("%d failed\n", failures);
    return failures != 0;
}
