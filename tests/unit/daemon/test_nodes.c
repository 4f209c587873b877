#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "daemon/sched/nodes.h"
#include "harness/harness.h"

static void test_rows(void **state)
{
    reidd_nodes nodes = {0};
    reidd_nodes_add(&nodes, "head", 4, NULL);
    reidd_node *second = reidd_nodes_add(&nodes, "node2", 8, "NVIDIA H100");
    assert_string_equal(second->gpu_type, "NVIDIA H100");
    assert_true(reidd_node_takes_jobs(second));
    second->drained = true;
    reidd_node_set_text(&second->note, "new memory");
    assert_false(reidd_node_takes_jobs(reidd_nodes_find(&nodes, "node2")));
    assert_null(reidd_nodes_find(&nodes, "node"));
    reidd_node_set_text(&second->note, NULL);
    assert_null(second->note);
    reidd_nodes_fini(&nodes);
    reidd_nodes_fini(&nodes);
    assert_int_equal(nodes.count, 0);
}

static void test_placement(void **state)
{
    reid_error err = {0};
    reidd_placement placement;
    reid_assert_ok(reidd_placement_parse("node1:2,node3:10", &placement, &err), &err);
    assert_int_equal(placement.count, 2);
    assert_string_equal(placement.items[1].node, "node3");
    assert_int_equal(placement.items[1].ranks, 10);
    reidd_placement_fini(&placement);
    reid_assert_ok(reidd_placement_parse(NULL, &placement, &err), &err);
    assert_int_equal(placement.count, 0);
    static const char *const bad[] = {"node1",   "node1:0", ":2",     "a:1,",
                                      "a:1,a:2", "a:x",     "a:99999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(reidd_placement_parse(bad[i], &placement, &err), REID_ERR_INVALID);
        reidd_placement_fini(&placement);
    }
}

static void test_ranks_on(void **state)
{
    reidd_nodes nodes = {0};
    reidd_nodes_add(&nodes, "node1", 4, NULL);
    reidd_nodes_add(&nodes, "node2", 4, NULL);
    assert_int_equal(reidd_placement_ranks_on(NULL, 3, &nodes, 0), 3);
    assert_int_equal(reidd_placement_ranks_on("", 3, &nodes, 1), 0);
    assert_int_equal(reidd_placement_ranks_on("node2:3", 3, &nodes, 0), 0);
    assert_int_equal(reidd_placement_ranks_on("node1:1,node2:2", 3, &nodes, 1), 2);
    reidd_nodes_fini(&nodes);
}

static void test_names(void **state)
{
    assert_true(reidd_names_have("a,bb,c", "bb"));
    assert_true(reidd_names_have("bb", "bb"));
    assert_false(reidd_names_have("a,bbb,c", "bb"));
    assert_false(reidd_names_have("", "a"));
    assert_false(reidd_names_have(NULL, "a"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_placement),
        cmocka_unit_test(test_ranks_on),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
