#include "ask.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "harness/harness.h"

void test_ask(reid_control_queue *queue, const char *id, const char *kind, int64_t at_iter,
              const char *name, const char *value)
{
    reid_control_request request = {
        .id = reid_xstrdup(id),
        .kind = reid_xstrdup(kind),
        .at_iter = at_iter,
        .wall_ms = 1,
        .who = reid_xstrdup("alice"),
        .reason = reid_xstrdup("test"),
        .settings = reid_xcalloc(1, sizeof(reid_control_setting)),
        .setting_count = name != NULL,
    };
    if (name)
        request.settings[0] = (reid_control_setting){reid_xstrdup(name), reid_xstrdup(value)};
    reid_error err = {0};
    reid_assert_ok(reid_control_queue_push(queue, &request, &err), &err);
}
