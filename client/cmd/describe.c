#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "connect.h"
#include "out/json.h"
#include "out/style.h"

static void print_line(const char *key, const char *value)
{
    reid_str text = REID_STR_INIT;
    reidctl_add_clean(&text, value);
    printf("%-14s%s\n", key, reid_str_text(&text));
    reid_str_fini(&text);
}

static void print_time(const char *key, int64_t wall_ms)
{
    char text[32];
    if (wall_ms <= 0)
        return;
    reid_format_time(text, wall_ms);
    print_line(key, text);
}

static void print_progress(const Reid__V1__Job *job)
{
    const Reid__V1__Progress *p = job->progress;
    if (p == NULL || p->max_iteration <= 0)
        return;
    printf("%-14siteration %lld of %lld, epoch %d of %d\n", "Progress", (long long)p->iteration,
           (long long)p->max_iteration, p->epoch + 1, p->max_epoch);
    if (p->images_per_second > 0)
        printf("%-14s%.0f images/s\n", "Speed", p->images_per_second);
    if (p->eta_seconds >= 0 && !reidctl_state_is_final(job->state)) {
        reid_str text = REID_STR_INIT;
        reidctl_add_age(&text, p->eta_seconds);
        print_line("ETA", reid_str_text(&text));
        reid_str_fini(&text);
    }
}

static void print_failure(const reidctl *ctl, const Reid__V1__Job *job)
{
    const Reid__V1__Failure *f = job->failure;
    if (f == NULL || job->state != REID__V1__JOB_STATE__JOB_STATE_FAILED)
        return;
    reid_str text = REID_STR_INIT;
    reidctl_add_clean(&text, f->sentence);
    printf("%-14s%s%s%s\n", "First cause", reidctl_state_color(job->state, ctl->color),
           reid_str_text(&text), reidctl_plain(ctl->color));
    reid_str_fini(&text);
    if (f->rank >= 0)
        printf("%-14s%d\n", "Culprit rank", f->rank);
}

static void print_job(const reidctl *ctl, const Reid__V1__Job *job)
{
    print_line("Id", job->id);
    print_line("Name", job->name);
    print_line("User", job->user);
    printf("%-14s%s%s%s %s\n", "State", reidctl_state_color(job->state, ctl->color),
           reidctl_state_name(job->state), reidctl_plain(ctl->color),
           reidctl_state_is_final(job->state) ? "" : reidctl_phase_name(job->phase));
    if (*job->detail != '\0')
        print_line("Detail", job->detail);
    print_failure(ctl, job);
    printf("%-14s%d\n", "Ranks", job->ranks);
    if (job->attempt > 0)
        printf("%-14s%d\n", "Attempt", job->attempt);
    if (job->queue_position > 0)
        printf("%-14s%d\n", "In queue", job->queue_position);
    print_time("Submitted", job->submitted_ms);
    print_time("Started", job->started_ms);
    print_time("Ended", job->ended_ms);
    if (reidctl_state_is_final(job->state))
        printf("%-14s%d\n", "Exit status", job->exit_code);
    print_line("Output", job->output_dir);
    print_progress(job);
    if (job->n_latest > 0)
        puts("Latest");
    for (size_t i = 0; i < job->n_latest; i++) {
        reid_str name = REID_STR_INIT;
        reidctl_add_clean(&name, job->latest[i]->name);
        printf("  %-22s %.6g\n", reid_str_text(&name), job->latest[i]->value);
        reid_str_fini(&name);
    }
}

int reidctl_cmd_describe(reidctl *ctl)
{
    reid_error err = {0};
    Reid__V1__Job *job = NULL;
    const char *format = ctl->args.output != NULL ? ctl->args.output : "table";
    bool json = strcmp(format, "json") == 0;
    if (!json && strcmp(format, "table") != 0)
        reid_fail(&err, REID_ERR_INVALID, "describe: the format is table or json, not '%s'",
                  format);
    else
        reidctl_get_job(ctl, ctl->words[0], &job, &err);
    if (err.code != REID_OK)
        return reidctl_report(&err);
    if (json) {
        reid_str out = REID_STR_INIT;
        reid_json_writer w = reid_json_begin(&out);
        w.item_separator = ", ";
        w.key_separator = ": ";
        reidctl_json_job(&w, job);
        puts(reid_str_text(&out));
        reid_str_fini(&out);
    } else {
        print_job(ctl, job);
    }
    reid__v1__job__free_unpacked(job, NULL);
    return REIDCTL_OK;
}
