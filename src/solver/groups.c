#include "solver/groups.h"

#include <string.h>

#include "base/str.h"

typedef struct rules {
    double lr, bias_lr_factor, heads_lr_factor;
    double decay, decay_norm, decay_bias;
} rules;

static rules read_rules(const reid_config *config)
{
    return (rules){
        .lr = reid_config_float(config, "SOLVER.BASE_LR"),
        .bias_lr_factor = reid_config_float(config, "SOLVER.BIAS_LR_FACTOR"),
        .heads_lr_factor = reid_config_float(config, "SOLVER.HEADS_LR_FACTOR"),
        .decay = reid_config_float(config, "SOLVER.WEIGHT_DECAY"),
        .decay_norm = reid_config_float(config, "SOLVER.WEIGHT_DECAY_NORM"),
        .decay_bias = reid_config_float(config, "SOLVER.WEIGHT_DECAY_BIAS"),
    };
}

/* The order matters: norm, then bias, then heads. */
static void apply_rules(const rules *r, const reid_param *param, double *ret_lr, double *ret_decay)
{
    double lr = r->lr, decay = r->decay;
    if (param->kind == REID_PARAM_NORM_WEIGHT || param->kind == REID_PARAM_NORM_BIAS)
        decay = r->decay_norm;
    if (reid_str_ends(param->name, ".bias")) {
        decay = r->decay_bias;
        lr = r->lr * r->bias_lr_factor;
    }
    if (reid_str_starts(param->name, "heads."))
        lr *= r->heads_lr_factor;
    *ret_lr = lr;
    *ret_decay = decay;
}

static reid_solver_group *find_or_add(reid_solver_groups *groups, double lr, double decay)
{
    for (size_t i = 0; i < groups->list.count; i++) {
        reid_solver_group *group = &groups->list.items[i];
        if (group->base_lr == lr && group->weight_decay == decay)
            return group;
    }
    reid_solver_group group = {.base_lr = lr, .scheduled_lr = lr, .lr = lr, .weight_decay = decay};
    reid_vec_push(&groups->list, group);
    return &groups->list.items[groups->list.count - 1];
}

static int compare_ranges(const void *a, const void *b)
{
    const reid_optimizer_range *x = a, *y = b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static void merge_ranges(reid_solver_group *group)
{
    qsort(group->ranges.items, group->ranges.count, sizeof *group->ranges.items, compare_ranges);
    size_t kept = 0;
    for (size_t i = 0; i < group->ranges.count; i++) {
        reid_optimizer_range range = group->ranges.items[i];
        reid_optimizer_range *last = kept ? &group->ranges.items[kept - 1] : NULL;
        if (last && last->offset + last->size == range.offset)
            last->size += range.size;
        else
            group->ranges.items[kept++] = range;
    }
    group->ranges.count = kept;
}

void reid_solver_groups_init(reid_solver_groups *groups, const reid_config *config,
                             const reid_params *params)
{
    *groups = (reid_solver_groups){0};
    rules r = read_rules(config);
    for (size_t i = 0; i < params->count; i++) {
        const reid_param *param = &params->items[i];
        if (!param->trainable)
            continue;
        double lr, decay;
        apply_rules(&r, param, &lr, &decay);
        reid_solver_group *group = find_or_add(groups, lr, decay);
        reid_optimizer_range range = {param->offset, param->size};
        reid_vec_push(&group->ranges, range);
    }
    for (size_t i = 0; i < groups->list.count; i++) {
        groups->list.items[i].main_decay = groups->list.items[i].weight_decay == r.decay;
        merge_ranges(&groups->list.items[i]);
    }
}

void reid_solver_groups_fini(reid_solver_groups *groups)
{
    for (size_t i = 0; i < groups->list.count; i++)
        reid_vec_fini(&groups->list.items[i].ranges);
    reid_vec_fini(&groups->list);
}
