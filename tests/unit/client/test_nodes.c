#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/json.h"
#include "out/nodes.h"
#include "out/text.h"

#define TEXT(words) ((char *)(words))

typedef struct made {
    Reid__V1__NodesResponse list;
    Reid__V1__Node node, *nodes[1];
    Reid__V1__Gpu gpu[2], *gpus[2];
    Reid__V1__NodeJob job, *jobs[1];
    char *throttle[2];
} made;

/* A node with a GPU that tells everything and has a rank, and one that tells nothing. */
static void make(made *m)
{
    *m = (made){.list = REID__V1__NODES_RESPONSE__INIT, .node = REID__V1__NODE__INIT};
    m->nodes[0] = &m->node;
    m->list.n_nodes = 1;
    m->list.nodes = m->nodes;
    m->node.name = TEXT("node\x1b[31m1");
    m->node.slots = 2;
    m->node.cpus = 16;
    m->node.started_ms = 40000;
    m->node.slots_used = 1;
    m->node.memory_total_bytes = (int64_t)64 << 30;
    m->node.memory_available_bytes = (int64_t)48 << 30;
    for (size_t i = 0; i < 2; i++) {
        reid__v1__gpu__init(&m->gpu[i]);
        m->gpus[i] = &m->gpu[i];
        m->gpu[i].index = (int32_t)i;
        m->gpu[i].name = TEXT("NVIDIA H100 80GB HBM3");
    }
    m->node.n_gpus = 2;
    m->node.gpus = m->gpus;
    m->gpu[0].memory_total_bytes = (int64_t)80 << 30;
    m->gpu[0].memory_used_bytes = (int64_t)20 << 30;
    m->gpu[0].utilization_percent = 97;
    m->gpu[0].temperature_celsius = 63;
    m->gpu[0].power_watts = 612.4;
    m->gpu[0].power_limit_watts = 700;
    m->throttle[0] = TEXT("thermal");
    m->throttle[1] = TEXT("power-cap");
    m->gpu[0].n_throttle = 2;
    m->gpu[0].throttle = m->throttle;
    m->gpu[0].job = TEXT("0c4xk2m1");
    m->gpu[0].rank = 1;
    m->gpu[1].memory_total_bytes = m->gpu[1].memory_used_bytes = -1;
    m->gpu[1].utilization_percent = m->gpu[1].temperature_celsius = -1;
    m->gpu[1].power_watts = m->gpu[1].power_limit_watts = -1;
    m->gpu[1].clock_mhz = -1;
    m->gpu[1].offered = true;
    m->gpu[1].trouble = TEXT("GPU 1 does not answer: GPU is lost");
    reid__v1__node_job__init(&m->job);
    m->job.id = TEXT("0c4xk2m1");
    m->job.ranks = 2;
    m->job.iteration = 12;
    m->job.max_iteration = 100;
    m->job.step_seconds = 0.0984;
    m->job.images_per_second = 650;
    m->jobs[0] = &m->job;
    m->node.n_jobs = 1;
    m->node.jobs = m->jobs;
}

static void expect_line(const char *text, const char *words)
{
    if (!strstr(text, words))
        fail_msg("'%s' is not in\n%s", words, text);
}

static void top_joins_gpus_ranks_and_steps(void **state)
{
    made m;
    reid_str out = REID_STR_INIT;
    const reidctl_nodes_sight sight = {.headers = false};
    make(&m);
    reidctl_nodes_top(&m.list, &sight, &out);
    expect_line(reid_str_text(&out),
                "0  H100-80GB-HBM3  97%  20.0/80.0GiB  63C  612/700W  0c4xk2m1  1  12/100  98.4ms"
                "  650  thermal,power-cap");
    expect_line(reid_str_text(&out), "free");
    assert_null(strchr(reid_str_text(&out), '\x1b')); /* a name cannot move the cursor */
    reid_str_fini(&out);
}

static void lines_keep_to_the_width(void **state)
{
    made m;
    make(&m);
    for (size_t columns = 50; columns < 160; columns += 7) {
        reid_str out = REID_STR_INIT;
        const reidctl_nodes_sight sight = {.headers = true, .columns = columns};
        reidctl_nodes_top(&m.list, &sight, &out);
        expect_line(reid_str_text(&out), "GPU 1 does not answer: GPU is lost");
        for (char *line = strtok(out.data, "\n"); line; line = strtok(NULL, "\n"))
            assert_true(reidctl_text_width(line) <= columns);
        reid_str_fini(&out);
    }
}

static void jobs_without_gpus_have_a_row(void **state)
{
    made m;
    reid_str out = REID_STR_INIT;
    const reidctl_nodes_sight sight = {.headers = false};
    make(&m);
    m.node.n_gpus = 0;
    reidctl_nodes_top(&m.list, &sight, &out);
    expect_line(reid_str_text(&out), "0c4xk2m1  0-1  12/100");
    reid_str_fini(&out);
}

static void nodes_tell_their_state(void **state)
{
    made m;
    reid_str out = REID_STR_INIT;
    const reidctl_nodes_sight sight = {.headers = true, .now_ms = 100000};
    make(&m);
    reidctl_nodes_table(&m.list, &sight, &out);
    expect_line(reid_str_text(&out), "STATE");
    expect_line(reid_str_text(&out), "  UP  ");
    expect_line(reid_str_text(&out), "  16  ");
    expect_line(reid_str_text(&out), "  1m00s  ");
    reid_str_clear(&out);
    m.node.down = m.node.drained = true;
    m.node.since_ms = 88000;
    m.node.heartbeat_seconds = 13.24;
    m.node.address = TEXT("tcp://10.77.0.2:7411");
    m.node.note = TEXT("nothing was heard of it for 5 s");
    reidctl_nodes_table(&m.list, &sight, &out);
    expect_line(reid_str_text(&out), "  DOWN  ");
    expect_line(reid_str_text(&out), "13.2s");
    expect_line(reid_str_text(&out), " is DOWN for 12s: nothing was heard of it for 5 s; it is "
                                     "drained, too\n");
    reid_str_clear(&out);
    m.node.down = false;
    m.node.slots_used = 1;
    m.node.note = TEXT("drained by ada: new\x1b fan");
    reidctl_nodes_table(&m.list, &sight, &out);
    expect_line(reid_str_text(&out), " is DRAINING: drained by ada: new? fan\n");
    m.node.slots_used = 0;
    reid_str_clear(&out);
    reidctl_nodes_table(&m.list, &sight, &out);
    expect_line(reid_str_text(&out), "  DRAINED  ");
    reid_str_fini(&out);
}

/* It has joined, and has not told yet how its machine is. */
static void a_new_member_tells_nothing_yet(void **state)
{
    made m;
    reid_str out = REID_STR_INIT;
    const reidctl_nodes_sight sight = {.headers = true, .now_ms = 1800000000000};
    make(&m);
    reid__v1__node__init(&m.node);
    m.node.name = TEXT("node2");
    m.node.slots = 2;
    reidctl_nodes_table(&m.list, &sight, &out);
    expect_line(reid_str_text(&out),
                "node2  UP     2      0     0     -     -     -       -     -       -       -\n");
    reid_str_clear(&out);
    reidctl_nodes_top(&m.list, &sight, &out);
    expect_line(reid_str_text(&out), "node2: 0 of 2 slots used\n");
    m.node.down = true;
    reid_str_clear(&out);
    reidctl_nodes_top(&m.list, &sight, &out);
    expect_line(reid_str_text(&out), "node2: DOWN; 0 of 2 slots used\n");
    reid_str_fini(&out);
}

static void nodes_are_a_row_each(void **state)
{
    made m;
    reid_str out = REID_STR_INIT;
    const reidctl_nodes_sight sight = {.headers = false};
    make(&m);
    reidctl_nodes_table(&m.list, &sight, &out);
    expect_line(reid_str_text(&out), "16.0/64.0GiB  2xH100-80GB-HBM3");
    reid_str_clear(&out);
    m.gpu[1].name = TEXT("Tesla");
    reidctl_nodes_table(&m.list, &sight, &out);
    expect_line(reid_str_text(&out), "1xH100-80GB-HBM3+1");
    reid_str_fini(&out);
}

static void json_tells_what_is_not_told_as_null(void **state)
{
    made m;
    reid_str out = REID_STR_INIT;
    reid_json *root = NULL;
    make(&m);
    reidctl_nodes_json(&m.list, &out);
    assert_int_equal(reid_json_parse(out.data, out.length, &root, NULL), REID_OK);
    const reid_json *gpus = reid_json_get(reid_json_at(root, 0), "gpus");
    const reid_json *told = reid_json_at(gpus, 0), *silent = reid_json_at(gpus, 1);
    assert_true(reid_json_as_double(reid_json_get(told, "power_watts"), 0) == 612.4);
    assert_int_equal(reid_json_as_int(reid_json_get(told, "rank"), -5), 1);
    assert_int_equal(reid_json_count(reid_json_get(told, "throttle")), 2);
    static const char *const unknown[] = {
        "power_watts", "temperature_celsius", "memory_used_bytes", "clock_mhz", "job", "rank"};
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(reid_json_type_of(reid_json_get(silent, unknown[i])), REID_JSON_NULL);
    reid_json_free(root);
    reid_str_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(top_joins_gpus_ranks_and_steps),
        cmocka_unit_test(lines_keep_to_the_width),
        cmocka_unit_test(jobs_without_gpus_have_a_row),
        cmocka_unit_test(a_new_member_tells_nothing_yet),
        cmocka_unit_test(nodes_are_a_row_each),
        cmocka_unit_test(nodes_tell_their_state),
        cmocka_unit_test(json_tells_what_is_not_told_as_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
