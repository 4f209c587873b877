#include "follow.h"

#include <signal.h>
#include <stdio.h>

#include "base/clock.h"
#include "out/screen.h"
#include "out/style.h"
#include "out/text.h"
#include "rows.h"
#include "view.h"

#define LINE_SECONDS 2.0 /* between plain lines while it trains */
#define DRAW_SECONDS 0.1 /* between pictures when there is news */
#define IDLE_SECONDS 1.0 /* between pictures when there is none: the clock goes on */
#define WAIT_MS 100

enum { WATCH, METRICS, FEEDS };

typedef struct follow {
    reidctl *ctl;
    reidctl_feeds feeds;
    reidctl_feed items[FEEDS];
    reidctl_rows rows;
    reidctl_view view;
    bool caught_up; /* what comes now is live */
    bool news;
    /* on a terminal */
    reidctl_screen screen;
    size_t columns, lines;
    double drawn_at;
    /* otherwise */
    double printed_at;
    int64_t printed_iteration;
    int printed_state, printed_phase;
} follow;

static volatile sig_atomic_t continued;

static void on_continue(int number)
{
    (void)number;
    continued = 1;
}

static void print(void (*add)(const reidctl_view *, reid_str *), const reidctl_view *view)
{
    reid_str out = REID_STR_INIT;
    add(view, &out);
    puts(reid_str_text(&out));
    reid_str_fini(&out);
}

/* ---- plain lines ---- */

static void print_training_when_due(follow *f)
{
    const Reid__V1__Job *job = f->view.job;
    double now = reid_clock_seconds();
    bool due = reidctl_state_is_final(job->state) || now - f->printed_at >= LINE_SECONDS;
    if (!due || !f->caught_up || f->view.series.count == 0 || job->progress == NULL ||
        job->progress->iteration <= f->printed_iteration)
        return;
    print(reidctl_view_add_training, &f->view);
    f->printed_iteration = job->progress->iteration;
    f->printed_at = now;
}

static void print_news(follow *f, bool ended)
{
    const Reid__V1__Job *job = f->view.job;
    bool final = reidctl_state_is_final(job->state);
    bool changed = (int)job->state != f->printed_state || (int)job->phase != f->printed_phase;
    if (final && !ended)
        return; /* first what it did before */
    if (changed && !final)
        print(reidctl_view_add_state, &f->view);
    print_training_when_due(f);
    if (changed && final)
        print(reidctl_view_add_state, &f->view);
    f->printed_state = (int)job->state;
    f->printed_phase = (int)job->phase;
    fflush(stdout);
}

/* ---- the picture ---- */

static void draw(follow *f)
{
    reid_str picture = REID_STR_INIT, out = REID_STR_INIT;
    reidctl_sight sight = {.columns = f->columns,
                           .lines = f->lines > 1 ? f->lines - 1 : 1, /* the cursor is below */
                           .color = f->ctl->color,
                           .now_ms = reid_clock_wall_ms()};
    f->view.notice =
        reidctl_feeds_is_lost(&f->feeds) ? "reidd is away; looking for it, the job goes on" : NULL;
    reidctl_view_draw(&f->view, &sight, &picture);
    reidctl_screen_draw(&f->screen, reid_str_text(&picture), sight.columns, &out);
    fwrite(reid_str_text(&out), 1, out.length, stdout);
    fflush(stdout);
    reid_str_fini(&picture);
    reid_str_fini(&out);
    f->drawn_at = reid_clock_seconds();
    f->news = false;
}

static void draw_when_due(follow *f, bool ended)
{
    size_t columns, lines;
    reidctl_screen_size(&columns, &lines);
    bool resized = columns != f->columns || lines != f->lines;
    f->columns = columns;
    f->lines = lines;
    if (continued) {
        continued = 0;
        reidctl_screen_leave(&f->screen);
        resized = true;
    }
    double since = reid_clock_seconds() - f->drawn_at;
    if (ended || resized || since >= (f->news ? DRAW_SECONDS : IDLE_SECONDS))
        draw(f);
}

/* ---- streams ---- */

static void take_chunk(follow *f, const Reid__V1__MetricsChunk *chunk)
{
    size_t first = reidctl_rows_take(&f->rows, &f->feeds, METRICS, chunk);
    for (size_t i = first; i < chunk->n_rows; i++)
        if (reidctl_view_take_row(&f->view, chunk->rows[i]) && !f->ctl->terminal)
            print(reidctl_view_add_evaluation, &f->view);
    f->caught_up = f->caught_up || chunk->caught_up;
}

/* What has come on one stream, waiting at most wait_ms for the first message. */
static reid_status take(follow *f, size_t which, uint32_t wait_ms, reid_error *err)
{
    while (!f->items[which].ended) {
        ProtobufCMessage *message = NULL;
        reid_status status = reidctl_feeds_next(&f->feeds, which, wait_ms, &message, err);
        if (status == REID_ERR_TIMEOUT)
            return REID_OK;
        REID_TRY(status);
        f->news = true;
        wait_ms = 1;
        if (message == NULL) {
            f->caught_up = f->caught_up || which == METRICS;
        } else if (which == WATCH) {
            reidctl_view_take_job(&f->view, (Reid__V1__Job *)message);
        } else {
            take_chunk(f, (const Reid__V1__MetricsChunk *)message);
            protobuf_c_message_free_unpacked(message, NULL);
            return REID_OK; /* a long history must not keep the screen waiting */
        }
    }
    return REID_OK;
}

static int detach(follow *f)
{
    if (!reidctl_is_interrupted())
        return REIDCTL_INTERRUPTED; /* nobody listens */
    fprintf(stderr, "%sreidctl: detached, the job goes on; reidctl watch %s looks again\n",
            f->ctl->terminal ? "\r\033[K" : "", f->view.job->id);
    return REIDCTL_INTERRUPTED;
}

static int finish(const follow *f)
{
    const Reid__V1__Job *job = f->view.job;
    if (job->state == REID__V1__JOB_STATE__JOB_STATE_SUCCEEDED) {
        reid_str folder = REID_STR_INIT;
        reidctl_add_clean(&folder, job->output_dir);
        printf("job %s succeeded; its files are in %s\n", job->id, reid_str_text(&folder));
        reid_str_fini(&folder);
    }
    return reidctl_report_end(job);
}

static int run(follow *f)
{
    reid_error err = {0};
    for (;;) {
        const reidctl_feed *watch = &f->items[WATCH], *metrics = &f->items[METRICS];
        if (take(f, METRICS, WAIT_MS, &err) != REID_OK ||
            take(f, WATCH, metrics->ended ? WAIT_MS : 1, &err) != REID_OK)
            return reidctl_report(&err);
        bool ended = watch->ended && metrics->ended;
        if (watch->ended && !reidctl_state_is_final(f->view.job->state)) {
            reidctl_feeds_lose(&f->feeds, "reidd has ended the stream before the job ended");
            ended = false;
        }
        if (f->ctl->terminal)
            draw_when_due(f, ended);
        else
            print_news(f, ended);
        if (ended)
            return finish(f);
        if (reidctl_is_stopped())
            return detach(f);
    }
}

int reidctl_follow(reidctl *ctl, const char *word)
{
    follow f = {.ctl = ctl, .printed_state = -1};
    reid_error err = {0};
    Reid__V1__WatchJobRequest watch = REID__V1__WATCH_JOB_REQUEST__INIT;
    reidctl_catch_interrupt();
    if (reidctl_get_job(ctl, word, &f.view.job, &err) != REID_OK)
        return reidctl_report(&err);
    char *id = reid_xstrdup(f.view.job->id); /* a name could mean another job later */
    watch.id = id;
    reidctl_rows_init(&f.rows, id, true);
    f.items[WATCH] = (reidctl_feed){
        .method = "Watch", .request = &watch.base, .output = &reid__v1__job__descriptor};
    f.items[METRICS] = reidctl_rows_feed(&f.rows);
    struct sigaction action = {.sa_handler = on_continue};
    sigaction(SIGCONT, &action, NULL);
    int code;
    if (reidctl_feeds_init(&f.feeds, ctl, f.items, FEEDS, &err) != REID_OK) {
        code = reidctl_report(&err);
    } else {
        f.feeds.silent = ctl->terminal;
        code = run(&f);
    }
    reidctl_feeds_fini(&f.feeds);
    reidctl_view_fini(&f.view);
    reidctl_screen_fini(&f.screen);
    free(id);
    return code;
}
