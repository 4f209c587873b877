#include <stdio.h>

#include "base/clock.h"
#include "connect.h"
#include "out/event.h"
#include "out/hooks.h"
#include "out/json.h"
#include "out/style.h"
#include "out/text.h"

#define KEY "%-14s"
#define RECENT_EVENTS 5
#define EVENTS_MS 5000

static void print_line(const char *key, const char *color, const char *value)
{
    reid_str text = REID_STR_INIT;
    reidctl_add_clean(&text, value);
    printf(KEY "%s%s%s\n", key, color, reid_str_text(&text), reidctl_plain(*color != '\0'));
    reid_str_fini(&text);
}

static void print_age(const char *key, double seconds, const char *behind)
{
    reid_str text = REID_STR_INIT;
    reidctl_add_age(&text, seconds);
    reid_str_add(&text, behind);
    print_line(key, "", reid_str_text(&text));
    reid_str_fini(&text);
}

static void print_time(const char *key, int64_t wall_ms)
{
    char text[32];
    if (wall_ms <= 0)
        return;
    reid_format_time(text, wall_ms);
    print_line(key, "", text);
}

static void print_progress(const Reid__V1__Job *job)
{
    const Reid__V1__Progress *p = job->progress;
    if (p == NULL || p->max_iteration <= 0)
        return;
    printf(KEY "iteration %lld of %lld, epoch %d of %d\n", "Progress", (long long)p->iteration,
           (long long)p->max_iteration, p->epoch < p->max_epoch ? p->epoch + 1 : p->max_epoch,
           p->max_epoch);
    if (p->images_per_second > 0)
        printf(KEY "%.0f images/s\n", "Speed", p->images_per_second);
    if (reidctl_state_is_final(job->state))
        return;
    if (p->eta_seconds >= 0)
        print_age("ETA", p->eta_seconds, "");
    if (job->last_progress_ms > 0) /* old news of a running job: it hangs */
        print_age("Last progress", (double)(reid_clock_wall_ms() - job->last_progress_ms) / 1000,
                  " ago");
}

static void print_state(const reidctl *ctl, const Reid__V1__Job *job)
{
    const char *color = reidctl_state_color(job->state, ctl->color);
    const Reid__V1__Failure *f = job->failure;
    bool ended = reidctl_state_is_final(job->state);
    printf(KEY "%s%s%s%s%s\n", "State", color, reidctl_state_name(job->state),
           reidctl_plain(ctl->color), ended || job->phase == 0 ? "" : " ",
           ended ? "" : reidctl_phase_name(job->phase));
    if (*reidctl_job_detail(job) != '\0')
        print_line("Detail", "", job->detail);
    if (f != NULL && job->state == REID__V1__JOB_STATE__JOB_STATE_FAILED) {
        print_line("First cause", color, f->sentence);
        if (f->rank >= 0)
            printf(KEY "%d\n", "Culprit rank", f->rank);
        if (f->signal != 0)
            printf(KEY "%d\n", "Signal", f->signal);
    }
    if (ended)
        printf(KEY "%d\n", "Exit status", job->exit_code);
}

static void print_latest(const Reid__V1__Job *job)
{
    if (job->n_latest > 0)
        puts("Latest");
    for (size_t i = 0; i < job->n_latest; i++) {
        reid_str line = REID_STR_INIT;
        reidctl_add_clean(&line, job->latest[i]->name);
        reidctl_add_pad(&line, reidctl_text_width(reid_str_text(&line)), 23);
        printf("  %s %.6g\n", reid_str_text(&line), job->latest[i]->value);
        reid_str_fini(&line);
    }
}

static bool has_hooks(const Reid__V1__Job *job)
{
    return job->state == REID__V1__JOB_STATE__JOB_STATE_STARTING ||
           job->state == REID__V1__JOB_STATE__JOB_STATE_RUNNING;
}

/* Those from outside, of a job that runs. */
static void print_hooks(reidctl *ctl, const Reid__V1__Job *job)
{
    Reid__V1__ListHooksResponse *list = NULL;
    reid_str out = REID_STR_INIT;
    if (!has_hooks(job) || reidctl_list_hooks(ctl, job->id, &list, NULL) != REID_OK)
        return;
    reidctl_add_guests(&out, list, ctl->color);
    if (out.length > 0)
        printf("Hooks\n%s", reid_str_text(&out));
    reid_str_fini(&out);
    reid__v1__list_hooks_response__free_unpacked(list, NULL);
}

/* The newest events of all that a job has; there are not so many that they could not be read. */
static void print_events(reidctl *ctl, const Reid__V1__Job *job)
{
    Reid__V1__EventsRequest request = REID__V1__EVENTS_REQUEST__INIT;
    reid_rpc_client_stream *stream = NULL;
    reid_str lines[RECENT_EVENTS] = {{0}};
    ProtobufCMessage *message = NULL;
    size_t count = 0;
    request.id = job->id;
    if (reid_rpc_client_start(ctl->client, "/reid.v1.JobService/Events", &request.base,
                              &reid__v1__events_chunk__descriptor, &stream, NULL) != REID_OK)
        return;
    while (reid_rpc_client_next(stream, EVENTS_MS, &message, NULL) == REID_OK && message != NULL) {
        const Reid__V1__EventsChunk *chunk = (const Reid__V1__EventsChunk *)message;
        for (size_t i = 0; i < chunk->n_events; i++, count++) {
            reid_str *line = &lines[count % RECENT_EVENTS];
            reid_str_clear(line);
            reidctl_add_event(line, chunk->events[i]);
        }
        protobuf_c_message_free_unpacked(message, NULL);
    }
    reid_rpc_client_stop(stream);
    if (count > 0)
        puts("Events");
    for (size_t i = count > RECENT_EVENTS ? count - RECENT_EVENTS : 0; i < count; i++)
        printf("%s\n", reid_str_text(&lines[i % RECENT_EVENTS]));
    for (size_t i = 0; i < RECENT_EVENTS; i++)
        reid_str_fini(&lines[i]);
}

static void print_wishes(const Reid__V1__Job *job)
{
    if (job->wanted_ranks > 0 && job->wanted_ranks != job->ranks)
        printf(KEY "%d\n", "Ranks wanted", (int)job->wanted_ranks);
    if (job->min_ranks > 0)
        printf(KEY "%d\n", "Ranks at least", (int)job->min_ranks);
    if (job->priority != 0)
        printf(KEY "%d\n", "Priority", (int)job->priority);
    if (*job->after != '\0')
        print_line("After", "", job->after);
    if (job->max_time_seconds > 0)
        print_age("Time limit", job->max_time_seconds, "");
    if (job->max_time_seconds > 0 && job->ran_seconds > 0)
        print_age("Time used", job->ran_seconds, "");
    if (*job->gpu_type != '\0')
        print_line("GPU type", "", job->gpu_type);
    if (*job->placement != '\0')
        print_line("Nodes", "", job->placement);
    if (job->no_preempt)
        puts("Preemption    never");
    else if (job->preemptions > 0)
        printf(KEY "%d times\n", "Preempted", job->preemptions);
}

static void print_job(reidctl *ctl, const Reid__V1__Job *job)
{
    print_line("Id", "", job->id);
    print_line("Name", "", job->name);
    print_line("User", "", job->user);
    print_state(ctl, job);
    printf(KEY "%d\n", "Ranks", job->ranks);
    if (job->attempt > 0)
        printf(KEY "%d\n", "Attempt", job->attempt);
    if (job->max_restarts > 0)
        printf(KEY "%d of %d\n", "Restarts", job->restarts, job->max_restarts);
    if (job->queue_position > 0)
        printf(KEY "%d\n", "In queue", job->queue_position);
    print_wishes(job);
    print_time("Submitted", job->submitted_ms);
    print_time("Started", job->started_ms);
    print_time("Ended", job->ended_ms);
    print_line("Output", "", job->output_dir);
    print_progress(job);
    print_latest(job);
    print_hooks(ctl, job);
    print_events(ctl, job);
}

int reidctl_cmd_describe(reidctl *ctl)
{
    reid_error err = {0};
    Reid__V1__Job *job = NULL;
    if (reidctl_get_job(ctl, ctl->words[0], &job, &err) != REID_OK)
        return reidctl_report(&err);
    if (reidctl_output_is(ctl, "json")) {
        reid_str out = REID_STR_INIT;
        reid_json_writer w = reidctl_json_begin(&out);
        Reid__V1__ListHooksResponse *list = NULL;
        if (has_hooks(job))
            reidctl_list_hooks(ctl, job->id, &list, NULL);
        reidctl_json_job_with_hooks(&w, job, list);
        if (list != NULL)
            reid__v1__list_hooks_response__free_unpacked(list, NULL);
        puts(reid_str_text(&out));
        reid_str_fini(&out);
    } else {
        print_job(ctl, job);
    }
    reid__v1__job__free_unpacked(job, NULL);
    return REIDCTL_OK;
}
