/* set, checkpoint, evaluate, stop, pause, resume, skip-step, profile: control words. */
#include <stdio.h>

#include "connect.h"
#include "out/entry.h"
#include "out/style.h"
#include "settings.h"

static char *reason_of(const reidctl *ctl)
{
    return (char *)(ctl->args.reason != NULL ? ctl->args.reason : "");
}

static reid_status call(reidctl *ctl, const char *method, const ProtobufCMessage *request,
                        reid_error *err)
{
    ProtobufCMessage *answer = NULL;
    reid_status status =
        reidctl_call_service(ctl, "ControlService", method, request,
                             &reid__v1__control_response__descriptor, &answer, err);
    if (status == REID_ERR_TIMEOUT)
        return reid_error_prefix(err, REIDCTL_NOT_AGREED_YET);
    REID_TRY(status);
    const Reid__V1__ControlResponse *response = (const Reid__V1__ControlResponse *)answer;
    for (size_t i = 0; i < response->n_entries; i++)
        if (reidctl_output_is(ctl, "json"))
            reidctl_print_entry_json(response->entries[i]);
        else
            reidctl_print_entry_text(response->entries[i]);
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

int reidctl_cmd_skip_step(reidctl *ctl)
{
    return word(ctl, "SkipStep");
}

int reidctl_cmd_profile(reidctl *ctl)
{
    Reid__V1__ProfileRequest request = REID__V1__PROFILE_REQUEST__INIT;
    reid_error err = {0};
    request.id = ctl->words[0];
    request.at_iter = ctl->args.at_iter;
    request.reason = reason_of(ctl);
    request.steps = ctl->args.steps;
    return call(ctl, "Profile", &request.base, &err) == REID_OK ? REIDCTL_OK : reidctl_report(&err);
}

int reidctl_cmd_set(reidctl *ctl)
{
    Reid__V1__SetRequest request = REID__V1__SET_REQUEST__INIT;
    reidctl_settings settings = {0};
    reid_error err = {0};
    reid_status status =
        reidctl_settings_parse(&settings, ctl->words + 1, ctl->word_count - 1, &err);
    request.id = ctl->words[0];
    request.n_settings = settings.count;
    request.settings = settings.pointers;
    request.at_iter = ctl->args.at_iter;
    request.reason = reason_of(ctl);
    if (status == REID_OK)
        status = call(ctl, "Set", &request.base, &err);
    reidctl_settings_fini(&settings);
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
