#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "connect.h"
#include "reid/v1/system.pb-c.h"
#include "version.h"

static void print_text(const reidctl *ctl, const Reid__V1__InfoResponse *info)
{
    printf("reidctl  %s\n", REID_VERSION_TEXT);
    printf("reidd    %s (%s) on %s, pid %lld, %d of %d slots in use, at %s\n", info->version,
           info->revision, info->node, (long long)info->pid, info->slots_used, info->slots,
           ctl->address);
}

static void print_json(const Reid__V1__InfoResponse *info)
{
    reid_str out = REID_STR_INIT;
    reid_json_writer w = reid_json_begin(&out);
    reid_json_object(&w);
    reid_json_key(&w, "client");
    reid_json_string(&w, REID_VERSION);
    reid_json_key(&w, "daemon");
    reid_json_string(&w, info->version);
    reid_json_key(&w, "revision");
    reid_json_string(&w, info->revision);
    reid_json_key(&w, "node");
    reid_json_string(&w, info->node);
    reid_json_key(&w, "pid");
    reid_json_int(&w, info->pid);
    reid_json_key(&w, "slots");
    reid_json_int(&w, info->slots);
    reid_json_key(&w, "slots_used");
    reid_json_int(&w, info->slots_used);
    reid_json_key(&w, "state_dir");
    reid_json_string(&w, info->state_dir);
    reid_json_key(&w, "features");
    reid_json_array(&w);
    for (size_t i = 0; i < info->n_features; i++)
        reid_json_string(&w, info->features[i]);
    reid_json_end_array(&w);
    reid_json_end_object(&w);
    puts(reid_str_text(&out));
    reid_str_fini(&out);
}

int reidctl_cmd_version(reidctl *ctl)
{
    reid_error err = {0};
    Reid__V1__InfoRequest request = REID__V1__INFO_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    reid_status status = reidctl_connect(ctl, &err);
    if (status == REID_OK)
        status = reid_rpc_client_unary(ctl->client, "/reid.v1.SystemService/Info", &request.base,
                                       &reid__v1__info_response__descriptor, 10000, &answer, &err);
    if (status != REID_OK) {
        printf("reidctl  %s\n", REID_VERSION_TEXT);
        return reidctl_report(&err);
    }
    if (ctl->args.output != NULL && strcmp(ctl->args.output, "json") == 0)
        print_json((const Reid__V1__InfoResponse *)answer);
    else
        print_text(ctl, (const Reid__V1__InfoResponse *)answer);
    protobuf_c_message_free_unpacked(answer, NULL);
    return REIDCTL_OK;
}
