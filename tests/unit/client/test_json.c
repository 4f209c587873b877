#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "harness/harness.h"
#include "out/json.h"

static void a_whole_job(void **state)
{
    Reid__V1__Job job = REID__V1__JOB__INIT;
    Reid__V1__Progress progress = REID__V1__PROGRESS__INIT;
    Reid__V1__Failure failure = REID__V1__FAILURE__INIT;
    Reid__V1__Scalar scalar = REID__V1__SCALAR__INIT, *latest = &scalar;
    char id[] = "aaa", name[] = "say \"hi\"\x1b", sentence[] = "rank 1 was killed", key[] = "mAP";
    job.id = id;
    job.name = name;
    job.state = REID__V1__JOB_STATE__JOB_STATE_FAILED;
    job.ranks = 2;
    job.submitted_ms = INT64_C(1764000000123);
    job.exit_code = 137;
    progress.iteration = 7;
    progress.max_iteration = 100;
    progress.eta_seconds = -1;
    progress.images_per_second = 12.5;
    job.progress = &progress;
    failure.sentence = sentence;
    failure.rank = 1;
    failure.signal = 9;
    job.failure = &failure;
    job.restarts = 1;
    job.max_restarts = 3;
    job.priority = -2;
    job.max_time_seconds = 90.5;
    job.held = true;
    scalar.name = key;
    scalar.value = 0.1;
    job.latest = &latest;
    job.n_latest = 1;
    reid_str out = REID_STR_INIT;
    reid_json_writer w = reidctl_json_begin(&out);
    reidctl_json_job(&w, &job);
    assert_string_equal(
        reid_str_text(&out),
        "{\"id\": \"aaa\", \"name\": \"say \\\"hi\\\"\\u001b\", \"user\": \"\", \"state\": "
        "\"FAILED\", \"phase\": \"\", \"ranks\": 2, \"attempt\": 0, \"submitted_ms\": "
        "1764000000123, \"started_ms\": null, \"ended_ms\": null, \"last_progress_ms\": null, "
        "\"exit_code\": 137, \"restarts\": 1, \"max_restarts\": 3, \"queue_position\": 0, "
        "\"start_by_ms\": null, \"wanted_ranks\": 0, \"min_ranks\": 0, \"priority\": -2, "
        "\"after\": \"\", \"max_time_seconds\": 90.5, "
        "\"gpu_type\": \"\", \"held\": true, \"no_preempt\": false, \"placement\": \"\", "
        "\"ran_seconds\": 0.0, \"preemptions\": 0, "
        "\"detail\": \"\", \"output_dir\": \"\", "
        "\"progress\": {\"iteration\": 7, \"max_iteration\": 100, \"epoch\": 0, \"max_epoch\": 0, "
        "\"eta_seconds\": null, \"images_per_second\": 12.5}, \"failure\": {\"sentence\": \"rank 1 "
        "was killed\", \"rank\": 1, \"exit_code\": 0, \"signal\": 9}, \"latest\": {\"mAP\": "
        "0.1}}");
    reid_str_fini(&out);
}

static void an_empty_job_reads_back(void **state)
{
    Reid__V1__Job job = REID__V1__JOB__INIT;
    reid_str out = REID_STR_INIT;
    reid_error err = {0};
    reid_json *root = NULL;
    reid_json_writer w = reidctl_json_begin(&out);
    reidctl_json_job(&w, &job);
    reid_assert_ok(reid_json_parse(reid_str_text(&out), out.length, &root, &err), &err);
    assert_string_equal(reid_json_as_string(reid_json_get(root, "state"), ""), "UNKNOWN");
    assert_null(reid_json_get(root, "progress"));
    assert_null(reid_json_get(root, "failure"));
    assert_int_equal(reid_json_count(reid_json_get(root, "latest")), 0);
    reid_json_free(root);
    reid_str_fini(&out);
}

static void rows(void **state)
{
    Reid__V1__MetricRow row = REID__V1__METRIC_ROW__INIT;
    Reid__V1__Scalar scalars[2] = {REID__V1__SCALAR__INIT, REID__V1__SCALAR__INIT};
    Reid__V1__Scalar *pointers[2] = {&scalars[0], &scalars[1]};
    char loss[] = "total_loss", lr[] = "lr";
    scalars[0].name = loss;
    scalars[0].value = NAN;
    scalars[1].name = lr;
    scalars[1].value = 3.5e-4;
    row.attempt = 1;
    row.seq = 5;
    row.iteration = 4;
    row.scalars = pointers;
    row.n_scalars = 2;
    reid_str out = REID_STR_INIT;
    reid_json_writer w = reidctl_json_begin(&out);
    reidctl_json_row(&w, &row);
    assert_string_equal(reid_str_text(&out),
                        "{\"attempt\": 1, \"seq\": 5, \"iteration\": 4, \"epoch\": 0, \"wall_ms\": "
                        "0, \"metrics\": {\"total_loss\": NaN, \"lr\": 0.00035}}");
    reid_str_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_job),
        cmocka_unit_test(an_empty_job_reads_back),
        cmocka_unit_test(rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
