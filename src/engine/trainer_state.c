/* The saved form of a trainer:
 *   {"version":1,"iteration":N,"iters_per_epoch":K,"epoch_open":false,"hooks":[{"name":"…","state":…},…]}
 */
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "engine/trainer.h"

#define VERSION 1

void reid_trainer_save_state(const reid_trainer *trainer, reid_str *out)
{
    reid_json_writer json = reid_json_begin(out);
    reid_json_object(&json);
    reid_json_key(&json, "version");
    reid_json_int(&json, VERSION);
    reid_json_key(&json, "iteration");
    reid_json_int(&json, trainer->iter);
    reid_json_key(&json, "iters_per_epoch");
    reid_json_int(&json, trainer->iters_per_epoch);
    reid_json_key(&json, "epoch_open");
    reid_json_bool(&json, trainer->epoch_open);
    reid_json_key(&json, "hooks");
    reid_json_array(&json);
    for (size_t i = 0; i < trainer->hooks.count; i++) {
        const reid_hook *hook = trainer->hooks.items[i];
        if (!hook->impl->save_state)
            continue;
        reid_json_object(&json);
        reid_json_key(&json, "name");
        reid_json_string(&json, hook->impl->name);
        reid_json_key(&json, "state");
        hook->impl->save_state(hook, &json);
        reid_json_end_object(&json);
    }
    reid_json_end_array(&json);
    reid_json_end_object(&json);
}

/* The first state of that name that no hook has had yet. */
static const reid_json *take_state(const reid_json *states, bool *taken, const char *name)
{
    for (size_t i = 0; i < reid_json_count(states); i++) {
        const reid_json *entry = reid_json_at(states, i);
        const char *entry_name = reid_json_as_string(reid_json_get(entry, "name"), "");
        if (!taken[i] && strcmp(entry_name, name) == 0) {
            taken[i] = true;
            return reid_json_get(entry, "state");
        }
    }
    return NULL;
}

static reid_status load_hooks(reid_trainer *trainer, const reid_json *states, reid_error *err)
{
    size_t count = reid_json_count(states);
    REID_AUTOFREE bool *taken = reid_alloc(count + 1, sizeof *taken);
    if (!taken)
        return reid_fail(err, REID_ERR_EXHAUSTED, "out of memory for %zu hook states", count);
    for (size_t i = 0; i < trainer->hooks.count; i++) {
        reid_hook *hook = trainer->hooks.items[i];
        if (!hook->impl->load_state)
            continue;
        const reid_json *state = take_state(states, taken, hook->impl->name);
        if (!state) {
            reid_log_warn("the saved state has nothing for the hook %s; it starts anew",
                          hook->impl->name);
            continue;
        }
        reid_status status = hook->impl->load_state(hook, state, err);
        if (status != REID_OK) {
            reid_error_prefix(err, "the saved state of the hook %s", hook->impl->name);
            return status;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (!taken[i])
            reid_log_warn("the saved state of the hook %s is not used: there is no such hook now",
                          reid_json_as_string(reid_json_get(reid_json_at(states, i), "name"), "?"));
    }
    return REID_OK;
}

static reid_status load_root(reid_trainer *trainer, const reid_json *root, int64_t *ret_iter,
                             reid_error *err)
{
    int64_t version = reid_json_as_int(reid_json_get(root, "version"), -1);
    if (version != VERSION)
        return reid_fail(err, version > VERSION ? REID_ERR_UNSUPPORTED : REID_ERR_CORRUPT,
                         "the saved state of the trainer has format version %lld, this program "
                         "reads %d",
                         (long long)version, VERSION);
    int64_t iter = reid_json_as_int(reid_json_get(root, "iteration"), -1);
    int64_t iters_per_epoch = reid_json_as_int(reid_json_get(root, "iters_per_epoch"), -1);
    bool epoch_open = reid_json_as_bool(reid_json_get(root, "epoch_open"), false);
    const reid_json *hooks = reid_json_get(root, "hooks");
    if (iter < 0 || iters_per_epoch < 1 || reid_json_type_of(hooks) != REID_JSON_ARRAY ||
        (epoch_open && (iter == 0 || iter % iters_per_epoch != 0)))
        return reid_fail(err, REID_ERR_CORRUPT, "the saved state of the trainer is damaged");
    if (iters_per_epoch != trainer->iters_per_epoch)
        return reid_fail(err, REID_ERR_INVALID,
                         "the saved training has %lld iterations per epoch, this one has %lld: the "
                         "data or SOLVER.IMS_PER_BATCH differ",
                         (long long)iters_per_epoch, (long long)trainer->iters_per_epoch);
    if (iter > trainer->max_iter)
        return reid_fail(
            err, REID_ERR_INVALID,
            "the saved training has done %lld iterations, this one ends at %lld: raise "
            "SOLVER.MAX_EPOCH",
            (long long)iter, (long long)trainer->max_iter);
    REID_TRY(load_hooks(trainer, hooks, err));
    trainer->epoch_open = epoch_open;
    *ret_iter = iter;
    return REID_OK;
}

reid_status reid_trainer_load_state(reid_trainer *trainer, const char *text, size_t length,
                                    int64_t *ret_start_iter, reid_error *err)
{
    reid_json *root;
    reid_status status = reid_json_parse(text, length, &root, err);
    if (status != REID_OK) {
        reid_error_prefix(err, "the saved state of the trainer");
        return status == REID_ERR_INVALID ? REID_ERR_CORRUPT : status;
    }
    status = load_root(trainer, root, ret_start_iter, err);
    reid_json_free(root);
    return status;
}
