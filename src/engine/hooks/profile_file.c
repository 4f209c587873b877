/* Trace Event Format:
 * https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU */
#include "engine/hooks/profile_file.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/json.h"

enum { STEPPING_TRACK = 1, COMM_TRACK = 2 };

static const char *const CATEGORIES[] = {
    [REID_PROFILE_ITERATION] = "iteration", [REID_PROFILE_STEP] = "step",
    [REID_PROFILE_FORWARD] = "forward",     [REID_PROFILE_BACKWARD] = "backward",
    [REID_PROFILE_HOOK] = "hook",           [REID_PROFILE_ALL_REDUCE] = "all_reduce",
};

void reid_profile_add(reid_profile *profile, const reid_profile_span *span)
{
    if (profile->spans.count >= profile->limit)
        profile->dropped++;
    else
        reid_vec_push(&profile->spans, *span);
}

void reid_profile_free(reid_profile *profile)
{
    if (!profile)
        return;
    reid_vec_fini(&profile->spans);
    free(profile);
}

static void add_string(reid_json_writer *w, const char *key, const char *text)
{
    reid_json_key(w, key);
    reid_json_string(w, text);
}

static void add_int(reid_json_writer *w, const char *key, int64_t value)
{
    reid_json_key(w, key);
    reid_json_int(w, value);
}

/* Microseconds, to the nanosecond. */
static void add_time(reid_json_writer *w, const char *key, double seconds)
{
    reid_json_key(w, key);
    reid_json_double(w, round(seconds * 1e9) / 1e3);
}

static void begin_event(reid_json_writer *w, const reid_profile *profile, const char *phase,
                        int track, const char *name)
{
    reid_json_object(w);
    add_string(w, "ph", phase);
    add_int(w, "pid", profile->rank);
    add_int(w, "tid", track);
    add_string(w, "name", name);
}

static void add_label(reid_json_writer *w, const reid_profile *profile, const char *kind, int track,
                      const char *label)
{
    begin_event(w, profile, "M", track, kind);
    reid_json_key(w, "args");
    reid_json_object(w);
    add_string(w, "name", label);
    reid_json_end_object(w);
    reid_json_end_object(w);
}

static void add_labels(reid_json_writer *w, const reid_profile *profile)
{
    REID_AUTOFREE char *process = reid_xasprintf("rank %d", profile->rank);
    add_label(w, profile, "process_name", STEPPING_TRACK, process);
    add_label(w, profile, "thread_name", STEPPING_TRACK, "steps");
    add_label(w, profile, "thread_name", COMM_TRACK, "communication");
    begin_event(w, profile, "M", STEPPING_TRACK, "process_sort_index");
    reid_json_key(w, "args");
    reid_json_object(w);
    add_int(w, "sort_index", profile->rank);
    reid_json_end_object(w);
    reid_json_end_object(w);
}

static char *name_of(const reid_profile_span *span)
{
    switch (span->kind) {
    case REID_PROFILE_ITERATION:
        return reid_xasprintf("iteration %lld", (long long)span->number);
    case REID_PROFILE_HOOK:
        return reid_xasprintf("%s.%s", span->name, span->text);
    case REID_PROFILE_ALL_REDUCE:
        return reid_xasprintf("bucket %lld", (long long)span->number);
    default:
        return reid_xstrdup(span->name);
    }
}

static void add_args(reid_json_writer *w, const reid_profile_span *span)
{
    reid_json_key(w, "args");
    reid_json_object(w);
    if (span->kind == REID_PROFILE_FORWARD || span->kind == REID_PROFILE_BACKWARD) {
        add_string(w, "operation", span->text);
        add_string(w, "kernel", span->detail);
    }
    if (span->kind == REID_PROFILE_ALL_REDUCE) {
        add_int(w, "bytes", (int64_t)span->bytes);
        add_time(w, "queued_us", span->queued_s);
        add_time(w, "waited_for_others_us", span->waited_s);
    }
    reid_json_end_object(w);
}

static void add_span(reid_json_writer *w, const reid_profile *profile,
                     const reid_profile_span *span)
{
    REID_AUTOFREE char *name = name_of(span);
    begin_event(w, profile, "X",
                span->kind == REID_PROFILE_ALL_REDUCE ? COMM_TRACK : STEPPING_TRACK, name);
    add_string(w, "cat", CATEGORIES[span->kind]);
    add_time(w, "ts", span->start_s);
    add_time(w, "dur", span->end_s - span->start_s);
    add_args(w, span);
    reid_json_end_object(w);
}

/* Where the missing ones begin. */
static void add_limit_note(reid_json_writer *w, const reid_profile *profile)
{
    if (profile->dropped == 0)
        return;
    double last_s = profile->start_s;
    for (size_t i = 0; i < profile->spans.count; i++)
        last_s = fmax(last_s, profile->spans.items[i].end_s);
    REID_AUTOFREE char *note =
        reid_xasprintf("%zu spans from here on were not recorded: the limit of %zu was reached",
                       profile->dropped, profile->limit);
    begin_event(w, profile, "i", STEPPING_TRACK, note);
    add_string(w, "s", "p");
    add_time(w, "ts", last_s);
    reid_json_end_object(w);
}

void reid_profile_render(const reid_profile *profile, reid_str *out)
{
    reid_json_writer w = reid_json_begin(out);
    reid_json_object(&w);
    add_string(&w, "displayTimeUnit", "ms");
    reid_json_key(&w, "otherData");
    reid_json_object(&w);
    add_int(&w, "rank", profile->rank);
    add_int(&w, "first_iteration", profile->first_iteration);
    add_int(&w, "steps", profile->steps);
    add_time(&w, "start_ts", profile->start_s);
    add_int(&w, "start_wall_ms", profile->wall_ms);
    add_int(&w, "spans_not_recorded", (int64_t)profile->dropped);
    reid_json_end_object(&w);
    reid_json_key(&w, "traceEvents");
    reid_json_array(&w);
    add_labels(&w, profile);
    for (size_t i = 0; i < profile->spans.count; i++)
        add_span(&w, profile, &profile->spans.items[i]);
    add_limit_note(&w, profile);
    reid_json_end_array(&w);
    reid_json_end_object(&w);
}
