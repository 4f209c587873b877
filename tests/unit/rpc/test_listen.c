/* The socket file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness/harness.h"
#include "rpc/server.h"

typedef struct fixture {
    uv_loop_t loop;
    reid_rpc_server *server;
    char *folder;
    char path[200];
    reid_error err;
} fixture;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    uv_loop_init(&f->loop);
    reid_assert_ok(reid_rpc_server_new(&f->loop, NULL, &f->server, &f->err), &f->err);
    f->folder = reid_test_dir_new();
    snprintf(f->path, sizeof f->path, "%s/d.sock", f->folder);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    reid_rpc_server_free(f->server);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    assert_int_not_equal(access(f->path, F_OK), 0);
    reid_test_dir_free(f->folder);
    free(f);
    return 0;
}

static void expect_mode(fixture *f, unsigned mode)
{
    struct stat st;
    assert_int_equal(lstat(f->path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 07777, mode);
}

static void mode_is_exact_whatever_the_umask(void **state)
{
    fixture *f = *state;
    mode_t old = umask(0077);
    reid_assert_ok(reid_rpc_server_listen_unix(f->server, f->path, 0660, &f->err), &f->err);
    expect_mode(f, 0660);
    umask(0);
    reid_rpc_server_free(f->server);
    assert_int_not_equal(access(f->path, F_OK), 0);
    reid_assert_ok(reid_rpc_server_new(&f->loop, NULL, &f->server, &f->err), &f->err);
    reid_assert_ok(reid_rpc_server_listen_unix(f->server, f->path, 0600, &f->err), &f->err);
    expect_mode(f, 0600);
    umask(old);
}

static int bind_raw(const char *path, bool listening)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    if (listening)
        assert_int_equal(listen(fd, 0), 0);
    return fd;
}

static void stale_file_is_replaced(void **state)
{
    fixture *f = *state;
    close(bind_raw(f->path, true)); /* as a daemon leaves it that was killed */
    assert_int_equal(access(f->path, F_OK), 0);
    reid_assert_ok(reid_rpc_server_listen_unix(f->server, f->path, 0600, &f->err), &f->err);
}

static void another_daemon_is_left_alone(void **state)
{
    fixture *f = *state;
    int other = bind_raw(f->path, true);
    char expected[300];
    snprintf(expected, sizeof expected,
             "cannot listen at '%s': another process listens there already", f->path);
    for (int i = 0; i < 3; i++) { /* the second probe meets a full backlog */
        reid_error_clear(&f->err);
        assert_int_equal(reid_rpc_server_listen_unix(f->server, f->path, 0600, &f->err),
                         REID_ERR_EXISTS);
        assert_string_equal(f->err.text, expected);
    }
    assert_int_equal(access(f->path, F_OK), 0);
    close(other);
    unlink(f->path);
}

static void other_files_are_left_alone(void **state)
{
    fixture *f = *state;
    free(reid_test_write_text(f->folder, "d.sock", "precious"));
    assert_int_equal(reid_rpc_server_listen_unix(f->server, f->path, 0600, &f->err),
                     REID_ERR_EXISTS);
    char *text = reid_test_read_text(f->path);
    assert_string_equal(text, "precious");
    free(text);
    unlink(f->path);
}

static void impossible_paths(void **state)
{
    fixture *f = *state;
    assert_int_equal(reid_rpc_server_listen_unix(f->server, "", 0600, &f->err), REID_ERR_INVALID);
    char longer[200];
    memset(longer, 'a', sizeof longer);
    longer[108] = '\0';
    reid_error_clear(&f->err);
    assert_int_equal(reid_rpc_server_listen_unix(f->server, longer, 0600, &f->err),
                     REID_ERR_INVALID);
    assert_non_null(strstr(f->err.text, "108 bytes, Unix sockets allow 107"));
    reid_error_clear(&f->err);
    snprintf(longer, sizeof longer, "%s/no/d.sock", f->folder);
    assert_int_equal(reid_rpc_server_listen_unix(f->server, longer, 0600, &f->err),
                     REID_ERR_NOT_FOUND);
}

static void file_of_a_successor_is_not_removed(void **state)
{
    fixture *f = *state;
    reid_assert_ok(reid_rpc_server_listen_unix(f->server, f->path, 0600, &f->err), &f->err);
    unlink(f->path);
    int other = bind_raw(f->path, true);
    reid_rpc_server_free(f->server);
    f->server = NULL;
    assert_int_equal(access(f->path, F_OK), 0);
    close(other);
    unlink(f->path);
}

static void several_sockets(void **state)
{
    fixture *f = *state;
    char second[220];
    snprintf(second, sizeof second, "%s2", f->path);
    reid_assert_ok(reid_rpc_server_listen_unix(f->server, f->path, 0660, &f->err), &f->err);
    reid_assert_ok(reid_rpc_server_listen_unix(f->server, second, 0600, &f->err), &f->err);
    reid_rpc_server_free(f->server);
    f->server = NULL;
    assert_int_not_equal(access(second, F_OK), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(mode_is_exact_whatever_the_umask),
        TEST(stale_file_is_replaced),
        TEST(another_daemon_is_left_alone),
        TEST(other_files_are_left_alone),
        TEST(impossible_paths),
        TEST(file_of_a_successor_is_not_removed),
        TEST(several_sockets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
