/* Control words: what people and programs want of a running training, done on all ranks before the
 * same iteration.
 *
 * A request reaches rank 0's queue from any thread. After each step rank 0 looks: it checks the
 * requests, gives each the iteration before which it takes effect, max(at_iter, next), and writes
 * them to the journal (base/journal.h). How many bytes of words there are is told with the numbers
 * that the ranks exchange after each step anyway; only when there are some do the ranks take part
 * in one broadcast. So a step without words costs nothing, and a word costs one small broadcast.
 *
 * Hooks that the training waits for are answered sooner: after a point where one is due all ranks
 * take part in a fence (reid_control_fence), one broadcast of 8 bytes when nobody wants anything.
 * What is agreed on there holds for the very next thing: after before_step, for that step.
 *
 * Every rank keeps the words that are to come in order of (iteration, seq) and applies them between
 * two steps. control_words.c has the table of all kinds: a set changes a knob (knobs.h),
 * `checkpoint` saves, `evaluate` evaluates, `skip_step` drops a batch, `profile` records, `stop`
 * and `pause` end the training with REID_ERR_CANCELLED (the caller saves), hook_* change the list
 * of guest hooks (guest/host.h).
 *
 * Resuming: the control is a hook without points, whose saved state is the last word that was
 * applied and the knobs that were changed. Words of the journal behind it are replayed at their
 * iterations (reid_control_replay), but for stop and pause, which have been obeyed. So a resumed
 * run has the same bits as one that was never interrupted.
 *
 * Life: reid_control_new → reid_trainer_add_hook, trainer->control → [state loaded] →
 * reid_control_replay → the trainer calls prepare, share and apply → freed as a hook.
 *
 * Threads: the queue from any thread, all else from the stepping thread.
 */
#ifndef REID_ENGINE_CONTROL_H
#define REID_ENGINE_CONTROL_H

#include "base/journal.h"
#include "comm/comm.h"
#include "engine/guest/host.h"
#include "engine/hook.h"
#include "engine/knobs.h"

/* ---- the queue of rank 0 ---- */

#define REID_CONTROL_QUEUE_LIMIT 64
#define REID_CONTROL_SETTINGS_LIMIT 32

typedef struct reid_control_setting {
    char *name, *value;
} reid_control_setting;

typedef struct reid_control_request {
    char *id;        /* unique; a second one with the same id is dropped */
    char *kind;      /* a row of control_words.c */
    int64_t at_iter; /* 0: as soon as possible */
    int64_t wall_ms;
    char *who, *reason;
    /* set: knobs and values. profile: "steps". hook_add: name and spec (guest/guest.h).
     * hook_remove, hook_enable, hook_disable: the id. */
    reid_control_setting *settings;
    size_t setting_count;
} reid_control_request;

void reid_control_request_fini(reid_control_request *request);

typedef struct reid_control_queue reid_control_queue;
reid_control_queue *reid_control_queue_new(void);
void reid_control_queue_free(reid_control_queue *queue); /* NULL is fine */
/* Takes the contents in any case. EXHAUSTED when it is full. */
reid_status reid_control_queue_push(reid_control_queue *queue, reid_control_request *own_request,
                                    reid_error *err);

/* ---- the control ---- */

typedef enum reid_control_outcome {
    REID_CONTROL_NONE,
    REID_CONTROL_STOPPED,
    REID_CONTROL_PAUSED,
} reid_control_outcome;

typedef struct reid_control reid_control;

typedef struct reid_control_options {
    reid_comm *comm;
    reid_control_queue *queue; /* of rank 0; NULL: no words come */
    const char *journal_path;  /* copied */
    reid_knob_targets targets;
    reid_guest_host *guests; /* borrowed; NULL: no guest hooks */
    /* Records the next steps, on all ranks. NULL: it cannot. */
    reid_status (*profile)(void *user, int64_t steps, reid_error *err);
    /* Saves a checkpoint to resume from, with what the trainer's state is now. Called on all ranks.
     */
    reid_status (*checkpoint)(void *user, reid_error *err);
    /* Rank 0, stepping thread: all entries of a request (their lines are in the journal), or why it
     * was refused. NULL: nobody wants to know. */
    void (*agreed)(void *user, const char *id, const reid_journal_entry *entries, size_t count);
    void (*refused)(void *user, const char *id, const reid_error *why);
    void *user;
} reid_control_options;

/* *ret_hook is the control as a hook, for reid_trainer_add_hook, which owns it. */
reid_control *reid_control_new(const reid_control_options *options, reid_hook **ret_hook);

/* Whether an entry belongs to what was before `iteration`: it takes effect before it, or a hook
 * wished it after the iteration before. A journal that was copied for a fork (an entry of kind
 * "fork") counts up to the fork's iteration; what it holds of later words is void. */
bool reid_control_is_history(const reid_journal_entry *entry, int64_t iteration);
/* A journal that is in the way is renamed to journal.1.jsonl, … */
reid_status reid_control_move_journal_aside(const char *path, reid_error *err);

/* Collective, before the training. `resumed`: goes on with the journal that is there, and replays
 * what the loaded state does not have yet. Otherwise an old journal is moved aside
 * (journal.1.jsonl, …). CORRUPT when the journal was tampered with. */
reid_status reid_control_replay(reid_control *control, bool resumed, reid_error *err);

/* Rank 0, stepping thread: as prepare does with what is in the queue. For wishes of hooks. */
reid_status reid_control_accept(reid_control *control, const reid_control_request *request,
                                int64_t next, reid_error *err);
/* Rank 0: into the queue. */
reid_status reid_control_push(reid_control *control, reid_control_request *own_request,
                              reid_error *err);

/* For the trainer. Collective, after the hooks of a point: where a hook is due that the training
 * waits for, and after before_train, ranks agree on what rank 0 has now; before a step it is obeyed
 * at once. */
reid_status reid_control_fence(reid_control *control, reid_point point, reid_error *err);
/* Whether the coming step is to be skipped; once. */
bool reid_control_take_skip(reid_control *control);
/* Rank 0: looks into the queue; `next` is the iteration after this step. Returns
 * the bytes to share; 0 on other ranks. */
size_t reid_control_prepare(reid_control *control, int64_t next);
/* Collective when bytes, rank 0's answer of the above, is not 0. */
reid_status reid_control_share(reid_control *control, size_t bytes, reid_error *err);
/* Collective. Applies what is due before the trainer's iteration. After a stop or pause the outcome
 * is set and the trainer has a request to stop. */
reid_status reid_control_apply(reid_control *control, reid_error *err);
reid_control_outcome reid_control_outcome_of(const reid_control *control);

#endif
