/* What is said of hooks: the input is a specification in JSON if it begins with '{', a condition
 * otherwise. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/utf8.h"
#include "engine/guest/guest.h"
#include "engine/guest/predicate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run_condition(const char *text)
{
    static reid_event_storage *storage;
    reid_error err = {0};
    if (!storage) {
        storage = reid_event_storage_new(0);
        REID_ASSERT(reid_event_storage_put_scalar(storage, "loss", 1, true, &err) == REID_OK);
    }
    reid_predicate *predicate = NULL;
    reid_status status = reid_predicate_parse(text, &predicate, &err);
    REID_ASSERT(status == err.code);
    const reid_moment moment = {.point = REID_AFTER_STEP,
                                .iter = 7,
                                .max_iter = 100,
                                .max_epoch = 10,
                                .iters_per_epoch = 10,
                                .lr = 0.1,
                                .storage = storage};
    if (status == REID_OK && predicate)
        (void)!reid_predicate_holds(predicate, &moment);
    if (status == REID_OK)
        reid_predicate_free(predicate);
}

/* The same fields always give the same bytes. */
static void run_spec(const char *text, size_t size)
{
    reid_guest_spec spec = {0}, again = {0};
    reid_error err = {0};
    reid_status status = reid_guest_spec_parse(text, size, &spec, &err);
    REID_ASSERT(status == err.code);
    if (status == REID_OK) {
        reid_str first = REID_STR_INIT, second = REID_STR_INIT;
        reid_guest_spec_write(&spec, &first);
        REID_ASSERT(reid_guest_spec_parse(first.data, first.length, &again, &err) == REID_OK);
        reid_guest_spec_write(&again, &second);
        REID_ASSERT(strcmp(first.data, second.data) == 0);
        reid_str_fini(&first);
        reid_str_fini(&second);
        reid_guest_spec_fini(&again);
        reid_guest_spec_fini(&spec);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = reid_xstrndup((const char *)data, size);
    if (size > 0 && data[0] == '{')
        run_spec((const char *)data, size);
    else
        run_condition(text);
    free(text);
    return 0;
}
