#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/access/identity.h"
#include "daemon/access/paths.h"
#include "daemon/access/run_as.h"
#include "daemon/access/usage.h"
#include "harness/harness.h"

static void test_submissions_of_a_minute(void **state)
{
    reidd_limits limits;
    reidd_limits_init(&limits);
    limits.values[REIDD_LIMIT_SUBMISSIONS] = 3;
    reidd_usage *usage = reidd_usage_new(&limits);
    const reidd_caller otto = {.role = REIDD_ROLE_OPERATOR, .name = "otto"},
                       vera = {.role = REIDD_ROLE_OPERATOR, .name = "vera"},
                       adam = {.role = REIDD_ROLE_ADMIN, .name = "adam"};
    reid_error err = {0};
    for (int i = 0; i < 3; i++)
        reid_assert_ok(reidd_usage_submit(usage, &otto, 1000, &err), &err);
    assert_int_equal(reidd_usage_submit(usage, &otto, 1001, &err), REID_ERR_EXHAUSTED);
    assert_string_equal(err.text, "user otto has submitted more than 3 times within a minute; try "
                                  "again later");
    reid_error_clear(&err);
    reid_assert_ok(reidd_usage_submit(usage, &vera, 1001, &err), &err);
    for (int i = 0; i < 100; i++)
        reid_assert_ok(reidd_usage_submit(usage, &adam, 1001, &err), &err);
    /* One more each 20 s. */
    assert_int_equal(reidd_usage_submit(usage, &otto, 20000, NULL), REID_ERR_EXHAUSTED);
    reid_assert_ok(reidd_usage_submit(usage, &otto, 40002, &err), &err);
    assert_int_equal(reidd_usage_submit(usage, &otto, 40003, NULL), REID_ERR_EXHAUSTED);
    for (int i = 0; i < 3; i++)
        reid_assert_ok(reidd_usage_submit(usage, &otto, 200000, &err), &err);
    reidd_usage_free(usage);
}

static void test_streams(void **state)
{
    reidd_limits limits;
    reidd_limits_init(&limits);
    limits.values[REIDD_LIMIT_USER_SUBSCRIBERS] = 2;
    limits.values[REIDD_LIMIT_SUBSCRIBERS] = 3;
    reidd_usage *usage = reidd_usage_new(&limits);
    const reidd_caller otto = {.role = REIDD_ROLE_OPERATOR, .name = "otto"},
                       vera = {.role = REIDD_ROLE_OPERATOR, .name = "vera"},
                       adam = {.role = REIDD_ROLE_ADMIN, .name = "adam"};
    reidd_hub hub = {0};
    reidd_listener listeners[4] = {0};
    reid_error err = {0};
    for (int i = 0; i < 2; i++) {
        reid_assert_ok(reidd_usage_subscribe(usage, &otto, &listeners[i].count, &err), &err);
        reidd_hub_add(&hub, &listeners[i], "j");
    }
    assert_int_equal(reidd_usage_subscribe(usage, &otto, &listeners[2].count, &err),
                     REID_ERR_EXHAUSTED);
    assert_string_equal(err.text, "user otto has 2 streams open already, which is the limit");
    reid_error_clear(&err);
    reid_assert_ok(reidd_usage_subscribe(usage, &adam, &listeners[2].count, &err), &err);
    reidd_hub_add(&hub, &listeners[2], "j");
    assert_int_equal(reidd_usage_subscribe(usage, &vera, &listeners[3].count, &err),
                     REID_ERR_EXHAUSTED);
    assert_string_equal(err.text, "3 streams are open already, which is the limit of all clients");
    reid_error_clear(&err);
    reidd_hub_remove(&listeners[0]);
    reidd_hub_remove(&listeners[0]); /* harmless, and counted once */
    reid_assert_ok(reidd_usage_subscribe(usage, &vera, &listeners[3].count, &err), &err);
    reidd_hub_remove(&listeners[1]);
    reidd_hub_remove(&listeners[2]);
    reidd_usage_free(usage);
}

/* ---- whose processes ---- */

static bool by_uid(uid_t uid, reidd_account *ret_account)
{
    *ret_account = (reidd_account){.name = "otto", .uid = uid, .gid = uid == 1003 ? 0 : 1002};
    return uid < 2000;
}

static void test_whose_processes(void **state)
{
    const reidd_accounts accounts = {.by_uid = by_uid};
    reidd_account account;
    bool other = true;
    reid_error err = {0};
    reid_assert_ok(reidd_run_as_find(0, 1000, &accounts, &other, &account, &err), &err);
    assert_false(other);
    if (geteuid() != 0) { /* the daemon's own user is all there is */
        reid_assert_ok(reidd_run_as_find(1002, 1000, &accounts, &other, &account, &err), &err);
        assert_false(other);
        return;
    }
    reid_assert_ok(reidd_run_as_find(1002, 1000, &accounts, &other, &account, &err), &err);
    assert_true(other);
    assert_string_equal(account.name, "otto");
    assert_int_equal(reidd_run_as_find(900, 1000, &accounts, &other, &account, &err),
                     REID_ERR_PERMISSION);
    assert_string_equal(err.text,
                        "no job runs as user otto: its uid 900 is below 1000 (--min-uid)");
    assert_false(other);
    reid_error_clear(&err);
    assert_int_equal(reidd_run_as_find(1003, 1000, &accounts, &other, &account, NULL),
                     REID_ERR_PERMISSION);
    assert_int_equal(reidd_run_as_find(4242, 1000, &accounts, &other, &account, NULL),
                     REID_ERR_PRECONDITION);
    assert_false(other);
}

static void test_environment(void **state)
{
    assert_true(reidd_run_as_passes("PATH=/bin"));
    assert_true(reidd_run_as_passes("OMP_NUM_THREADS=2"));
    assert_true(reidd_run_as_passes("LC_ALL=C"));
    assert_false(reidd_run_as_passes("HOME=/root"));
    assert_false(reidd_run_as_passes("REIDD_TICKET=1"));
    assert_false(reidd_run_as_passes("AWS_SECRET_ACCESS_KEY=x"));
    assert_false(reidd_run_as_passes("LD_PRELOAD=/x.so"));
    assert_false(reidd_run_as_passes("PATHS=x"));
}

/* ---- places ---- */

static void make_tree(const char *folder)
{
    char path[256], to[256];
    static const char *const folders[] = {"data", "data/market", "out", "elsewhere"};
    static const char *const links[][2] = {
        {"out/escape", "elsewhere"}, {"out/dangling", "elsewhere/not-yet"}, {"alias", "data"}};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, folders[i]);
        assert_int_equal(mkdir(path, 0755), 0);
    }
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, links[i][0]);
        snprintf(to, sizeof to, "%s/%s", folder, links[i][1]);
        assert_int_equal(symlink(to, path), 0);
    }
}

static void test_roots(void **state)
{
    static const struct {
        const char *path;
        bool allowed;
    } rows[] = {
        {"data", true},
        {"data/", true},
        {"data/market", true},
        {"data/not/there/yet", true},
        {"out/run-1", true},
        {"alias/market", true}, /* leads into a root */
        {"elsewhere", false},
        {"database", false}, /* the same letters, another folder */
        {"data/../elsewhere", false},
        {"data/not-there/../../elsewhere", false},
        {"data/not-there/..", false},
        {"out/escape", false},
        {"out/escape/run-1", false},
        {"out/dangling", false},
        {"out/dangling/run-1", false},
        {".", false},
    };
    char *folder = reid_test_dir_new();
    char roots[600], path[600];
    reid_error err = {0};
    make_tree(folder);
    snprintf(roots, sizeof roots, "%s/data/:%s/none:%s/out", folder, folder, folder);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, rows[i].path);
        reid_status status = reidd_paths_check("--output-roots", roots, "OUTPUT_DIR", path, &err);
        if (status != (rows[i].allowed ? REID_OK : REID_ERR_PERMISSION))
            fail_msg("%s: %s", rows[i].path, reid_status_name(status));
        reid_error_clear(&err);
    }
    reid_assert_ok(reidd_paths_check("--output-roots", NULL, "OUTPUT_DIR", "/any", &err), &err);
    reid_assert_ok(reidd_paths_check_roots("--data-roots", "/a:/b", &err), &err);
    reid_assert_ok(reidd_paths_check_roots("--data-roots", NULL, &err), &err);
    assert_int_equal(reidd_paths_check_roots("--data-roots", "/a:b", NULL), REID_ERR_INVALID);
    assert_int_equal(reidd_paths_check_roots("--data-roots", "/a:", NULL), REID_ERR_INVALID);
    reid_test_dir_free(folder);
}

static void test_trusted_folders(void **state)
{
    char *folder = reid_test_dir_new();
    char path[256];
    reid_error err = {0};
    snprintf(path, sizeof path, "%s/hooks", folder);
    reid_assert_ok(reidd_paths_check_trusted("--hook-dir", path, &err), &err); /* not there yet */
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(chmod(path, 0755), 0);
    reid_assert_ok(reidd_paths_check_trusted("--hook-dir", path, &err), &err);
    assert_int_equal(chmod(path, 0775), 0);
    assert_int_equal(reidd_paths_check_trusted("--hook-dir", path, &err), REID_ERR_PERMISSION);
    assert_non_null(strstr(err.text, "may be written by others than its owner"));
    reid_error_clear(&err);
    assert_int_equal(chmod(path, 0755), 0);
    if (geteuid() == 0 && chown(path, 1002, (gid_t)-1) == 0) {
        assert_int_equal(reidd_paths_check_trusted("--hook-dir", path, &err), REID_ERR_PERMISSION);
        assert_non_null(strstr(err.text, "belongs to uid 1002"));
    }
    reid_test_dir_free(folder);
}

/* What a thread does as somebody else it cannot do where root could. */
static void test_identity(void **state)
{
    char *folder = reid_test_dir_new();
    char path[256];
    snprintf(path, sizeof path, "%s/secret", folder);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    {
        REIDD_AS_OWNER(folder); /* its own */
        assert_false(reidd_identity_here.switched);
    }
    /* The way to the folder must be open to others. */
    if (geteuid() == 0 && chmod(folder, 0755) == 0 && chown(folder, 1002, 1002) == 0) {
        reidd_identity before = reidd_identity_of_owner(folder);
        int seen = access(folder, X_OK) == 0 ? open(path, O_RDONLY | O_CLOEXEC) : -2;
        int number = errno;
        uid_t uid = geteuid();
        reidd_identity_leave(&before);
        assert_int_equal(uid, 0); /* for files alone */
        assert_int_equal(seen, -1);
        assert_int_equal(number, EACCES);
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        close(fd);
        struct stat info;
        assert_int_equal(stat(path, &info), 0);
        assert_int_equal(info.st_uid, 0); /* itself again */
    }
    reid_test_dir_free(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_submissions_of_a_minute),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_whose_processes),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_roots),
        cmocka_unit_test(test_trusted_folders),
        cmocka_unit_test(test_identity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
