#include "train/job.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"

reid_status reid_job_env_read(reid_job_env *ret_env, reid_error *err)
{
    reid_job_env env = {0};
    env.attempt_dir = getenv("REIDD_ATTEMPT_DIR");
    if (env.attempt_dir != NULL && *env.attempt_dir != '\0') {
        const char *attempt = getenv("REIDD_ATTEMPT");
        int64_t number = 0;
        env.managed = true;
        env.job_id = getenv("REIDD_JOB");
        env.link_address = getenv("REIDD_LINK");
        env.ticket = getenv("REIDD_TICKET");
        env.hook_dir = getenv("REIDD_HOOK_DIR");
        if (env.job_id == NULL || attempt == NULL ||
            reid_parse_int64(attempt, &number) != REID_OK || number < 1)
            return reid_fail(
                err, REID_ERR_INVALID,
                "REIDD_ATTEMPT_DIR is set, but REIDD_JOB or REIDD_ATTEMPT is not right; "
                "unset them all to train without reidd");
        env.attempt = (int)number;
    }
    *ret_env = env;
    return REID_OK;
}

void reid_job_write_failure(const reid_job_env *env, int rank, const char *phase,
                            const reid_error *why)
{
    if (!env->managed)
        return;
    reid_error err = {0};
    char *folder = reid_path_join(env->attempt_dir, "failures");
    char *name = reid_xasprintf("rank-%d.json", rank);
    char *path = reid_path_join(folder, name);
    reid_str text = REID_STR_INIT;
    reid_json_writer w = reid_json_begin(&text);
    reid_json_object(&w);
    reid_json_key(&w, "rank");
    reid_json_int(&w, rank);
    reid_json_key(&w, "wall_ms");
    reid_json_int(&w, reid_clock_wall_ms());
    reid_json_key(&w, "phase");
    reid_json_string(&w, phase);
    reid_json_key(&w, "sentence");
    reid_json_string(&w, why->text);
    reid_json_key(&w, "of_others");
    reid_json_bool(&w, why->code == REID_ERR_UNAVAILABLE || why->code == REID_ERR_TIMEOUT);
    reid_json_end_object(&w);
    if (reid_make_dirs(folder, 0755, &err) != REID_OK ||
        reid_file_write_atomic(path, reid_str_text(&text), text.length, &err) != REID_OK)
        reid_log_warn("cannot leave the cause of the failure: %s", err.text);
    reid_str_fini(&text);
    free(path);
    free(name);
    free(folder);
}

reid_status reid_job_write_outcome(const reid_job_env *env, const char *outcome,
                                   long long iteration, reid_error *err)
{
    if (!env->managed)
        return REID_OK;
    char *path = reid_path_join(env->attempt_dir, "outcome.json");
    reid_str text = REID_STR_INIT;
    reid_json_writer w = reid_json_begin(&text);
    reid_json_object(&w);
    reid_json_key(&w, "outcome");
    reid_json_string(&w, outcome);
    reid_json_key(&w, "iteration");
    reid_json_int(&w, iteration);
    reid_json_end_object(&w);
    reid_status status = reid_file_write_atomic(path, reid_str_text(&text), text.length, err);
    reid_str_fini(&text);
    free(path);
    return status;
}
