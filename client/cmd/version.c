#include <stdio.h>

#include "connect.h"
#include "out/json.h"
#include "out/text.h"
#include "reid/v1/system.pb-c.h"
#include "version.h"

static void print_text(const reidctl *ctl, const Reid__V1__InfoResponse *info)
{
    reid_str line = REID_STR_INIT, clean = REID_STR_INIT;
    reid_str_addf(&line, "reidd    %s (%s) on %s, pid %lld, %d of %d slots in use, at %s",
                  info->version, info->revision, info->node, (long long)info->pid, info->slots_used,
                  info->slots, ctl->address);
    reidctl_add_clean(&clean, reid_str_text(&line));
    printf("reidctl  %s\n%s\n", REID_VERSION_TEXT, reid_str_text(&clean));
    reid_error err = {0};
    if (reidctl_check_protocol(info, &err) != REID_OK)
        reidctl_report(&err);
    reid_str_fini(&line);
    reid_str_fini(&clean);
}

static void add_text(reid_json_writer *w, const char *key, const char *value)
{
    reid_json_key(w, key);
    reid_json_string(w, value);
}

static void add_int(reid_json_writer *w, const char *key, int64_t value)
{
    reid_json_key(w, key);
    reid_json_int(w, value);
}

static void print_json(const reidctl *ctl, const Reid__V1__InfoResponse *info)
{
    reid_str out = REID_STR_INIT;
    reid_json_writer w = reidctl_json_begin(&out);
    reid_json_object(&w);
    add_text(&w, "client", REID_VERSION);
    add_text(&w, "daemon", info->version);
    add_text(&w, "revision", info->revision);
    add_text(&w, "address", ctl->address);
    add_text(&w, "node", info->node);
    add_int(&w, "protocol", info->protocol > 0 ? info->protocol : 1);
    add_int(&w, "pid", info->pid);
    add_int(&w, "started_ms", info->started_ms);
    add_int(&w, "slots", info->slots);
    add_int(&w, "slots_used", info->slots_used);
    add_text(&w, "state_dir", info->state_dir);
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
    bool json = reidctl_output_is(ctl, "json");
    reid_status status = reidctl_connect(ctl, &err);
    if (status == REID_OK)
        status = reid_rpc_client_unary(ctl->client, "/reid.v1.SystemService/Info", &request.base,
                                       &reid__v1__info_response__descriptor, 10000, &answer, &err);
    if (status != REID_OK) {
        if (!json)
            printf("reidctl  %s\n", REID_VERSION_TEXT);
        return reidctl_report(&err);
    }
    const Reid__V1__InfoResponse *info = (const Reid__V1__InfoResponse *)answer;
    json ? print_json(ctl, info) : print_text(ctl, info);
    protobuf_c_message_free_unpacked(answer, NULL);
    return REIDCTL_OK;
}
