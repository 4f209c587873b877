/* Parameter groups by fast-reid's rules (see optimizer.h). Private to this folder. */
#ifndef REID_SOLVER_GROUPS_H
#define REID_SOLVER_GROUPS_H

#include "base/vec.h"
#include "solver/optimizer.h"

typedef struct reid_solver_group {
    double base_lr, weight_decay;
    double scheduled_lr; /* as the schedule set it */
    double lr;           /* the one in force: scheduled_lr times the optimizer's scale */
    bool main_decay;     /* its decay is SOLVER.WEIGHT_DECAY's */
    REID_VEC(reid_optimizer_range) ranges;
} reid_solver_group;

typedef struct reid_solver_groups {
    REID_VEC(reid_solver_group) list;
} reid_solver_groups;

void reid_solver_groups_init(reid_solver_groups *groups, const reid_config *config,
                             const reid_params *params);
void reid_solver_groups_fini(reid_solver_groups *groups);

#endif
