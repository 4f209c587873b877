#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "config/config.h"
#include "connect.h"
#include "follow.h"
#include "out/json.h"

#define STDIN_LIMIT_BYTES (1u << 20)

static reid_status load_stdin(reid_config *config, reid_error *err)
{
    reid_str text = REID_STR_INIT;
    char buffer[4096];
    size_t n;
    while ((n = fread(buffer, 1, sizeof buffer, stdin)) > 0 && text.length <= STDIN_LIMIT_BYTES)
        reid_str_add_bytes(&text, buffer, n);
    reid_status status =
        text.length > STDIN_LIMIT_BYTES
            ? reid_fail(err, REID_ERR_EXHAUSTED,
                        "the configuration on standard input is over 1 MiB")
            : reid_config_load_text(config, reid_str_text(&text), "standard input", err);
    reid_str_fini(&text);
    return status;
}

/* The daemon runs elsewhere: paths are made absolute where the user stands. */
static reid_status make_absolute(reid_config *config, const char *key, const char *otherwise,
                                 reid_error *err)
{
    const char *value = reid_config_string(config, key);
    if (*value == '\0')
        value = otherwise;
    if (value == NULL || *value == '\0')
        return REID_OK;
    char *path = reid_path_absolute(value);
    reid_status status = reid_config_set(config, key, path, err);
    free(path);
    return status;
}

static reid_status resolve(reidctl *ctl, reid_config *config, reid_error *err)
{
    const char *root = getenv("FASTREID_DATASETS");
    if (strcmp(ctl->words[0], "-") == 0)
        REID_TRY(load_stdin(config, err));
    else
        REID_TRY(reid_config_load_file(config, ctl->words[0], err));
    REID_TRY(reid_config_merge_list(config, ctl->word_count - 1, ctl->words + 1, err));
    REID_TRY(reid_config_check(config, err));
    REID_TRY(make_absolute(config, "OUTPUT_DIR", NULL, err));
    REID_TRY(make_absolute(config, "MODEL.WEIGHTS", NULL, err));
    return make_absolute(config, "DATASETS.ROOT", root != NULL && *root != '\0' ? root : "datasets",
                         err);
}

static reid_status submit(reidctl *ctl, const char *yaml, Reid__V1__Job **ret_job, reid_error *err)
{
    Reid__V1__SubmitRequest request = REID__V1__SUBMIT_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    if (ctl->args.ranks < 0 || ctl->args.ranks > INT32_MAX)
        return reid_fail(err, REID_ERR_INVALID, "-n needs a number of ranks from 1 on");
    request.name = (char *)(ctl->args.name != NULL ? ctl->args.name : "");
    request.config_yaml = (char *)yaml;
    request.ranks = (int32_t)ctl->args.ranks;
    request.resume = ctl->args.resume;
    request.eval_only = ctl->args.eval_only;
    REID_TRY(reidctl_call(ctl, "Submit", &request.base, &reid__v1__job__descriptor, &answer, err));
    *ret_job = (Reid__V1__Job *)answer;
    return REID_OK;
}

static void print_job(const reidctl *ctl, const Reid__V1__Job *job)
{
    if (ctl->args.output == NULL || strcmp(ctl->args.output, "json") != 0) {
        puts(job->id);
        return;
    }
    reid_str out = REID_STR_INIT;
    reid_json_writer w = reid_json_begin(&out);
    reidctl_json_job(&w, job);
    puts(reid_str_text(&out));
    reid_str_fini(&out);
}

int reidctl_cmd_submit(reidctl *ctl)
{
    reid_error err = {0};
    Reid__V1__Job *job = NULL;
    reid_config *config = reid_config_new();
    char *yaml = NULL;
    int code = REIDCTL_OK;
    if (resolve(ctl, config, &err) != REID_OK) {
        code = reidctl_report(&err);
        goto out;
    }
    yaml = reid_config_dump(config);
    if (ctl->args.dry_run) {
        fputs(yaml, stdout);
        goto out;
    }
    if (submit(ctl, yaml, &job, &err) != REID_OK) {
        code = reidctl_report(&err);
        goto out;
    }
    print_job(ctl, job);
    fflush(stdout);
    if (ctl->args.follow)
        code = reidctl_follow(ctl, job->id);
out:
    reid__v1__job__free_unpacked(job, NULL);
    free(yaml);
    reid_config_free(config);
    return code;
}
