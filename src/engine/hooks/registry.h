/* The built-in hooks as a table: names, help, options, how to make one.
 *
 * One more hook is one file with its functions and its row, one declaration below and one line in
 * registry.c. The order of the table is that in which a default training registers them (timer
 * first, writer last).
 *
 *     const char *options[] = {"period=5"};
 *     reid_hook_make("EvalHook", &context, 1, options, &hook, err);
 *
 * Threads: any, the table is constant.
 */
#ifndef REID_ENGINE_HOOKS_REGISTRY_H
#define REID_ENGINE_HOOKS_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "comm/comm.h"
#include "engine/hook.h"
#include "engine/hooks/eval_hook.h"
#include "engine/hooks/periodic_checkpointer.h"
#include "events/writer.h"
#include "solver/lr_schedule.h"
#include "solver/optimizer.h"

/* What hooks may need of the training; NULL where it has no such thing. Borrowed, but for the
 * writers, which the PeriodicWriter takes. */
typedef struct reid_hook_context {
    reid_comm *comm;
    reid_optimizer *optimizer;
    reid_lr_schedule *schedule;
    reid_eval_fn *evaluate;
    void *evaluate_user;
    reid_checkpoint_fn *save;
    void *save_user;
    reid_event_writer *const *writers;
    size_t writer_count;
} reid_hook_context;

typedef enum reid_hook_option_type { REID_HOOK_INT, REID_HOOK_STRING } reid_hook_option_type;

typedef struct reid_hook_option {
    const char *name;
    reid_hook_option_type type;
    const char *otherwise; /* default, as text */
    int64_t minimum;       /* of an integer */
    const char *help;
} reid_hook_option;

typedef struct reid_hook_values reid_hook_values;
int64_t reid_hook_value_int(const reid_hook_values *values, const char *name);
const char *reid_hook_value_string(const reid_hook_values *values, const char *name);

typedef struct reid_hook_kind {
    const char *name;
    const char *help;
    bool rank0_only; /* else it is registered on all ranks */
    bool single;     /* a second one in a training would do harm */
    const reid_hook_option *options;
    size_t option_count;
    reid_status (*make)(const reid_hook_context *context, const reid_hook_values *values,
                        reid_hook **ret_hook, reid_error *err);
} reid_hook_kind;

/* The rows, each in its hook's file. */
extern const reid_hook_kind reid_hook_kind_iteration_timer;
extern const reid_hook_kind reid_hook_kind_lr_scheduler;
extern const reid_hook_kind reid_hook_kind_eval_hook;
extern const reid_hook_kind reid_hook_kind_periodic_checkpointer;
extern const reid_hook_kind reid_hook_kind_periodic_writer;
extern const reid_hook_kind reid_hook_kind_memory_stats;

/* NULL beyond the end. */
const reid_hook_kind *reid_hook_kind_at(size_t index);
const reid_hook_kind *reid_hook_kind_find(const char *name);

/* `options` are "name=value" texts; what is not given has its default. NOT_FOUND (with the nearest
 * name): no such hook; INVALID: an option that the hook does not have, is there twice, or has no
 * such value; PRECONDITION: the context lacks what the hook needs. */
reid_status reid_hook_make(const char *name, const reid_hook_context *context, size_t option_count,
                           const char *const *options, reid_hook **ret_hook, reid_error *err);

/* For the makers: PRECONDITION, "the hook NAME needs WHAT, which this training does not have". */
reid_status reid_hook_needs(reid_error *err, const char *name, const char *what);

#endif
