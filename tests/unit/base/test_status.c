#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/status.h"

static void the_first_cause_wins(void **state)
{
    reid_error err = {0};
    assert_int_equal(reid_fail(&err, REID_ERR_CORRUPT, "bad %s %d", "block", 3), REID_ERR_CORRUPT);
    assert_int_equal(reid_fail(&err, REID_ERR_IO, "later"), REID_ERR_IO);
    assert_int_equal(reid_fail_errno(&err, ENOENT, "later"), REID_ERR_NOT_FOUND);
    assert_int_equal(err.code, REID_ERR_CORRUPT);
    assert_string_equal(err.text, "bad block 3");
    reid_error_clear(&err);
    assert_int_equal(err.code, REID_OK);
    assert_string_equal(err.text, "");
    assert_int_equal(reid_fail(NULL, REID_ERR_IO, "no place"), REID_ERR_IO);
    reid_error_clear(NULL);
}

static void errno_gives_the_code_and_the_reason(void **state)
{
    static const struct {
        int errnum;
        reid_status expected;
    } CASES[] = {
        {ENOENT, REID_ERR_NOT_FOUND}, {EACCES, REID_ERR_PERMISSION}, {EPERM, REID_ERR_PERMISSION},
        {EEXIST, REID_ERR_EXISTS},    {ENOMEM, REID_ERR_EXHAUSTED},  {ENOSPC, REID_ERR_EXHAUSTED},
        {EMFILE, REID_ERR_EXHAUSTED}, {ENFILE, REID_ERR_EXHAUSTED},  {ETIMEDOUT, REID_ERR_TIMEOUT},
        {EIO, REID_ERR_IO},           {EISDIR, REID_ERR_IO},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        reid_error err = {0};
        assert_int_equal(reid_fail_errno(&err, CASES[i].errnum, "x"), CASES[i].expected);
        assert_int_equal(err.code, CASES[i].expected);
    }
    reid_error err = {0};
    reid_fail_errno(&err, ENOENT, "cannot open '%s'", "x.yml");
    assert_string_equal(err.text, "cannot open 'x.yml': No such file or directory");
}

static void a_prefix_goes_before_the_sentence(void **state)
{
    reid_error err = {0};
    assert_int_equal(reid_error_prefix(&err, "config"), REID_OK);
    assert_string_equal(err.text, "");
    reid_fail(&err, REID_ERR_INVALID, "no such key");
    assert_int_equal(reid_error_prefix(&err, "line %d", 4), REID_ERR_INVALID);
    assert_string_equal(err.text, "line 4: no such key");
    assert_int_equal(reid_error_prefix(NULL, "x"), REID_OK);
}

static void long_sentences_are_cut_inside_the_buffer(void **state)
{
    char longer[3000];
    memset(longer, 'y', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    reid_error err = {0};
    reid_fail_errno(&err, EIO, "%s", longer);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    reid_error_prefix(&err, "%s", longer);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
}

static reid_status tried(reid_status status, int *ret_reached)
{
    REID_TRY(status);
    *ret_reached = 1;
    return REID_OK;
}

static void try_returns_early(void **state)
{
    int reached = 0;
    assert_int_equal(tried(REID_ERR_TIMEOUT, &reached), REID_ERR_TIMEOUT);
    assert_int_equal(reached, 0);
    assert_int_equal(tried(REID_OK, &reached), REID_OK);
    assert_int_equal(reached, 1);
}

static void every_status_has_its_own_name(void **state)
{
    for (int i = 0; i <= REID_ERR_INTERNAL; i++) {
        for (int j = 0; j < i; j++)
            assert_string_not_equal(reid_status_name((reid_status)i),
                                    reid_status_name((reid_status)j));
    }
    assert_string_equal(reid_status_name(REID_ERR_NOT_FOUND), "not found");
    assert_string_equal(reid_status_name((reid_status)99), "unknown status");
}

/* What is quoted may be any bytes, and a precision or the end of the room may cut a character. */
static void sentences_are_utf8(void **state)
{
    reid_error err = {0};
    reid_fail(&err, REID_ERR_INVALID, "'%s' and '%.4s'", "caf\xe9", "abc\xc3\xa9");
    assert_string_equal(err.text, "'caf?' and 'abc?'");
    reid_error_prefix(&err, "\xff");
    assert_string_equal(err.text, "?: 'caf?' and 'abc?'");
    reid_error_clear(&err);
    reid_fail_errno(&err, ENOENT, "cannot open '%.2s\xc3\xbc'", "\xe2\x82\xac");
    assert_string_equal(err.text, "cannot open '??\xc3\xbc': No such file or directory");
    char most[sizeof err.text + 2];
    memset(most, 'a', sizeof most);
    memcpy(most + sizeof err.text - 2, "\xc3\xa9", 3);
    reid_error_clear(&err);
    reid_fail(&err, REID_ERR_INVALID, "%s", most);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    assert_int_equal(err.text[sizeof err.text - 2], '?');
}

static void sentences_have_no_control_characters(void **state)
{
    reid_error err = {0};
    reid_fail(&err, REID_ERR_NOT_FOUND, "there is no job '%s'",
              "\x1b[2J\x1b]0;a\x07\r\nb\tc\x7f\xc2\x9b"
              "d\xc2\xa0");
    assert_string_equal(err.text, "there is no job '?[2J?]0;a?? b c??"
                                  "?d\xc2\xa0'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_cause_wins),
        cmocka_unit_test(errno_gives_the_code_and_the_reason),
        cmocka_unit_test(a_prefix_goes_before_the_sentence),
        cmocka_unit_test(long_sentences_are_cut_inside_the_buffer),
        cmocka_unit_test(sentences_are_utf8),
        cmocka_unit_test(sentences_have_no_control_characters),
        cmocka_unit_test(try_returns_early),
        cmocka_unit_test(every_status_has_its_own_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
