/* The rule of torch.cuda.amp.GradScaler (growth 2, backoff 0.5). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "harness/harness.h"
#include "solver/loss_scale.h"

static void update(reid_loss_scale *scale, bool finite)
{
    reid_error err = {0};
    reid_assert_ok(reid_loss_scale_update(scale, finite, &err), &err);
}

static void it_follows_the_gradients(void **state)
{
    /* what torch's GradScaler(init_scale=1024, growth_interval=3) has after each of these steps */
    static const struct {
        bool finite;
        double scale;
    } STEPS[] = {{true, 1024}, {true, 1024}, {true, 2048}, {false, 1024}, {true, 1024},
                 {true, 1024}, {false, 512}, {false, 256}, {true, 256},   {true, 256},
                 {true, 512},  {true, 512},  {true, 512},  {true, 1024}};
    reid_loss_scale scale = {.scale = 1024, .growth_interval = 3};
    for (size_t i = 0; i < sizeof STEPS / sizeof STEPS[0]; i++) {
        update(&scale, STEPS[i].finite);
        reid_assert_close(scale.scale, STEPS[i].scale, 0, 0);
    }
}

static void it_stays_within_bounds(void **state)
{
    reid_loss_scale scale = {.scale = REID_LOSS_SCALE_MAX / 2, .growth_interval = 1};
    for (int i = 0; i < 3; i++)
        update(&scale, true);
    reid_assert_close(scale.scale, REID_LOSS_SCALE_MAX, 0, 0);
    scale = (reid_loss_scale){.scale = 4 * REID_LOSS_SCALE_MIN, .growth_interval = 1};
    update(&scale, false);
    update(&scale, false);
    reid_error err = {0};
    assert_int_equal(reid_loss_scale_update(&scale, false, &err), REID_ERR_NONFINITE);
    assert_non_null(strstr(err.text, "multiplied by 6.10352e-05"));
    assert_non_null(strstr(err.text, "SOLVER.AMP.DTYPE bf16"));
}

static void it_begins_as_configured(void **state)
{
    static const char *const pairs[] = {"SOLVER.AMP.LOSS_SCALE", "128.0",
                                        "SOLVER.AMP.GROWTH_INTERVAL", "7"};
    reid_error err = {0};
    reid_config *config = reid_config_new();
    reid_assert_close(reid_loss_scale_read(config).scale, 65536, 0, 0);
    assert_int_equal(reid_loss_scale_read(config).growth_interval, 2000);
    reid_assert_ok(reid_config_merge_list(config, 4, (char **)(uintptr_t)pairs, &err), &err);
    reid_assert_close(reid_loss_scale_read(config).scale, 128, 0, 0);
    assert_int_equal(reid_loss_scale_read(config).growth_interval, 7);
    reid_config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_follows_the_gradients),
        cmocka_unit_test(it_stays_within_bounds),
        cmocka_unit_test(it_begins_as_configured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
