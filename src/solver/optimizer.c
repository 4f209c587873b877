#include "solver/optimizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "solver/clip.h"
#include "solver/groups.h"

#define MAX_STATES 2

/* One row per SOLVER.OPT. */
typedef struct optimizer_impl {
    const char *name;
    const char *states[MAX_STATES]; /* NULL behind the last */
    reid_status (*read)(reid_optimizer *o, const reid_config *config,
                        reid_error *err); /* may be NULL */
    /* grad_factor: of clipping and of the loss scale */
    void (*update)(reid_optimizer *o, const reid_solver_group *group, double grad_factor);
} optimizer_impl;

struct reid_optimizer {
    const optimizer_impl *impl;
    reid_params *params;
    reid_backend *backend;
    reid_solver_groups groups;
    reid_clip clip;
    size_t logged_group;
    reid_optimizer_lr_scale lr_scale;
    double main_decay;
    double momentum;
    bool nesterov;
    size_t state_count;
    float *states[MAX_STATES];
    int64_t steps;
};

static void adam_update_as(reid_optimizer *o, const reid_solver_group *group, double grad_factor,
                           bool decoupled)
{
    reid_adam args = {
        .lr = group->lr,
        .beta1 = 0.9,
        .beta2 = 0.999,
        .eps = 1e-8,
        .weight_decay = group->weight_decay,
        .step = o->steps + 1,
        .decoupled = decoupled,
        .grad_factor = grad_factor,
    };
    reid_backend_adam(o->backend, &args, group->ranges.items, group->ranges.count, o->params->value,
                      o->params->grad, o->states[0], o->states[1], NULL);
}

static void adam_update(reid_optimizer *o, const reid_solver_group *group, double grad_factor)
{
    adam_update_as(o, group, grad_factor, false);
}

static void adamw_update(reid_optimizer *o, const reid_solver_group *group, double grad_factor)
{
    adam_update_as(o, group, grad_factor, true);
}

static reid_status sgd_read(reid_optimizer *o, const reid_config *config, reid_error *err)
{
    o->momentum = reid_config_float(config, "SOLVER.MOMENTUM");
    o->nesterov = reid_config_bool(config, "SOLVER.NESTEROV");
    if (!(o->momentum >= 0))
        return reid_fail(err, REID_ERR_INVALID, "SOLVER.MOMENTUM is %g; it must not be negative",
                         o->momentum);
    if (o->nesterov && o->momentum == 0)
        return reid_fail(err, REID_ERR_INVALID, "SOLVER.NESTEROV needs a SOLVER.MOMENTUM above 0");
    if (o->momentum == 0)
        o->state_count = 0;
    return REID_OK;
}

static void sgd_update(reid_optimizer *o, const reid_solver_group *group, double grad_factor)
{
    reid_sgd args = {
        .lr = group->lr,
        .momentum = o->momentum,
        .weight_decay = group->weight_decay,
        .nesterov = o->nesterov,
        .first = o->steps == 0,
        .grad_factor = grad_factor,
    };
    float *momentum_buffer = o->state_count ? o->states[0] : NULL;
    reid_backend_sgd(o->backend, &args, group->ranges.items, group->ranges.count, o->params->value,
                     o->params->grad, momentum_buffer);
}

static const optimizer_impl optimizers[] = {
    {"Adam", {"exp_avg", "exp_avg_sq"}, NULL, adam_update},
    {"AdamW", {"exp_avg", "exp_avg_sq"}, NULL, adamw_update},
    {"SGD", {"momentum_buffer"}, sgd_read, sgd_update},
};

static size_t commonest_group(const reid_solver_groups *groups)
{
    size_t best = 0, best_votes = 0;
    for (size_t i = 0; i < groups->list.count; i++) {
        size_t votes = 0;
        for (size_t j = 0; j < groups->list.count; j++)
            votes += groups->list.items[j].base_lr == groups->list.items[i].base_lr;
        if (votes > best_votes) {
            best = i;
            best_votes = votes;
        }
    }
    return best;
}

static reid_status read_impl(reid_optimizer *o, const reid_config *config, reid_error *err)
{
    const char *name = reid_config_string(config, "SOLVER.OPT");
    for (size_t i = 0; i < REID_COUNT_OF(optimizers); i++)
        if (strcmp(optimizers[i].name, name) == 0)
            o->impl = &optimizers[i];
    if (!o->impl)
        return reid_fail(err, REID_ERR_UNSUPPORTED,
                         "SOLVER.OPT '%s' is not supported; use Adam, AdamW or SGD", name);
    while (o->state_count < MAX_STATES && o->impl->states[o->state_count])
        o->state_count++;
    return o->impl->read ? o->impl->read(o, config, err) : REID_OK;
}

reid_status reid_optimizer_states_of(const reid_config *config, size_t *ret_count, reid_error *err)
{
    reid_optimizer probe = {0};
    REID_TRY(read_impl(&probe, config, err));
    *ret_count = probe.state_count;
    return REID_OK;
}

static reid_status no_room(const reid_optimizer *o, size_t state, size_t bytes, reid_error *err)
{
    reid_error why = {0};
    reid_backend_status(o->backend, &why);
    return reid_fail(err, REID_ERR_EXHAUSTED, "no memory for the optimizer's %s (%zu MiB)%s%s",
                     o->impl->states[state], (bytes >> 20) + 1, why.text[0] ? "; " : "", why.text);
}

static reid_status alloc_states(reid_optimizer *o, reid_error *err)
{
    size_t bytes = o->params->total * sizeof(float);
    for (size_t i = 0; i < o->state_count; i++) {
        o->states[i] = reid_backend_alloc(o->backend, bytes);
        if (!o->states[i])
            return no_room(o, i, bytes, err);
    }
    return REID_OK;
}

reid_status reid_optimizer_new(const reid_config *config, reid_params *params,
                               reid_backend *backend, reid_optimizer **ret_optimizer,
                               reid_error *err)
{
    reid_optimizer *o = reid_xcalloc(1, sizeof *o);
    o->params = params;
    o->backend = backend;
    reid_solver_groups_init(&o->groups, config, params);
    o->logged_group = commonest_group(&o->groups);
    o->lr_scale = (reid_optimizer_lr_scale){1, 1};
    o->main_decay = reid_config_float(config, "SOLVER.WEIGHT_DECAY");
    reid_status status = read_impl(o, config, err);
    if (status == REID_OK)
        status = reid_clip_read(config, &o->clip, err);
    if (status == REID_OK && o->groups.list.count == 0)
        status = reid_fail(err, REID_ERR_INVALID, "the network has no parameter to train");
    if (status == REID_OK)
        status = alloc_states(o, err);
    if (status != REID_OK) {
        reid_optimizer_free(o);
        return status;
    }
    *ret_optimizer = o;
    return REID_OK;
}

void reid_optimizer_free(reid_optimizer *optimizer)
{
    if (!optimizer)
        return;
    for (size_t i = 0; i < MAX_STATES; i++)
        if (optimizer->states[i])
            reid_backend_release(optimizer->backend, optimizer->states[i],
                                 optimizer->params->total * sizeof(float));
    reid_solver_groups_fini(&optimizer->groups);
    free(optimizer);
}

static void step(reid_optimizer *o, double loss_scale)
{
    for (size_t i = 0; i < o->groups.list.count; i++) {
        const reid_solver_group *group = &o->groups.list.items[i];
        o->impl->update(o, group,
                        reid_clip_group(&o->clip, o->backend, group, o->params->grad, loss_scale));
    }
    o->steps++;
}

void reid_optimizer_step(reid_optimizer *optimizer)
{
    step(optimizer, 1);
}

bool reid_optimizer_step_scaled(reid_optimizer *optimizer, double loss_scale)
{
    REID_ASSERT(loss_scale > 0);
    const reid_range all = {0, optimizer->params->trainable}; /* padding is zero */
    if (!isfinite(reid_backend_sum_squares(optimizer->backend, &all, 1, optimizer->params->grad)))
        return false;
    step(optimizer, loss_scale);
    return true;
}

double reid_optimizer_lr(const reid_optimizer *optimizer)
{
    return optimizer->groups.list.items[optimizer->logged_group].lr;
}

size_t reid_optimizer_group_count(const reid_optimizer *optimizer)
{
    return optimizer->groups.list.count;
}

static const reid_solver_group *group_at(const reid_optimizer *optimizer, size_t group)
{
    REID_ASSERT(group < optimizer->groups.list.count);
    return &optimizer->groups.list.items[group];
}

double reid_optimizer_group_base_lr(const reid_optimizer *optimizer, size_t group)
{
    return group_at(optimizer, group)->base_lr;
}

double reid_optimizer_group_lr(const reid_optimizer *optimizer, size_t group)
{
    return group_at(optimizer, group)->lr;
}

void reid_optimizer_group_set_lr(reid_optimizer *optimizer, size_t group, double lr)
{
    REID_ASSERT(group < optimizer->groups.list.count);
    reid_solver_group *g = &optimizer->groups.list.items[group];
    g->scheduled_lr = lr;
    g->lr = optimizer->lr_scale.rate * (lr / optimizer->lr_scale.reference);
}

double reid_optimizer_group_weight_decay(const reid_optimizer *optimizer, size_t group)
{
    return group_at(optimizer, group)->weight_decay;
}

reid_optimizer_lr_scale reid_optimizer_get_lr_scale(const reid_optimizer *optimizer)
{
    return optimizer->lr_scale;
}

void reid_optimizer_set_lr_scale(reid_optimizer *optimizer, reid_optimizer_lr_scale scale)
{
    REID_ASSERT(scale.rate > 0 && scale.reference > 0);
    optimizer->lr_scale = scale;
    for (size_t i = 0; i < optimizer->groups.list.count; i++)
        reid_optimizer_group_set_lr(optimizer, i, optimizer->groups.list.items[i].scheduled_lr);
}

double reid_optimizer_scheduled_lr(const reid_optimizer *optimizer)
{
    return optimizer->groups.list.items[optimizer->logged_group].scheduled_lr;
}

double reid_optimizer_weight_decay(const reid_optimizer *optimizer)
{
    return optimizer->main_decay;
}

void reid_optimizer_set_weight_decay(reid_optimizer *optimizer, double decay)
{
    optimizer->main_decay = decay;
    for (size_t i = 0; i < optimizer->groups.list.count; i++)
        if (optimizer->groups.list.items[i].main_decay)
            optimizer->groups.list.items[i].weight_decay = decay;
}

bool reid_optimizer_clips(const reid_optimizer *optimizer)
{
    return optimizer->clip.type != REID_CLIP_NONE;
}

double reid_optimizer_clip_value(const reid_optimizer *optimizer)
{
    return optimizer->clip.limit;
}

void reid_optimizer_set_clip_value(reid_optimizer *optimizer, double value)
{
    optimizer->clip.limit = value;
}

size_t reid_optimizer_group_range_count(const reid_optimizer *optimizer, size_t group)
{
    return group_at(optimizer, group)->ranges.count;
}

reid_optimizer_range reid_optimizer_group_range(const reid_optimizer *optimizer, size_t group,
                                                size_t range)
{
    const reid_solver_group *g = group_at(optimizer, group);
    REID_ASSERT(range < g->ranges.count);
    return g->ranges.items[range];
}

const char *reid_optimizer_name(const reid_optimizer *optimizer)
{
    return optimizer->impl->name;
}

size_t reid_optimizer_state_count(const reid_optimizer *optimizer)
{
    return optimizer->state_count;
}

reid_optimizer_state reid_optimizer_state_at(const reid_optimizer *optimizer, size_t i)
{
    REID_ASSERT(i < optimizer->state_count);
    return (reid_optimizer_state){optimizer->impl->states[i], optimizer->states[i]};
}

int64_t reid_optimizer_step_count(const reid_optimizer *optimizer)
{
    return optimizer->steps;
}

void reid_optimizer_set_step_count(reid_optimizer *optimizer, int64_t steps)
{
    REID_ASSERT(steps >= 0);
    optimizer->steps = steps;
}
