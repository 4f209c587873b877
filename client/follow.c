#include "follow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/vec.h"
#include "connect.h"
#include "out/style.h"

#define HISTORY_MAX 4096 /* values kept per metric, then every second one is dropped */
#define LINE_SECONDS 2.0 /* between plain lines while it trains */
#define DRAW_SECONDS 0.2

typedef struct series {
    char *name;
    REID_VEC(double) values;
    size_t stride, skipped; /* one of `stride` values is kept */
    double latest;
} series;

typedef struct follow {
    reidctl *ctl;
    Reid__V1__Job *job; /* the newest snapshot */
    REID_VEC(series) all;
    int64_t iteration;
    int drawn_lines;
    double last_output;
    int64_t last_printed; /* iteration of the last plain line */
    int last_state, last_phase;
    int evaluations; /* rows with a mAP seen, so that each is printed once */
    int printed_evaluations;
} follow;

/* ---- what comes in ---- */

static series *find_series(follow *f, const char *name)
{
    for (size_t i = 0; i < f->all.count; i++)
        if (strcmp(f->all.items[i].name, name) == 0)
            return &f->all.items[i];
    series new = {.name = reid_xstrdup(name), .stride = 1};
    reid_vec_push(&f->all, new);
    return &f->all.items[f->all.count - 1];
}

static void add_value(series *s, double value)
{
    s->latest = value;
    if (++s->skipped < s->stride)
        return;
    s->skipped = 0;
    reid_vec_push(&s->values, value);
    if (s->values.count < HISTORY_MAX)
        return;
    for (size_t i = 0; i < HISTORY_MAX / 2; i++)
        s->values.items[i] = s->values.items[2 * i + 1];
    s->values.count = HISTORY_MAX / 2;
    s->stride *= 2;
}

static void take_rows(follow *f, const Reid__V1__MetricsChunk *chunk)
{
    for (size_t i = 0; i < chunk->n_rows; i++) {
        const Reid__V1__MetricRow *row = chunk->rows[i];
        f->iteration = row->iteration;
        for (size_t k = 0; k < row->n_scalars; k++) {
            add_value(find_series(f, row->scalars[k]->name), row->scalars[k]->value);
            if (strcmp(row->scalars[k]->name, "mAP") == 0)
                f->evaluations++;
        }
    }
}

/* ---- what is shown ---- */

static bool is_loss(const char *name)
{
    return strstr(name, "loss") != NULL;
}

static bool is_result(const char *name)
{
    return strncmp(name, "Rank-", 5) == 0 || strcmp(name, "mAP") == 0 ||
           strcmp(name, "mINP") == 0 || strchr(name, '/') != NULL;
}

static const series *get_series(const follow *f, const char *name)
{
    for (size_t i = 0; i < f->all.count; i++)
        if (strcmp(f->all.items[i].name, name) == 0)
            return &f->all.items[i];
    return NULL;
}

static void add_results(const follow *f, reid_str *out)
{
    const char *gap = "";
    for (size_t i = 0; i < f->all.count; i++)
        if (is_result(f->all.items[i].name)) {
            reid_str_add(out, gap);
            reidctl_add_clean(out, f->all.items[i].name);
            reid_str_addf(out, " %.2f", f->all.items[i].latest);
            gap = "  ";
        }
}

static void add_plain_line(const follow *f, reid_str *out)
{
    const Reid__V1__Progress *p = f->job->progress;
    const series *lr = get_series(f, "lr");
    reid_str_addf(out, "epoch %d/%d  iter %lld/%lld  eta ", p->epoch + 1, p->max_epoch,
                  (long long)p->iteration, (long long)p->max_iteration);
    reidctl_add_age(out, p->eta_seconds);
    for (size_t i = 0; i < f->all.count; i++)
        if (is_loss(f->all.items[i].name)) {
            reid_str_add(out, "  ");
            reidctl_add_clean(out, f->all.items[i].name);
            reid_str_addf(out, " %.4g", f->all.items[i].latest);
        }
    if (lr != NULL)
        reid_str_addf(out, "  lr %.2e", lr->latest);
    if (p->images_per_second > 0)
        reid_str_addf(out, "  %.0f images/s", p->images_per_second);
}

static void print_plain(follow *f)
{
    const Reid__V1__Job *job = f->job;
    reid_str out = REID_STR_INIT;
    if ((int)job->state != f->last_state || (int)job->phase != f->last_phase) {
        reid_str_addf(&out, "job %s (", job->id);
        reidctl_add_clean(&out, job->name);
        reid_str_addf(&out, ") %s", reidctl_state_name(job->state));
        if (job->phase != 0 && !reidctl_state_is_final(job->state))
            reid_str_addf(&out, ": %s", reidctl_phase_name(job->phase));
        if (*job->detail != '\0' && !reidctl_state_is_final(job->state)) {
            reid_str_add(&out, " (");
            reidctl_add_clean(&out, job->detail);
            reid_str_add(&out, ")");
        }
        reid_str_add(&out, "\n");
        f->last_state = (int)job->state;
        f->last_phase = (int)job->phase;
    }
    double now = reid_clock_seconds();
    bool ended = reidctl_state_is_final(job->state);
    bool training =
        job->progress != NULL && job->progress->iteration > f->last_printed && f->all.count > 0;
    if (training && (ended || now - f->last_output >= LINE_SECONDS)) {
        add_plain_line(f, &out);
        reid_str_add(&out, "\n");
        f->last_printed = job->progress->iteration;
        f->last_output = now;
    }
    if (f->evaluations > f->printed_evaluations) {
        reid_str_add(&out, "evaluation  ");
        add_results(f, &out);
        reid_str_add(&out, "\n");
        f->printed_evaluations = f->evaluations;
    }
    fputs(reid_str_text(&out), stdout);
    fflush(stdout);
    reid_str_fini(&out);
}

static int terminal_width(void)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20)
        return size.ws_col;
    return 80;
}

static void add_head(const follow *f, reid_str *out)
{
    const Reid__V1__Job *job = f->job;
    bool color = f->ctl->color;
    reid_str_addf(out, "%s", reidctl_bold(color));
    reidctl_add_clean(out, job->name);
    reid_str_addf(out, "%s %s  %s%s%s %s", reidctl_plain(color), job->id,
                  reidctl_state_color(job->state, color), reidctl_state_name(job->state),
                  reidctl_plain(color),
                  reidctl_state_is_final(job->state) ? "" : reidctl_phase_name(job->phase));
    if (*job->detail != '\0') {
        reid_str_addf(out, "  %s", reidctl_dim(color));
        reidctl_add_clean(out, job->detail);
        reid_str_add(out, reidctl_plain(color));
    }
    reid_str_add(out, "\n");
}

static void add_progress(const follow *f, reid_str *out, int width)
{
    const Reid__V1__Progress *p = f->job->progress;
    if (p == NULL || p->max_iteration <= 0)
        return;
    double fraction = (double)p->iteration / (double)p->max_iteration;
    reidctl_add_bar(out, fraction, (size_t)(width > 100 ? 40 : width / 3));
    reid_str_addf(out, " %3.0f%%  epoch %d/%d  iter %lld/%lld  eta ", fraction * 100, p->epoch + 1,
                  p->max_epoch, (long long)p->iteration, (long long)p->max_iteration);
    reidctl_add_age(out, p->eta_seconds);
    reid_str_add(out, "\n");
}

static void add_charts(const follow *f, reid_str *out, int width)
{
    size_t cells = width > 60 ? (size_t)width - 34 : 26;
    for (size_t i = 0; i < f->all.count; i++) {
        const series *s = &f->all.items[i];
        if (!is_loss(s->name) && strcmp(s->name, "cls_accuracy") != 0)
            continue;
        reid_str name = REID_STR_INIT;
        reidctl_add_clean(&name, s->name);
        reid_str_addf(out, "  %-14.14s %10.4g  ", reid_str_text(&name), s->latest);
        reidctl_add_sparkline(out, s->values.items, s->values.count, REID_MIN(cells, (size_t)80));
        reid_str_add(out, "\n");
        reid_str_fini(&name);
    }
}

static void add_rates(const follow *f, reid_str *out)
{
    const series *lr = get_series(f, "lr"), *time = get_series(f, "time");
    const series *data = get_series(f, "data_time");
    if (lr == NULL)
        return;
    reid_str_addf(out, "  lr %.2e", lr->latest);
    if (f->job->progress != NULL && f->job->progress->images_per_second > 0)
        reid_str_addf(out, "  %.0f images/s", f->job->progress->images_per_second);
    if (time != NULL)
        reid_str_addf(out, "  %.0f ms/step", time->latest * 1000);
    if (data != NULL)
        reid_str_addf(out, "  %.1f ms waiting for data", data->latest * 1000);
    reid_str_add(out, "\n");
}

static void draw(follow *f)
{
    reid_str out = REID_STR_INIT, body = REID_STR_INIT;
    int width = terminal_width();
    add_head(f, &body);
    add_progress(f, &body, width);
    add_charts(f, &body, width);
    add_rates(f, &body);
    if (f->evaluations > 0) {
        reid_str_add(&body, "  ");
        add_results(f, &body);
        reid_str_add(&body, "\n");
    }
    if (f->drawn_lines > 0)
        reid_str_addf(&out, "\033[%dA\r", f->drawn_lines);
    f->drawn_lines = 0;
    /* Lines must not wrap, or the way back up would be wrong: wrapping is off while they are drawn.
     */
    reid_str_add(&out, "\033[?7l\033[J");
    for (const char *p = reid_str_text(&body); *p != '\0'; p++)
        f->drawn_lines += *p == '\n';
    reid_str_add(&out, reid_str_text(&body));
    reid_str_add(&out, "\033[?7h");
    fputs(reid_str_text(&out), stdout);
    fflush(stdout);
    f->last_output = reid_clock_seconds();
    reid_str_fini(&out);
    reid_str_fini(&body);
}

static void show(follow *f, bool now)
{
    if (f->job == NULL)
        return;
    if (!f->ctl->terminal)
        print_plain(f);
    else if (now || reid_clock_seconds() - f->last_output >= DRAW_SECONDS)
        draw(f);
}

static void print_end(const follow *f)
{
    const Reid__V1__Job *job = f->job;
    if (job->state == REID__V1__JOB_STATE__JOB_STATE_FAILED && job->failure != NULL) {
        reid_str text = REID_STR_INIT;
        reidctl_add_clean(&text, job->failure->sentence);
        fprintf(stderr, "reidctl: job %s failed: %s\n", job->id, reid_str_text(&text));
        reid_str_fini(&text);
    } else if (job->state == REID__V1__JOB_STATE__JOB_STATE_SUCCEEDED) {
        printf("job %s succeeded; checkpoints and logs are in %s\n", job->id, job->output_dir);
    } else {
        printf("job %s was cancelled\n", job->id);
    }
}

/* ---- streams ---- */

typedef struct streams {
    reid_rpc_client_stream *watch, *metrics;
    bool watch_ended, metrics_ended;
} streams;

static reid_status start(reidctl *ctl, const char *job, streams *ret_streams, reid_error *err)
{
    Reid__V1__WatchJobRequest watch = REID__V1__WATCH_JOB_REQUEST__INIT;
    Reid__V1__MetricsRequest metrics = REID__V1__METRICS_REQUEST__INIT;
    watch.id = (char *)job;
    metrics.id = (char *)job;
    metrics.follow = true;
    REID_TRY(reidctl_connect(ctl, err));
    REID_TRY(reid_rpc_client_start(ctl->client, "/reid.v1.JobService/Watch", &watch.base,
                                   &reid__v1__job__descriptor, &ret_streams->watch, err));
    return reid_rpc_client_start(ctl->client, "/reid.v1.JobService/Metrics", &metrics.base,
                                 &reid__v1__metrics_chunk__descriptor, &ret_streams->metrics, err);
}

/* All messages of a stream that are there, waiting at most wait_ms for the first. */
static reid_status drain(follow *f, reid_rpc_client_stream *stream, uint32_t wait_ms, bool *ended,
                         reid_error *err)
{
    while (!*ended) {
        ProtobufCMessage *message = NULL;
        reid_status status = reid_rpc_client_next(stream, wait_ms, &message, err);
        if (status == REID_ERR_TIMEOUT) {
            reid_error_clear(err);
            return REID_OK;
        }
        REID_TRY(status);
        wait_ms = 1;
        if (message == NULL) {
            *ended = true;
        } else if (message->descriptor == &reid__v1__job__descriptor) {
            reid__v1__job__free_unpacked(f->job, NULL);
            f->job = (Reid__V1__Job *)message;
        } else {
            take_rows(f, (const Reid__V1__MetricsChunk *)message);
            protobuf_c_message_free_unpacked(message, NULL);
            return REID_OK; /* so that a long history does not keep the screen waiting */
        }
    }
    return REID_OK;
}

static int run(follow *f, streams *s)
{
    reid_error err = {0};
    while (!(s->watch_ended && s->metrics_ended)) {
        if (drain(f, s->metrics, 100, &s->metrics_ended, &err) != REID_OK ||
            drain(f, s->watch, s->metrics_ended ? 100 : 1, &s->watch_ended, &err) != REID_OK) {
            if (f->job != NULL && err.code == REID_ERR_UNAVAILABLE)
                fprintf(stderr, "reidctl: the job goes on; reidctl watch %s looks again\n",
                        f->job->id);
            return reidctl_report(&err);
        }
        show(f, s->watch_ended);
        if (reidctl_interrupted()) {
            fprintf(stderr, "%sdetached; the job goes on: reidctl watch %s\n",
                    f->ctl->terminal ? "\n" : "", f->job != NULL ? f->job->id : "");
            return REIDCTL_INTERRUPTED;
        }
    }
    if (f->job == NULL || !reidctl_state_is_final(f->job->state)) {
        reid_fail(&err, REID_ERR_UNAVAILABLE, "reidd ended the watch before the job ended");
        return reidctl_report(&err);
    }
    print_end(f);
    return f->job->exit_code;
}

int reidctl_follow(reidctl *ctl, const char *job)
{
    follow f = {.ctl = ctl, .last_state = -1};
    streams s = {0};
    reid_error err = {0};
    reidctl_catch_interrupt();
    int code = start(ctl, job, &s, &err) == REID_OK ? run(&f, &s) : reidctl_report(&err);
    reid_rpc_client_stop(s.watch);
    reid_rpc_client_stop(s.metrics);
    reid__v1__job__free_unpacked(f.job, NULL);
    for (size_t i = 0; i < f.all.count; i++) {
        free(f.all.items[i].name);
        reid_vec_fini(&f.all.items[i].values);
    }
    reid_vec_fini(&f.all);
    return code;
}
