#include "submission.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "duration.h"
#include "follow.h"
#include "out/json.h"

static reid_status make_absolute(reid_config *config, const char *key, const char *otherwise,
                                 reid_error *err)
{
    const char *value = reid_config_string(config, key);
    if (*value == '\0')
        value = otherwise;
    if (*value == '\0')
        return REID_OK;
    char *path = reid_path_absolute(value);
    reid_status status = reid_config_set(config, key, path, err);
    free(path);
    return status;
}

/* What has no effect is told before the paths are set, which is not the user's doing. */
static void print_remarks(const reid_config *config)
{
    char *remarks = reid_config_remarks(config), *rest = NULL;
    for (char *line = strtok_r(remarks, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest))
        fprintf(stderr, "reidctl: warning: %s\n", line);
    free(remarks);
}

reid_status reidctl_submission_resolve(reid_config *config, int ranks, reid_error *err)
{
    const char *root = getenv("FASTREID_DATASETS");
    REID_TRY(reid_config_check(config, err));
    REID_TRY(reid_config_check_world(config, ranks, err));
    print_remarks(config);
    REID_TRY(make_absolute(config, "OUTPUT_DIR", "", err));
    REID_TRY(make_absolute(config, "MODEL.WEIGHTS", "", err));
    return make_absolute(config, "DATASETS.ROOT", root != NULL && *root != '\0' ? root : "datasets",
                         err);
}

static reid_status submit(reidctl *ctl, const Reid__V1__SubmitRequest *request,
                          Reid__V1__Job **ret_job, reid_error *err)
{
    ProtobufCMessage *answer = NULL;
    REID_TRY(reidctl_call(ctl, "Submit", &request->base, &reid__v1__job__descriptor, &answer, err));
    *ret_job = (Reid__V1__Job *)answer;
    return REID_OK;
}

static void print_job(const reidctl *ctl, const Reid__V1__Job *job)
{
    reid_str out = REID_STR_INIT;
    reid_json_writer w = reidctl_json_begin(&out);
    if (reidctl_output_is(ctl, "json"))
        reidctl_json_job(&w, job);
    else
        reid_str_add(&out, job->id);
    puts(reid_str_text(&out));
    fflush(stdout);
    reid_str_fini(&out);
}

/* 0 seconds means "not given" to reidd: nothing may be lost by that. */
static reid_status take_restarts(const reidctl *ctl, Reid__V1__SubmitRequest *request,
                                 reid_error *err)
{
    double backoff = ctl->args.restart_backoff;
    request->max_restarts = (int32_t)ctl->args.max_restarts;
    if (backoff < 0)
        return REID_OK;
    if (ctl->args.max_restarts == 0)
        return reid_fail(err, REID_ERR_INVALID,
                         "--restart-backoff has no effect without --max-restarts");
    if (backoff == 0)
        return reid_fail(err, REID_ERR_INVALID,
                         "--restart-backoff needs more than 0 seconds, such as 0.1");
    request->restart_backoff_seconds = backoff;
    return REID_OK;
}

/* "JOB,JOB:any": the words are in ctl->args.after, which is cut into them. */
static void take_after(const reidctl *ctl, Reid__V1__SubmitRequest *request, char **own_copy)
{
    char *rest = NULL;
    if (ctl->args.after == NULL)
        return;
    *own_copy = reid_xstrdup(ctl->args.after);
    request->after = reid_xcalloc(strlen(*own_copy) + 1, sizeof(char *));
    for (char *word = strtok_r(*own_copy, ",", &rest); word != NULL;
         word = strtok_r(NULL, ",", &rest))
        request->after[request->n_after++] = word;
}

static reid_status take_wishes(const reidctl *ctl, Reid__V1__SubmitRequest *request,
                               reid_error *err)
{
    request->priority = (int32_t)ctl->args.priority;
    request->min_ranks = (int32_t)ctl->args.min_ranks;
    request->gpu_type = (char *)(ctl->args.gpu_type != NULL ? ctl->args.gpu_type : "");
    request->hold = ctl->args.hold;
    request->no_preempt = ctl->args.no_preempt;
    if (ctl->args.max_time == NULL)
        return REID_OK;
    return reidctl_duration_parse(ctl->args.max_time, &request->max_time_seconds, err);
}

int reidctl_submission_send(reidctl *ctl, const reid_config *config,
                            Reid__V1__SubmitRequest *request)
{
    reid_error err = {0};
    Reid__V1__Job *job = NULL;
    int code = REIDCTL_OK;
    char *yaml = reid_config_dump(config);
    request->config_yaml = yaml;
    char *after = NULL;
    take_after(ctl, request, &after);
    if (take_restarts(ctl, request, &err) != REID_OK ||
        take_wishes(ctl, request, &err) != REID_OK) {
        reidctl_report(&err);
        code = REIDCTL_USAGE;
    } else if (ctl->args.dry_run) {
        fputs(yaml, stdout);
    } else if (submit(ctl, request, &job, &err) != REID_OK) {
        code = reidctl_report(&err);
    } else {
        print_job(ctl, job);
        if (ctl->args.follow)
            code = reidctl_follow(ctl, job->id);
    }
    reid__v1__job__free_unpacked(job, NULL);
    free((void *)request->after);
    free(after);
    free(yaml);
    return code;
}
