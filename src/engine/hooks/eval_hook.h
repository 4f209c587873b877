/* EvalHook: evaluates after every `period` epochs, and at the end of a complete training if its
 * last epoch was not a multiple of the period. Period 0: never. A training that failed or was
 * stopped is not evaluated in after_train.
 *
 * Results are put unsmoothed, by their bare names when there is one data set, else as "<data
 * set>/<name>". Register it on all ranks: the callback is collective, and a barrier follows it.
 */
#ifndef REID_ENGINE_HOOKS_EVAL_HOOK_H
#define REID_ENGINE_HOOKS_EVAL_HOOK_H

#include "comm/comm.h"
#include "engine/hook.h"

typedef struct reid_eval_results reid_eval_results;
/* Called by the callback, in the order in which they are to be shown; texts are copied. Ranks
 * without results add none. */
void reid_eval_results_add(reid_eval_results *results, const char *dataset, const char *name,
                           double value);

typedef reid_status reid_eval_fn(void *user, reid_eval_results *results, reid_error *err);

typedef struct reid_eval_hook_options {
    int64_t period; /* epochs */
    reid_eval_fn *evaluate;
    void *user;
    reid_comm *comm; /* NULL: no barrier */
} reid_eval_hook_options;

reid_hook *reid_eval_hook_new(const reid_eval_hook_options *options);

/* For control words. Collective. Evaluates now: the results become scalars of the storage's current
 * iteration. */
reid_status reid_eval_hook_run(reid_hook *eval_hook, reid_error *err);
int64_t reid_eval_hook_period(const reid_hook *eval_hook);
void reid_eval_hook_set_period(reid_hook *eval_hook, int64_t period);

#endif
