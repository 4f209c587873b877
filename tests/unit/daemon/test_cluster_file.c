#include "daemon/cluster/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static reid_status parse(const char *text, reidd_cluster_file *file, reid_error *err)
{
    return reidd_cluster_file_parse("nodes.yml", text, strlen(text), file, err);
}

static void test_rows(void **state)
{
    (void)state;
    reidd_cluster_file file = {0};
    reid_error err = {0};
    const char *text = "network: 10.77.0.0/24\n"
                       "nodes:\n"
                       "  - {name: a1, address: 'tcp://10.77.0.1:7411'}\n"
                       "  - name: b_2.c\n"
                       "    address: tcp://[fd00::2]:7411\n"
                       "    head: true\n"
                       "  - {name: c3, address: unix:/run/c3.sock, head: false, clients: viewer}\n";
    assert_int_equal(parse(text, &file, &err), REID_OK);
    assert_int_equal(file.count, 3);
    assert_int_equal(file.head, 1);
    assert_string_equal(file.network, "10.77.0.0/24");
    assert_string_equal(file.nodes[0].name, "a1");
    assert_string_equal(file.nodes[0].host, "10.77.0.1");
    assert_string_equal(file.nodes[1].host, "fd00::2");
    assert_string_equal(file.nodes[1].address, "tcp://[fd00::2]:7411");
    assert_string_equal(file.nodes[2].host, "");
    assert_true(file.nodes[2].only_viewers && !file.nodes[0].only_viewers);
    assert_true(file.nodes[1].head && !file.nodes[0].head && !file.nodes[2].head);
    assert_int_equal(reidd_cluster_file_find(&file, "c3"), 2);
    assert_int_equal(reidd_cluster_file_find(&file, "c"), 3);
    reidd_cluster_file_fini(&file);
    reidd_cluster_file_fini(&file);
}

static void test_first_is_head(void **state)
{
    (void)state;
    reidd_cluster_file file = {0};
    assert_int_equal(
        parse("nodes: [{name: a, address: unix:/a}, {name: b, address: unix:/b}]", &file, NULL),
        REID_OK);
    assert_int_equal(file.head, 0);
    assert_true(file.nodes[0].head);
    assert_null(file.network);
    reidd_cluster_file_fini(&file);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *sentence;
    } rows[] = {
        {"", "nodes.yml: a cluster file has a list 'nodes'"},
        {"nodes: []", "nodes.yml: a cluster file has a list 'nodes'"},
        {"- a\n- b\n", "nodes.yml: a cluster file has a list 'nodes'"},
        {"nodes: a", "nodes.yml:1: 'nodes' is a list of {name: …, address: …}"},
        {"nodes:\n- a", "nodes.yml:2: a node is {name: …, address: …}"},
        {"nodes:\n- {name: a}", "nodes.yml:2: this node has no 'address'"},
        {"nodes:\n- {address: unix:/a}", "nodes.yml:2: this node has no 'name'"},
        {"nodes:\n- {name: 'a b', address: unix:/a}",
         "nodes.yml:2: a node's name is at most 64 letters, digits, '-', '_' and '.', not 'a b'"},
        {"nodes:\n- {name: -a, address: unix:/a}",
         "nodes.yml:2: a node's name is at most 64 letters, digits, '-', '_' and '.', not '-a'"},
        {"nodes:\n- {name: a, address: 'tcp://a'}",
         "nodes.yml:2: an address is tcp://HOST:PORT or unix:/path, not 'tcp://a'"},
        {"nodes:\n- {name: a, address: 'tcp://a:0'}",
         "nodes.yml:2: an address is tcp://HOST:PORT or unix:/path, not 'tcp://a:0'"},
        {"nodes:\n- {name: a, address: 'tcp://fd00::2:7411'}",
         "nodes.yml:2: an address is tcp://HOST:PORT or unix:/path, not 'tcp://fd00::2:7411'"},
        {"nodes:\n- {name: a, address: 'tcp://a$b:7411'}",
         "nodes.yml:2: an address is tcp://HOST:PORT or unix:/path, not 'tcp://a$b:7411'"},
        {"nodes:\n- {name: a, address: 'tcp://a:+1'}",
         "nodes.yml:2: an address is tcp://HOST:PORT or unix:/path, not 'tcp://a:+1'"},
        {"nodes:\n- {name: a, address: 'http://a:1'}",
         "nodes.yml:2: an address is tcp://HOST:PORT or unix:/path, not 'http://a:1'"},
        {"nodes:\n- {name: a, address: unix:a}",
         "nodes.yml:2: an address is tcp://HOST:PORT or unix:/path, not 'unix:a'"},
        {"nodes:\n- {name: a, address: unix:/a}\n- {name: a, address: unix:/b}",
         "nodes.yml:3: there are two nodes 'a'"},
        {"nodes:\n- {name: a, address: unix:/a}\n- {name: b, address: unix:/a}",
         "nodes.yml:3: there are two nodes 'unix:/a'"},
        {"nodes:\n- {name: a, address: unix:/a, head: true}\n"
         "- {name: b, address: unix:/b, head: yes}",
         "nodes.yml:3: one node is the head, not both 'a' and 'b'"},
        {"nodes:\n- {name: a, address: unix:/a, head: maybe}",
         "nodes.yml:2: 'head' is true or false, not 'maybe'"},
        {"nodes:\n- {name: a, adress: unix:/a}",
         "nodes.yml:2: a node has 'name', 'address', 'head' and 'clients', not 'adress'"},
        {"nodes:\n- {name: a, address: unix:/a, clients: admin}",
         "nodes.yml:2: 'clients' are viewer or operator, not 'admin'"},
        {"nodes:\n- {name: a, name: b, address: unix:/a}", "nodes.yml:2: 'name' is given twice"},
        {"network: [a]\nnodes: []", "nodes.yml:1: 'network' needs a text"},
        {"network: $(id)/2\nnodes: []", "nodes.yml:1: 'network' is such as 10.77.0.0/24"},
        {"port: 1\nnodes: []",
         "nodes.yml:1: a cluster file has 'nodes' and 'network' once, not 'port'"},
        {"nodes: [\n", "nodes.yml:2: not valid YAML: did not find expected node content"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        reidd_cluster_file file = {0};
        reid_error err = {0};
        assert_int_equal(parse(rows[i].text, &file, &err), REID_ERR_INVALID);
        assert_string_equal(err.text, rows[i].sentence);
        assert_null(file.nodes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_first_is_head),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
