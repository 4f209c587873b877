#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "tensor/dtype.h"

static void sizes_and_names(void **state)
{
    assert_int_equal(reid_dtype_size(REID_F32), 4);
    assert_int_equal(reid_dtype_size(REID_BF16), 2);
    assert_int_equal(reid_dtype_size(REID_F16), 2);
    assert_int_equal(reid_dtype_size(REID_I32), 4);
    assert_int_equal(reid_dtype_size(REID_U8), 1);
    assert_string_equal(reid_dtype_name(REID_BF16), "bf16");
    assert_string_equal(reid_dtype_name(REID_F16), "f16");
}

/* Values from the format's definition: 8 bits of significand, ties to even. */
static void bf16_rounds_to_nearest_even(void **state)
{
    assert_int_equal(reid_f32_to_bf16(1.0f), 0x3f80);
    assert_int_equal(reid_f32_to_bf16(-2.0f), 0xc000);
    assert_int_equal(reid_f32_to_bf16(1.0f + 1.0f / 256), 0x3f80);         /* tie, down to even */
    assert_int_equal(reid_f32_to_bf16(1.0f + 3.0f / 256), 0x3f82);         /* tie, up to even */
    assert_int_equal(reid_f32_to_bf16(1.0f + 1.0f / 256 + 1e-6f), 0x3f81); /* above a tie */
    assert_int_equal(reid_f32_to_bf16(3.4e38f), 0x7f80); /* overflows to infinity */
    assert_int_equal(reid_f32_to_bf16(INFINITY), 0x7f80);
    assert_true(isnan(reid_bf16_to_f32(reid_f32_to_bf16(NAN))));
}

static void bf16_and_back_is_exact(void **state)
{
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        float f = reid_bf16_to_f32((uint16_t)bits);
        if (!isnan(f))
            assert_int_equal(reid_f32_to_bf16(f), bits);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_and_names),
        cmocka_unit_test(bf16_rounds_to_nearest_even),
        cmocka_unit_test(bf16_and_back_is_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
