/* Reading the descriptor set: what is there, and what happens to a broken one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "descriptors.h"
#include "harness/harness.h"
#include "rpc/descriptors.h"

static size_t size_of_set(void)
{
    return (size_t)(reid_proto_descriptors_end - reid_proto_descriptors);
}

static void symbols_lead_to_their_files(void **state)
{
    reid_rpc_descriptors *d;
    reid_error err = {0};
    reid_assert_ok(reid_rpc_descriptors_new(reid_proto_descriptors, size_of_set(), &d, &err), &err);
    static const struct {
        const char *symbol, *file;
    } rows[] = {
        {"reid.v1.JobService", "reid/v1/job.proto"},
        {"reid.v1.JobService.Submit", "reid/v1/job.proto"},
        {"reid.v1.Job", "reid/v1/job.proto"},
        {"reid.v1.Job.id", "reid/v1/job.proto"},
        {"reid.v1.JobState", "reid/v1/job.proto"},
        {"reid.v1.JOB_STATE_FAILED", "reid/v1/job.proto"},
        {"reid.v1.LinkUp.kind", "reid/v1/link.proto"},
        {"reid.v1.SystemService.Info", "reid/v1/system.proto"},
        {"grpc.health.v1.HealthCheckResponse.ServingStatus", "grpc/health/v1/health.proto"},
        {"grpc.health.v1.HealthCheckResponse.NOT_SERVING", "grpc/health/v1/health.proto"},
        {"grpc.reflection.v1alpha.ServerReflection", "grpc/reflection/v1alpha/reflection.proto"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int file = reid_rpc_descriptors_find_symbol(d, rows[i].symbol);
        assert_int_not_equal(file, REID_RPC_NO_FILE);
        assert_int_equal(file, reid_rpc_descriptors_find_file(d, rows[i].file));
    }
    static const char *const absent[] = {"", "reid.v1", "reid.v1.Jo", "Job",
                                         "reid.v1.JobState.JOB_STATE_FAILED"};
    for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++)
        assert_int_equal(reid_rpc_descriptors_find_symbol(d, absent[i]), REID_RPC_NO_FILE);
    int link = reid_rpc_descriptors_find_file(d, "reid/v1/link.proto");
    static const char *const imports[] = {"reid/v1/control.proto", "reid/v1/hook.proto",
                                          "reid/v1/job.proto"};
    for (size_t i = 0; i < sizeof imports / sizeof imports[0]; i++)
        assert_int_equal(reid_rpc_descriptors_import(d, link, i),
                         reid_rpc_descriptors_find_file(d, imports[i]));
    assert_int_equal(reid_rpc_descriptors_import(d, link, 3), REID_RPC_NO_FILE);
    reid_rpc_descriptors_free(d);
}

static void broken_sets_are_refused_or_read(void **state)
{
    size_t size = size_of_set();
    for (uint32_t round = 0; round < 3000; round++) {
        reid_rng rng = reid_rng_stream(5, REID_RNG_TEST, round, 0);
        size_t cut = round % 2 ? size : reid_rng_below(&rng, (uint32_t)size);
        uint8_t *bytes = malloc(cut + 1);
        memcpy(bytes, reid_proto_descriptors, cut);
        for (int i = 0; i < 3 && cut > 0; i++)
            bytes[reid_rng_below(&rng, (uint32_t)cut)] = (uint8_t)reid_rng_u32(&rng);
        reid_rpc_descriptors *d = NULL;
        reid_status status = reid_rpc_descriptors_new(bytes, cut, &d, NULL);
        assert_true(status == REID_OK || status == REID_ERR_INVALID);
        reid_rpc_descriptors_free(d);
        free(bytes);
    }
}

static void a_cut_set_is_refused(void **state)
{
    reid_rpc_descriptors *d = NULL;
    reid_error err = {0};
    assert_int_equal(reid_rpc_descriptors_new(reid_proto_descriptors, size_of_set() - 1, &d, &err),
                     REID_ERR_INVALID);
    assert_string_equal(err.text, "the descriptor set of the services cannot be read");
    assert_null(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(symbols_lead_to_their_files),
        cmocka_unit_test(broken_sets_are_refused_or_read),
        cmocka_unit_test(a_cut_set_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
