/* Guest hooks: hooks that come from outside and go again while the training runs.
 *
 * A kind (lua, native, remote, builtin) is one const table; a guest is one hook of a kind. The
 * GuestHost (guest/host.h) is the trainer's hook that calls guests at the six points, on rank 0
 * unless the kind says otherwise. A guest looks at the moment and wishes for something; the host
 * turns wishes into control words, which all ranks obey before the next thing happens.
 *
 * Life of a guest: kind->open → {kind->call}* → kind->close. For rank 0 a spec is tried with open
 * and close before all ranks agree on it.
 *
 * Threads: the stepping thread.
 */
#ifndef REID_ENGINE_GUEST_GUEST_H
#define REID_ENGINE_GUEST_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "base/status.h"
#include "base/vec.h"
#include "engine/hook.h"
#include "engine/hooks/registry.h"
#include "events/event_storage.h"

/* ---- wishes ---- */

#define REID_WISHES_MAX 64 /* of one call */

typedef enum reid_wish_kind {
    REID_WISH_STOP,
    REID_WISH_CHECKPOINT,
    REID_WISH_EVALUATE,
    REID_WISH_SKIP_STEP,
    REID_WISH_SET,
    REID_WISH_PUT_SCALAR,
} reid_wish_kind;

typedef struct reid_wish {
    reid_wish_kind kind;
    char *name;    /* of the knob or scalar; else NULL */
    char *value;   /* of the knob, as text; else NULL */
    double number; /* of the scalar */
    char *reason;  /* of a stop; NULL: none */
} reid_wish;

typedef struct reid_wishes {
    REID_VEC(reid_wish) list;
} reid_wishes;

/* Texts are copied. EXHAUSTED beyond REID_WISHES_MAX. */
reid_status reid_wishes_add(reid_wishes *wishes, reid_wish_kind kind, const char *name,
                            const char *value, double number, reid_error *err);
reid_status reid_wishes_add_stop(reid_wishes *wishes, const char *reason, reid_error *err);
void reid_wishes_fini(reid_wishes *wishes); /* zeroed is fine; empty afterwards */

/* ---- what a guest is ---- */

typedef enum reid_guest_policy {
    REID_GUEST_IGNORE = 1, /* values of reid.v1.HookPolicy */
    REID_GUEST_DISABLE,
    REID_GUEST_FAIL,
} reid_guest_policy;

#define REID_GUEST_NAME_BYTES 64
#define REID_GUEST_SOURCE_BYTES (64u << 10)
#define REID_GUEST_OPTIONS 16
#define REID_GUEST_DEADLINE_S 60.0 /* the longest */

/* As it stands in the journal (JSON). Texts are never NULL. */
typedef struct reid_guest_spec {
    char *kind, *name;
    unsigned points; /* bits 1 << reid_point; 0: those that it has (kind->open fills them in) */
    int64_t every;   /* before_step, after_step: where (iteration + 1) % every == 0 */
    char *when;      /* predicate (guest/predicate.h); "": always */
    reid_guest_policy on_error, on_late, on_lost;
    char *source;             /* lua: the text; native: file name; builtin: name; remote: "" */
    REID_VEC(char *) options; /* "name=value" */
    REID_VEC(char *) scalars; /* remote: globs; none: all */
    bool asynchronous;        /* remote */
    double deadline_s;        /* remote, synchronous */
} reid_guest_spec;

/* INVALID with a sentence for what cannot be. Missing members have their defaults: every 1, when
 * "", on_error disable, on_late ignore, on_lost ignore, deadline_s 1. */
reid_status reid_guest_spec_parse(const char *json, size_t length, reid_guest_spec *ret_spec,
                                  reid_error *err);
/* The same fields always give the same bytes. Appends one JSON object. */
void reid_guest_spec_write(const reid_guest_spec *spec, reid_str *out);
void reid_guest_spec_fini(reid_guest_spec *spec); /* zeroed is fine */

/* ---- where it is called ---- */

typedef struct reid_moment {
    reid_point point;
    int64_t iter; /* before_step, after_step: of this step; elsewhere iterations done */
    int64_t max_iter;
    int64_t epoch, max_epoch, iters_per_epoch;
    double lr;
    const reid_event_storage *storage;
} reid_moment;

typedef struct reid_guest reid_guest;
struct reid_remote_port;

/* What guests may need; borrowed. */
typedef struct reid_guest_env {
    struct reid_trainer *trainer;
    const char *native_dir;              /* of shared objects; NULL: none are allowed */
    const struct reid_remote_port *port; /* rank 0 with a daemon; else NULL */
    const reid_hook_context *context;    /* for built-in hooks */
} reid_guest_env;

typedef struct reid_guest_kind {
    const char *name;
    bool transient; /* not saved: whoever it belongs to must come again after a resume */
    bool all_ranks; /* opened and called on every rank, and may call collectives */
    /* `id` is 0 when the spec is only tried. May fill in spec->points; every point that it will be
     * called at must be there. *ret_guest is owned by the caller, who closes it. */
    reid_status (*open)(const reid_guest_env *env, reid_guest_spec *spec, int64_t id,
                        reid_guest **ret_guest, reid_error *err);
    /* A status that is not OK: the guest has failed (policy on_error); err has the reason.
     * TIMEOUT: it was late (on_late). UNAVAILABLE: it is lost (on_lost). */
    reid_status (*call)(reid_guest *guest, const reid_moment *moment, reid_wishes *wishes,
                        reid_error *err);
    /* At every after_step at which `call` is not. NULL: not interested. */
    reid_status (*poll)(reid_guest *guest, reid_wishes *wishes, reid_error *err);
    /* Both or neither; as in reid_hook_impl. */
    void (*save_state)(const reid_guest *guest, reid_json_writer *json);
    reid_status (*load_state)(reid_guest *guest, const reid_json *state, reid_error *err);
    void (*close)(reid_guest *guest); /* required */
} reid_guest_kind;

/* First member of every guest. */
struct reid_guest {
    const reid_guest_kind *kind;
    int64_t late, missed; /* counted by the kind */
};

extern const reid_guest_kind reid_guest_lua;
extern const reid_guest_kind reid_guest_native;
extern const reid_guest_kind reid_guest_remote;
extern const reid_guest_kind reid_guest_builtin;

const reid_guest_kind *reid_guest_kind_find(const char *name); /* NULL: no such kind */

#endif
