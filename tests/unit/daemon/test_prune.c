/* Jobs that are removed, by somebody or by --keep-jobs: reidd with scripted trainers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "harness/harness.h"
#include "support/reidd.h"

#define STATE(name) REID__V1__JOB_STATE__JOB_STATE_##name

static reid_status remove_job(test_reidd *t, const char *id, reid_error *err)
{
    Reid__V1__JobRequest request = REID__V1__JOB_REQUEST__INIT;
    ProtobufCMessage *job = NULL;
    request.id = (char *)id;
    reid_status status =
        reid_rpc_client_unary(t->client, "/reid.v1.JobService/Remove", &request.base,
                              &reid__v1__job__descriptor, 30000, &job, err);
    if (job)
        protobuf_c_message_free_unpacked(job, NULL);
    return status;
}

static char *ended(test_reidd *t, const char *name)
{
    char *id = test_submit(t, name, 1, "link\nmark trained\nexit 0\n");
    test_expect_state(t, id, STATE(SUCCEEDED));
    return id;
}

static bool is_known(test_reidd *t, const char *id)
{
    Reid__V1__GetJobRequest request = REID__V1__GET_JOB_REQUEST__INIT;
    ProtobufCMessage *job = NULL;
    request.id = (char *)id;
    reid_status status = reid_rpc_client_unary(t->client, "/reid.v1.JobService/Get", &request.base,
                                               &reid__v1__job__descriptor, 30000, &job, NULL);
    if (job)
        protobuf_c_message_free_unpacked(job, NULL);
    return status == REID_OK;
}

static bool is_gone(void *path)
{
    return !reid_path_exists(path);
}

static char *state_folder(const test_reidd *t, const char *id)
{
    return reid_xasprintf("%s/jobs/%s", t->state_dir, id);
}

static void test_remove(void **state)
{
    test_reidd *t = *state;
    reid_error err = {0};
    test_reidd_option(t, "--slots=2");
    test_reidd_start(t);
    char *a = ended(t, "a"), *b = test_submit(t, "b", 1, "link\nwait go\nexit 1\n");
    assert_int_equal(remove_job(t, b, &err), REID_ERR_PRECONDITION);
    assert_non_null(strstr(err.text, "only a job that has ended can be removed"));
    assert_int_equal(remove_job(t, "nobody", &err), REID_ERR_NOT_FOUND);
    reid_assert_ok(remove_job(t, a, &err), &err);
    assert_int_equal(remove_job(t, a, &err), REID_ERR_NOT_FOUND);
    assert_false(is_known(t, a));
    char *folder = state_folder(t, a), *output = test_job_folder(t, 1);
    assert_true(reid_test_wait(is_gone, folder, 60));
    char *trained = reid_path_join(output, "trained");
    assert_true(reid_path_exists(trained)); /* what is the user's */

    Reid__V1__SubmitRequest request = REID__V1__SUBMIT_REQUEST__INIT;
    Reid__V1__Job *c = NULL;
    char *after[] = {b};
    request.config_yaml = reid_xasprintf("OUTPUT_DIR: %s\n", output);
    request.after = after;
    request.n_after = 1;
    request.hold = true; /* it has not seen yet that b has failed */
    reid_assert_ok(test_submit_raw(t, &request, &c, &err), &err);
    test_give_mark(t, 2, "go");
    test_expect_state(t, b, STATE(FAILED));
    reid_error why = {0};
    assert_int_equal(remove_job(t, b, &why), REID_ERR_PRECONDITION);
    assert_non_null(strstr(why.text, "was submitted to start after"));
    reid_assert_ok(test_cancel(t, c->id, 0, "", &err), &err);
    reid_assert_ok(remove_job(t, b, &err), &err);
    reid_assert_ok(remove_job(t, c->id, &err), &err);
    char *texts[] = {a, b, folder, output, trained, request.config_yaml};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        free(texts[i]);
    reid__v1__job__free_unpacked(c, NULL);
}

/* Killed between a removal and what follows: the next daemon goes on with it. */
static void test_kept(void **state)
{
    test_reidd *t = *state;
    reid_error err = {0};
    char *ids[4];
    test_reidd_start(t);
    for (int i = 0; i < 4; i++)
        ids[i] = ended(t, "job");
    reid_assert_ok(remove_job(t, ids[3], &err), &err);
    test_reidd_kill(t);
    test_reidd_option(t, "--keep-jobs=1");
    test_reidd_start(t);
    assert_false(is_known(t, ids[3]));
    static const int go[] = {0, 1, 3};
    for (size_t i = 0; i < 3; i++) {
        char *folder = state_folder(t, ids[go[i]]);
        assert_true(reid_test_wait(is_gone, folder, 60));
        assert_false(is_known(t, ids[go[i]]));
        free(folder);
    }
    assert_true(is_known(t, ids[2]));
    char *more = ended(t, "job");
    assert_true(strcmp(more, ids[3]) > 0); /* no id is given twice */
    free(more);
    for (int i = 0; i < 4; i++)
        free(ids[i]);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, test_reidd_set_up, test_reidd_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_remove),
        CASE(test_kept),
    };
    return cmocka_run_group_tests_name("daemon prune", tests, NULL, NULL);
}
