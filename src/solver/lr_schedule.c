#include "solver/lr_schedule.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"

typedef struct policy policy;

struct reid_lr_schedule {
    const policy *policy;
    reid_optimizer *optimizer; /* may be NULL */
    int64_t iters_per_epoch;
    int64_t delay_epochs;

    int64_t warmup_iters;
    double warmup_factor;
    double (*warmup)(double factor, double progress);

    int64_t *milestones; /* ascending */
    size_t milestone_count;
    double gamma;

    int64_t t_max;
    double eta_min;

    reid_lr_schedule_state state;
};

static double warmup_constant(double factor, double progress)
{
    return factor;
}

static double warmup_linear(double factor, double progress)
{
    return factor * (1 - progress) + progress;
}

static double warmup_exp(double factor, double progress)
{
    return pow(factor, 1 - progress);
}

static const struct {
    const char *name;
    double (*factor)(double factor, double progress);
} warmup_methods[] = {
    {"constant", warmup_constant},
    {"linear", warmup_linear},
    {"exp", warmup_exp},
};

/* One row per SOLVER.SCHED: what it reads, and the rate after `steps` epoch steps. */
struct policy {
    const char *name;
    reid_status (*read)(reid_lr_schedule *s, const reid_config *config, reid_error *err);
    double (*lr)(const reid_lr_schedule *s, double base_lr);
};

static int compare_int64(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static reid_status multi_step_read(reid_lr_schedule *s, const reid_config *config, reid_error *err)
{
    s->gamma = reid_config_float(config, "SOLVER.GAMMA");
    s->milestone_count = reid_config_count(config, "SOLVER.STEPS");
    if (s->milestone_count == 0)
        return REID_OK;
    s->milestones = reid_alloc(s->milestone_count, sizeof *s->milestones);
    if (!s->milestones)
        return reid_fail(err, REID_ERR_EXHAUSTED, "no memory for %zu SOLVER.STEPS",
                         s->milestone_count);
    for (size_t i = 0; i < s->milestone_count; i++)
        s->milestones[i] = reid_config_int_at(config, "SOLVER.STEPS", i);
    qsort(s->milestones, s->milestone_count, sizeof *s->milestones, compare_int64);
    return REID_OK;
}

/* torch multiplies the current rate at each milestone; the same order of operations gives the same
 * bits. A milestone 0 takes effect when the scheduler is made, and a warm-up then overwrites it. */
static double multi_step_lr(const reid_lr_schedule *s, double base_lr)
{
    double lr = base_lr;
    for (size_t i = 0; i < s->milestone_count && s->milestones[i] <= s->state.epoch_steps;) {
        int64_t milestone = s->milestones[i];
        size_t repeats = 0;
        for (; i < s->milestone_count && s->milestones[i] == milestone; i++)
            repeats++;
        if (milestone > 0 || (milestone == 0 && s->warmup_iters == 0))
            lr *= pow(s->gamma, (double)repeats);
    }
    return lr;
}

static reid_status cosine_read(reid_lr_schedule *s, const reid_config *config, reid_error *err)
{
    int64_t warmup_epochs =
        s->warmup_iters / s->iters_per_epoch + (s->warmup_iters % s->iters_per_epoch != 0);
    s->t_max =
        reid_config_int(config, "SOLVER.MAX_EPOCH") - REID_MAX(warmup_epochs, s->delay_epochs);
    s->eta_min = reid_config_float(config, "SOLVER.ETA_MIN_LR");
    return REID_OK;
}

static double cosine_lr(const reid_lr_schedule *s, double base_lr)
{
    if (s->t_max <= 0 || s->state.epoch_steps == 0)
        return base_lr;
    double angle = 3.14159265358979323846 * (double)s->state.epoch_steps / (double)s->t_max;
    return s->eta_min + (base_lr - s->eta_min) * (1 + cos(angle)) / 2;
}

static const policy policies[] = {
    {"MultiStepLR", multi_step_read, multi_step_lr},
    {"CosineAnnealingLR", cosine_read, cosine_lr},
};

static void apply(reid_lr_schedule *s)
{
    if (!s->optimizer)
        return;
    for (size_t i = 0; i < reid_optimizer_group_count(s->optimizer); i++) {
        double base_lr = reid_optimizer_group_base_lr(s->optimizer, i);
        reid_optimizer_group_set_lr(s->optimizer, i, reid_lr_schedule_lr(s, base_lr));
    }
}

static reid_status read_warmup(reid_lr_schedule *s, const reid_config *config, reid_error *err)
{
    s->warmup_iters = reid_config_int(config, "SOLVER.WARMUP_ITERS");
    if (s->warmup_iters < 0)
        s->warmup_iters = 0; /* as fast-reid: no warm-up unless positive */
    s->warmup_factor = reid_config_float(config, "SOLVER.WARMUP_FACTOR");
    const char *method = reid_config_string(config, "SOLVER.WARMUP_METHOD");
    for (size_t i = 0; i < REID_COUNT_OF(warmup_methods); i++)
        if (strcmp(warmup_methods[i].name, method) == 0)
            s->warmup = warmup_methods[i].factor;
    if (!s->warmup)
        return reid_fail(err, REID_ERR_INVALID,
                         "SOLVER.WARMUP_METHOD is '%s'; use constant, linear or exp", method);
    return REID_OK;
}

static reid_status read_policy(reid_lr_schedule *s, const reid_config *config, reid_error *err)
{
    const char *name = reid_config_string(config, "SOLVER.SCHED");
    for (size_t i = 0; i < REID_COUNT_OF(policies); i++)
        if (strcmp(policies[i].name, name) == 0)
            s->policy = &policies[i];
    if (!s->policy)
        return reid_fail(err, REID_ERR_UNSUPPORTED,
                         "SOLVER.SCHED '%s' is not supported; use MultiStepLR or CosineAnnealingLR",
                         name);
    return s->policy->read(s, config, err);
}

reid_status reid_lr_schedule_new(const reid_config *config, int64_t iters_per_epoch,
                                 reid_optimizer *optimizer, reid_lr_schedule **ret_schedule,
                                 reid_error *err)
{
    if (iters_per_epoch < 1)
        return reid_fail(
            err, REID_ERR_INVALID,
            "an epoch has no full batch: the training set is smaller than SOLVER.IMS_PER_BATCH");
    reid_lr_schedule *s = reid_xcalloc(1, sizeof *s);
    s->optimizer = optimizer;
    s->iters_per_epoch = iters_per_epoch;
    s->delay_epochs = reid_config_int(config, "SOLVER.DELAY_EPOCHS");
    reid_status status = read_warmup(s, config, err);
    if (status == REID_OK)
        status = read_policy(s, config, err);
    if (status != REID_OK) {
        reid_lr_schedule_free(s);
        return status;
    }
    apply(s);
    *ret_schedule = s;
    return REID_OK;
}

void reid_lr_schedule_free(reid_lr_schedule *schedule)
{
    if (!schedule)
        return;
    free(schedule->milestones);
    free(schedule);
}

double reid_lr_schedule_lr(const reid_lr_schedule *s, double base_lr)
{
    if (s->state.warmup_steps < s->warmup_iters) {
        double progress = (double)s->state.warmup_steps / (double)s->warmup_iters;
        return base_lr * s->warmup(s->warmup_factor, progress);
    }
    return s->policy->lr(s, base_lr);
}

void reid_lr_schedule_after_step(reid_lr_schedule *s, int64_t iter)
{
    if (iter + 1 > s->warmup_iters || s->state.warmup_steps >= s->warmup_iters)
        return;
    s->state.warmup_steps++;
    apply(s);
}

void reid_lr_schedule_after_epoch(reid_lr_schedule *s, int64_t epoch)
{
    int64_t done = (epoch + 1) * s->iters_per_epoch;
    if (done + 1 <= s->warmup_iters || epoch + 1 <= s->delay_epochs)
        return;
    s->state.epoch_steps++;
    apply(s);
}

reid_lr_schedule_state reid_lr_schedule_state_get(const reid_lr_schedule *s)
{
    return s->state;
}

reid_status reid_lr_schedule_state_set(reid_lr_schedule *s, reid_lr_schedule_state state,
                                       reid_error *err)
{
    bool warming = state.warmup_steps < s->warmup_iters;
    if (state.warmup_steps < 0 || state.epoch_steps < 0 || state.warmup_steps > s->warmup_iters ||
        (warming && state.epoch_steps > 0))
        return reid_fail(err, REID_ERR_INVALID,
                         "a schedule state of %lld warm-up and %lld epoch steps does not fit "
                         "SOLVER.WARMUP_ITERS %lld",
                         (long long)state.warmup_steps, (long long)state.epoch_steps,
                         (long long)s->warmup_iters);
    s->state = state;
    apply(s);
    return REID_OK;
}
