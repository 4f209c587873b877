#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "engine/hooks/registry.h"
#include "harness/harness.h"

static reid_status no_save(void *user, const reid_checkpoint_request *request, reid_error *err)
{
    return REID_OK;
}

static reid_status no_eval(void *user, reid_eval_results *results, reid_error *err)
{
    return REID_OK;
}

static const reid_hook_context CONTEXT = {.save = no_save, .evaluate = no_eval};

static void the_table_is_in_the_order_of_a_default_training(void **state)
{
    static const char *const names[] = {"IterationTimer",       "LRScheduler", "EvalHook",
                                        "PeriodicCheckpointer", "MemoryStats", "PeriodicWriter"};
    for (size_t i = 0; i < REID_COUNT_OF(names); i++) {
        const reid_hook_kind *kind = reid_hook_kind_at(i);
        assert_string_equal(kind->name, names[i]);
        assert_ptr_equal(reid_hook_kind_find(names[i]), kind);
        assert_true(kind->help[0] && kind->make);
    }
    assert_null(reid_hook_kind_at(REID_COUNT_OF(names)));
    assert_null(reid_hook_kind_find("evalhook"));
}

/* Each row with its defaults: the hook is there, or the row says what it lacks. */
static void every_row_can_be_made(void **state)
{
    for (size_t i = 0; reid_hook_kind_at(i); i++) {
        const reid_hook_kind *kind = reid_hook_kind_at(i);
        reid_hook *hook = NULL;
        reid_error err = {0};
        reid_status status = reid_hook_make(kind->name, &CONTEXT, 0, NULL, &hook, &err);
        if (status == REID_ERR_PRECONDITION) {
            bool scheduler = strcmp(kind->name, "LRScheduler") == 0;
            char *text =
                reid_xasprintf("the hook %s needs %s, which this training does not have",
                               kind->name, scheduler ? "an optimizer and its schedule" : "ranks");
            assert_string_equal(err.text, text);
            assert_true(scheduler || strcmp(kind->name, "MemoryStats") == 0);
            free(text);
            continue;
        }
        reid_assert_ok(status, &err);
        assert_string_equal(hook->impl->name, kind->name);
        reid_hook_free(hook);
    }
}

static void options_are_checked(void **state)
{
    static const struct {
        const char *name;
        const char *options[2];
        size_t count;
        reid_status status;
        const char *text;
    } cases[] = {
        {"EvalHook", {"period=0"}, 1, REID_OK, ""},
        {"PeriodicCheckpointer", {"metric=A/metric", "period=3"}, 2, REID_OK, ""},
        {"EvalHok",
         {NULL},
         0,
         REID_ERR_NOT_FOUND,
         "there is no hook 'EvalHok'; did you mean EvalHook?"},
        {"EvalHook",
         {"period"},
         1,
         REID_ERR_INVALID,
         "'period' is not an option of the form name=value"},
        {"EvalHook",
         {"perio=3"},
         1,
         REID_ERR_INVALID,
         "the hook EvalHook has no option 'perio'; it has period"},
        {"LRScheduler",
         {"x=3"},
         1,
         REID_ERR_INVALID,
         "the hook LRScheduler has no option 'x'; it has none"},
        {"EvalHook",
         {"period=3", "period=4"},
         2,
         REID_ERR_INVALID,
         "the option period of the hook EvalHook is there twice"},
        {"EvalHook",
         {"period=-1"},
         1,
         REID_ERR_INVALID,
         "the option period of the hook EvalHook must be a whole number from 0 on, not '-1'"},
        {"PeriodicWriter",
         {"period=0"},
         1,
         REID_ERR_INVALID,
         "the option period of the hook PeriodicWriter must be a whole number from 1 on, not '0'"},
        {"IterationTimer",
         {"warmup_iters=3x"},
         1,
         REID_ERR_INVALID,
         "the option warmup_iters of the hook IterationTimer must be a whole number from 0 on, not "
         "'3x'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        reid_hook *hook = NULL;
        reid_error err = {0};
        assert_int_equal(
            reid_hook_make(cases[i].name, &CONTEXT, cases[i].count, cases[i].options, &hook, &err),
            cases[i].status);
        assert_string_equal(err.text, cases[i].text);
        reid_hook_free(hook);
    }
}

static void a_missing_resource_is_named(void **state)
{
    const reid_hook_context nothing = {0};
    reid_hook *hook = NULL;
    assert_int_equal(reid_hook_make("EvalHook", &nothing, 0, NULL, &hook, NULL),
                     REID_ERR_PRECONDITION);
    assert_int_equal(reid_hook_make("PeriodicCheckpointer", &nothing, 0, NULL, &hook, NULL),
                     REID_ERR_PRECONDITION);
    assert_null(hook);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_in_the_order_of_a_default_training),
        cmocka_unit_test(every_row_can_be_made),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(a_missing_resource_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
