#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "backend/module.h"

/* Opens `name` with the modules of one folder; the sentence must hold all of `words`. */
static void refused(const char *folder, const char *name, reid_status code,
                    const char *const *words)
{
    reid_error err = {0};
    reid_backend *backend = NULL;
    assert_int_equal(setenv("REID_MODULE_DIR", folder, 1), 0);
    assert_int_equal(reid_backend_open(name, 1, &backend, &err), code);
    assert_null(backend);
    for (; *words; words++)
        if (!strstr(err.text, *words))
            fail_msg("'%s' is not in: %s", *words, err.text);
}

#define REFUSED(folder, name, code, ...)                                                           \
    refused(TEST_MODULES "/" folder, name, code, (const char *const[]){__VA_ARGS__, NULL})

static void a_missing_file_is_named(void **state)
{
    REFUSED("nowhere", "cuda", REID_ERR_UNSUPPORTED, "backend 'cuda'", "nowhere/libreid-cuda.so");
    REFUSED("nowhere", "cuda:3", REID_ERR_UNSUPPORTED, "nowhere/libreid-cuda.so");
}

static void a_missing_library_is_named(void **state)
{
    REFUSED("needs", "cuda", REID_ERR_UNSUPPORTED, "libfake_module_needed.so");
}

static void what_is_no_module_is_refused(void **state)
{
    REFUSED("no_entry", "cuda", REID_ERR_UNSUPPORTED, "no_entry/libreid-cuda.so",
            "reid_module_entry");
    REFUSED("other_name", "cuda", REID_ERR_UNSUPPORTED, "'rocm'", "'cuda'");
}

static void another_abi_is_refused(void **state)
{
    REFUSED("old_abi", "cuda", REID_ERR_UNSUPPORTED, "module ABI 0", "one build");
    REFUSED("old_backend", "cuda", REID_ERR_UNSUPPORTED, "backend ABI 1", "one build");
}

/* The part behind the colon reaches the module, whose sentence comes back. */
static void the_device_is_the_modules_affair(void **state)
{
    REFUSED("old_backend", "cuda:7", REID_ERR_NOT_FOUND, "no device '7'");
}

static void only_whole_names_count(void **state)
{
    REFUSED("old_backend", "cud", REID_ERR_NOT_FOUND, "'cud'");
    REFUSED("old_backend", "cudart", REID_ERR_NOT_FOUND, "'cudart'");
    REFUSED("old_backend", "cpu:0", REID_ERR_NOT_FOUND, "'cpu:0'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_missing_file_is_named),
        cmocka_unit_test(a_missing_library_is_named),
        cmocka_unit_test(what_is_no_module_is_refused),
        cmocka_unit_test(another_abi_is_refused),
        cmocka_unit_test(the_device_is_the_modules_affair),
        cmocka_unit_test(only_whole_names_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
