#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "submission.h"

#define FOLDERS_MAX 1000 /* that are looked at for a name that is free */

/* SOURCE-fork-30, or SOURCE-fork-30.2, … when that is there; without an iteration SOURCE-fork. */
static reid_status find_folder(const char *source, int64_t at_iter, char **ret_folder,
                               reid_error *err)
{
    REID_AUTOFREE char *base = at_iter > 0
                                   ? reid_xasprintf("%s-fork-%lld", source, (long long)at_iter)
                                   : reid_xasprintf("%s-fork", source);
    for (int i = 1; i <= FOLDERS_MAX; i++) {
        char *folder = i == 1 ? reid_xstrdup(base) : reid_xasprintf("%s.%d", base, i);
        if (!reid_path_exists(folder)) {
            *ret_folder = folder;
            return REID_OK;
        }
        free(folder);
    }
    return reid_fail(err, REID_ERR_EXISTS, "%s and %d more are there already; say OUTPUT_DIR", base,
                     FOLDERS_MAX - 1);
}

/* A folder of its own, unless the user gives one. */
static reid_status choose_folder(reid_config *config, const char *source, int64_t at_iter,
                                 reid_error *err)
{
    char *folder = NULL;
    if (strcmp(reid_config_origin(config, "OUTPUT_DIR"), "the command line") == 0)
        return REID_OK;
    REID_TRY(find_folder(source, at_iter, &folder, err));
    reid_status status = reid_config_set(config, "OUTPUT_DIR", folder, err);
    free(folder);
    return status;
}

static reid_status make_config(reidctl *ctl, const Reid__V1__Job *job, reid_config *config,
                               reid_error *err)
{
    int ranks = ctl->args.ranks > 0 ? (int)ctl->args.ranks : job->ranks;
    REID_TRY(reid_config_load_text(config, job->config_yaml, "the job's configuration", err));
    char *source = reid_xstrdup(reid_config_string(config, "OUTPUT_DIR"));
    reid_status status = reid_config_merge_list(config, ctl->word_count - 1, ctl->words + 1, err);
    if (status == REID_OK)
        status = choose_folder(config, source, ctl->args.at_iter, err);
    free(source);
    REID_TRY(status);
    return reidctl_submission_resolve(config, ranks, err);
}

static int send(reidctl *ctl, const Reid__V1__Job *job, const reid_config *config)
{
    Reid__V1__SubmitRequest request = REID__V1__SUBMIT_REQUEST__INIT;
    Reid__V1__Fork fork = REID__V1__FORK__INIT;
    fork.job = job->id;
    fork.at_iter = ctl->args.at_iter;
    request.fork = &fork;
    request.name = (char *)(ctl->args.name != NULL ? ctl->args.name : "");
    request.ranks = ctl->args.ranks > 0 ? (int32_t)ctl->args.ranks : job->ranks;
    return reidctl_submission_send(ctl, config, &request);
}

int reidctl_cmd_fork(reidctl *ctl)
{
    reid_error err = {0};
    Reid__V1__Job *job = NULL;
    if (ctl->args.follow && reidctl_output_is(ctl, "json")) {
        reid_fail(&err, REID_ERR_INVALID,
                  "fork: --follow is for people and json for programs; use one of them");
        return reidctl_report(&err);
    }
    if (reidctl_get_job(ctl, ctl->words[0], &job, &err) != REID_OK)
        return reidctl_report(&err);
    reid_config *config = reid_config_new();
    int code = make_config(ctl, job, config, &err) == REID_OK ? send(ctl, job, config)
                                                              : reidctl_report(&err);
    reid_config_free(config);
    reid__v1__job__free_unpacked(job, NULL);
    return code;
}
