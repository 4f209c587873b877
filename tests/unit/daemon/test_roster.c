#include "daemon/cluster/roster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/file.h"

typedef struct place {
    char folder[64];
    char *path;
} place;

static int make_place(void **state)
{
    place *p = reid_xcalloc(1, sizeof *p);
    snprintf(p->folder, sizeof p->folder, "/tmp/reid-roster-XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    p->path = reid_path_join(p->folder, "reidd.db");
    *state = p;
    return 0;
}

static int drop_place(void **state)
{
    place *p = *state;
    reid_remove_tree(p->folder, NULL);
    free(p->path);
    free(p);
    return 0;
}

static void open_roster(const place *p, reidd_store **store, reidd_nodes *nodes,
                        reidd_roster *roster)
{
    assert_int_equal(reidd_store_open(p->path, store, NULL), REID_OK);
    *nodes = (reidd_nodes){0};
    reidd_nodes_add(nodes, "a", 4, NULL);
    reidd_node *b = reidd_nodes_add(nodes, "b", 0, NULL);
    b->unknown = true;
    b->up = false;
    assert_int_equal(reidd_roster_init(roster, *store, nodes, NULL), REID_OK);
}

static void close_roster(reidd_store *store, reidd_nodes *nodes, reidd_roster *roster)
{
    reidd_roster_fini(roster);
    reidd_nodes_fini(nodes);
    reidd_store_close(store);
}

static void test_drains_and_slots_are_remembered(void **state)
{
    reidd_store *store = NULL;
    reidd_nodes nodes;
    reidd_roster roster;
    open_roster(*state, &store, &nodes, &roster);
    assert_true(reidd_roster_learn(&roster, 1, 8, "H100"));
    assert_false(reidd_roster_learn(&roster, 1, 8, "H100"));
    assert_int_equal(reidd_roster_drain(&roster, "b", true, "new fan", "ada", NULL), REID_OK);
    assert_string_equal(nodes.items[1].note, "drained by ada: new fan");
    close_roster(store, &nodes, &roster);

    open_roster(*state, &store, &nodes, &roster);
    assert_int_equal(nodes.items[0].slots, 4);
    assert_int_equal(nodes.items[1].slots, 8); /* before it has joined */
    assert_string_equal(nodes.items[1].gpu_type, "H100");
    assert_true(nodes.items[1].drained && !nodes.items[0].drained);
    assert_string_equal(reidd_roster_entry_of(&roster, "b")->who, "ada");
    assert_int_equal(reidd_roster_drain(&roster, "b", false, "", "eve", NULL), REID_OK);
    assert_null(nodes.items[1].note);
    close_roster(store, &nodes, &roster);

    open_roster(*state, &store, &nodes, &roster);
    assert_false(nodes.items[1].drained);
    assert_int_equal(nodes.items[1].slots, 8);
    close_roster(store, &nodes, &roster);
}

/* Why it is down is more urgent than that it is drained, which is told again afterwards. */
static void test_notes(void **state)
{
    reidd_store *store = NULL;
    reidd_nodes nodes;
    reidd_roster roster;
    open_roster(*state, &store, &nodes, &roster);
    reidd_roster_drain(&roster, "b", true, "", "ada", NULL);
    reidd_roster_mark(&roster, 1, "nothing was heard of b for 5 s");
    assert_false(nodes.items[1].up);
    assert_string_equal(nodes.items[1].note, "nothing was heard of b for 5 s");
    reidd_roster_mark(&roster, 1, NULL);
    assert_true(nodes.items[1].up);
    assert_string_equal(nodes.items[1].note, "drained by ada");
    close_roster(store, &nodes, &roster);
}

static void test_unknown_node(void **state)
{
    reidd_store *store = NULL;
    reidd_nodes nodes;
    reidd_roster roster;
    reid_error err = {0};
    open_roster(*state, &store, &nodes, &roster);
    assert_int_equal(reidd_roster_drain(&roster, "c", true, "", "ada", &err), REID_ERR_NOT_FOUND);
    assert_string_equal(err.text, "there is no node 'c'; there is a, b");
    assert_null(reidd_roster_entry_of(&roster, "c"));
    close_roster(store, &nodes, &roster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_drains_and_slots_are_remembered, make_place,
                                        drop_place),
        cmocka_unit_test_setup_teardown(test_notes, make_place, drop_place),
        cmocka_unit_test_setup_teardown(test_unknown_node, make_place, drop_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
