/* Update rules against three steps of PyTorch 1.13's optimizers in float32, on both backends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "base/alloc.h"

#define N 5

typedef struct update_case {
    const char *name;
    reid_adam adam; /* lr 0: SGD */
    reid_sgd sgd;
    bool amsgrad;
    float want[N];
} update_case;

static const update_case cases[] = {
    {"Adam", .adam = {3.5e-4, 0.9, 0.999, 1e-8, 5e-4},
     .want = {0.498976856f, -1.24895f, 1.99895f, -0.000928464986f, 2.25180702e-05f}},
    {"AMSGrad", .adam = {3.5e-2, 0.5, 0.7, 1e-8, 5e-4}, .amsgrad = true,
     .want = {0.394035071f, -1.14501595f, 1.89515996f, -0.0802207142f, 0.014178304f}},
    {"AdamW", .adam = {1e-2, 0.9, 0.999, 1e-8, 0.1, .decoupled = true},
     .want = {0.469299346f, -1.2162838f, 1.96403897f, -0.02649826f, 0.000997003051f}},
    {"SGD", .sgd = {0.1}, .want = {0.319999993f, -1.24699986f, 1.99996996f, -0.300000012f, 0.001f}},
    {"momentum", .sgd = {0.1, 0.9, 0.0, 5e-2},
     .want = {0.201604187f, -1.20950139f, 1.94408393f, -0.727705002f, 0.000972069858f}},
    {"Nesterov", .sgd = {0.1, 0.9, .nesterov = true},
     .want = {0.0632300079f, -1.24195111f, 1.99991965f, -0.958799958f, 0.001f}},
    {"dampening", .sgd = {0.1, 0.9, 0.5},
     .want = {0.316699982f, -1.24583995f, 1.9999584f, -0.637000024f, 0.001f}},
};

static void run_case(reid_backend *backend, const update_case *c, float *value)
{
    float grad[N], m[N] = {0}, v[N] = {0}, top[N] = {0};
    const reid_range all = {0, N};
    const float start[N] = {0.5f, -1.25f, 2.0f, 0.0f, 1e-3f};
    memcpy(value, start, sizeof start);
    for (int step = 0; step < 3; step++) {
        const float g[N] = {0.3f * (float)(step + 1), -0.01f, 1e-4f, 2.0f - (float)step, 0.0f};
        memcpy(grad, g, sizeof grad);
        reid_adam adam = c->adam;
        reid_sgd sgd = c->sgd;
        adam.step = step + 1;
        sgd.first = step == 0;
        if (adam.lr > 0.0)
            reid_backend_adam(backend, &adam, &all, 1, value, grad, m, v, c->amsgrad ? top : NULL);
        else
            reid_backend_sgd(backend, &sgd, &all, 1, value, grad, sgd.momentum > 0.0 ? m : NULL);
    }
}

static void steps_match_pytorch(void **state)
{
    static const char *const backends[] = {"ref", "cpu"};
    for (int b = 0; b < 2; b++) {
        reid_backend *backend = NULL;
        assert_int_equal(reid_backend_open(backends[b], 2, &backend, NULL), REID_OK);
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            float value[N];
            run_case(backend, &cases[i], value);
            for (int k = 0; k < N; k++)
                if (!(fabsf(value[k] - cases[i].want[k]) <=
                      1e-6f * fmaxf(fabsf(cases[i].want[k]), 1e-2f)))
                    fail_msg("%s on %s: value[%d] is %.9g, PyTorch has %.9g", cases[i].name,
                             backends[b], k, (double)value[k], (double)cases[i].want[k]);
        }
        reid_backend_free(backend);
    }
}

/* Long ranges: every element once, and the same bits on both backends and any number of threads. */
static void long_ranges_are_whole(void **state)
{
    const size_t count = 100003;
    float *data[3];
    double sums[3];
    for (int b = 0; b < 3; b++) {
        reid_backend *backend = NULL;
        assert_int_equal(reid_backend_open(b ? "cpu" : "ref", b == 2 ? 3 : 1, &backend, NULL),
                         REID_OK);
        float *grad = reid_xcalloc(count, sizeof *grad), *m = reid_xcalloc(count, sizeof *m),
              *v = reid_xcalloc(count, sizeof *v);
        data[b] = reid_xcalloc(count, sizeof(float));
        for (size_t i = 0; i < count; i++)
            grad[i] = (float)(i % 1013) / 100.0f - 5.0f;
        const reid_adam adam = {1e-3, 0.9, 0.999, 1e-8, 5e-4, .step = 1};
        const reid_range all = {0, count};
        reid_backend_adam(backend, &adam, &all, 1, data[b], grad, m, v, NULL);
        reid_backend_scale(backend, &all, 1, data[b], 3.0);
        sums[b] = reid_backend_sum_squares(backend, &all, 1, grad);
        free(grad);
        free(m);
        free(v);
        reid_backend_free(backend);
    }
    assert_memory_equal(data[0], data[1], count * sizeof(float));
    assert_memory_equal(data[0], data[2], count * sizeof(float));
    assert_true(sums[1] == sums[2]);
    assert_true(fabs(sums[0] - sums[1]) <= 1e-12 * sums[0]);
    for (int b = 0; b < 3; b++)
        free(data[b]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_match_pytorch),
        cmocka_unit_test(long_ranges_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
