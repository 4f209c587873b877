/* Hooks in Lua: the input is a script. It is opened as a hook, called at each point that it has,
 * saved, loaded again, called and closed. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "engine/guest/guest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void call_all(reid_guest *guest, unsigned points, reid_event_storage *storage)
{
    for (int point = 0; point < REID_POINTS; point++) {
        if (!(points & (1u << point)))
            continue;
        reid_moment moment = {.point = (reid_point)point,
                              .iter = 7,
                              .max_iter = 100,
                              .max_epoch = 10,
                              .iters_per_epoch = 10,
                              .lr = 0.1,
                              .storage = storage};
        reid_wishes wishes = {0};
        reid_error err = {0};
        reid_status status = guest->kind->call(guest, &moment, &wishes, &err);
        REID_ASSERT((status == REID_OK) == (err.code == REID_OK));
        reid_wishes_fini(&wishes);
    }
}

/* What was saved can be loaded, and is then the same. */
static void save_and_load(reid_guest *guest)
{
    char *texts[2];
    for (int i = 0; i < 2; i++) {
        reid_str text = REID_STR_INIT;
        reid_json_writer writer = reid_json_begin(&text);
        guest->kind->save_state(guest, &writer);
        reid_json *json;
        reid_error err = {0};
        REID_ASSERT(reid_json_parse(text.data, text.length, &json, &err) == REID_OK);
        if (guest->kind->load_state(guest, json, &err) != REID_OK) {
            /* The script may have made its `state` something else by now. */
            REID_ASSERT(strstr(err.text, "the global 'state'"));
        }
        reid_json_free(json);
        texts[i] = reid_str_take(&text);
    }
    REID_ASSERT(strcmp(texts[0], texts[1]) == 0);
    free(texts[0]);
    free(texts[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    reid_log_setup(&(reid_log_options){.level = REID_LOG_OFF, .program = "fuzz", .rank = -1});
    char *source = reid_xstrndup((const char *)data, size);
    reid_guest_spec spec = {.kind = reid_xstrdup("lua"),
                            .name = reid_xstrdup("fuzz"),
                            .every = 1,
                            .when = reid_xstrdup(""),
                            .source = source};
    reid_vec_push(&spec.options, reid_xstrdup("gamma=0.1"));
    reid_guest_env env = {0};
    reid_event_storage *storage = reid_event_storage_new(0);
    reid_guest *guest = NULL;
    reid_error err = {0};
    if (reid_event_storage_put_scalar(storage, "loss", 1, true, &err) == REID_OK &&
        reid_guest_lua.open(&env, &spec, 1, &guest, &err) == REID_OK) {
        call_all(guest, spec.points, storage);
        save_and_load(guest);
        call_all(guest, spec.points, storage);
        guest->kind->close(guest);
    }
    reid_event_storage_free(storage);
    reid_guest_spec_fini(&spec);
    return 0;
}
