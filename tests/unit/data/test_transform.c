#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "data/transform.h"
#include "harness/harness.h"
#include "support.h"

enum { HEIGHT = 6, WIDTH = 5, PLANE = HEIGHT * WIDTH };

static reid_transform small_transform(void)
{
    return (reid_transform){.height = HEIGHT,
                            .width = WIDTH,
                            .mean = {10, 20, 30},
                            .std = {2, 4, 5},
                            .erase_value = {10, 24, 130}};
}

static void fill_planes(uint8_t planes[3 * PLANE])
{
    for (int i = 0; i < 3 * PLANE; i++)
        planes[i] = (uint8_t)(2 * i + 1);
}

/* What the definition says, one pixel at a time. */
static float expected_at(const reid_transform *t, const reid_transform_choice *choice,
                         const uint8_t *planes, int c, int y, int x, int (*wrap)(int at, int size))
{
    if (y >= choice->erase_y && y < choice->erase_y + choice->erase_height &&
        x >= choice->erase_x && x < choice->erase_x + choice->erase_width)
        return (t->erase_value[c] - t->mean[c]) * (1 / t->std[c]);
    int column = choice->flip ? WIDTH - 1 - x : x;
    int from_y = wrap(y + choice->crop_y - t->pad, HEIGHT),
        from_x = wrap(column + choice->crop_x - t->pad, WIDTH);
    float value =
        from_y < 0 || from_x < 0 ? 0.0f : (float)planes[c * PLANE + from_y * WIDTH + from_x];
    return (value - t->mean[c]) * (1 / t->std[c]);
}

static int wrap_constant(int at, int size)
{
    return at < 0 || at >= size ? -1 : at;
}

static int wrap_edge(int at, int size)
{
    return at < 0 ? 0 : at >= size ? size - 1 : at;
}

/* numpy.pad's "reflect" and "symmetric", found by walking to and fro. */
static int wrap_reflect(int at, int size)
{
    return at < 0 ? -at : at >= size ? size - 1 - (at - (size - 1)) : at;
}

static int wrap_symmetric(int at, int size)
{
    return at < 0 ? -at - 1 : at >= size ? size - 1 - (at - size) : at;
}

static void check(const reid_transform *t, reid_transform_choice choice,
                  int (*wrap)(int at, int size))
{
    uint8_t planes[3 * PLANE];
    float image[3 * PLANE];
    fill_planes(planes);
    reid_transform_apply(t, &choice, planes, image);
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < HEIGHT; y++)
            for (int x = 0; x < WIDTH; x++)
                if (image[c * PLANE + y * WIDTH + x] !=
                    expected_at(t, &choice, planes, c, y, x, wrap))
                    fail_msg("channel %d, row %d, column %d: %g", c, y, x,
                             (double)image[c * PLANE + y * WIDTH + x]);
}

static void test_normalisation(void **state)
{
    reid_transform t = small_transform();
    check(&t, reid_transform_identity(&t), wrap_constant);
}

static void test_crop_flip_erase(void **state)
{
    static const struct {
        reid_pad_mode mode;
        int (*wrap)(int at, int size);
    } modes[] = {{REID_PAD_CONSTANT, wrap_constant},
                 {REID_PAD_EDGE, wrap_edge},
                 {REID_PAD_REFLECT, wrap_reflect},
                 {REID_PAD_SYMMETRIC, wrap_symmetric}};
    reid_transform t = small_transform();
    t.pad = 3;
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
        t.pad_mode = modes[m].mode;
        for (int crop_y = 0; crop_y <= 6; crop_y++)
            for (int crop_x = 0; crop_x <= 6; crop_x++)
                for (int flip = 0; flip < 2; flip++)
                    check(&t,
                          (reid_transform_choice){.crop_y = crop_y,
                                                  .crop_x = crop_x,
                                                  .flip = flip,
                                                  .erase_y = 1,
                                                  .erase_x = 2,
                                                  .erase_height = crop_y % 3,
                                                  .erase_width = 2},
                          modes[m].wrap);
    }
}

/* Means over many draws, and the limits of torchvision's RandomErasing. */
static void test_draws(void **state)
{
    enum { DRAWS = 20000 };
    reid_transform t = {
        .height = 256, .width = 128, .pad = 10, .flip_probability = 0.5, .erase_probability = 0.5};
    double flips = 0, erased = 0, offset = 0;
    int least = 99, most = -1;
    for (uint32_t i = 0; i < DRAWS; i++) {
        reid_rng rng = reid_rng_stream(5, REID_RNG_TEST, 1, i);
        reid_transform_choice choice = reid_transform_draw(&t, &rng);
        flips += choice.flip;
        offset += choice.crop_y + choice.crop_x;
        least = choice.crop_x < least ? choice.crop_x : least;
        most = choice.crop_y > most ? choice.crop_y : most;
        if (choice.erase_height == 0)
            continue;
        erased++;
        double area = (double)choice.erase_height * choice.erase_width / (256 * 128);
        double ratio = (double)choice.erase_height / choice.erase_width;
        assert_true(area > 0.018 && area < 0.34);
        assert_true(ratio > 0.28 && ratio < 3.5);
        assert_true(choice.erase_y >= 0 && choice.erase_y + choice.erase_height <= 256);
        assert_true(choice.erase_x >= 0 && choice.erase_x + choice.erase_width <= 128);
    }
    reid_assert_close(flips / DRAWS, 0.5, 0, 0.02);
    reid_assert_close(erased / DRAWS, 0.5, 0, 0.02);
    reid_assert_close(offset / DRAWS, 20.0, 0, 0.2);
    assert_int_equal(least, 0);
    assert_int_equal(most, 20);
}

static void test_from_configuration(void **state)
{
    reid_config *config = test_config("x", "INPUT.PADDING.ENABLED", "True", "INPUT.FLIP.ENABLED",
                                      "True", "INPUT.REA.ENABLED", "True", "INPUT.REA.VALUE",
                                      "[1.0, 2.0, 3.0]", "INPUT.SIZE_TEST", "[30, 31]", NULL);
    reid_transform t;
    reid_error err = {0};
    reid_assert_ok(reid_transform_init(&t, config, true, &err), &err);
    assert_int_equal(t.height, 24);
    assert_int_equal(t.width, 12);
    assert_int_equal(t.pad, 10);
    reid_assert_close(t.flip_probability, 0.5, 0, 0);
    reid_assert_close(t.erase_probability, 0.5, 0, 0);
    reid_assert_close(t.erase_value[2], 3.0, 0, 0);
    reid_assert_close(t.mean[0], 0.485 * 255, 1e-6, 0);
    reid_assert_close(t.std[2], 0.225 * 255, 1e-6, 0);
    reid_assert_ok(reid_transform_init(&t, config, false, &err), &err);
    assert_int_equal(t.width, 31);
    assert_int_equal(t.pad, 0);
    reid_assert_close(t.flip_probability + t.erase_probability, 0, 0, 0);
    reid_config_free(config);
}

static void test_refused(void **state)
{
    static const char *const cases[][2] = {
        {"INPUT.CJ.ENABLED", "True"},        {"INPUT.CROP.ENABLED", "True"},
        {"INPUT.SIZE_TRAIN", "[0, 0]"},      {"INPUT.SIZE_TRAIN", "[256]"},
        {"MODEL.PIXEL_STD", "[1., 0., 1.]"}, {"INPUT.SIZE_TRAIN", "[99999, 9]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        reid_config *config = test_config("x", cases[i][0], cases[i][1], NULL);
        reid_transform t;
        reid_error err = {0};
        assert_int_not_equal(reid_transform_init(&t, config, true, &err), REID_OK);
        if (!strstr(err.text, cases[i][0]))
            fail_msg("'%s' is not in: %s", cases[i][0], err.text);
        reid_config_free(config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_normalisation), cmocka_unit_test(test_crop_flip_erase),
        cmocka_unit_test(test_draws),         cmocka_unit_test(test_from_configuration),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
