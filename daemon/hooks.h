/* Hooks from outside as the daemon knows them: the newest list that rank 0 has told, what agreed
 * words said since, and sentences for the job's events.
 *
 * Loop thread only.
 */
#ifndef REIDD_HOOKS_H
#define REIDD_HOOKS_H

#include "base/vec.h"
#include "daemon/manager.h"

#define REIDD_HOOKS_LIMIT 256      /* of one job, as on rank 0 */
#define REIDD_NOTES_AT_ONCE 20     /* sentences for the events of one job, */
#define REIDD_NOTES_PER_MINUTE 6   /* and then as many more */
#define REIDD_NOTES_PER_LIFE 10000 /* of an attempt in a life of the daemon */

typedef struct reidd_hook {
    int64_t id; /* 0: of the training itself */
    char *name, *kind, *last_error;
    bool enabled;
    void *bytes; /* packed reid.v1.Hook */
    size_t size;
} reidd_hook;
void reidd_hook_fini(reidd_hook *hook);

typedef struct reidd_hook_list {
    REID_VEC(reidd_hook)
    hooks;
    int64_t iteration; /* as of this one */
    bool known;        /* rank 0 has told it */
} reidd_hook_list;
void reidd_hook_list_fini(reidd_hook_list *list);
const reidd_hook *reidd_hook_list_find(const reidd_hook_list *list, int64_t hook); /* or NULL */

/* The newest agreed word about a hook. */
typedef struct reidd_hook_word {
    int64_t hook;
    char *name;        /* of the hook */
    char *sentence;    /* who wanted it, and why */
    int64_t iteration; /* it takes effect before this one */
    bool added, removed;
} reidd_hook_word;

/* Part of a job that has not ended (manager_private.h). */
typedef struct reidd_active_hooks {
    reidd_hook_list list;
    REID_VEC(reidd_hook_word) words; /* in order of agreement */
    double note_level;               /* how many may be kept at once now */
    int64_t note_ms;
    int notes, notes_dropped;
} reidd_active_hooks;

/* ---- from the link ---- */

/* Takes the contents. PRECONDITION when the attempt is over. */
reid_status reidd_manager_set_hooks(reidd_manager *manager, const char *id, int attempt,
                                    reidd_hook_list *own_list, reid_error *err);
/* Into the job's diary (kind "hook"), unless there are too many of them; the next one that is kept
 * tells how many were not. */
reid_status reidd_manager_note(reidd_manager *manager, const char *id, int attempt,
                               const char *sentence, reid_error *err);

/* ---- looking ---- */

/* Borrowed until the loop goes on. PRECONDITION: the job has ended or is paused. UNAVAILABLE: this
 * daemon has just been started, and the ranks have not reported yet. */
reid_status reidd_manager_hooks(reidd_manager *manager, const char *id,
                                const reidd_hook_list **ret_list, reid_error *err);
/* The id of the only hook of this name. NOT_FOUND: there is none. PRECONDITION: there are several,
 * or as above. */
reid_status reidd_manager_hook_named(reidd_manager *manager, const char *id, const char *name,
                                     int64_t *ret_hook, reid_error *err);
/* What was agreed on about this hook last; NULL: nothing is known. */
const reidd_hook_word *reidd_manager_hook_word(const reidd_manager *manager, const char *id,
                                               int64_t hook);

#endif
