/* A built-in hook (hooks/registry.h) that is added while the training runs. On all ranks; a failure
 * ends the training, as with the hooks that were there from the start. */
#include <stdlib.h>

#include "base/alloc.h"
#include "engine/guest/guest.h"
#include "engine/trainer.h"

typedef struct builtin_guest {
    reid_guest base;
    reid_hook *hook; /* NULL: only rank 0 has it */
} builtin_guest;

static void close_builtin(reid_guest *base)
{
    builtin_guest *guest = (builtin_guest *)base;
    reid_hook_free(guest->hook);
    free(guest);
}

static reid_status open_builtin(const reid_guest_env *env, reid_guest_spec *spec, int64_t id,
                                reid_guest **ret_guest, reid_error *err)
{
    reid_hook *hook = NULL;
    const reid_hook_kind *kind = reid_hook_kind_find(spec->source);
    bool rank0_only = kind && kind->rank0_only;
    if (!env->context)
        return reid_fail(err, REID_ERR_PRECONDITION, "this training takes no built-in hooks");
    if (kind && kind->single)
        return reid_fail(err, REID_ERR_PRECONDITION,
                         "the training has its %s already; a second one would do harm", kind->name);
    if (!rank0_only || env->context->comm->rank == 0) {
        REID_TRY(reid_hook_make(spec->source, env->context, spec->options.count,
                                (const char *const *)spec->options.items, &hook, err));
        hook->trainer = env->trainer;
    }
    spec->on_error = REID_GUEST_FAIL;
    if (hook)
        spec->points = reid_hook_points(hook->impl);
    builtin_guest *guest = reid_xcalloc(1, sizeof *guest);
    guest->base.kind = &reid_guest_builtin;
    guest->hook = hook;
    *ret_guest = &guest->base;
    return REID_OK;
}

static reid_status call_builtin(reid_guest *base, const reid_moment *moment, reid_wishes *wishes,
                                reid_error *err)
{
    reid_hook *hook = ((builtin_guest *)base)->hook;
    return hook ? reid_hook_call(hook, moment->point, err) : REID_OK;
}

static void save_builtin(const reid_guest *base, reid_json_writer *json)
{
    const reid_hook *hook = ((const builtin_guest *)base)->hook;
    if (hook && hook->impl->save_state)
        hook->impl->save_state(hook, json);
    else
        reid_json_null(json);
}

static reid_status load_builtin(reid_guest *base, const reid_json *state, reid_error *err)
{
    reid_hook *hook = ((builtin_guest *)base)->hook;
    bool none = !hook || !hook->impl->load_state || reid_json_type_of(state) == REID_JSON_NULL;
    return none ? REID_OK : hook->impl->load_state(hook, state, err);
}

const reid_guest_kind reid_guest_builtin = {
    .name = "builtin",
    .all_ranks = true,
    .open = open_builtin,
    .call = call_builtin,
    .save_state = save_builtin,
    .load_state = load_builtin,
    .close = close_builtin,
};
