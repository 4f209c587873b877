#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "out/text.h"
#include "view.h"

#define STARTED_MS INT64_C(1764000000000)

/* A running job in memory that the view may free. */
static Reid__V1__Job *make_job(const char *name, int64_t iteration)
{
    Reid__V1__Job job = REID__V1__JOB__INIT;
    Reid__V1__Progress progress = REID__V1__PROGRESS__INIT;
    char id[] = "abcd1234", text[1024];
    uint8_t packed[4096];
    snprintf(text, sizeof text, "%s", name);
    job.id = id;
    job.name = text;
    job.state = REID__V1__JOB_STATE__JOB_STATE_RUNNING;
    job.phase = REID__V1__JOB_PHASE__JOB_PHASE_TRAINING;
    job.started_ms = STARTED_MS;
    progress.iteration = iteration;
    progress.max_iteration = 200;
    progress.epoch = 1;
    progress.max_epoch = 4;
    progress.eta_seconds = 75;
    progress.images_per_second = 812.4;
    job.progress = &progress;
    size_t size = reid__v1__job__pack(&job, packed);
    return reid__v1__job__unpack(NULL, size, packed);
}

static bool take(reidctl_view *view, int32_t epoch, const char *name, double value)
{
    Reid__V1__MetricRow row = REID__V1__METRIC_ROW__INIT;
    Reid__V1__Scalar scalar = REID__V1__SCALAR__INIT, *scalars = &scalar;
    char text[1024];
    snprintf(text, sizeof text, "%s", name);
    scalar.name = text;
    scalar.value = value;
    row.epoch = epoch;
    row.scalars = &scalars;
    row.n_scalars = 1;
    return reidctl_view_take_row(view, &row);
}

static void assert_picture(const reidctl_view *view, reidctl_sight sight, const char *expected)
{
    reid_str out = REID_STR_INIT;
    sight.now_ms = STARTED_MS + 83000;
    reidctl_view_draw(view, &sight, &out);
    assert_string_equal(reid_str_text(&out), expected);
    reid_str_fini(&out);
}

static void nothing_before_the_first_snapshot(void **state)
{
    reidctl_view view = {0};
    assert_picture(&view, (reidctl_sight){.columns = 80, .lines = 20}, "");
    reidctl_view_fini(&view);
}

static void fill(reidctl_view *view)
{
    reidctl_view_take_job(view, make_job("demo", 100));
    for (int i = 0; i < 8; i++)
        assert_false(take(view, 1, "total_loss", 8 - i));
    take(view, 1, "lr", 0.00035);
    take(view, 1, "time", 0.079);
    take(view, 1, "data_time", 0.0002);
    take(view, 1, "cls_accuracy", 0.5);
    assert_true(take(view, 1, "mAP", 43.214));
}

static void picture(void **state)
{
    reidctl_view view = {0};
    fill(&view);
    assert_picture(&view, (reidctl_sight){.columns = 80, .lines = 20},
                   "demo abcd1234  RUNNING training  1m23s\n"
                   "▕██████████████████▌                  ▏  50%  epoch 2/4  iter 100/200  "
                   "eta 1m15s\n"
                   "  total_loss              1  █▇▆▅▄▃▂▁\n"
                   "  cls_accuracy          0.5  ▁\n"
                   "  lr 3.50e-04  812 images/s  79 ms/step  0.2 ms waiting for data\n"
                   "  after epoch 2  mAP 43.21\n");
    view.notice = "reidd is away";
    assert_picture(&view, (reidctl_sight){.columns = 40, .lines = 5},
                   "demo abcd1234  RUNNING training  1m23s\n"
                   "  50%  epoch 2/4  iter 100/200  eta 1m1…\n"
                   "  lr 3.50e-04  812 images/s  79 ms/step…\n"
                   "  after epoch 2  mAP 43.21\n"
                   "  reidd is away\n");
    assert_picture(&view, (reidctl_sight){.columns = 20, .lines = 1}, "demo abcd1234  RUNN…\n");
    reidctl_view_fini(&view);
}

static void colors_take_no_room(void **state)
{
    reidctl_view view = {0};
    reid_str plain = REID_STR_INIT, colored = REID_STR_INIT;
    fill(&view);
    reidctl_sight sight = {.columns = 30, .lines = 20};
    reidctl_view_draw(&view, &sight, &plain);
    sight.color = true;
    reidctl_view_draw(&view, &sight, &colored);
    assert_true(colored.length > plain.length);
    assert_int_equal(reidctl_text_width(reid_str_text(&plain)),
                     reidctl_text_width(reid_str_text(&colored)));
    reid_str_fini(&plain);
    reid_str_fini(&colored);
    reidctl_view_fini(&view);
}

/* Whatever the size and the names, the limits hold. */
static void pictures_fit(void **state)
{
    reidctl_view view = {0};
    char name[900];
    fill(&view);
    reidctl_view_take_job(&view,
                          make_job("名前\033[2J\n名前 a very long name, 🙂 and more", 7));
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "loss_%d_%0800d\033", i, i);
        take(&view, 1, name, i % 7 == 3 ? NAN : i * 1e30);
    }
    for (size_t columns = 20; columns < 200; columns += 7)
        for (size_t lines = 1; lines < 60; lines += 4) {
            reid_str out = REID_STR_INIT;
            const reidctl_sight sight = {.columns = columns, .lines = lines, .color = true};
            reidctl_view_draw(&view, &sight, &out);
            size_t drawn = 0;
            char *rest = NULL;
            for (char *line = strtok_r(out.data, "\n", &rest); line != NULL;
                 line = strtok_r(NULL, "\n", &rest), drawn++)
                assert_true(reidctl_text_width(line) <= columns);
            assert_true(drawn <= lines);
            assert_true(drawn == lines || drawn > 40);
            reid_str_fini(&out);
        }
    reidctl_view_fini(&view);
}

static void a_long_history_stays_bounded(void **state)
{
    reidctl_view view = {0};
    reidctl_view_take_job(&view, make_job("long", 1));
    for (int i = 0; i < 100000; i++)
        take(&view, 0, "total_loss", i);
    const reidctl_series *series = &view.series.items[0];
    assert_int_equal(view.series.count, 1);
    assert_true(series->points.count >= REIDCTL_SERIES_POINTS / 2 &&
                series->points.count < REIDCTL_SERIES_POINTS);
    assert_true(series->latest == 99999);
    /* Each point is the mean of its share, in order: 0 … stride − 1, and so on. */
    for (size_t i = 0; i < series->points.count; i++)
        assert_true(series->points.items[i] ==
                    (double)(i * series->stride) + (double)(series->stride - 1) / 2);
    char name[32];
    for (int i = 0; i < 2 * REIDCTL_SERIES_MAX; i++) {
        snprintf(name, sizeof name, "metric %d", i);
        take(&view, 0, name, i);
    }
    assert_int_equal(view.series.count, REIDCTL_SERIES_MAX);
    reidctl_view_fini(&view);
}

static void assert_line(const reidctl_view *view, void (*add)(const reidctl_view *, reid_str *out),
                        const char *expected)
{
    reid_str out = REID_STR_INIT;
    add(view, &out);
    assert_string_equal(reid_str_text(&out), expected);
    reid_str_fini(&out);
}

static void lines(void **state)
{
    reidctl_view view = {0};
    fill(&view);
    take(&view, 1, "loss_cls", 2.5);
    assert_line(&view, reidctl_view_add_state, "job abcd1234 (demo) RUNNING: training");
    assert_line(&view, reidctl_view_add_training,
                "epoch 2/4  iter 100/200  eta 1m15s  total_loss 1  loss_cls 2.5  lr 3.50e-04  812 "
                "images/s");
    assert_line(&view, reidctl_view_add_evaluation, "evaluation after epoch 2  mAP 43.21");
    assert_true(take(&view, 3, "Market1501/Rank-1", 100));
    assert_line(&view, reidctl_view_add_evaluation,
                "evaluation after epoch 4  Market1501/Rank-1 100.00");
    assert_false(take(&view, 3, "mAPs", 1));
    reidctl_view_fini(&view);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_before_the_first_snapshot),
        cmocka_unit_test(picture),
        cmocka_unit_test(colors_take_no_room),
        cmocka_unit_test(pictures_fit),
        cmocka_unit_test(a_long_history_stays_bounded),
        cmocka_unit_test(lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
