#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "daemon/access/access.h"
#include "harness/harness.h"

/* ---- accounts that are nobody's ---- */

static int lookups;

typedef struct fake_account {
    const char *name;
    uid_t uid;
    gid_t gid, more[2];
} fake_account;

static const fake_account fakes[] = {
    {"root", 0, 0, {0, 0}},         {"train", 900, 900, {900, 900}},
    {"vera", 1001, 1001, {50, 50}}, {"otto", 1002, 1002, {50, 60}},
    {"adam", 1003, 1003, {70, 50}}, {"nora", 1004, 1004, {1004, 1004}},
    {"primo", 1005, 60, {60, 60}},
};

static bool give(const fake_account *fake, reidd_account *ret_account)
{
    *ret_account = (reidd_account){.uid = fake->uid, .gid = fake->gid};
    strcpy(ret_account->name, fake->name);
    return true;
}

static bool by_uid(uid_t uid, reidd_account *ret_account)
{
    lookups++;
    for (size_t i = 0; i < sizeof fakes / sizeof *fakes; i++)
        if (fakes[i].uid == uid)
            return give(&fakes[i], ret_account);
    return false;
}

static bool by_name(const char *name, reidd_account *ret_account)
{
    lookups++;
    for (size_t i = 0; i < sizeof fakes / sizeof *fakes; i++)
        if (strcmp(fakes[i].name, name) == 0)
            return give(&fakes[i], ret_account);
    return false;
}

static bool group(const char *name, gid_t *ret_gid)
{
    *ret_gid = strcmp(name, "look") == 0 ? 50 : strcmp(name, "run") == 0 ? 60 : 70;
    return strcmp(name, "none") != 0;
}

static size_t groups(const reidd_account *account, gid_t *ret_groups, size_t room)
{
    for (size_t i = 0; i < sizeof fakes / sizeof *fakes; i++)
        if (fakes[i].uid == account->uid) {
            ret_groups[0] = fakes[i].gid;
            memcpy(ret_groups + 1, fakes[i].more, sizeof fakes[i].more);
            return 3;
        }
    return 0;
}

static const reidd_accounts accounts = {by_uid, by_name, group, groups};

static reidd_access *open_access(const char *viewers, const char *operators, const char *admins)
{
    const reidd_access_options options = {.viewers = viewers,
                                          .operators = operators,
                                          .admins = admins,
                                          .own_uid = 900,
                                          .accounts = &accounts};
    reidd_access *access = NULL;
    reid_error err = {0};
    reid_assert_ok(reidd_access_new(&options, &access, &err), &err);
    return access;
}

static reidd_caller local(reidd_access *access, uid_t uid, gid_t gid)
{
    const reid_rpc_peer peer = {.uid = uid, .gid = gid, .pid = 1};
    reidd_caller caller;
    reidd_access_caller(access, &peer, 1000, &caller);
    assert_false(caller.remote);
    assert_true(caller.has_uid);
    assert_int_equal(caller.uid, uid);
    return caller;
}

static reidd_caller remote(reidd_access *access, const char *name, const char *role)
{
    reid_rpc_peer peer = {.uid = (uid_t)-1, .gid = (gid_t)-1, .remote = true};
    reidd_caller caller;
    strcpy(peer.name, name);
    strcpy(peer.role, role);
    reidd_access_caller(access, &peer, 1000, &caller);
    assert_true(caller.remote);
    assert_string_equal(caller.name, name);
    return caller;
}

/* ---- tests ---- */

static void test_roles(void **state)
{
    reidd_role role;
    assert_true(reidd_role_from_name("operator", &role));
    assert_int_equal(role, REIDD_ROLE_OPERATOR);
    assert_false(reidd_role_from_name("nobody", &role));
    assert_false(reidd_role_from_name("Admin", &role));
    assert_string_equal(reidd_role_name(REIDD_ROLE_NODE), "node");
    assert_string_equal(reidd_role_name((reidd_role)99), "nobody");
    assert_true(reidd_role_suffices(REIDD_ROLE_ADMIN, REIDD_ROLE_VIEWER));
    assert_true(reidd_role_suffices(REIDD_ROLE_OPERATOR, REIDD_ROLE_OPERATOR));
    assert_false(reidd_role_suffices(REIDD_ROLE_VIEWER, REIDD_ROLE_OPERATOR));
    assert_false(reidd_role_suffices(REIDD_ROLE_NONE, REIDD_ROLE_VIEWER));
    /* A row that says nothing is for admins; nobody but a node is a node. */
    assert_true(reidd_role_suffices(REIDD_ROLE_ADMIN, REIDD_ROLE_NONE));
    assert_false(reidd_role_suffices(REIDD_ROLE_OPERATOR, REIDD_ROLE_NONE));
    assert_false(reidd_role_suffices(REIDD_ROLE_NODE, REIDD_ROLE_NONE));
    assert_false(reidd_role_suffices(REIDD_ROLE_ADMIN, REIDD_ROLE_NODE));
    assert_true(reidd_role_suffices(REIDD_ROLE_NODE, REIDD_ROLE_NODE));
    assert_true(reidd_role_suffices(REIDD_ROLE_NODE, REIDD_ROLE_VIEWER));
    assert_false(reidd_role_suffices(REIDD_ROLE_NODE, REIDD_ROLE_OPERATOR));
}

static void test_local_callers(void **state)
{
    reidd_access *access = open_access("look", "run", "rule");
    assert_int_equal(local(access, 0, 0).role, REIDD_ROLE_ADMIN);
    assert_int_equal(local(access, 900, 900).role, REIDD_ROLE_ADMIN);
    assert_int_equal(local(access, 1001, 1001).role, REIDD_ROLE_VIEWER);
    assert_int_equal(local(access, 1002, 1002).role, REIDD_ROLE_OPERATOR); /* the highest counts */
    assert_int_equal(local(access, 1003, 1003).role, REIDD_ROLE_ADMIN);
    assert_int_equal(local(access, 1004, 1004).role, REIDD_ROLE_NONE);
    assert_int_equal(local(access, 1005, 60).role, REIDD_ROLE_OPERATOR); /* by primary group */
    /* A process that was started with another group, and one without an account. */
    assert_int_equal(local(access, 1004, 60).role, REIDD_ROLE_OPERATOR);
    assert_int_equal(local(access, 1004, 1004).role, REIDD_ROLE_NONE);
    assert_int_equal(local(access, 4242, 50).role, REIDD_ROLE_VIEWER);
    assert_string_equal(local(access, 4242, 50).name, "uid4242");
    assert_string_equal(local(access, 1001, 1001).name, "vera");
    reidd_access_free(access);
    access = open_access(NULL, NULL, NULL);
    assert_int_equal(local(access, 1003, 1003).role, REIDD_ROLE_NONE);
    assert_int_equal(local(access, 900, 900).role, REIDD_ROLE_ADMIN);
    reidd_access_free(access);
    const reidd_access_options wrong = {.operators = "none", .accounts = &accounts};
    reid_error err = {0};
    assert_int_equal(reidd_access_new(&wrong, &access, &err), REID_ERR_NOT_FOUND);
    assert_string_equal(err.text, "there is no group 'none'");
}

static void test_remote_callers(void **state)
{
    reidd_access *access = open_access(NULL, NULL, NULL);
    reidd_caller otto = remote(access, "otto", "operator");
    assert_int_equal(otto.role, REIDD_ROLE_OPERATOR);
    assert_true(otto.has_uid);
    assert_int_equal(otto.uid, 1002);
    assert_false(remote(access, "stranger", "viewer").has_uid);
    assert_int_equal(remote(access, "node2", "node").role, REIDD_ROLE_NODE);
    assert_int_equal(remote(access, "odd", "emperor").role, REIDD_ROLE_NONE);
    /* The certificate says the role each time, whatever was known of the name. */
    assert_int_equal(remote(access, "otto", "viewer").role, REIDD_ROLE_VIEWER);
    /* The name "root" is no claim to anything but what the certificate says. */
    assert_int_equal(remote(access, "root", "viewer").role, REIDD_ROLE_VIEWER);
    reidd_access_free(access);
}

static void test_what_is_known_is_kept_for_seconds(void **state)
{
    reidd_access *access = open_access("look", NULL, NULL);
    const reid_rpc_peer peer = {.uid = 1001, .gid = 1001};
    reidd_caller caller;
    lookups = 0;
    for (int64_t now_ms = 5000; now_ms < 14000; now_ms += 1000)
        reidd_access_caller(access, &peer, now_ms, &caller);
    assert_int_equal(lookups, 1);
    reidd_access_caller(access, &peer, 15000, &caller);
    assert_int_equal(lookups, 2);
    for (uid_t uid = 2000; uid < 2200; uid++) { /* more than there is room for */
        const reid_rpc_peer other = {.uid = uid, .gid = 1};
        reidd_access_caller(access, &other, 15001, &caller);
        assert_int_equal(caller.role, REIDD_ROLE_NONE);
    }
    reidd_access_caller(access, &peer, 15002, &caller);
    assert_int_equal(caller.role, REIDD_ROLE_VIEWER);
    assert_string_equal(caller.name, "vera");
    reidd_access_free(access);
}

static void test_judgements(void **state)
{
    reidd_access *access = open_access("look", "run", "rule");
    reid_error err = {0};
    reidd_caller vera = local(access, 1001, 1001), otto = local(access, 1002, 1002),
                 adam = local(access, 1003, 1003), nora = local(access, 1004, 1004);
    reid_assert_ok(reidd_caller_check_role(&vera, REIDD_ROLE_VIEWER, &err), &err);
    assert_int_equal(reidd_caller_check_role(&vera, REIDD_ROLE_OPERATOR, &err),
                     REID_ERR_PERMISSION);
    assert_string_equal(err.text, "this needs the role operator; user vera is viewer");
    reid_error_clear(&err);
    assert_int_equal(reidd_caller_check_role(&otto, REIDD_ROLE_NONE, &err), REID_ERR_PERMISSION);
    assert_string_equal(err.text, "this needs the role admin; user otto is operator");
    reid_error_clear(&err);
    assert_int_equal(reidd_caller_check_role(&nora, REIDD_ROLE_VIEWER, &err), REID_ERR_PERMISSION);
    assert_string_equal(err.text,
                        "user nora has no role here: neither viewer nor operator nor admin");
    reid_error_clear(&err);
    reid_assert_ok(reidd_caller_check_owner(&otto, "j1", "otto", 1002, &err), &err);
    reid_assert_ok(reidd_caller_check_owner(&adam, "j1", "otto", 1002, &err), &err);
    assert_int_equal(reidd_caller_check_owner(&otto, "j1", "adam", 1003, &err),
                     REID_ERR_PERMISSION);
    assert_string_equal(err.text,
                        "job j1 is of user adam: only adam and admins may act on it, not otto");
    reid_error_clear(&err);
    /* The same person over TCP; and somebody without an account has only a name. */
    reidd_caller far_otto = remote(access, "otto", "operator");
    reid_assert_ok(reidd_caller_check_owner(&far_otto, "j1", "otto", 1002, &err), &err);
    reidd_caller stranger = remote(access, "stranger", "operator");
    reid_assert_ok(reidd_caller_check_owner(&stranger, "j1", "stranger", 900, &err), &err);
    assert_int_equal(reidd_caller_check_owner(&stranger, "j1", "train", (uid_t)-1, &err),
                     REID_ERR_PERMISSION);
    reidd_access_free(access);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_roles),
        cmocka_unit_test(test_local_callers),
        cmocka_unit_test(test_remote_callers),
        cmocka_unit_test(test_what_is_known_is_kept_for_seconds),
        cmocka_unit_test(test_judgements),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
