/* What the tests of this folder share. */
#ifndef REID_TESTS_CONFIG_EXPECT_H
#define REID_TESTS_CONFIG_EXPECT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "base/status.h"

/* Holds a failure against its code and its whole sentence, and makes `err` empty again. */
#define EXPECT_FAILURE(call, err, wanted_code, sentence)                                           \
    do {                                                                                           \
        reid_status got_code = (call);                                                             \
        if (got_code != (wanted_code) || strcmp((err)->text, (sentence)) != 0)                     \
            fail_msg("%s: got %s: <%s>, wanted %s: <%s>", #call, reid_status_name(got_code),       \
                     (err)->text, reid_status_name(wanted_code), (sentence));                      \
        reid_error_clear(err);                                                                     \
    } while (0)

#endif
