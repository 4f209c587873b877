/* Which GPUs a job gets, and what a look at them does. Against the stand-in of
 * tests/emulation/nvml. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/gpus.h"
#include "harness/harness.h"

static char path[] = "/tmp/reid-gpus-XXXXXX";

static void weather(int gpus)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    for (int i = 0; i < gpus; i++)
        fprintf(file, "gpu GPU-%d\nname N\ntemperature %d\n", i, 40 + i);
    fclose(file);
}

static void check_pick(const reidd_gpus *gpus, char *const *held, size_t count, int ranks,
                       const char *expected)
{
    char *list = reidd_gpus_pick(gpus, held, count, ranks);
    if (expected)
        assert_string_equal(list, expected);
    else
        assert_null(list);
    free(list);
}

static void close_all(uv_loop_t *loop, reidd_gpus *gpus)
{
    reidd_gpus_close(gpus);
    uv_run(loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(loop), 0);
}

static void free_gpus_are_given_in_order(void **state)
{
    uv_loop_t loop;
    reidd_gpus *gpus = NULL;
    reid_error err = {0};
    uv_loop_init(&loop);
    weather(12); /* GPU-1 is the beginning of GPU-10 */
    reid_assert_ok(reidd_gpus_new(&loop, "auto", &gpus, &err), &err);
    assert_int_equal(reidd_gpus_count(gpus), 12);
    check_pick(gpus, NULL, 0, 2, "GPU-0,GPU-1");
    char *const held[] = {(char *)"GPU-10,GPU-0", (char *)"GPU-2", (char *)"GPU-gone"};
    check_pick(gpus, held, 3, 3, "GPU-1,GPU-3,GPU-4");
    check_pick(gpus, held, 3, 9, "GPU-1,GPU-3,GPU-4,GPU-5,GPU-6,GPU-7,GPU-8,GPU-9,GPU-11");
    check_pick(gpus, held, 3, 10, NULL);
    assert_true(reidd_gpus_offers(gpus, "GPU-11"));
    assert_false(reidd_gpus_offers(gpus, "GPU-12"));
    close_all(&loop, gpus);
}

static void the_place_in_a_list_is_the_rank(void **state)
{
    assert_int_equal(reidd_gpus_place("GPU-10,GPU-1,GPU-2", "GPU-1"), 1);
    assert_int_equal(reidd_gpus_place("GPU-10,GPU-1,GPU-2", "GPU-2"), 2);
    assert_int_equal(reidd_gpus_place("GPU-10", "GPU-1"), -1);
    assert_int_equal(reidd_gpus_place("", "GPU-1"), -1);
    assert_int_equal(reidd_gpus_place(NULL, "GPU-1"), -1);
}

typedef struct looker {
    reidd_gpu_look look;
    int calls;
    size_t count;
    char note[200];
} looker;

static void on_look(reidd_gpu_look *look, const reidd_gpu_weather *now)
{
    looker *l = (looker *)look;
    l->calls++;
    l->count = now->count;
    snprintf(l->note, sizeof l->note, "%s", now->note);
}

static void many_lookers_share_one_question(void **state)
{
    uv_loop_t loop;
    reidd_gpus *gpus = NULL;
    reid_error err = {0};
    looker lookers[5] = {0};
    uv_loop_init(&loop);
    weather(3);
    reid_assert_ok(reidd_gpus_new(&loop, "none", &gpus, &err), &err);
    assert_int_equal(reidd_gpus_count(gpus), 0);
    for (size_t i = 0; i < 5; i++) {
        lookers[i].look.done = on_look;
        reidd_gpus_look(gpus, &lookers[i].look);
        assert_int_equal(lookers[i].calls, 0); /* the driver is not asked on this thread */
    }
    reidd_gpus_look_cancel(&lookers[2].look);
    uv_run(&loop, UV_RUN_DEFAULT);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(lookers[i].calls, i != 2);
    assert_int_equal(lookers[0].count, 3);
    weather(4);
    reidd_gpus_look(gpus, &lookers[0].look); /* fresh enough: at once, and as it was */
    assert_int_equal(lookers[0].calls, 2);
    assert_int_equal(lookers[0].count, 3);
    close_all(&loop, gpus);
}

static void an_end_while_the_driver_is_asked(void **state)
{
    uv_loop_t loop;
    reidd_gpus *gpus = NULL;
    reid_error err = {0};
    looker l = {.look.done = on_look};
    uv_loop_init(&loop);
    weather(1);
    reid_assert_ok(reidd_gpus_new(&loop, "none", &gpus, &err), &err);
    reidd_gpus_look(gpus, &l.look);
    close_all(&loop, gpus);
    assert_int_equal(l.calls, 0);
    assert_null(l.look.gpus);
}

static void no_driver_is_a_note_or_a_refusal(void **state)
{
    uv_loop_t loop;
    reidd_gpus *gpus = NULL;
    reid_error err = {0};
    looker l = {.look.done = on_look};
    uv_loop_init(&loop);
    unlink(path);
    reid_assert_ok(reidd_gpus_new(&loop, "auto", &gpus, &err), &err);
    assert_int_equal(reidd_gpus_count(gpus), 0);
    reidd_gpus_look(gpus, &l.look);
    assert_non_null(strstr(l.note, "Driver Not Loaded"));
    reidd_gpus_close(gpus);
    assert_int_equal(reidd_gpus_new(&loop, "GPU-0", &gpus, &err), REID_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "--gpus: no GPUs can be listed"));
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static int start(void **state)
{
    int fd = mkstemp(path);
    close(fd);
    return fd < 0 || setenv("REID_FAKE_NVML", path, 1) != 0;
}

static int end(void **state)
{
    unlink(path);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(free_gpus_are_given_in_order),
        cmocka_unit_test(the_place_in_a_list_is_the_rank),
        cmocka_unit_test(many_lookers_share_one_question),
        cmocka_unit_test(an_end_while_the_driver_is_asked),
        cmocka_unit_test(no_driver_is_a_note_or_a_refusal),
    };
    return cmocka_run_group_tests(tests, start, end);
}
