#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/vec.h"
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
    while (text.length <= STDIN_LIMIT_BYTES && (n = fread(buffer, 1, sizeof buffer, stdin)) > 0)
        reid_str_add_bytes(&text, buffer, n);
    reid_status status;
    if (ferror(stdin))
        status = reid_fail(err, REID_ERR_IO, "cannot read the configuration on standard input");
    else if (text.length > STDIN_LIMIT_BYTES)
        status =
            reid_fail(err, REID_ERR_EXHAUSTED, "the configuration on standard input is over 1 MiB");
    else if (strlen(reid_str_text(&text)) != text.length)
        status = reid_fail(err, REID_ERR_INVALID, "the configuration on standard input is no text");
    else
        status = reid_config_load_text(config, reid_str_text(&text), "standard input", err);
    reid_str_fini(&text);
    return status;
}

/* reidd runs in another folder: paths are made absolute where the user stands. */
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

static reid_status load(reidctl *ctl, reid_config *config, reid_error *err)
{
    const char *file = ctl->args.config_file;
    int first = file != NULL ? 0 : 1;
    if (file == NULL && ctl->word_count == 0)
        return reid_fail(err, REID_ERR_INVALID, "submit needs CONFIG; see reidctl submit --help");
    if (file == NULL)
        file = ctl->words[0];
    if (strcmp(file, "-") == 0)
        REID_TRY(load_stdin(config, err));
    else
        REID_TRY(reid_config_load_file(config, file, err));
    REID_TRY(reid_config_merge_list(config, ctl->word_count - first, ctl->words + first, err));
    REID_TRY(reid_config_check(config, err));
    return reid_config_check_world(config, ctl->args.ranks > 0 ? (int)ctl->args.ranks : 1, err);
}

static reid_status resolve(reidctl *ctl, reid_config *config, reid_error *err)
{
    const char *root = getenv("FASTREID_DATASETS");
    REID_TRY(load(ctl, config, err));
    print_remarks(config);
    REID_TRY(make_absolute(config, "OUTPUT_DIR", "", err));
    REID_TRY(make_absolute(config, "MODEL.WEIGHTS", "", err));
    return make_absolute(config, "DATASETS.ROOT", root != NULL && *root != '\0' ? root : "datasets",
                         err);
}

static reid_status submit(reidctl *ctl, char *yaml, Reid__V1__Job **ret_job, reid_error *err)
{
    Reid__V1__SubmitRequest request = REID__V1__SUBMIT_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    request.name = (char *)(ctl->args.name != NULL ? ctl->args.name : "");
    request.config_yaml = yaml;
    request.ranks = (int32_t)ctl->args.ranks;
    request.resume = ctl->args.resume;
    request.eval_only = ctl->args.eval_only;
    REID_TRY(reidctl_call(ctl, "Submit", &request.base, &reid__v1__job__descriptor, &answer, err));
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

static int submit_config(reidctl *ctl, const reid_config *config)
{
    reid_error err = {0};
    Reid__V1__Job *job = NULL;
    int code = REIDCTL_OK;
    char *yaml = reid_config_dump(config);
    if (ctl->args.dry_run) {
        fputs(yaml, stdout);
    } else if (submit(ctl, yaml, &job, &err) != REID_OK) {
        code = reidctl_report(&err);
    } else {
        print_job(ctl, job);
        if (ctl->args.follow)
            code = reidctl_follow(ctl, job->id);
    }
    reid__v1__job__free_unpacked(job, NULL);
    free(yaml);
    return code;
}

int reidctl_cmd_submit(reidctl *ctl)
{
    reid_error err = {0};
    reid_config *config = reid_config_new();
    int code;
    if (ctl->args.follow && reidctl_output_is(ctl, "json"))
        reid_fail(&err, REID_ERR_INVALID,
                  "submit: --follow is for people and json for programs; "
                  "use one of them");
    else
        resolve(ctl, config, &err);
    if (err.code != REID_OK) {
        reidctl_report(&err);
        code = REIDCTL_USAGE; /* nothing was asked of reidd: a missing file is no missing job */
    } else {
        code = submit_config(ctl, config);
    }
    reid_config_free(config);
    return code;
}
