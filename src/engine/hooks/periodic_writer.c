#include "engine/hooks/periodic_writer.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/vec.h"
#include "engine/hooks/registry.h"
#include "engine/trainer.h"

typedef struct periodic_writer {
    reid_hook base;
    int64_t period;
    REID_VEC(reid_event_writer *) writers;
} periodic_writer;

static reid_status write_all(periodic_writer *hook, reid_error *err)
{
    for (size_t i = 0; i < hook->writers.count; i++)
        REID_TRY(reid_event_writer_write(hook->writers.items[i], hook->base.trainer->storage, err));
    return REID_OK;
}

/* Only now are both states loaded. A mark beyond the storage is that of a new writer, or of a
 * storage that was not restored. */
static reid_status before_train(reid_hook *base, reid_error *err)
{
    periodic_writer *hook = (periodic_writer *)base;
    uint64_t newest = reid_event_storage_sequence(base->trainer->storage);
    for (size_t i = 0; i < hook->writers.count; i++) {
        reid_event_writer *writer = hook->writers.items[i];
        writer->written = REID_MIN(writer->written, newest);
    }
    return REID_OK;
}

static reid_status after_step(reid_hook *base, reid_error *err)
{
    periodic_writer *hook = (periodic_writer *)base;
    int64_t done = base->trainer->iter + 1;
    if (done % hook->period != 0 && done != base->trainer->max_iter)
        return REID_OK;
    return write_all(hook, err);
}

static reid_status after_epoch(reid_hook *base, reid_error *err)
{
    return write_all((periodic_writer *)base, err);
}

/* After a stop nothing is written, so that the files of the resumed training are those of an
 * uninterrupted one; what is pending is in the saved state. All writers are closed, whatever
 * happens. */
static reid_status after_train(reid_hook *base, reid_error *err)
{
    periodic_writer *hook = (periodic_writer *)base;
    reid_status first = REID_OK;
    if (base->trainer->status != REID_ERR_CANCELLED)
        first = write_all(hook, err);
    for (size_t i = 0; i < hook->writers.count; i++) {
        reid_status status = reid_event_writer_close(hook->writers.items[i], err);
        if (first == REID_OK)
            first = status;
    }
    return first;
}

static void save_state(const reid_hook *base, reid_json_writer *json)
{
    const periodic_writer *hook = (const periodic_writer *)base;
    reid_json_object(json);
    for (size_t i = 0; i < hook->writers.count; i++) {
        reid_json_key(json, hook->writers.items[i]->impl->name);
        reid_json_int(json, (int64_t)hook->writers.items[i]->written);
    }
    reid_json_end_object(json);
}

/* A writer that did not exist then has nothing of the past to write. */
static reid_status load_state(reid_hook *base, const reid_json *json, reid_error *err)
{
    periodic_writer *hook = (periodic_writer *)base;
    for (size_t i = 0; i < hook->writers.count; i++) {
        reid_event_writer *writer = hook->writers.items[i];
        const reid_json *mark = reid_json_get(json, writer->impl->name);
        int64_t written = reid_json_as_int(mark, mark ? -1 : INT64_MAX);
        if (written < 0)
            return reid_fail(err, REID_ERR_CORRUPT, "the mark of the %s writer is not a number",
                             writer->impl->name);
        writer->written = (uint64_t)written;
    }
    return REID_OK;
}

static void free_hook(reid_hook *base)
{
    periodic_writer *hook = (periodic_writer *)base;
    for (size_t i = 0; i < hook->writers.count; i++)
        reid_event_writer_free(hook->writers.items[i]);
    reid_vec_fini(&hook->writers);
    free(hook);
}

static const reid_hook_impl PERIODIC_WRITER = {
    .name = "PeriodicWriter",
    .before_train = before_train,
    .after_step = after_step,
    .after_epoch = after_epoch,
    .after_train = after_train,
    .save_state = save_state,
    .load_state = load_state,
    .free = free_hook,
};

reid_hook *reid_periodic_writer_new(int64_t period, reid_event_writer *const *own_writers,
                                    size_t count)
{
    REID_ASSERT(period >= 1);
    periodic_writer *hook = reid_xcalloc(1, sizeof *hook);
    hook->base.impl = &PERIODIC_WRITER;
    hook->period = period;
    for (size_t i = 0; i < count; i++) {
        if (own_writers[i])
            reid_vec_push(&hook->writers, own_writers[i]);
    }
    return &hook->base;
}

/* ---- registry ---- */

static const reid_hook_option OPTIONS[] = {
    {"period", REID_HOOK_INT, "200", 1, "iterations between two writes"},
};

static reid_status make(const reid_hook_context *context, const reid_hook_values *values,
                        reid_hook **ret_hook, reid_error *err)
{
    *ret_hook = reid_periodic_writer_new(reid_hook_value_int(values, "period"), context->writers,
                                         context->writer_count);
    return REID_OK;
}

const reid_hook_kind reid_hook_kind_periodic_writer = {
    .name = "PeriodicWriter",
    .help = "lets the writers write, and closes them at the end",
    .rank0_only = true,
    .options = OPTIONS,
    .option_count = REID_COUNT_OF(OPTIONS),
    .single = true,
    .make = make,
};
