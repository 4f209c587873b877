/* Against the stand-in of tests/emulation/nvml, which is found by LD_LIBRARY_PATH. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "gpu/gpu.h"

static char path[] = "/tmp/reid-nvml-XXXXXX";

static void weather(const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static const char two_gpus[] =
    "driver 580.65.06\n"
    "gpu GPU-aaaa\nname NVIDIA H100 80GB HBM3\nmemory 85520809984 1073741824\n"
    "use 97 41\ntemperature 63\npower 612345 700000\nclock 1755 1980\nthrottle 0x25\n"
    "process 4711 1000000000\nprocess 4712 18446744073709551615\n"
    "gpu GPU-bbbb\nname Tesla Something\n";

static void all_figures_of_a_gpu_come_through(void **state)
{
    reid_gpus *gpus = NULL;
    reid_gpu_info *infos = NULL;
    size_t count = 0;
    reid_error err = {0};
    weather(two_gpus);
    assert_int_equal(reid_gpus_open(&gpus, &err), REID_OK);
    assert_string_equal(reid_gpus_driver(gpus), "580.65.06");
    assert_int_equal(reid_gpus_sample(gpus, &infos, &count, &err), REID_OK);
    assert_int_equal(count, 2);
    const reid_gpu_info *g = &infos[0];
    assert_string_equal(g->uuid, "GPU-aaaa");
    assert_string_equal(g->name, "NVIDIA H100 80GB HBM3");
    assert_true(g->memory_total_bytes == 85520809984 && g->memory_used_bytes == 1073741824);
    assert_int_equal(g->utilization_percent, 97);
    assert_int_equal(g->memory_utilization_percent, 41);
    assert_int_equal(g->temperature_c, 63);
    assert_true(g->power_w == 612.345 && g->power_limit_w == 700);
    assert_int_equal(g->clock_mhz, 1755);
    assert_int_equal(g->clock_max_mhz, 1980);
    assert_int_equal(g->throttle, REID_GPU_THROTTLE_POWER_CAP | REID_GPU_THROTTLE_THERMAL);
    assert_int_equal(g->process_count, 2);
    assert_int_equal(g->processes[0].pid, 4711);
    assert_true(g->processes[0].memory_bytes == 1000000000);
    assert_true(g->processes[1].memory_bytes == REID_GPU_UNKNOWN);
    assert_string_equal(g->trouble, "");
    free(infos);
    reid_gpus_close(gpus);
}

static void what_is_not_told_is_unknown(void **state)
{
    reid_gpus *gpus = NULL;
    reid_gpu_info *infos = NULL;
    size_t count = 0;
    reid_error err = {0};
    weather(two_gpus);
    assert_int_equal(reid_gpus_open(&gpus, &err), REID_OK);
    assert_int_equal(reid_gpus_sample(gpus, &infos, &count, &err), REID_OK);
    const reid_gpu_info *g = &infos[1];
    assert_string_equal(g->uuid, "GPU-bbbb");
    assert_true(g->memory_total_bytes == REID_GPU_UNKNOWN);
    assert_int_equal(g->utilization_percent, REID_GPU_UNKNOWN);
    assert_int_equal(g->temperature_c, REID_GPU_UNKNOWN);
    assert_true(g->power_w == REID_GPU_UNKNOWN);
    assert_int_equal(g->throttle, 0);
    assert_int_equal(g->process_count, 0);
    free(infos);
    reid_gpus_close(gpus);
}

static void a_gpu_that_is_lost_is_listed_with_its_trouble(void **state)
{
    reid_gpus *gpus = NULL;
    reid_gpu_info *infos = NULL;
    size_t count = 0;
    reid_error err = {0};
    weather("gpu GPU-aaaa\nname A\nuse 5 5\ngpu GPU-bbbb\nname B\nuse 7 7\nfail nvmlDeviceGetUUID "
            "15\n");
    assert_int_equal(reid_gpus_open(&gpus, &err), REID_OK);
    assert_int_equal(reid_gpus_sample(gpus, &infos, &count, &err), REID_OK);
    assert_int_equal(count, 2);
    assert_int_equal(infos[0].utilization_percent, 5);
    assert_string_equal(infos[1].trouble, "GPU 1 does not answer: GPU is lost");
    assert_int_equal(infos[1].utilization_percent, REID_GPU_UNKNOWN);
    assert_int_equal(infos[1].process_count, REID_GPU_UNKNOWN);
    free(infos);
    weather("gpu GPU-aaaa\nname A\nuse 55 5\n"); /* one sample after another */
    assert_int_equal(reid_gpus_sample(gpus, &infos, &count, &err), REID_OK);
    assert_int_equal(count, 1);
    assert_int_equal(infos[0].utilization_percent, 55);
    free(infos);
    reid_gpus_close(gpus);
}

static void a_machine_without_a_driver_says_so(void **state)
{
    reid_gpus *gpus = NULL;
    reid_error err = {0};
    unlink(path);
    assert_int_equal(reid_gpus_open(&gpus, &err), REID_ERR_UNSUPPORTED);
    assert_string_equal(err.text, "no GPUs can be listed: NVML does not start: Driver Not Loaded");
    assert_null(gpus);
    reid_gpus_close(NULL);
}

static void every_reason_has_a_name(void **state)
{
    unsigned i = 0;
    while (reid_gpu_throttle_name(i))
        i++;
    assert_int_equal(1u << (i - 1), REID_GPU_THROTTLE_DISPLAY_CLOCK);
    assert_string_equal(reid_gpu_throttle_name(2), "thermal");
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
        cmocka_unit_test(all_figures_of_a_gpu_come_through),
        cmocka_unit_test(what_is_not_told_is_unknown),
        cmocka_unit_test(a_gpu_that_is_lost_is_listed_with_its_trouble),
        cmocka_unit_test(a_machine_without_a_driver_says_so),
        cmocka_unit_test(every_reason_has_a_name),
    };
    return cmocka_run_group_tests(tests, start, end);
}
