#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "submission.h"

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
    return reidctl_submission_resolve(config, ctl->args.ranks > 0 ? (int)ctl->args.ranks : 1, err);
}

static int send(reidctl *ctl, const reid_config *config)
{
    Reid__V1__SubmitRequest request = REID__V1__SUBMIT_REQUEST__INIT;
    request.name = (char *)(ctl->args.name != NULL ? ctl->args.name : "");
    request.ranks = (int32_t)ctl->args.ranks;
    request.resume = ctl->args.resume;
    request.eval_only = ctl->args.eval_only;
    return reidctl_submission_send(ctl, config, &request);
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
        load(ctl, config, &err);
    if (err.code != REID_OK) {
        reidctl_report(&err);
        code = REIDCTL_USAGE; /* nothing was asked of reidd: a missing file is no missing job */
    } else {
        code = send(ctl, config);
    }
    reid_config_free(config);
    return code;
}
