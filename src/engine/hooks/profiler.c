#include "engine/hooks/profiler.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/log.h"
#include "engine/hooks/profile_file.h"
#include "engine/trainer.h"

struct reid_profiler {
    reid_hook base;
    reid_profiler_options options;
    char *output_dir;
    reid_hook_probe hook_probe;
    reid_profile *profile;    /* being recorded; NULL: nothing is */
    int64_t wanted;           /* steps */
    double iteration_start_s; /* of the current one */
    double step_start_s, backward_end_s;
    bool step_open; /* its data are there, its update is not done */
    pthread_t writer;
    bool writing; /* the writer has not been joined */
};

static void add_span(reid_profiler *profiler, reid_profile_kind kind, const char *name,
                     double start_s, double end_s)
{
    const reid_profile_span span = {
        .kind = kind,
        .name = name,
        .start_s = start_s,
        .end_s = end_s,
        .number = profiler->base.trainer->iter,
    };
    reid_profile_add(profiler->profile, &span);
}

double reid_profiler_clock(const reid_profiler *profiler)
{
    return profiler && profiler->profile ? reid_clock_seconds() : 0;
}

/* A start of 0 was asked for before the recording began. */
void reid_profiler_span(reid_profiler *profiler, const char *name, double start_s)
{
    if (profiler && profiler->profile && start_s > 0)
        add_span(profiler, REID_PROFILE_STEP, name, start_s, reid_clock_seconds());
}

/* ---- the step ---- */

typedef struct profiled_step {
    reid_step base;
    reid_step *inner;
    reid_profiler *profiler; /* NULL: there is none yet */
} profiled_step;

static reid_profiler *recorder(const reid_step *base)
{
    reid_profiler *profiler = ((const profiled_step *)base)->profiler;
    return profiler && profiler->profile ? profiler : NULL;
}

static reid_step *inner_of(const reid_step *base)
{
    return ((const profiled_step *)base)->inner;
}

static reid_status step_next(reid_step *base, reid_step_batch *ret_batch, reid_error *err)
{
    reid_profiler *profiler = recorder(base);
    reid_step *inner = inner_of(base);
    double start_s = reid_profiler_clock(profiler);
    REID_TRY(inner->impl->next(inner, ret_batch, err));
    if (profiler) {
        profiler->step_start_s = start_s;
        profiler->step_open = true;
        reid_profiler_span(profiler, "data", start_s);
    }
    return REID_OK;
}

static reid_status step_forward(reid_step *base, reid_error *err)
{
    reid_profiler *profiler = recorder(base);
    reid_step *inner = inner_of(base);
    double start_s = reid_profiler_clock(profiler);
    REID_TRY(inner->impl->forward(inner, err));
    reid_profiler_span(profiler, "forward", start_s);
    return REID_OK;
}

/* The end of backward is the wait for what the overlap did not hide. */
static void add_buckets(reid_profiler *profiler)
{
    const reid_reducer *reducer = profiler->options.reducer;
    reid_reducer_stats stats = {0};
    if (reducer)
        reid_reducer_last_stats(reducer, &stats);
    if (stats.buckets > 0 && !stats.device)
        add_span(profiler, REID_PROFILE_STEP, "wait for gradients",
                 profiler->backward_end_s - stats.exposed_s, profiler->backward_end_s);
    for (size_t i = 0; reducer && i < reid_reducer_bucket_count(reducer); i++) {
        reid_reducer_bucket bucket = reid_reducer_last_bucket(reducer, i);
        if (bucket.done_s == 0)
            continue;
        const reid_profile_span span = {
            .kind = REID_PROFILE_ALL_REDUCE,
            .start_s = bucket.started_s,
            .end_s = bucket.done_s,
            .number = (int64_t)i,
            .bytes = bucket.bytes,
            .queued_s = bucket.started_s - bucket.queued_s,
            .waited_s = bucket.arrived_s - bucket.started_s,
        };
        reid_profile_add(profiler->profile, &span);
    }
}

static reid_status step_backward(reid_step *base, reid_error *err)
{
    reid_profiler *profiler = recorder(base);
    reid_step *inner = inner_of(base);
    double start_s = reid_profiler_clock(profiler);
    REID_TRY(inner->impl->backward(inner, err));
    if (profiler) {
        profiler->backward_end_s = reid_clock_seconds();
        add_span(profiler, REID_PROFILE_STEP, "backward", start_s, profiler->backward_end_s);
        add_buckets(profiler);
    }
    return REID_OK;
}

/* Between backward and update the ranks exchange losses, stop wishes and the size of words. */
static reid_status step_update(reid_step *base, reid_error *err)
{
    reid_profiler *profiler = recorder(base);
    reid_step *inner = inner_of(base);
    double start_s = reid_profiler_clock(profiler);
    REID_TRY(inner->impl->update(inner, err));
    if (profiler && profiler->step_open) {
        add_span(profiler, REID_PROFILE_STEP, "metrics", profiler->backward_end_s, start_s);
        reid_profiler_span(profiler, "update", start_s);
        reid_profiler_span(profiler, "step", profiler->step_start_s);
        profiler->step_open = false;
    }
    return REID_OK;
}

static size_t step_scalar_count(const reid_step *base)
{
    const reid_step *inner = inner_of(base);
    return inner->impl->scalar_count(inner);
}

static const char *step_scalar_name(const reid_step *base, size_t index)
{
    const reid_step *inner = inner_of(base);
    return inner->impl->scalar_name(inner, index);
}

static bool step_scalar_is_loss(const reid_step *base, size_t index)
{
    const reid_step *inner = inner_of(base);
    return inner->impl->scalar_is_loss(inner, index);
}

static double step_scalar(const reid_step *base, size_t index)
{
    const reid_step *inner = inner_of(base);
    return inner->impl->scalar(inner, index);
}

static double step_waited_s(const reid_step *base)
{
    const reid_step *inner = inner_of(base);
    return inner->impl->waited_s ? inner->impl->waited_s(inner) : 0;
}

static void step_free(reid_step *base)
{
    reid_step_free(inner_of(base));
    free(base);
}

static const reid_step_impl PROFILED_STEP = {
    .next = step_next,
    .forward = step_forward,
    .backward = step_backward,
    .update = step_update,
    .scalar_count = step_scalar_count,
    .scalar_name = step_scalar_name,
    .scalar_is_loss = step_scalar_is_loss,
    .scalar = step_scalar,
    .waited_s = step_waited_s,
    .free = step_free,
};

reid_step *reid_profiled_step_new(reid_step *own_step)
{
    profiled_step *step = reid_xcalloc(1, sizeof *step);
    step->base.impl = &PROFILED_STEP;
    step->inner = own_step;
    return &step->base;
}

/* ---- what the probes tell ---- */

static void plan_called(void *user, const reid_plan_call *call)
{
    reid_profiler *profiler = user;
    const reid_profile_span span = {
        .kind = call->backward ? REID_PROFILE_BACKWARD : REID_PROFILE_FORWARD,
        .name = call->name,
        .text = call->kind,
        .detail = call->kernels,
        .start_s = call->start_s,
        .end_s = call->end_s,
    };
    reid_profile_add(profiler->profile, &span);
}

static void hook_called(void *user, const reid_hook *hook, reid_point point, double start_s,
                        double end_s)
{
    reid_profiler *profiler = user;
    const reid_profile_span span = {
        .kind = REID_PROFILE_HOOK,
        .name = hook->impl->name,
        .text = reid_point_name(point),
        .start_s = start_s,
        .end_s = end_s,
    };
    reid_profile_add(profiler->profile, &span);
}

static void set_probes(reid_profiler *profiler, bool on)
{
    reid_trainer *trainer = profiler->base.trainer;
    for (size_t i = 0; i < trainer->hooks.count; i++)
        if (trainer->hooks.items[i] != &profiler->base)
            trainer->hooks.items[i]->probe = on ? &profiler->hook_probe : NULL;
    if (profiler->options.plan)
        reid_plan_set_probe(profiler->options.plan, on ? plan_called : NULL, profiler);
}

/* ---- the file ---- */

typedef struct writer_task {
    reid_profile *profile; /* owned */
    char *path;
} writer_task;

static void *write_file(void *user)
{
    writer_task *task = user;
    reid_str text = REID_STR_INIT;
    reid_error err = {0};
    reid_profile_render(task->profile, &text);
    if (reid_file_write_atomic(task->path, text.data, text.length, &err) == REID_OK)
        reid_log_info("saved the profile of %lld steps to %s", (long long)task->profile->steps,
                      task->path);
    else
        reid_log_warn("the profile is lost: %s", err.text);
    reid_str_fini(&text);
    reid_profile_free(task->profile);
    free(task->path);
    free(task);
    return NULL;
}

static void join_writer(reid_profiler *profiler)
{
    if (profiler->writing)
        pthread_join(profiler->writer, NULL);
    profiler->writing = false;
}

static void finish(reid_profiler *profiler)
{
    reid_profile *profile = profiler->profile;
    set_probes(profiler, false);
    profiler->profile = NULL;
    writer_task *task = reid_xcalloc(1, sizeof *task);
    task->profile = profile;
    task->path = reid_xasprintf("%s/profile_iter_%07lld.rank%d.json", profiler->output_dir,
                                (long long)profile->first_iteration, profile->rank);
    profiler->writing = pthread_create(&profiler->writer, NULL, write_file, task) == 0;
    if (!profiler->writing)
        write_file(task);
}

/* ---- the hook ---- */

bool reid_profiler_is_running(const reid_profiler *profiler)
{
    return profiler->profile != NULL;
}

reid_status reid_profiler_start(reid_profiler *profiler, int64_t steps, reid_error *err)
{
    if (steps < 1 || steps > REID_PROFILER_STEPS_MAX)
        return reid_fail(err, REID_ERR_INVALID, "a profile is of 1 to %d steps, not %lld",
                         REID_PROFILER_STEPS_MAX, (long long)steps);
    if (profiler->profile)
        return reid_fail(err, REID_ERR_PRECONDITION,
                         "a profile is being recorded already; it ends after iteration %lld",
                         (long long)(profiler->profile->first_iteration + profiler->wanted - 1));
    join_writer(profiler);
    reid_profile *profile = reid_xcalloc(1, sizeof *profile);
    profile->rank = profiler->options.rank;
    profile->first_iteration = profiler->base.trainer->iter;
    profile->wall_ms = reid_clock_wall_ms();
    profile->start_s = profiler->iteration_start_s = reid_clock_seconds();
    profile->limit = profiler->options.span_limit;
    profiler->profile = profile;
    profiler->wanted = steps;
    profiler->step_open = false;
    set_probes(profiler, true);
    return REID_OK;
}

/* A step that was skipped has no update. */
static reid_status after_step(reid_hook *base, reid_error *err)
{
    (void)err;
    reid_profiler *profiler = (reid_profiler *)base;
    if (!profiler->profile)
        return REID_OK;
    double now_s = reid_clock_seconds();
    add_span(profiler, REID_PROFILE_ITERATION, NULL, profiler->iteration_start_s, now_s);
    profiler->iteration_start_s = now_s;
    profiler->step_open = false;
    profiler->profile->steps++;
    if (base->trainer->iter - profiler->profile->first_iteration + 1 >= profiler->wanted)
        finish(profiler);
    return REID_OK;
}

static reid_status after_train(reid_hook *base, reid_error *err)
{
    (void)err;
    reid_profiler *profiler = (reid_profiler *)base;
    if (profiler->profile)
        finish(profiler);
    return REID_OK;
}

static void free_profiler(reid_hook *base)
{
    reid_profiler *profiler = (reid_profiler *)base;
    join_writer(profiler);
    reid_profile_free(profiler->profile);
    free(profiler->output_dir);
    free(profiler);
}

static const reid_hook_impl PROFILER = {
    .name = "Profiler",
    .after_step = after_step,
    .after_train = after_train,
    .free = free_profiler,
};

reid_profiler *reid_profiler_new(const reid_profiler_options *options, reid_hook **ret_hook)
{
    reid_profiler *profiler = reid_xcalloc(1, sizeof *profiler);
    profiler->base.impl = &PROFILER;
    profiler->options = *options;
    profiler->output_dir = reid_xstrdup(options->output_dir);
    profiler->options.output_dir = profiler->output_dir;
    if (options->span_limit == 0)
        profiler->options.span_limit = REID_PROFILER_SPANS;
    profiler->hook_probe = (reid_hook_probe){.called = hook_called, .user = profiler};
    if (options->step) {
        REID_ASSERT(options->step->impl == &PROFILED_STEP);
        ((profiled_step *)options->step)->profiler = profiler;
    }
    *ret_hook = &profiler->base;
    return profiler;
}
