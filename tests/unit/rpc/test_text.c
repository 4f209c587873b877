/* Codes, addresses and the text forms of headers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "harness/harness.h"
#include "rpc/address.h"
#include "rpc/code.h"
#include "rpc/text.h"

/* Numbers of "status codes and their use in gRPC". */
static void codes_are_those_of_grpc(void **state)
{
    static const struct {
        reid_status status;
        int code;
        const char *name;
    } rows[] = {
        {REID_OK, 0, "OK"},
        {REID_ERR_CANCELLED, 1, "CANCELLED"},
        {REID_ERR_INVALID, 3, "INVALID_ARGUMENT"},
        {REID_ERR_TIMEOUT, 4, "DEADLINE_EXCEEDED"},
        {REID_ERR_NOT_FOUND, 5, "NOT_FOUND"},
        {REID_ERR_EXISTS, 6, "ALREADY_EXISTS"},
        {REID_ERR_PERMISSION, 7, "PERMISSION_DENIED"},
        {REID_ERR_EXHAUSTED, 8, "RESOURCE_EXHAUSTED"},
        {REID_ERR_PRECONDITION, 9, "FAILED_PRECONDITION"},
        {REID_ERR_UNSUPPORTED, 12, "UNIMPLEMENTED"},
        {REID_ERR_INTERNAL, 13, "INTERNAL"},
        {REID_ERR_UNAVAILABLE, 14, "UNAVAILABLE"},
        {REID_ERR_CORRUPT, 15, "DATA_LOSS"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(reid_rpc_code_from_status(rows[i].status), rows[i].code);
        assert_int_equal(reid_rpc_status_from_code(rows[i].code), rows[i].status);
        assert_string_equal(reid_rpc_code_name(rows[i].code), rows[i].name);
    }
    assert_int_equal(reid_rpc_code_from_status(REID_ERR_IO), 13);
    assert_int_equal(reid_rpc_code_from_status(REID_ERR_NONFINITE), 13);
    assert_int_equal(reid_rpc_status_from_code(2), REID_ERR_INTERNAL);
    assert_int_equal(reid_rpc_status_from_code(10), REID_ERR_PRECONDITION);
    assert_int_equal(reid_rpc_status_from_code(11), REID_ERR_INVALID);
    assert_int_equal(reid_rpc_status_from_code(16), REID_ERR_PERMISSION);
    assert_int_equal(reid_rpc_status_from_code(17), REID_ERR_INTERNAL);
    assert_string_equal(reid_rpc_code_name(-1), "UNKNOWN");
    assert_string_equal(reid_rpc_code_name(17), "UNKNOWN");
    for (int status = REID_OK; status <= REID_ERR_INTERNAL; status++) /* none is forgotten */
        assert_int_not_equal(reid_rpc_code_from_status((reid_status)status), 2);
}

static void expect_address(const char *text, const char *path, const char *host, uint16_t port)
{
    reid_rpc_address address;
    reid_error err = {0};
    reid_assert_ok(reid_rpc_address_init(&address, text, &err), &err);
    assert_string_equal(address.path ? address.path : "", path);
    assert_string_equal(address.host ? address.host : "", host);
    assert_int_equal(address.port, port);
    reid_rpc_address_fini(&address);
}

static void addresses(void **state)
{
    expect_address("unix:/run/a.sock", "/run/a.sock", "", 0);
    expect_address("unix:///run/a.sock", "/run/a.sock", "", 0);
    expect_address("unix:a.sock", "a.sock", "", 0);
    expect_address("tcp://10.77.0.1:7411", "", "10.77.0.1", 7411);
    expect_address("tcp://[fd00::1]:65535", "", "fd00::1", 65535);
    expect_address("tcp://node-1.example:0", "", "node-1.example", 0);
    static const char *const bad[] = {
        "",           "127.0.0.1:50051",  "unix:",         "unix://run/a.sock", "tcp:",
        "tcp://",     "tcp://a",          "tcp://a:",      "tcp://a:65536",     "tcp://a:-1",
        "tcp://:1",   "tcp://fd00::1:80", "tcp://[::1]80", "tcp://[::1]",       "tcp://[]:1",
        "tcp:a:80",   "tcp://user@a:80",  "tcp://a:80/b",  "tcp://a:0x50",      "tcp://a b:80",
        "TCP://a:80", "tcp://a:+80",      "tcp://[::1:80",
    };
    reid_rpc_address address;
    for (size_t i = 0; i < REID_COUNT_OF(bad); i++)
        assert_int_equal(reid_rpc_address_init(&address, bad[i], NULL), REID_ERR_INVALID);
    reid_error err = {0};
    reid_rpc_address_init(&address, "127.0.0.1:50051", &err);
    assert_string_equal(err.text, "cannot use address '127.0.0.1:50051': only unix:/path/to/socket "
                                  "and tcp://host:port are supported");
    char longest[5 + 109] = "unix:";
    memset(longest + 5, 'a', 107);
    assert_int_equal(reid_rpc_address_init(&address, longest, NULL), REID_OK);
    reid_rpc_address_fini(&address);
    longest[5 + 107] = 'a';
    assert_int_equal(reid_rpc_address_init(&address, longest, NULL), REID_ERR_INVALID);
}

static void expect_encoded(const char *text, const char *encoded)
{
    char *out = reid_rpc_percent_encode(text);
    assert_string_equal(out, encoded);
    char back[2000];
    reid_rpc_percent_decode(out, strlen(out), back, sizeof back);
    assert_string_equal(back, text);
    free(out);
}

static void sentences_are_percent_encoded(void **state)
{
    expect_encoded("", "");
    expect_encoded("plain ~ text!", "plain ~ text!");
    expect_encoded("50% of \xc3\xa4\n", "50%25 of %C3%A4%0A");
    expect_encoded("\x7f\x1f", "%7F%1F");
}

static void long_sentences_are_cut_between_characters(void **state)
{
    char text[1101] = {0};
    for (size_t i = 0; i + 3 < sizeof text; i += 3)
        memcpy(text + i, "\xe2\x82\xac", 3);
    char *out = reid_rpc_percent_encode(text);
    assert_int_equal(strlen(out), 1023 / 3 * 9);
    free(out);
}

static void bad_escapes_stay(void **state)
{
    static const char *const rows[][2] = {{"%", "%"},       {"%4", "%4"},   {"%zz", "%zz"},
                                          {"%00a", "%00a"}, {"%41%", "A%"}, {"a%2fb%2F", "a/b/"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char back[20];
        reid_rpc_percent_decode(rows[i][0], strlen(rows[i][0]), back, sizeof back);
        assert_string_equal(back, rows[i][1]);
    }
    char small[4];
    reid_rpc_percent_decode("%41%42%43%44", 12, small, sizeof small);
    assert_string_equal(small, "ABC");
}

static void timeouts(void **state)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {{"1H", 3600000}, {"2M", 120000},
                {"3S", 3000},    {"45m", 45},
                {"1u", 1},       {"2500u", 3},
                {"0n", 0},       {"1000001n", 2},
                {"0S", 0},       {"99999999H", 359999996400000}};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        uint64_t ms = 77;
        assert_int_equal(reid_rpc_timeout_parse(good[i].text, strlen(good[i].text), &ms), REID_OK);
        assert_int_equal(ms, good[i].ms);
    }
    static const char *const bad[] = {"",     "S",  "10",  "123456789S", "-1S",
                                      "1.5S", "1s", " 1S", "1S ",        "0x1S"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint64_t ms;
        assert_int_equal(reid_rpc_timeout_parse(bad[i], strlen(bad[i]), &ms), REID_ERR_INVALID);
    }
    char text[16];
    reid_rpc_timeout_format(text, 99999999);
    assert_string_equal(text, "99999999m");
    reid_rpc_timeout_format(text, 100000000);
    assert_string_equal(text, "100001S");
    reid_rpc_timeout_format(text, UINT32_MAX);
    assert_string_equal(text, "4294968S");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_are_those_of_grpc),
        cmocka_unit_test(addresses),
        cmocka_unit_test(sentences_are_percent_encoded),
        cmocka_unit_test(long_sentences_are_cut_between_characters),
        cmocka_unit_test(bad_escapes_stay),
        cmocka_unit_test(timeouts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
