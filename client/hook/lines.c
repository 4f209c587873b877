#include "hook/lines.h"

#include <string.h>

#include "base/compiler.h"
#include "base/json.h"

static const char *const points[] = {
    [REID__V1__HOOK_POINT__HOOK_POINT_UNSPECIFIED] = "",
    [REID__V1__HOOK_POINT__HOOK_POINT_BEFORE_TRAIN] = "before_train",
    [REID__V1__HOOK_POINT__HOOK_POINT_AFTER_TRAIN] = "after_train",
    [REID__V1__HOOK_POINT__HOOK_POINT_BEFORE_EPOCH] = "before_epoch",
    [REID__V1__HOOK_POINT__HOOK_POINT_AFTER_EPOCH] = "after_epoch",
    [REID__V1__HOOK_POINT__HOOK_POINT_BEFORE_STEP] = "before_step",
    [REID__V1__HOOK_POINT__HOOK_POINT_AFTER_STEP] = "after_step",
};

const char *reidctl_point_name(Reid__V1__HookPoint point)
{
    return (size_t)point < REID_COUNT_OF(points) ? points[point] : "";
}

reid_status reidctl_point_find(const char *name, Reid__V1__HookPoint *ret_point, reid_error *err)
{
    for (size_t i = 1; i < REID_COUNT_OF(points); i++) {
        if (strcmp(points[i], name) != 0)
            continue;
        *ret_point = (Reid__V1__HookPoint)i;
        return REID_OK;
    }
    return reid_fail(err, REID_ERR_INVALID,
                     "there is no point '%.64s'; there are before_train, after_train, "
                     "before_epoch, after_epoch, before_step, after_step",
                     name);
}

static void add_text(reid_json_writer *w, const char *key, const char *text)
{
    reid_json_key(w, key);
    reid_json_string(w, text);
}

static void add_int(reid_json_writer *w, const char *key, int64_t number)
{
    reid_json_key(w, key);
    reid_json_int(w, number);
}

void reidctl_add_attached_line(reid_str *out, const Reid__V1__HookAttached *attached)
{
    reid_json_writer w = reid_json_begin(out);
    reid_json_object(&w);
    add_text(&w, "type", "attached");
    add_text(&w, "job", attached->job);
    add_int(&w, "hook", attached->hook);
    add_int(&w, "iteration", attached->iteration);
    reid_json_end_object(&w);
    reid_str_add(out, "\n");
}

void reidctl_add_event_line(reid_str *out, const Reid__V1__HookEvent *event)
{
    reid_json_writer w = reid_json_begin(out);
    reid_json_object(&w);
    add_text(&w, "type", "event");
    add_int(&w, "number", event->number);
    add_text(&w, "point", reidctl_point_name(event->point));
    add_int(&w, "epoch", event->epoch);
    add_int(&w, "iter", event->iteration);
    add_int(&w, "max_iter", event->max_iteration);
    add_int(&w, "max_epoch", event->max_epoch);
    reid_json_key(&w, "lr");
    reid_json_double(&w, event->lr);
    reid_json_key(&w, "scalars");
    reid_json_object(&w);
    for (size_t i = 0; i < event->n_scalars; i++) {
        reid_json_key(&w, event->scalars[i]->name);
        reid_json_double(&w, event->scalars[i]->value);
    }
    reid_json_end_object(&w);
    reid_json_end_object(&w);
    reid_str_add(out, "\n");
}
