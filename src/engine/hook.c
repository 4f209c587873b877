#include "engine/hook.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

static const char *const POINT_NAMES[REID_POINTS] = {
    [REID_BEFORE_TRAIN] = "before_train", [REID_AFTER_TRAIN] = "after_train",
    [REID_BEFORE_EPOCH] = "before_epoch", [REID_AFTER_EPOCH] = "after_epoch",
    [REID_BEFORE_STEP] = "before_step",   [REID_AFTER_STEP] = "after_step",
};

const char *reid_point_name(reid_point point)
{
    return POINT_NAMES[point];
}

reid_point reid_point_find(const char *name)
{
    int point = 0;
    while (point < REID_POINTS && strcmp(POINT_NAMES[point], name) != 0)
        point++;
    return (reid_point)point;
}

static reid_hook_point *point_of(const reid_hook_impl *impl, reid_point point)
{
    switch (point) {
    case REID_BEFORE_TRAIN:
        return impl->before_train;
    case REID_AFTER_TRAIN:
        return impl->after_train;
    case REID_BEFORE_EPOCH:
        return impl->before_epoch;
    case REID_AFTER_EPOCH:
        return impl->after_epoch;
    case REID_BEFORE_STEP:
        return impl->before_step;
    case REID_AFTER_STEP:
        return impl->after_step;
    case REID_POINTS:
        break;
    }
    return NULL;
}

unsigned reid_hook_points(const reid_hook_impl *impl)
{
    unsigned bits = 0;
    for (int point = 0; point < REID_POINTS; point++)
        bits |= point_of(impl, (reid_point)point) ? 1u << point : 0;
    return bits;
}

reid_status reid_hook_call(reid_hook *hook, reid_point point, reid_error *err)
{
    reid_hook_point *function = point_of(hook->impl, point);
    if (!function)
        return REID_OK;
    const reid_hook_probe *probe = hook->probe;
    double start_s = probe ? reid_clock_seconds() : 0;
    reid_status status = function(hook, err);
    if (probe && hook->probe)
        probe->called(probe->user, hook, point, start_s, reid_clock_seconds());
    if (status != REID_OK && !hook->impl->own_errors)
        reid_error_prefix(err, "%s, %s", hook->impl->name, POINT_NAMES[point]);
    return status;
}

void reid_hook_free(reid_hook *hook)
{
    if (!hook)
        return;
    if (hook->impl->free)
        hook->impl->free(hook);
    else
        free(hook);
}
