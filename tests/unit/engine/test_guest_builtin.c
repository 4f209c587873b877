/* Built-in hooks that are added while a training runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "engine/guest/guest.h"
#include "engine/trainer.h"
#include "harness/harness.h"
#include "script_trainer.h"
#include "thread_ranks.h"

static reid_status open_spec(const char *json, const reid_hook_context *context,
                             reid_trainer *trainer, reid_guest **ret_guest, reid_guest_spec *spec,
                             reid_error *err)
{
    const reid_guest_env env = {.trainer = trainer, .context = context};
    REID_TRY(reid_guest_spec_parse(json, strlen(json), spec, err));
    return reid_guest_builtin.open(&env, spec, 1, ret_guest, err);
}

static void refuse(const char *json, const reid_hook_context *context, const char *sentence)
{
    reid_guest *guest = NULL;
    reid_guest_spec spec = {0};
    reid_error err = {0};
    assert_int_not_equal(open_spec(json, context, NULL, &guest, &spec, &err), REID_OK);
    assert_non_null(strstr(err.text, sentence));
    reid_guest_spec_fini(&spec);
}

#define BUILTIN(name) "{\"kind\":\"builtin\",\"source\":\"" name "\"}"

static void what_cannot_be_added_is_said(void **state)
{
    const reid_hook_context context = {0};
    refuse(BUILTIN("MemoryStats"), NULL, "takes no built-in hooks");
    refuse(BUILTIN("LRScheduler"), &context, "has its LRScheduler already");
    refuse(BUILTIN("PeriodicWriter"), &context, "has its PeriodicWriter already");
}

static void on_each_rank(reid_comm *comm, void *user)
{
    const reid_hook_context context = {.comm = comm};
    reid_trainer trainer = {.storage = reid_event_storage_new(7)};
    reid_guest *guest = NULL;
    reid_guest_spec spec = {0};
    reid_error err = {0};
    const reid_moment moment = {.point = REID_AFTER_STEP, .iter = 7, .storage = trainer.storage};
    reid_assert_ok(open_spec(BUILTIN("MemoryStats"), &context, &trainer, &guest, &spec, &err),
                   &err);
    assert_int_equal(spec.points, 1u << REID_AFTER_STEP);
    reid_assert_ok(reid_guest_builtin.call(guest, &moment, NULL, &err), &err);
    reid_event_scalar scalar;
    bool put = reid_event_storage_find(trainer.storage, "max_mem", &scalar);
    assert_int_equal(put, comm->rank == 0);
    if (put)
        assert_true(scalar.value > 1 && scalar.value < 1e6 && scalar.iter == 7);
    reid_guest_builtin.close(guest);
    reid_guest_spec_fini(&spec);
    reid_event_storage_free(trainer.storage);
}

static void all_ranks_have_it(void **state)
{
    test_run_ranks(2, on_each_rank, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_cannot_be_added_is_said),
        cmocka_unit_test(all_ranks_have_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
