#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "gpu/spec.h"

static void every_row_is_complete_and_plausible(void **state)
{
    size_t count = 0;
    for (const reid_gpu_spec *s; (s = reid_gpu_spec_at(count)) != NULL; count++) {
        assert_ptr_equal(reid_gpu_spec_by_name(s->name), s);
        assert_non_null(s->title);
        assert_true(strlen(s->source) > 10);
        assert_true(s->sm >= 80 && s->sm <= 120);
        assert_true(s->matrix_bf16 >= s->matrix_tf32 && s->matrix_tf32 >= s->matrix_f32);
        assert_true(s->matrix_f32 >= 1e13 && s->vector_f32 >= 1e13);
        assert_true(s->memory_bytes_per_s >= 1e12 && s->memory_bytes_per_s <= 1e13);
        assert_true(s->memory_bytes >= 3e10 && s->link_bytes_per_s >= 1e10);
    }
    assert_true(count >= 4);
}

static void each_compute_capability_of_the_module_has_one(void **state)
{
    static const int sms[] = {80, 90, 100, 120};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(reid_gpu_spec_by_sm(sms[i])->sm, sms[i]);
    assert_null(reid_gpu_spec_by_sm(75));
    assert_null(reid_gpu_spec_by_name("h100"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_complete_and_plausible),
        cmocka_unit_test(each_compute_capability_of_the_module_has_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
