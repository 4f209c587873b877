#include "out/json.h"

#include "out/hooks.h"
#include "out/style.h"

static void add_text(reid_json_writer *w, const char *key, const char *value)
{
    reid_json_key(w, key);
    reid_json_string(w, value);
}

static void add_int(reid_json_writer *w, const char *key, int64_t value)
{
    reid_json_key(w, key);
    reid_json_int(w, value);
}

static void add_time(reid_json_writer *w, const char *key, int64_t wall_ms)
{
    reid_json_key(w, key);
    if (wall_ms > 0)
        reid_json_int(w, wall_ms);
    else
        reid_json_null(w);
}

static void add_scalars(reid_json_writer *w, const char *key, size_t count,
                        Reid__V1__Scalar **scalars)
{
    reid_json_key(w, key);
    reid_json_object(w);
    for (size_t i = 0; i < count; i++) {
        reid_json_key(w, scalars[i]->name);
        reid_json_double(w, scalars[i]->value);
    }
    reid_json_end_object(w);
}

static void add_progress(reid_json_writer *w, const Reid__V1__Progress *p)
{
    if (p == NULL)
        return;
    reid_json_key(w, "progress");
    reid_json_object(w);
    add_int(w, "iteration", p->iteration);
    add_int(w, "max_iteration", p->max_iteration);
    add_int(w, "epoch", p->epoch);
    add_int(w, "max_epoch", p->max_epoch);
    reid_json_key(w, "eta_seconds");
    if (p->eta_seconds >= 0)
        reid_json_double(w, p->eta_seconds);
    else
        reid_json_null(w);
    reid_json_key(w, "images_per_second");
    reid_json_double(w, p->images_per_second);
    reid_json_end_object(w);
}

static void add_failure(reid_json_writer *w, const Reid__V1__Failure *f)
{
    if (f == NULL)
        return;
    reid_json_key(w, "failure");
    reid_json_object(w);
    add_text(w, "sentence", f->sentence);
    add_int(w, "rank", f->rank);
    add_int(w, "exit_code", f->exit_code);
    add_int(w, "signal", f->signal);
    reid_json_end_object(w);
}

/* What was asked of the scheduler, and what has come of it. */
static void add_queue(reid_json_writer *w, const Reid__V1__Job *job)
{
    add_int(w, "wanted_ranks", job->wanted_ranks);
    add_int(w, "min_ranks", job->min_ranks);
    add_int(w, "priority", job->priority);
    add_text(w, "after", job->after);
    reid_json_key(w, "max_time_seconds");
    reid_json_double(w, job->max_time_seconds);
    add_text(w, "gpu_type", job->gpu_type);
    reid_json_key(w, "held");
    reid_json_bool(w, job->held);
    reid_json_key(w, "no_preempt");
    reid_json_bool(w, job->no_preempt);
    add_text(w, "placement", job->placement);
    reid_json_key(w, "ran_seconds");
    reid_json_double(w, job->ran_seconds);
    add_int(w, "preemptions", job->preemptions);
}

reid_json_writer reidctl_json_begin(reid_str *out)
{
    reid_json_writer w = reid_json_begin(out);
    w.item_separator = ", ";
    w.key_separator = ": ";
    return w;
}

void reidctl_json_job(reid_json_writer *w, const Reid__V1__Job *job)
{
    reidctl_json_job_with_hooks(w, job, NULL);
}

void reidctl_json_job_with_hooks(reid_json_writer *w, const Reid__V1__Job *job,
                                 const Reid__V1__ListHooksResponse *hooks)
{
    reid_json_object(w);
    add_text(w, "id", job->id);
    add_text(w, "name", job->name);
    add_text(w, "user", job->user);
    add_text(w, "state", reidctl_state_name(job->state));
    add_text(w, "phase", reidctl_phase_name(job->phase));
    add_int(w, "ranks", job->ranks);
    add_int(w, "attempt", job->attempt);
    add_time(w, "submitted_ms", job->submitted_ms);
    add_time(w, "started_ms", job->started_ms);
    add_time(w, "ended_ms", job->ended_ms);
    add_time(w, "last_progress_ms", job->last_progress_ms);
    add_int(w, "exit_code", job->exit_code);
    add_int(w, "restarts", job->restarts);
    add_int(w, "max_restarts", job->max_restarts);
    add_int(w, "queue_position", job->queue_position);
    add_time(w, "start_by_ms", job->start_by_ms);
    add_queue(w, job);
    add_text(w, "detail", job->detail);
    add_text(w, "output_dir", job->output_dir);
    add_progress(w, job->progress);
    add_failure(w, job->failure);
    add_scalars(w, "latest", job->n_latest, job->latest);
    if (hooks != NULL) {
        reid_json_key(w, "hooks");
        reidctl_json_hooks(w, hooks);
    }
    reid_json_end_object(w);
}

void reidctl_json_row(reid_json_writer *w, const Reid__V1__MetricRow *row)
{
    reid_json_object(w);
    add_int(w, "attempt", row->attempt);
    add_int(w, "seq", row->seq);
    add_int(w, "iteration", row->iteration);
    add_int(w, "epoch", row->epoch);
    add_int(w, "wall_ms", row->wall_ms);
    add_scalars(w, "metrics", row->n_scalars, row->scalars);
    reid_json_end_object(w);
}
