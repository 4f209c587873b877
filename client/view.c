#include "view.h"

#include <string.h>

#include "base/compiler.h"
#include "out/style.h"
#include "out/text.h"

/* ---- what comes in ---- */

void reidctl_view_fini(reidctl_view *view)
{
    reid__v1__job__free_unpacked(view->job, NULL);
    for (size_t i = 0; i < view->series.count; i++) {
        free(view->series.items[i].name);
        reid_vec_fini(&view->series.items[i].points);
    }
    reid_vec_fini(&view->series);
    free(view->evaluation);
    *view = (reidctl_view){0};
}

void reidctl_view_take_job(reidctl_view *view, Reid__V1__Job *own_job)
{
    reid__v1__job__free_unpacked(view->job, NULL);
    view->job = own_job;
}

/* The series called `name`; `hint` is where it was in the row before. NULL: too many. */
static reidctl_series *get_series(reidctl_view *view, const char *name, size_t hint)
{
    if (hint < view->series.count && strcmp(view->series.items[hint].name, name) == 0)
        return &view->series.items[hint];
    for (size_t i = 0; i < view->series.count; i++)
        if (strcmp(view->series.items[i].name, name) == 0)
            return &view->series.items[i];
    if (view->series.count == REIDCTL_SERIES_MAX)
        return NULL;
    reidctl_series new = {.name = reid_xstrdup(name), .stride = 1};
    reid_vec_push(&view->series, new);
    return &view->series.items[view->series.count - 1];
}

static void add_value(reidctl_series *s, double value)
{
    s->latest = value;
    s->sum += value;
    if (++s->summed < s->stride)
        return;
    reid_vec_push(&s->points, s->sum / (double)s->stride);
    s->sum = 0;
    s->summed = 0;
    if (s->points.count < REIDCTL_SERIES_POINTS)
        return;
    double *points = s->points.items;
    for (size_t i = 0; i < REIDCTL_SERIES_POINTS / 2; i++)
        points[i] = (points[2 * i] + points[2 * i + 1]) / 2;
    s->points.count = REIDCTL_SERIES_POINTS / 2;
    s->stride *= 2;
}

/* Evaluations of several data sets are called "Name/mAP". */
static bool is_result(const char *name)
{
    const char *slash = strrchr(name, '/');
    const char *last = slash != NULL ? slash + 1 : name;
    return reid_str_starts(last, "Rank-") || strcmp(last, "mAP") == 0 ||
           strcmp(last, "mINP") == 0 || strcmp(last, "metric") == 0;
}

bool reidctl_view_take_row(reidctl_view *view, const Reid__V1__MetricRow *row)
{
    reid_str results = REID_STR_INIT;
    for (size_t i = 0; i < row->n_scalars; i++) {
        const Reid__V1__Scalar *scalar = row->scalars[i];
        reidctl_series *series = get_series(view, scalar->name, i);
        if (series != NULL)
            add_value(series, scalar->value);
        if (!is_result(scalar->name))
            continue;
        reid_str_add(&results, "  ");
        reidctl_add_clean(&results, scalar->name);
        reid_str_addf(&results, " %.2f", scalar->value);
    }
    if (results.length == 0)
        return false;
    free(view->evaluation);
    view->evaluation = reid_xasprintf("after epoch %d%s", row->epoch + 1, reid_str_text(&results));
    reid_str_fini(&results);
    return true;
}

static const reidctl_series *find(const reidctl_view *view, const char *name)
{
    for (size_t i = 0; i < view->series.count; i++)
        if (strcmp(view->series.items[i].name, name) == 0)
            return &view->series.items[i];
    return NULL;
}

static bool is_loss(const char *name)
{
    return strstr(name, "loss") != NULL;
}

/* ---- parts of both forms ---- */

static void add_counts(const Reid__V1__Progress *p, reid_str *out)
{
    reid_str_addf(out, "epoch %d/%d  iter %lld/%lld  eta ", REID_MIN(p->epoch + 1, p->max_epoch),
                  p->max_epoch, (long long)p->iteration, (long long)p->max_iteration);
    reidctl_add_age(out, p->eta_seconds);
}

static void add_speed(const reidctl_view *view, reid_str *out)
{
    const reidctl_series *lr = find(view, "lr");
    if (lr != NULL)
        reid_str_addf(out, "  lr %.2e", lr->latest);
    if (view->job->progress != NULL && view->job->progress->images_per_second > 0)
        reid_str_addf(out, "  %.0f images/s", view->job->progress->images_per_second);
}

/* ---- lines ---- */

void reidctl_view_add_state(const reidctl_view *view, reid_str *out)
{
    const Reid__V1__Job *job = view->job;
    bool ended = reidctl_state_is_final(job->state);
    reid_str_addf(out, "job %s (", job->id);
    reidctl_add_clean(out, job->name);
    reid_str_addf(out, ") %s", reidctl_state_name(job->state));
    if (job->phase != 0 && !ended)
        reid_str_addf(out, ": %s", reidctl_phase_name(job->phase));
    if (*reidctl_job_detail(job) != '\0' && !ended) {
        reid_str_add(out, " (");
        reidctl_add_clean(out, job->detail);
        reid_str_add(out, ")");
    }
}

void reidctl_view_add_training(const reidctl_view *view, reid_str *out)
{
    add_counts(view->job->progress, out);
    for (size_t i = 0; i < view->series.count; i++)
        if (is_loss(view->series.items[i].name)) {
            reid_str_add(out, "  ");
            reidctl_add_clean(out, view->series.items[i].name);
            reid_str_addf(out, " %.4g", view->series.items[i].latest);
        }
    add_speed(view, out);
}

void reidctl_view_add_evaluation(const reidctl_view *view, reid_str *out)
{
    reid_str_addf(out, "evaluation %s", view->evaluation);
}

/* ---- the picture ---- */

#define NAME_CELLS 14
#define CHART_LEFT (2 + NAME_CELLS + 1 + 10 + 2) /* cells before a sparkline */
#define CHART_MAX 80
#define BAR_MAX 40

typedef struct drawing {
    const reidctl_view *view;
    const reidctl_sight *sight;
    reid_str *out;
    reid_str line; /* being made */
    size_t left;   /* lines that may still be drawn */
} drawing;

static void end_line(drawing *d)
{
    if (d->left > 0) {
        reidctl_add_cut(d->out, reid_str_text(&d->line), d->sight->columns);
        reid_str_add(d->out, "\n");
        d->left--;
    }
    reid_str_clear(&d->line);
}

static void draw_head(drawing *d)
{
    const Reid__V1__Job *job = d->view->job;
    bool color = d->sight->color, ended = reidctl_state_is_final(job->state);
    reid_str_add(&d->line, reidctl_bold(color));
    reidctl_add_clean(&d->line, job->name);
    reid_str_addf(&d->line, "%s %s  %s%s%s", reidctl_plain(color), job->id,
                  reidctl_state_color(job->state, color), reidctl_state_name(job->state),
                  reidctl_plain(color));
    if (job->phase != 0 && !ended)
        reid_str_addf(&d->line, " %s", reidctl_phase_name(job->phase));
    if (job->started_ms > 0) {
        int64_t end = ended ? job->ended_ms : d->sight->now_ms;
        reid_str_add(&d->line, "  ");
        reidctl_add_age(&d->line, (double)(end - job->started_ms) / 1000);
    }
    if (*reidctl_job_detail(job) != '\0' && !ended) {
        reid_str_addf(&d->line, "  %s", reidctl_dim(color));
        reidctl_add_clean(&d->line, job->detail);
        reid_str_add(&d->line, reidctl_plain(color));
    }
    end_line(d);
}

static void draw_progress(drawing *d)
{
    const Reid__V1__Progress *p = d->view->job->progress;
    if (p == NULL || p->max_iteration <= 0)
        return;
    double fraction = (double)p->iteration / (double)p->max_iteration;
    reid_str counts = REID_STR_INIT;
    reid_str_addf(&counts, " %3.0f%%  ", fraction * 100);
    add_counts(p, &counts);
    size_t text = counts.length + 2, columns = d->sight->columns;
    size_t cells = columns > text ? REID_MIN(columns - text, (size_t)BAR_MAX) : 0;
    if (cells >= 4)
        reidctl_add_bar(&d->line, fraction, cells);
    reid_str_add(&d->line, reid_str_text(&counts));
    reid_str_fini(&counts);
    end_line(d);
}

static bool is_charted(const reidctl_series *s)
{
    return is_loss(s->name) || strcmp(s->name, "cls_accuracy") == 0;
}

static void draw_charts(drawing *d, size_t keep)
{
    size_t columns = d->sight->columns;
    size_t cells = columns > CHART_LEFT ? REID_MIN(columns - CHART_LEFT, (size_t)CHART_MAX) : 0;
    for (size_t i = 0; i < d->view->series.count && d->left > keep; i++) {
        const reidctl_series *s = &d->view->series.items[i];
        if (!is_charted(s))
            continue;
        reid_str name = REID_STR_INIT;
        reidctl_add_clean(&name, s->name);
        reid_str_add(&d->line, "  ");
        size_t start = d->line.length;
        reidctl_add_cut(&d->line, reid_str_text(&name), NAME_CELLS);
        reidctl_add_pad(&d->line, reidctl_text_width(d->line.data + start), NAME_CELLS);
        reid_str_addf(&d->line, " %10.4g  ", s->latest);
        reidctl_add_sparkline(&d->line, s->points.items, s->points.count, cells);
        reid_str_fini(&name);
        end_line(d);
    }
}

static void draw_rates(drawing *d)
{
    const reidctl_series *time = find(d->view, "time"), *data = find(d->view, "data_time");
    add_speed(d->view, &d->line);
    if (time != NULL)
        reid_str_addf(&d->line, "  %.0f ms/step", time->latest * 1000);
    if (data != NULL)
        reid_str_addf(&d->line, "  %.1f ms waiting for data", data->latest * 1000);
    if (d->line.length > 0)
        end_line(d);
}

void reidctl_view_draw(const reidctl_view *view, const reidctl_sight *sight, reid_str *out)
{
    drawing d = {.view = view, .sight = sight, .out = out, .left = sight->lines};
    if (view->job == NULL)
        return;
    size_t below = 1u + (view->evaluation != NULL) + (view->notice != NULL);
    draw_head(&d);
    draw_progress(&d);
    draw_charts(&d, below);
    draw_rates(&d);
    if (view->evaluation != NULL) {
        reid_str_addf(&d.line, "  %s", view->evaluation);
        end_line(&d);
    }
    if (view->notice != NULL) {
        reid_str_addf(&d.line, "  %s%s%s", reidctl_bold(sight->color), view->notice,
                      reidctl_plain(sight->color));
        end_line(&d);
    }
    reid_str_fini(&d.line);
}
