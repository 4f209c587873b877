/* What mpirun may ask another node to execute. */
#include "daemon/cluster/part_words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/str.h"

#define URI "1228800000.0;tcp://10.77.0.1:54405"

static const reidd_part_origin origin = {.host = "10.77.0.1", .network = NULL};

/* As Open MPI 4.1.4 gives them to the agent, after the first word (orted). */
static const char *const real[] = {"-mca",
                                   "orte_leave_session_attached",
                                   "\"1\"",
                                   "-mca",
                                   "ess",
                                   "\"env\"",
                                   "-mca",
                                   "ess_base_jobid",
                                   "\"1228800000\"",
                                   "-mca",
                                   "ess_base_vpid",
                                   "1",
                                   "-mca",
                                   "ess_base_num_procs",
                                   "\"3\"",
                                   "-mca",
                                   "orte_node_regex",
                                   "\"node[1:1-3]@0(3)\"",
                                   "-mca",
                                   "orte_hnp_uri",
                                   "\"" URI "\"",
                                   "-mca",
                                   "plm",
                                   "\"rsh\""};

typedef struct line {
    char *words[64];
    size_t count;
} line;

static void begin(line *l)
{
    l->count = 0;
    for (size_t i = 0; i < REID_COUNT_OF(real); i++)
        l->words[l->count++] = reid_xstrdup(real[i]);
}

static void set(line *l, size_t at, const char *word)
{
    free(l->words[at]);
    l->words[at] = reid_xstrdup(word);
}

static void add(line *l, const char *word)
{
    l->words[l->count++] = reid_xstrdup(word);
}

/* Index of the value of a parameter. */
static size_t value_of(const line *l, const char *name)
{
    for (size_t i = 1; i + 1 < l->count; i += 3)
        if (strcmp(l->words[i], name) == 0)
            return i + 1;
    fail_msg("no parameter %s", name);
    return 0;
}

/* Checks and frees the line. */
static reid_status check_from(line *l, const reidd_part_origin *from, reid_error *err)
{
    char **argv = NULL;
    reid_status status = reidd_part_words_check(l->words, l->count, from, &argv, err);
    assert_true((status == REID_OK) == (argv != NULL));
    reidd_part_words_free(argv);
    for (size_t i = 0; i < l->count; i++)
        free(l->words[i]);
    return status;
}

static void refuse(line *l, const char *sentence)
{
    reid_error err = {0};
    assert_int_equal(check_from(l, &origin, &err), REID_ERR_PERMISSION);
    if (!strstr(err.text, sentence))
        fail_msg("'%s' is not in '%s'", sentence, err.text);
}

static void test_real_line(void **state)
{
    line l;
    char **argv = NULL;
    reid_error err = {0};
    begin(&l);
    assert_int_equal(reidd_part_words_check(l.words, l.count, &origin, &argv, &err), REID_OK);
    for (size_t i = 0; i < l.count; i++) { /* the same without quotes */
        assert_non_null(argv[i]);
        assert_null(strchr(argv[i], '"'));
        assert_true(strstr(l.words[i], argv[i]) != NULL);
    }
    assert_null(argv[l.count]);
    assert_string_equal(argv[value_of(&l, "orte_hnp_uri")], URI);
    /* What was let through is let through again: the member checks what the head has rebuilt. */
    char **again = NULL;
    assert_int_equal(reidd_part_words_check(argv, l.count, &origin, &again, &err), REID_OK);
    reidd_part_words_free(again);
    reidd_part_words_free(argv);
    assert_int_equal(check_from(&l, &origin, &err), REID_OK);
}

static void test_program(void **state)
{
    assert_true(reidd_part_words_is_orted(" orted"));
    assert_true(reidd_part_words_is_orted("orted"));
    static const char *const others[] = {
        "",   "  orted", "orted ",   "/usr/bin/orted", "./orted",       "orted;id",
        "sh", "orted\n", "$(orted)", "orted --help",   "PATH=/x orted", "ORTED"};
    for (size_t i = 0; i < REID_COUNT_OF(others); i++)
        assert_false(reidd_part_words_is_orted(others[i]));
}

static void test_other_words(void **state)
{
    static const char *const words[] = {
        "--tree-spawn", "--debug-daemons", "-tune", "--am", ";", "&&", "-x", "", "--hnp", "-gmca"};
    for (size_t i = 0; i < REID_COUNT_OF(words); i++) {
        line l;
        begin(&l);
        add(&l, words[i]);
        add(&l, "plm_rsh_agent");
        add(&l, "x");
        refuse(&l, "is not -mca NAME VALUE");
    }
    line l;
    begin(&l);
    add(&l, "-mca");
    refuse(&l, "without its name");
    begin(&l);
    add(&l, "-mca");
    add(&l, "pmix");
    refuse(&l, "without its name");
}

static void test_other_parameters(void **state)
{
    static const char *const names[] = {"mca_base_component_path",
                                        "orte_fork_agent",
                                        "orte_launch_agent",
                                        "mca_base_param_files",
                                        "mca_param_files",
                                        "plm_rsh_agent",
                                        "orte_tmpdir_base",
                                        "orte_rankfile",
                                        "ess_base_jobid ",
                                        "ESS",
                                        "\"ess\"",
                                        "mca_base_env_list",
                                        "orte_daemon_spin",
                                        "orte_default_hostfile"};
    for (size_t i = 0; i < REID_COUNT_OF(names); i++) {
        line l;
        begin(&l);
        add(&l, "-mca");
        add(&l, names[i]);
        add(&l, "/tmp/evil");
        refuse(&l, "is not on the list");
    }
    line l;
    begin(&l);
    add(&l, "--mca");
    add(&l, "ess_base_vpid");
    add(&l, "2");
    refuse(&l, "is given twice");
}

static void test_missing(void **state)
{
    static const char *const needed[] = {"ess",           "ess_base_jobid",
                                         "ess_base_vpid", "ess_base_num_procs",
                                         "orte_hnp_uri",  "orte_leave_session_attached"};
    for (size_t i = 0; i < REID_COUNT_OF(needed); i++) {
        line l;
        begin(&l);
        size_t at = value_of(&l, needed[i]) - 2;
        for (size_t k = 0; k < 3; k++)
            free(l.words[at + k]);
        memmove(&l.words[at], &l.words[at + 3], (l.count - at - 3) * sizeof(char *));
        l.count -= 3;
        refuse(&l, "is missing");
    }
    line empty = {.count = 0};
    refuse(&empty, "is missing");
}

static void test_values(void **state)
{
    static const char *const rows[][2] = {
        {"ess", "hnp"},
        {"ess", "\"env"},
        {"ess_base_jobid", "1;id"},
        {"ess_base_jobid", "-1"},
        {"ess_base_jobid", ""},
        {"ess_base_jobid", "12345678901"},
        {"ess_base_vpid", "$(id)"},
        {"ess_base_vpid", "1 2"},
        {"ess_base_num_procs", "0x3"},
        {"orte_node_regex", "a b"},
        {"orte_node_regex", "node/../x"},
        {"orte_node_regex", "`id`"},
        {"orte_node_regex", "a\nb"},
        {"plm", "slurm"},
        {"orte_leave_session_attached", "0"},
    };
    for (size_t i = 0; i < REID_COUNT_OF(rows); i++) {
        line l;
        begin(&l);
        set(&l, value_of(&l, rows[i][0]), rows[i][1]);
        refuse(&l, "is no value of");
    }
}

static void test_uri(void **state)
{
    static const char *const bad[] = {
        "",
        "1228800000.0",
        "1228800000.0;tcp://",
        "1228800000.0;tcp://10.77.0.1",
        "1228800000.0;tcp://10.77.0.1:",
        "1228800000.0;tcp://10.77.0.1:0",
        "1228800000.0;tcp://10.77.0.1:65536",
        "1228800000.0;tcp://10.77.0.1:80x",
        "1228800000.0;tcp://10.77.0.1:54405;tcp://6.6.6.6:1",
        "1228800000.0;tcp://10.77.0.1,6.6.6.6:54405",
        "1228800000.0;tcp6://[::1]:54405",
        "1228800000.1;tcp://10.77.0.1:54405",
        "x.0;tcp://10.77.0.1:54405",
        "file:/tmp/uri",
        "1228800000.0;usock;tcp://10.77.0.1:54405",
        "1228800000.0;tcp://10.77.0.1.1:54405",
        "1228800000.0;tcp://010.77.0.1000:54405",
    };
    for (size_t i = 0; i < REID_COUNT_OF(bad); i++) {
        line l;
        begin(&l);
        set(&l, value_of(&l, "orte_hnp_uri"), bad[i]);
        reid_error err = {0};
        assert_int_equal(check_from(&l, &origin, &err), REID_ERR_PERMISSION);
    }
    line l;
    begin(&l);
    set(&l, value_of(&l, "orte_hnp_uri"), "1228800000.0;tcp://10.77.0.2:54405");
    refuse(&l, "mpirun is said to be at 10.77.0.2, but the head is 10.77.0.1");
}

/* The network of MPI may be another one than that of the daemons. */
static void test_network(void **state)
{
    static const struct {
        const char *host, *network, *uri;
        reid_status status;
    } rows[] = {
        {"192.168.1.1", "10.77.0.0/24", "1.0;tcp://10.77.0.9:1", REID_OK},
        {"192.168.1.1", "10.77.0.0/24", "1.0;tcp://192.168.1.1:1", REID_OK},
        {"192.168.1.1", "10.77.0.0/24", "1.0;tcp://10.77.1.9:1", REID_ERR_PERMISSION},
        {"10.77.0.1", "10.77.0.0/24", "1.0;tcp://10.77.0.9:1", REID_ERR_PERMISSION},
        {"10.77.0.1", "10.77.0.0/24", "1.0;tcp://10.77.0.1:1", REID_OK},
        {"192.168.1.1", "10.77.0.0/33", "1.0;tcp://10.77.0.9:1", REID_ERR_PERMISSION},
        {"192.168.1.1", "10.77.0.0", "1.0;tcp://10.77.0.9:1", REID_ERR_PERMISSION},
        {"192.168.1.1", "", "1.0;tcp://10.77.0.9:1", REID_ERR_PERMISSION},
    };
    for (size_t i = 0; i < REID_COUNT_OF(rows); i++) {
        line l;
        reid_error err = {0};
        const reidd_part_origin from = {.host = rows[i].host, .network = rows[i].network};
        begin(&l);
        set(&l, value_of(&l, "orte_hnp_uri"), rows[i].uri);
        assert_int_equal(check_from(&l, &from, &err), rows[i].status);
    }
}

static void test_sizes(void **state)
{
    line l;
    begin(&l);
    char *nodes = reid_xcalloc(1, 8192);
    memset(nodes, 'n', 4000);
    set(&l, value_of(&l, "orte_node_regex"), nodes);
    reid_error err = {0};
    assert_int_equal(check_from(&l, &origin, &err), REID_OK);
    begin(&l);
    memset(nodes, 'n', 8191);
    set(&l, value_of(&l, "orte_node_regex"), nodes);
    free(nodes);
    refuse(&l, "more than 4096 bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real_line),   cmocka_unit_test(test_program),
        cmocka_unit_test(test_other_words), cmocka_unit_test(test_other_parameters),
        cmocka_unit_test(test_missing),     cmocka_unit_test(test_values),
        cmocka_unit_test(test_uri),         cmocka_unit_test(test_network),
        cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
