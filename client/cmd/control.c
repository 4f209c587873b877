/* set, checkpoint, evaluate, stop, pause, resume: control words. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "connect.h"
#include "out/entry.h"
#include "out/style.h"
#include "out/text.h"

static char *reason_of(const reidctl *ctl)
{
    return (char *)(ctl->args.reason != NULL ? ctl->args.reason : "");
}

static void print_text(const Reid__V1__JournalEntry *entry)
{
    reid_str line = REID_STR_INIT;
    reidctl_add_clean(&line, entry->kind);
    if (*entry->name != '\0') {
        reid_str_clear(&line);
        reidctl_add_clean(&line, entry->name);
        reid_str_add(&line, " ");
        reidctl_add_clean(&line, entry->old);
        reid_str_add(&line, " -> ");
        reidctl_add_clean(&line, entry->new_);
    }
    printf("%s before iteration %lld\n", reid_str_text(&line), (long long)entry->iteration);
    reid_str_fini(&line);
}

static reid_status call(reidctl *ctl, const char *method, const ProtobufCMessage *request,
                        reid_error *err)
{
    ProtobufCMessage *answer = NULL;
    reid_status status =
        reidctl_call_service(ctl, "ControlService", method, request,
                             &reid__v1__control_response__descriptor, &answer, err);
    if (status == REID_ERR_TIMEOUT)
        return reid_error_prefix(err, "the ranks have not come to the end of a step yet; reidctl "
                                      "audit tells when it is agreed on");
    REID_TRY(status);
    const Reid__V1__ControlResponse *response = (const Reid__V1__ControlResponse *)answer;
    for (size_t i = 0; i < response->n_entries; i++)
        if (reidctl_output_is(ctl, "json"))
            reidctl_print_entry_json(response->entries[i]);
        else
            print_text(response->entries[i]);
    protobuf_c_message_free_unpacked(answer, NULL);
    return REID_OK;
}

static int word(reidctl *ctl, const char *method)
{
    Reid__V1__ControlRequest request = REID__V1__CONTROL_REQUEST__INIT;
    reid_error err = {0};
    request.id = ctl->words[0];
    request.at_iter = ctl->args.at_iter;
    request.reason = reason_of(ctl);
    return call(ctl, method, &request.base, &err) == REID_OK ? REIDCTL_OK : reidctl_report(&err);
}

int reidctl_cmd_checkpoint(reidctl *ctl)
{
    return word(ctl, "Checkpoint");
}

int reidctl_cmd_evaluate(reidctl *ctl)
{
    return word(ctl, "Evaluate");
}

int reidctl_cmd_stop(reidctl *ctl)
{
    return word(ctl, "Stop");
}

int reidctl_cmd_pause(reidctl *ctl)
{
    return word(ctl, "Pause");
}

/* NAME=VALUE words; the words themselves are cut. */
static reid_status parse_settings(reidctl *ctl, Reid__V1__Setting *settings, reid_error *err)
{
    for (int i = 1; i < ctl->word_count; i++) {
        Reid__V1__Setting *setting = &settings[i - 1];
        char *equals = strchr(ctl->words[i], '=');
        if (equals == NULL || equals == ctl->words[i] || equals[1] == '\0')
            return reid_fail(err, REID_ERR_INVALID, "'%s' is not of the form NAME=VALUE",
                             ctl->words[i]);
        *equals = '\0';
        reid__v1__setting__init(setting);
        setting->name = ctl->words[i];
        setting->value = equals + 1;
    }
    return REID_OK;
}

int reidctl_cmd_set(reidctl *ctl)
{
    Reid__V1__SetRequest request = REID__V1__SET_REQUEST__INIT;
    size_t count = (size_t)ctl->word_count - 1;
    Reid__V1__Setting *settings = reid_xcalloc(count, sizeof *settings);
    Reid__V1__Setting **pointers = reid_xcalloc(count, sizeof *pointers);
    reid_error err = {0};
    for (size_t i = 0; i < count; i++)
        pointers[i] = &settings[i];
    request.id = ctl->words[0];
    request.n_settings = count;
    request.settings = pointers;
    request.at_iter = ctl->args.at_iter;
    request.reason = reason_of(ctl);
    reid_status status = parse_settings(ctl, settings, &err);
    if (status == REID_OK)
        status = call(ctl, "Set", &request.base, &err);
    free(pointers);
    free(settings);
    return status == REID_OK ? REIDCTL_OK : reidctl_report(&err);
}

int reidctl_cmd_resume(reidctl *ctl)
{
    Reid__V1__ResumeRequest request = REID__V1__RESUME_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    reid_error err = {0};
    request.id = ctl->words[0];
    request.reason = reason_of(ctl);
    if (reidctl_call_service(ctl, "ControlService", "Resume", &request.base,
                             &reid__v1__job__descriptor, &answer, &err) != REID_OK)
        return reidctl_report(&err);
    const Reid__V1__Job *job = (const Reid__V1__Job *)answer;
    printf("%s %s\n", job->id, reidctl_state_name(job->state));
    protobuf_c_message_free_unpacked(answer, NULL);
    return REIDCTL_OK;
}
